"""Features a block of samples at a time; each block is kept when it is finished.

The folder of an unfinished pool has one file a block. The same command goes on with the
first block that is missing.
"""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.app.embedding.encoder import Encoder
from iwps_jax.app.embedding.source import Sample, Source
from iwps_jax.app.files.unreadable import readable
from iwps_jax.atomic_write import write_arrays_atomically
from iwps_jax.refusal import Refusal

SIZE = 256
"""Samples of a block: so much work an interruption loses, a few seconds."""


class Block(NamedTuple):
    """Some samples in their order.

    Attributes:
        features: of those that could be used, some after the other.
        ids: of these.
        flawed: ids of the others.
        flaws: why each could not be used.
    """

    features: list[np.ndarray]
    ids: list[str]
    flawed: list[str]
    flaws: list[str]


def embed(
    source: Source,
    encoder: Encoder,
    folder: Path,
    advance: Callable[[int], None],
) -> list[Path]:
    """Computes the blocks that are missing; returns the files of all.

    Args:
        source: the samples.
        encoder: makes their features.
        folder: of the unfinished pool.
        advance: is told how many samples were read.
    """
    size = size_of(encoder)
    paths = files_of(source, size, folder)
    done = done_of(paths)
    samples = source.samples(done * size)
    for path in paths[done:]:
        block = Block([], [], [], [])
        left = size
        while left and (some := list(islice(samples, min(left, encoder.at_once)))):
            _add(block, some, encoder)
            left -= len(some)
            advance(len(some))
        _write(path, block)
    return paths


def size_of(encoder: Encoder) -> int:
    """Samples of a block."""
    return SIZE if encoder.block is None else encoder.block


def files_of(source: Source, size: int, folder: Path) -> list[Path]:
    """The files of all blocks of so many samples, finished or not."""
    return [folder / f"{start:09d}.npz" for start in range(0, source.size, size)]


def done_of(paths: list[Path]) -> int:
    """How many blocks are finished, before the first that is not."""
    return next((at for at, path in enumerate(paths) if not path.exists()), len(paths))


def _add(block: Block, samples: list[Sample], encoder: Encoder) -> None:
    """Samples with their features, or their flaws."""
    usable = [sample for sample in samples if not sample.flaw]
    if usable:
        block.features.append(encoder.encode([sample.value for sample in usable]))
    block.ids.extend(sample.id for sample in usable)
    for sample in samples:
        if sample.flaw:
            block.flawed.append(sample.id)
            block.flaws.append(sample.flaw)


def _write(path: Path, block: Block) -> None:
    if len({part.shape[1] for part in block.features}) > 1:
        raise Refusal("a backbone must return as many numbers for each sample.")
    texts = json.dumps([block.ids, block.flawed, block.flaws]).encode()
    arrays: dict[str, Any] = {
        "features": np.concatenate(block.features or [np.zeros((0, 0), np.float32)]),
        "texts": np.frombuffer(texts, np.uint8),
    }
    write_arrays_atomically(path, arrays)


def read(paths: list[Path]) -> Iterator[Block]:
    """Finished blocks, one after another.

    Raises:
        FileError: if a file is damaged.
    """
    for path in paths:
        with readable(path, "a block of features"), np.load(path) as arrays:
            features = arrays["features"]
            texts = json.loads(arrays["texts"].tobytes())
        yield Block([features], *texts)
