"""Scenes from any folder of images and PNG masks.

    images/a/one.jpg     masks/a/one.png, or one_mask.png, or one_labels.png

A mask stands at the same place below its folder as the image below its own. It holds
one number a pixel, the class's index: 8-bit or 16-bit gray, or a palette, whose colors
do not matter. Hidden files are passed over.
"""

from collections.abc import Callable
from pathlib import Path

from experiments.segmentation.data.decoding import IMAGE_SUFFIXES, Classes, class_table
from experiments.segmentation.data.file_scenes import (
    File,
    FileSource,
    Pair,
    check,
    folder_files,
    identity,
    refuse,
)
from experiments.segmentation.data.scenes import (
    IGNORE,
    SceneError,
    Scenes,
    distinct_colors,
)
from iwps_jax.refusal import nearest

MASK_ENDINGS = ("_mask", "_labels")
EVERY = 5  # without a test part every fifth scene is in it
MOST_CLASSES = 255  # as IGNORE takes one of 256 values
HIGHEST_VALUE = 2**16 - 1


def load(
    images: str | Path,
    masks: str | Path,
    classes: str | int,
    *,
    ignore: int | tuple[int, ...] | None = None,
    test_images: str | Path | None = None,
    test_masks: str | Path | None = None,
    background: str | None = None,
) -> Scenes:
    """The scenes of a folder, every file checked.

    Args:
        images: folder of PNG, JPEG, BMP, TIFF or WebP images, searched recursively.
        masks: folder of their masks; the same folder if all masks have an ending.
        classes: how many there are; or their names, commas between, class 0 first; or
            a text file with one name a line.
        ignore: value(s) in the masks that mean no class; 255 by default.
        test_images: images of the test part. Without them every fifth scene by name
            is a test scene.
        test_masks: masks of the test part.
        background: the class, if any, that "mIoU without background" leaves out.

    Returns:
        The scenes, in the order of their names; `sha256` as in
        `file_scenes.identity`.

    Raises:
        SceneError: names what is wrong, all of it at once.
    """
    names = class_names(classes)
    if background is not None and background not in names:
        raise SceneError(nearest(background, "background class", names))
    table = _table(len(names), ignore)
    if (test_images is None) != (test_masks is None):
        raise SceneError("test_images and test_masks go together, got only one.")
    root, problems = Path(images).expanduser(), {}
    train = _pairs(root, Path(masks).expanduser(), problems)
    if test_images is None:
        test = train[EVERY - 1 :: EVERY]
        train = [pair for i, pair in enumerate(train) if i % EVERY != EVERY - 1]
        rule = "every fifth scene by name is a test scene"
    else:
        test_root = Path(test_images).expanduser()
        for one, other in ((test_root, root), (root, test_root)):
            if one.resolve().is_relative_to(other.resolve()):
                raise SceneError(
                    "images and test_images must be folders side by side, got "
                    f"{root} and {test_root}."
                )
        test = _pairs(test_root, Path(test_masks).expanduser(), problems)
        rule = f"test scenes from {test_root}"
    if not any(problems.values()) and not (train and test):
        number = len(train) + len(test)
        raise SceneError(
            f"there must be at least {EVERY} scenes, as every fifth is a test scene; "
            f"{root} has {number}."
        )
    checked = check(str(root), train + test, table, problems)
    parts = ((train, checked[: len(train)]), (test, checked[len(train) :]))
    found = frozenset().union(*(each.values for each in parts[0][1]))
    _require_every_class(root, names, table, found)
    sources = [
        FileSource(pairs, [found.size for found in part], table)
        for pairs, part in parts
    ]
    index = None if background is None else names.index(background)
    return Scenes(
        name=root.resolve().name,
        train=sources[0],
        test=sources[1],
        train_names=tuple(pair.name for pair in train),
        class_names=names,
        colors=distinct_colors(len(names), index),
        background=index,
        source=f"{root} with masks from {Path(masks).expanduser()}: {len(train):,} "
        f"training and {len(test):,} test scenes ({rule}).",
        sha256=identity(parts),
    )


def class_names(classes: str | int) -> tuple[str, ...]:
    """Names from a number, from names with commas between, or from a text file.

    Example:
        >>> class_names(2)
        ('class 0', 'class 1')
        >>> class_names("sky, sea")
        ('sky', 'sea')
    """
    text = str(classes).strip()
    path = Path(text).expanduser()
    if text.isdecimal():
        names = [f"class {index}" for index in range(int(text))]
    elif "," in text:
        names = [name.strip() for name in text.split(",")]
    elif len(path.name) < 256 and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SceneError(f"{path} is not a text file: {error}.") from None
        names = [name.strip() for name in lines]
    else:
        raise SceneError(
            "classes must be a number, names with commas between, or a text file with "
            f"one name a line, got {text!r}, which is no file."
        )
    if not 2 <= len(names) <= MOST_CLASSES:
        raise SceneError(
            f"there must be 2 to {MOST_CLASSES} classes, got {len(names)} from "
            f"{text!r}."
        )
    for index, name in enumerate(names):
        if not name or name in names[:index]:
            raise SceneError(
                f"classes must have different names, none of them empty; class {index} "
                f"is {name!r}."
            )
    return tuple(names)


def _table(num_classes: int, ignore: int | tuple[int, ...] | None) -> Classes:
    """What the values of a mask mean; to ignore a value wins over its class."""
    values = (IGNORE,) if ignore is None else ignore
    values = (values,) if isinstance(values, int) else tuple(values)
    for value in values:
        if not 0 <= value <= HIGHEST_VALUE:
            raise SceneError(
                f"ignore must be values in [0, {HIGHEST_VALUE}], got {value}."
            )
    meaning = {index: index for index in range(num_classes)}
    return class_table(meaning | dict.fromkeys(values, IGNORE))


def _require_every_class(
    root: Path, names: tuple[str, ...], table: Classes, found: frozenset[int]
) -> None:
    """Refuses classes that no training mask has, which nothing can be learned of."""
    present = {int(table.table[value]) for value in found} - {IGNORE}
    absent = [
        name
        for index, name in enumerate(names)
        # Who ignores a class by its own number wants none of it.
        if index not in present and table.table[index] != IGNORE
    ]
    if not absent:
        return
    ignored = sorted(value for value in found if table.table[value] == IGNORE)
    shown = ", ".join(map(str, sorted(found)[:10])) + ", ..." * (len(found) > 10)
    hint = "Leave it out of the classes, or move masks that have it to the training set"
    if ignored:
        hint = (
            f"The masks hold {ignored[-1]}, which is ignored: if it is the class, as "
            "in masks of 0 and 255, write 1 in its place, and leave 255 to pixels "
            "without a class"
        )
    raise SceneError(
        f"every class must have a pixel in the training masks of {root}; "
        f"{', '.join(absent[:5])} has none, as they hold only {shown}. {hint}."
    )


def _pairs(images: Path, masks: Path, problems: dict[str, list[str]]) -> list[Pair]:
    """The scenes of two folders in the order of their names; notes what is alone."""
    for what, folder in (("images", images), ("masks", masks)):
        if not folder.is_dir():
            raise SceneError(f"{what} must be a folder, got {folder}.")
    image_files, mask_files = _files(images, masks)
    for what, folder, files in (
        ("images", images, image_files),
        ("PNG masks", masks, mask_files),
    ):
        if not files:
            refuse(str(images), {f"folder without {what}": [str(folder)]})
    found = _by_key(image_files, lambda key: key, problems)
    # An ending is part of the name if an image of that name exists.
    masks_of = _by_key(
        mask_files, lambda key: key if key in found else _without_ending(key), problems
    )
    for kind, some, others in (
        ("images without a mask", found, masks_of),
        ("masks without an image", masks_of, found),
    ):
        alone = [some[key].name for key in sorted(some.keys() - others.keys())]
        problems.setdefault(kind, []).extend(alone)
    shared = sorted(found.keys() & masks_of.keys())
    return [Pair(key, found[key], masks_of[key]) for key in shared]


def _files(images: Path, masks: Path) -> tuple[dict[str, File], dict[str, File]]:
    """Images and masks by relative path, also where one folder holds the other."""
    image_files = {
        name: file
        for name, file in folder_files(images).items()
        if name.lower().endswith(IMAGE_SUFFIXES)
    }
    mask_files = {
        name: file
        for name, file in folder_files(masks).items()
        if name.lower().endswith(".png")
    }
    if images.resolve() == masks.resolve():
        mask_files = {
            name: file
            for name, file in mask_files.items()
            if _stem(name).endswith(MASK_ENDINGS)
        }
        image_files = {
            name: file for name, file in image_files.items() if name not in mask_files
        }
    else:
        image_files = _outside(image_files, masks, images)
        mask_files = _outside(mask_files, images, masks)
    return image_files, mask_files


def _outside(files: dict[str, File], inner: Path, outer: Path) -> dict[str, File]:
    """The files of `outer` that are not in `inner`, wherever that is."""
    if not inner.resolve().is_relative_to(outer.resolve()):
        return files
    inside = inner.resolve().relative_to(outer.resolve()).as_posix() + "/"
    return {n: file for n, file in files.items() if not n.startswith(inside)}


def _by_key(
    files: dict[str, File],
    key_of: Callable[[str], str],
    problems: dict[str, list[str]],
) -> dict[str, File]:
    """Files by what pairs them; notes two files with the same key."""
    found: dict[str, File] = {}
    for name, file in files.items():
        key = key_of(_stem(name))
        if key in found:
            kind = "files of the same name"
            both = f"{found[key].name} and {file.name}"
            problems.setdefault(kind, []).append(both)
        else:
            found[key] = file
    return found


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _without_ending(key: str) -> str:
    """A mask's relative path without what says that it is a mask."""
    for ending in MASK_ENDINGS:
        if key.endswith(ending):
            return key.removesuffix(ending)
    return key
