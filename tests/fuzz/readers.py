"""Our readers, a row each: valid files, edits of the format, and its own library."""

import csv
import io
import json
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from PIL import Image, ImageOps

from iwps_jax.app.campaign import folder
from iwps_jax.app.files import heads, picks, readers
from iwps_jax.app.files import tables as tables_of_ours
from iwps_jax.app.files.arrays import open_array
from iwps_jax.app.files.label_studio import read_exported
from iwps_jax.app.gallery import thumbnails
from iwps_jax.backbones.torch_file import load_state_dict
from iwps_jax.refusal import Refusal
from tests.fuzz import edits, valid
from tests.fuzz.edits import Edit

SIDE = 32  # of thumbnails


class NotCompared(Exception):
    """The format's own library is not installed."""


class Reader(NamedTuple):
    """A reader of ours.

    Attributes:
        make: valid files by name, from a generator of random numbers.
        read: what it makes of the first of them, or of `target`.
        own: what the format's own library makes of it.
        edits: changes that a file of this format may undergo, besides those of bytes.
        agrees: whether two results are the same; by default, if they are equal.
        target: what is read, if it is not the first file.
    """

    make: Callable[[np.random.Generator], dict[str, bytes]]
    read: Callable[[Path], Any]
    own: Callable[[Path], Any]
    edits: tuple[Edit, ...]
    agrees: Callable[[Any, Any], bool] | None = None
    target: str | None = None


# What the formats' own libraries read


def _one(arrays):
    return arrays["features"] if "features" in arrays else _only(arrays.values())


def _only(values):
    (value,) = values
    return value


def numpy_array(path):
    return np.load(path, allow_pickle=False)


def numpy_archive(path):
    with np.load(path, allow_pickle=False) as archive:
        name = "features" if "features" in archive.files else _only(archive.files)
        return archive[name]


def numpy_floats(*names):
    def read(path):
        with np.load(path, allow_pickle=False) as archive:
            first, second = (archive[name] for name in names)
        dtype = np.float32 if names[1] == "bias" else np.int32
        return [first.astype(np.float32), second.astype(dtype)]

    return read


def safetensors_array(path):
    return _one(safetensors.numpy.load(path.read_bytes()))


def text_of(path) -> str:
    content = path.read_bytes()
    is_utf_16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    # A second mark stands where two programs have each set one.
    return content.decode("utf-16" if is_utf_16 else "utf-8-sig").lstrip("\ufeff")


def text_lines(path):
    text = io.StringIO(text_of(path), newline=None).read()  # as open() reads lines
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[-1]:  # blank lines at the end do not count
        lines.pop()
    return lines


def numpy_texts(path):
    listed = np.load(path, allow_pickle=False)
    if listed.dtype.kind == "S":
        listed = np.char.decode(listed, "utf-8")
    return [str(name).strip() for name in listed.tolist()]


def tables(path) -> list[list[list[str]]]:
    """The cells, for each delimiter."""
    csv.field_size_limit(2**17)
    text = text_of(path)
    return [
        list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
        for delimiter in ",;\t"
    ]


def columns_of_ids(path):
    """The column id, for each delimiter."""
    found = []
    for rows in tables(path):
        while rows and not "".join(rows[-1]).strip():  # of empty cells, at the end
            rows.pop()
        while rows and not rows[0]:  # blank lines above the header
            rows.pop(0)
        header = [cell.strip().casefold() for cell in rows[0]] if rows else []
        name = "sample_id" if "sample_id" in header else "id"
        if header.count(name) == 1:
            at = header.index(name)
            cells = (row[at].strip() for row in rows[1:] if len(row) > at)
            found.append([*map(tables_of_ours.text_of, cells)])  # without the guard
    return found


def is_one_of(ours, theirs):
    return ours in theirs


def bare(text) -> str:
    """Without what marks a cell as text."""
    return text.strip().lstrip("'\"").strip()


def are_in_records(ours, theirs):
    """Whether the texts of each answer stand together in a record."""
    for rows in theirs:
        records = [{bare(cell) for cell in row} | {""} for row in rows]
        if all(any({bare(t) for t in told} <= r for r in records) for told in ours):
            return True
    return False


def json_tree(path):
    return json.loads(text_of(path))


def are_in_tree(ours, tree):
    found, left = {""}, [tree]
    while left:
        node = left.pop()
        if isinstance(node, dict | list):
            left += node.values() if isinstance(node, dict) else node
        elif not isinstance(node, bool) and node is not None:
            found.add(str(node))
    return all(text in found | {"skip"} for told in ours for text in told)


def pillow_size(path):
    with warnings.catch_warnings(), Image.open(path) as image:
        warnings.simplefilter("ignore")
        image.load()
        return ImageOps.exif_transpose(image).size


def thumbnail_of(path):
    picture = thumbnails.of_file(path, SIDE)
    if picture.flaw:  # a card shows it
        raise Refusal(picture.flaw)
    return picture


def is_its_thumbnail(picture, size):
    scale = min(1, SIDE / max(size))
    sides = zip((picture.width, picture.height), size, strict=True)
    return all(abs(ours - scale * its) <= 1 for ours, its in sides)


def pytorch(path):
    if find_spec("torch") is None:
        raise NotCompared
    import torch

    found = torch.load(path, weights_only=True)
    return {name: tensor.numpy() for name, tensor in found.items()}


# A campaign has no library of its own: what is read must be what was written


def told_by(state):
    task = state.task
    return [
        *([type(event).__name__, *event] for event in state.events),
        *(task.classes, task.method, task.steps, task.learning_rate, task.seed),
        *(task.holdout_features, task.holdout_labels, task.holdout_rows),
        *(np.asarray(task.ids), np.asarray(task.pool), *task.scaling),
    ]


def as_written(path):
    here = path.parent / "as it was written"
    for name, content in valid.campaign(None).items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(content)
    return told_by(folder.read_record(here / "campaign"))


ZIP = edits.member(edits.npy_header)
ZIPPED = (ZIP, ZIP, edits.member(edits.flip), edits.member(edits.truncate))
TEXT = edits.TEXT
READERS = {
    "npy": Reader(valid.any_npy, open_array, numpy_array, (edits.npy_header,) * 6),
    "npz": Reader(valid.any_npz, open_array, numpy_archive, ZIPPED * 2),
    "safetensors": Reader(
        valid.any_safetensors,
        open_array,
        safetensors_array,
        (edits.safetensors_header,) * 6,
    ),
    "pool": Reader(valid.pool, readers.read_pool, numpy_array, (edits.npy_header,) * 6),
    "head": Reader(
        valid.head,
        lambda path: list(heads.read_head(path)),
        numpy_floats("kernel", "bias"),
        ZIPPED,
    ),
    "holdout": Reader(
        valid.holdout,
        lambda path: list(readers.read_holdout(path)),
        numpy_floats("features", "labels"),
        ZIPPED,
    ),
    "ids_txt": Reader(
        valid.ids_txt,
        lambda path: readers.read_ids(path, valid.ROWS).tolist(),
        text_lines,
        TEXT,
    ),
    "ids_csv": Reader(
        valid.ids_csv,
        lambda path: readers.read_ids(path, valid.ROWS).tolist(),
        columns_of_ids,
        edits.TABLE,
        is_one_of,
    ),
    "ids_npy": Reader(
        valid.ids_npy,
        lambda path: readers.read_ids(path, valid.ROWS).tolist(),
        numpy_texts,
        (edits.npy_header,) * 4,
    ),
    "classes": Reader(
        valid.classes, lambda path: list(readers.read_classes(path)), text_lines, TEXT
    ),
    "answers": Reader(
        valid.answers,
        lambda path: [[a.id, a.label] for a in picks.read_answers(path)],
        tables,
        edits.TABLE,
        are_in_records,
    ),
    "picks": Reader(
        valid.picks,
        lambda path: [list(pick) for pick in picks.read_picks(path)],
        tables,
        edits.TABLE,
        are_in_records,
    ),
    "label_studio": Reader(
        valid.label_studio,
        lambda path: [[a.id, a.label] for a in read_exported(path)],
        json_tree,
        (*TEXT, *(edits.tree,) * 8),
        are_in_tree,
    ),
    "image": Reader(
        valid.image,
        thumbnail_of,
        pillow_size,
        (edits.png_chunk,) * 4,
        is_its_thumbnail,
    ),
    "torch": Reader(
        valid.torch_file,
        load_state_dict,
        pytorch,
        (*(edits.member(edits.integer), edits.member(edits.flip)), edits.number),
    ),
    "campaign": Reader(
        valid.campaign,
        lambda path: told_by(folder.read_record(path)),
        as_written,
        (*TEXT, *(edits.tree,) * 4, ZIP),
        target="campaign",
    ),
}
