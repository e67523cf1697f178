"""Sets of scenes by name.

`load("digit_scenes")` draws small scenes from real MNIST digits and needs no files of
its own; `load("cityscapes")` finds the official files; `load("folder", images=...,
masks=..., classes=...)` takes any folder of images with PNG masks. Everything that is
wrong with the data is found and named by `load`, before anything is computed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.data.datasets import require_same
from experiments.segmentation.data import cityscapes, digit_scenes, mask_folder
from experiments.segmentation.data.scenes import SceneError, Scenes
from iwps_jax.refusal import Refusal, nearest

DATASETS: tuple[str, ...] = ("digit_scenes", "cityscapes", "folder")


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    classes: str | int | None = None,
    ignore: int | tuple[int, ...] | None = None,
    test_images: str | Path | None = None,
    test_masks: str | Path | None = None,
    background: str | None = None,
    num_train: int = 1200,
    num_test: int = 400,
    data_seed: int = 0,
) -> Scenes:
    """Scenes by name.

    Args:
        name: One of `DATASETS`.
        data_dir: For digit_scenes where MNIST is, as in `experiments.data.datasets`;
            for cityscapes the official folders, their zip files, or a TFDS folder.
        images: folder only: a folder of images, searched recursively.
        masks: folder only: a folder with the PNG mask of each image.
        classes: folder only: how many classes there are, their names with commas
            between, or a text file with one name a line.
        ignore: folder only: the mask value(s) that mean no class; default 255.
        test_images: folder only: images of the test part; without them every fifth
            scene by name is a test scene.
        test_masks: folder only: their masks.
        background: folder only: the name of the class, if any, that "mIoU without
            background" leaves out.
        num_train: digit_scenes only: scenes to draw for training.
        num_test: digit_scenes only: scenes to draw for the test.
        data_seed: digit_scenes only: another seed is another data set.

    Returns:
        The scenes. No folder that is named here is written to.

    Raises:
        ValueError: there is no such data set.
        SceneError: it cannot be had, or something is wrong with it.
    """
    if name not in DATASETS:
        raise Refusal(nearest(name, "data set", DATASETS))
    given = {"images": images, "masks": masks, "classes": classes, "ignore": ignore}
    given |= {"test_images": test_images, "test_masks": test_masks}
    given |= {"background": background}
    if name != "folder":
        for option, value in given.items():
            if value is not None:
                raise SceneError(
                    f"{option} is for a folder of your own; {name} does not take it, "
                    f"got {value}."
                )
    if name == "cityscapes":
        return cityscapes.load(data_dir)
    if name == "folder":
        missing = [key for key in ("images", "masks", "classes") if given[key] is None]
        if missing:
            raise SceneError(
                "a folder of your own needs images, masks and classes, got no "
                f"{' and no '.join(missing)}."
            )
        if data_dir is not None:
            raise SceneError(
                f"data_dir is not for a folder of your own, got {data_dir}."
            )
        return mask_folder.load(**given)
    return digit_scenes.load(
        data_dir, num_train=num_train, num_test=num_test, seed=data_seed
    )


def load_recorded(config: Mapping[str, Any], path: Path) -> Scenes:
    """The scenes that a run was made on, and no others.

    Args:
        config: what its `config.json` says.
        path: its folder.

    Raises:
        ValueError: if they are others now, or `config` does not say which to load.
        SceneError: if they cannot be had.
    """
    if not isinstance(config.get("scenes"), dict):
        raise Refusal(
            f"{path / 'config.json'} must say under scenes what to load, got "
            f"{config.get('scenes')!r}."
        )
    scenes = load(**config["scenes"])
    require_same(config, path, scenes)
    return scenes
