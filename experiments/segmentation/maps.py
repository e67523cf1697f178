"""Feature maps of scenes by a frozen ImageNet backbone, computed once and kept.

The network is EfficientNet-Lite0, as in `experiments.backbone`. Its maps have a
position for every 8 pixels of the image it sees; small scenes are enlarged twofold
first, so that a small object has several positions.
"""

import functools
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.data import prepare
from experiments.segmentation.data import loading
from experiments.segmentation.data.scenes import Scene, SceneError, Scenes, Source
from iwps_jax.atomic_write import write_arrays_atomically
from iwps_jax.backbones import efficientnet
from iwps_jax.backbones.efficientnet_weights import find_weights, load_network
from iwps_jax.backbones.efficientnet_weights import identity as identity_of
from iwps_jax.cache import cache_root

VERSION = 1  # raised when the maps of the same scene change
PIXELS_A_POSITION = 8  # of the enlarged image
PIXELS_A_COARSE_POSITION = 16
SMALL_SIDE = 256  # scenes up to this side are enlarged
IN_MEMORY = 4 * 2**30  # bytes of maps that are held in memory
NUM_THREADS = 2  # that decode scenes
CHUNK_SIZE = 8  # scenes at once; eight stay in a CPU's cache


class Maps(NamedTuple):
    """What the backbone makes of scenes.

    Attributes:
        train: scenes with maps [h, w, channels] as images.
        test: the same.
        are_on_disk: whether every scene is read when it is asked for.
        stride: pixels of a mask from one position to the next.
        side_multiple: masks are to be padded to multiples of this to fit their maps.
        identity: all that the maps depend on but the scenes, as JSON.
    """

    train: Source
    test: Source
    are_on_disk: bool
    stride: int
    side_multiple: int
    identity: dict


class _MapSource:
    """Scenes whose images are maps; from memory if they are there, else from files."""

    def __init__(
        self, files: list[Path], sizes: np.ndarray, scenes: list[Scene] | None
    ):
        self.sizes = [tuple(size) for size in sizes.tolist()]
        self._files, self._scenes = files, scenes

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self._files)

    def __getitem__(self, index: int) -> Scene:
        """One scene."""
        if self._scenes is not None:
            return self._scenes[index]
        file = self._files[index]
        scene = _load(file)
        if scene is None:
            file.unlink(missing_ok=True)
            raise SceneError(
                f"{file} was damaged and is removed; the same command computes it "
                "again and continues."
            )
        return scene


def embed(scenes: Scenes, *, max_side: int | None, weights: str | None = None) -> Maps:
    """The maps of all scenes, from the cache folder or computed now.

    They are kept under what they depend on: the scenes' and the weights' sha256,
    `max_side`, the enlargement and the versions of the forward pass. An interrupted
    computation continues where it was, and what became damaged is computed again.

    Args:
        scenes: images of any size.
        max_side: scenes with a longer side are scaled down to it first.
        weights: the backbone's, as in `experiments.frozen.features.embed`.

    Raises:
        BackboneError: the weights cannot be had or read.
        SceneError: the cache folder cannot be written.
    """
    sources = {"train": scenes.train, "test": scenes.test}
    sizes = {
        split: loading.scene_sizes(source, range(len(source)), max_side, NUM_THREADS)
        for split, source in sources.items()
    }
    longest = max(of_split.max() for of_split in sizes.values())
    enlargement = 2 if longest <= SMALL_SIDE else 1
    path = find_weights(weights)
    identity = identity_of(path) | {
        "enlargement": enlargement,
        "maps_version": VERSION,
        "max_side": max_side,
    }
    about = identity | {"scenes": scenes.sha256}
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    folder = cache_root() / "features" / f"efficientnet_lite0_maps-{key[:16]}"
    files = {
        split: [folder / f"{split}-{i:06d}.npz" for i in range(len(source))]
        for split, source in sources.items()
    }
    side_multiple = PIXELS_A_COARSE_POSITION // enlargement
    compute = functools.cache(lambda: _compiled(path, enlargement))

    def complete(split):
        _complete(files[split], sources[split], compute, max_side, side_multiple)

    held: dict[str, list[Scene]] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for split in sources:
            complete(split)
        size = sum(file.stat().st_size for part in files.values() for file in part)
        in_memory = size <= IN_MEMORY
        for split in sources if in_memory else ():
            held[split] = _held(files[split], functools.partial(complete, split))
    except OSError as error:
        raise SceneError(
            f"the cache folder must be writable, and {folder} could not be written "
            f"({error}); name another one with IWPS_JAX_CACHE."
        ) from None
    found = {
        split: _MapSource(part, sizes[split], held.get(split))
        for split, part in files.items()
    }
    stride = PIXELS_A_POSITION // enlargement
    return Maps(
        found["train"], found["test"], not in_memory, stride, side_multiple, identity
    )


def channel_statistics(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every channel of the maps, in float64 sums."""
    count, total, squares = 0, 0.0, 0.0
    for index in range(len(source)):
        positions = np.float64(source[index].image).reshape(
            -1, source[index].image.shape[-1]
        )
        count += len(positions)
        total = total + positions.sum(0)
        squares = squares + (positions**2).sum(0)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def _compiled(path: Path, enlargement: int):
    network = load_network(path)
    program = jax.jit(
        functools.partial(efficientnet.feature_maps, enlargement=enlargement)
    )
    return lambda images: np.asarray(program(network, images))


def _complete(files, source, compute, max_side, side_multiple) -> None:
    """Computes and writes the maps that are not there yet."""
    missing = [i for i, file in enumerate(files) if not _is_whole(file)]
    if not missing:
        return
    with prepare.progress(f"Maps of {len(missing):,} scenes", len(missing)) as advance:
        for batch in loading.padded_batches(
            source,
            missing,
            max_side=max_side,
            side_multiple=side_multiple,
            batch_size=CHUNK_SIZE,
            num_threads=NUM_THREADS,
        ):
            maps = compute()(batch.images)
            for place, row in enumerate(batch.rows):
                if row < 0:
                    continue
                where = batch.where[place]
                height, width = where[:, 0].sum(), where[0].sum()
                labels = batch.labels[place, :height, :width]
                _save(files[missing[row]], Scene(maps[place], labels))
                advance(1)


def _held(files: list[Path], complete: Callable[[], None]) -> list[Scene]:
    """All scenes in memory; files that turn out to be damaged are made again."""
    scenes = [_load(file) for file in files]
    damaged = [i for i, scene in enumerate(scenes) if scene is None]
    for i in damaged:
        files[i].unlink(missing_ok=True)
    if damaged:
        complete()
    for i in damaged:
        scenes[i] = _load(files[i])
        if scenes[i] is None:
            raise OSError(f"{files[i].name} cannot be read back")
    return scenes


def _save(file: Path, scene: Scene) -> None:
    """Writes a file at once; other processes may be writing the same."""
    write_arrays_atomically(file, {"maps": scene.image, "labels": scene.mask})


def _load(file: Path) -> Scene | None:
    """The scene in a file, its checksums compared; None if it is damaged."""
    try:
        with np.load(file) as arrays:
            return Scene(arrays["maps"], arrays["labels"])
    except Exception:  # damaged bytes raise almost anything
        return None


def _is_whole(file: Path) -> bool:
    """Whether a file is there from beginning to end, without reading all of it."""
    return file.exists() and zipfile.is_zipfile(file)
