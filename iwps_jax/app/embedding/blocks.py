"""Features a block of samples at a time; each block is kept when it is finished.

The folder of an unfinished pool has one file a block, and `about.json`, which says what
the features depend on. The same command goes on with the first block that is missing.
"""

import json
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.app.embedding.encoders import Encoder
from iwps_jax.app.embedding.source import Sample, Source
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.atomic_write import write_arrays_atomically, write_atomically

ABOUT = "about.json"
SIZE = 256
"""Samples of a block: so much work an interruption loses, a few seconds."""


class Block(NamedTuple):
    """Some samples in their order.

    Attributes:
        features: of those that could be used.
        ids: of these.
        flawed: ids of the others.
        flaws: why each could not be used.
    """

    features: np.ndarray
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
        advance: is told how many samples each block has.

    Raises:
        FileError: if the folder holds blocks of other samples or another network.
    """
    paths = files_of(source, folder)
    done = done_of(source, folder)
    samples = source.samples(done * SIZE)
    for path in paths[done:]:
        block = list(islice(samples, SIZE))
        _write(path, _computed(block, encoder))
        advance(len(block))
    return paths


def begin(source: Source, encoder: Encoder, folder: Path) -> None:
    """Makes the folder, or sees that it is that of these samples and this network.

    Raises:
        FileError: if it is that of others.
    """
    about = json.dumps(
        {"digest": source.digest, "encoder": encoder.identity, "block": SIZE},
        sort_keys=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ABOUT
    if not path.exists():
        write_atomically(path, about)
    elif path.read_text(encoding="utf-8") != about:
        raise FileError(
            f"{folder} holds unfinished work on other samples, or with another "
            "backbone: delete it, or name another --out."
        )


def files_of(source: Source, folder: Path) -> list[Path]:
    """The files of all blocks, finished or not."""
    return [folder / f"{start:09d}.npz" for start in range(0, source.size, SIZE)]


def done_of(source: Source, folder: Path) -> int:
    """How many blocks are finished, before the first that is not."""
    paths = files_of(source, folder)
    return next((at for at, path in enumerate(paths) if not path.exists()), len(paths))


def _computed(samples: list[Sample], encoder: Encoder) -> Block:
    usable = [sample for sample in samples if not sample.flaw]
    flawed = [sample for sample in samples if sample.flaw]
    features = np.zeros((0, 0), np.float32)
    if usable:
        features = encoder.encode([sample.value for sample in usable])
    return Block(
        features,
        [sample.id for sample in usable],
        [sample.id for sample in flawed],
        [sample.flaw for sample in flawed],
    )


def _write(path, block: Block) -> None:
    texts = json.dumps([block.ids, block.flawed, block.flaws]).encode()
    arrays: dict[str, Any] = {
        "features": block.features,
        "texts": np.frombuffer(texts, np.uint8),
    }
    write_arrays_atomically(path, arrays)


def read(paths: list[Path]) -> Iterator[Block]:
    """Finished blocks, one after another.

    Raises:
        FileError: if a file is damaged.
    """
    for path in paths:
        try:
            with np.load(path) as arrays:
                features = arrays["features"]
                texts = json.loads(arrays["texts"].tobytes())
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise FileError(
                f"{path} is damaged: delete it, and run the same command again."
            ) from error
        yield Block(features, *texts)
