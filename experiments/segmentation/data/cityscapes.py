"""Cityscapes from its official folders or zip files.

    leftImg8bit/{train,val}/<city>/<city>_<sequence>_<frame>_leftImg8bit.png
    gtFine/{train,val}/<city>/<city>_<sequence>_<frame>_gtFine_labelIds.png

The 34 label ids of the files become the 19 classes that are evaluated; all others are
ignored. Masks named `_gtFine_labelTrainIds.png`, which hold these classes already, are
read where there are none of label ids. The official validation images are the test
part, as usual: the labels of the official test images are not public.

References:
    Cordts et al. 2016, "The Cityscapes Dataset for Semantic Urban Scene
    Understanding". https://arxiv.org/abs/1604.01685
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data.datasets import standard_dir
from experiments.segmentation.data.decoding import class_table
from experiments.segmentation.data.file_scenes import (
    File,
    FileSource,
    Pair,
    check,
    folder_files,
    identity,
    zip_files,
)
from experiments.segmentation.data.scenes import IGNORE, SceneError, Scenes

OFFICIAL_COUNTS = (2975, 500)
NUM_LABEL_IDS = 34
IMAGES, MASKS = "leftImg8bit", "gtFine"
ZIP = "_trainvaltest.zip"  # after either
WHAT_TO_DO = (
    f"Register at https://www.cityscapes-dataset.com, download {IMAGES}{ZIP} (11 GB) "
    f"and {MASKS}{ZIP} (241 MB), put both into one folder, as they are or unpacked, "
    "and name it with --data-dir (or in the variable CITYSCAPES_DATASET); TFDS's "
    "folder downloads/manual serves as well."
)


class Class(NamedTuple):
    """A class that is evaluated."""

    name: str
    label_id: int  # in the files
    color: tuple[int, int, int]


CLASSES = (
    Class("road", 7, (128, 64, 128)),
    Class("sidewalk", 8, (244, 35, 232)),
    Class("building", 11, (70, 70, 70)),
    Class("wall", 12, (102, 102, 156)),
    Class("fence", 13, (190, 153, 153)),
    Class("pole", 17, (153, 153, 153)),
    Class("traffic light", 19, (250, 170, 30)),
    Class("traffic sign", 20, (220, 220, 0)),
    Class("vegetation", 21, (107, 142, 35)),
    Class("terrain", 22, (152, 251, 152)),
    Class("sky", 23, (70, 130, 180)),
    Class("person", 24, (220, 20, 60)),
    Class("rider", 25, (255, 0, 0)),
    Class("car", 26, (0, 0, 142)),
    Class("truck", 27, (0, 0, 70)),
    Class("bus", 28, (0, 60, 100)),
    Class("train", 31, (0, 80, 100)),
    Class("motorcycle", 32, (0, 0, 230)),
    Class("bicycle", 33, (119, 11, 32)),
)


def load(data_dir: str | Path | None = None) -> Scenes:
    """The training and validation images with their masks.

    Args:
        data_dir: the folder of `leftImg8bit` and `gtFine`, or of the two zip files,
            which are read as they are; or a TFDS folder with the zip files in
            `downloads/manual`. By default what the variable CITYSCAPES_DATASET names,
            then TFDS's standard folder.

    Returns:
        The scenes, every file checked; `sha256` as in `file_scenes.identity`, the
        same for folders and zip files.

    Raises:
        SceneError: nothing is there (what to get from where), or something of it is
            wrong.
    """
    folder, images, masks = _find(data_dir)
    ending = "_labelIds.png"
    if not any(name.endswith(ending) for name in masks):
        ending = "_labelTrainIds.png"
    if ending == "_labelIds.png":
        meaning = dict.fromkeys(range(NUM_LABEL_IDS), IGNORE)
        meaning |= {known.label_id: i for i, known in enumerate(CLASSES)}
    else:
        meaning = {i: i for i in range(len(CLASSES))} | {IGNORE: IGNORE}
    table = class_table(meaning)
    problems: dict[str, list[str]] = {}
    train, test = (
        _pairs(split, images, masks, f"_gtFine{ending}", problems)
        for split in ("train", "val")
    )
    for split, pairs in (("train", train), ("val", test)):
        if not pairs and not any(problems.values()):
            raise SceneError(
                f"Cityscapes in {folder}: there are no images of {IMAGES}/{split}. "
                f"{WHAT_TO_DO}"
            )
    checked = check(f"Cityscapes in {folder}", train + test, table, problems)
    parts = ((train, checked[: len(train)]), (test, checked[len(train) :]))
    counts = f"{len(train):,} training and {len(test):,} test scenes"
    if (len(train), len(test)) != OFFICIAL_COUNTS:
        counts += ", which is not the official data of 2,975 and 500"
    sources = [
        FileSource(pairs, [found.size for found in part], table)
        for pairs, part in parts
    ]
    return Scenes(
        name="cityscapes",
        train=sources[0],
        test=sources[1],
        train_names=tuple(pair.name for pair in train),
        class_names=tuple(known.name for known in CLASSES),
        colors=np.array([known.color for known in CLASSES], np.uint8),
        background=None,
        source=f"Cityscapes in {folder}: {counts}.",
        sha256=identity(parts),
    )


def _find(data_dir: str | Path | None) -> tuple[Path, dict, dict]:
    """The first folder with both parts, and the files of each by relative path."""
    if data_dir is not None:
        named = Path(data_dir).expanduser()
        if not named.is_dir():
            raise SceneError(f"{named}, the folder you named, does not exist.")
        roots = [named.parent] if named.name in (IMAGES, MASKS) else []
        roots += [named, named / "cityscapes"]
    else:
        variable = os.environ.get("CITYSCAPES_DATASET")
        named = Path(variable).expanduser() if variable else standard_dir()
        roots = [named]
    roots += [named / "downloads" / "manual"]
    if data_dir is None and variable:
        roots += [standard_dir() / "downloads" / "manual"]
    incomplete = []
    for root in roots:
        places = [_place(root, part) for part in (IMAGES, MASKS)]
        if all(places):
            found = [
                folder_files(place) if place.is_dir() else zip_files(place, part)
                for place, part in zip(places, (IMAGES, MASKS), strict=True)
            ]
            return root, *found
        for part, other in ((IMAGES, MASKS), (MASKS, IMAGES)):
            if _place(root, part) and not _place(root, other):
                incomplete.append(f"{root} has {part} but neither {other} nor its zip.")
    looked = " or ".join(map(str, roots))
    problem = incomplete[0] if incomplete else f"nothing of it is in {looked}."
    raise SceneError(f"Cityscapes could not be loaded: {problem} {WHAT_TO_DO}")


def _place(root: Path, part: str) -> Path | None:
    """The folder or the zip file of a part."""
    unpacked = f"{part}{ZIP}".removesuffix(".zip")  # as many programs unpack it
    for path in (root / part, root / unpacked / part, root / f"{part}{ZIP}"):
        if path.exists():
            return path
    return None


def _pairs(
    split: str,
    images: dict[str, File],
    masks: dict[str, File],
    ending: str,
    problems: dict[str, list[str]],
) -> list[Pair]:
    """The scenes of a split in the order of their names; notes what is alone."""
    found = []
    for files, end in ((images, f"_{IMAGES}.png"), (masks, ending)):
        found.append(
            {
                name.removesuffix(end): file
                for name, file in files.items()
                if name.startswith(f"{split}/") and name.endswith(end)
            }
        )
    images, masks = found
    for kind, some, others in (
        ("images without a mask", images, masks),
        ("masks without an image", masks, images),
    ):
        alone = [some[key].name for key in some.keys() - others.keys()]
        problems.setdefault(kind, []).extend(sorted(alone))
    shared = sorted(images.keys() & masks.keys())
    return [Pair(key.rpartition("/")[2], images[key], masks[key]) for key in shared]
