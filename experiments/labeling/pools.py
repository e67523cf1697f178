"""A dataset as somebody has it who only starts: photos, texts or a table, embedded.

The samples become the files that `iwps embed` takes, and the command itself embeds
them.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from experiments.data.kinds import IMAGES, TABLE, TEXTS, AnyDataset
from iwps_jax.__main__ import main as iwps
from iwps_jax.app.embedding.pool_folder import ABOUT, IDS, POOL
from iwps_jax.refusal import Refusal

TEST = "test"


class Embedded(NamedTuple):
    """Features and classes of a part of a dataset.

    Attributes:
        features: float32 [n, d].
        labels: int32 [n].
    """

    features: np.ndarray
    labels: np.ndarray


def embedded(
    dataset: AnyDataset, rows: np.ndarray, folder: Path, extra: Sequence[str] = ()
) -> Embedded:
    """Some training samples, as `iwps embed` sees them.

    Args:
        dataset: the data.
        rows: positions in the official training and test set, one after the other.
        folder: for the files; samples that it holds embedded already stay.
        extra: more options of the command.

    Raises:
        Refusal: if the command fails.
    """
    out = folder / "pool"
    if not (out / ABOUT).exists():
        folder.mkdir(parents=True, exist_ok=True)
        arguments = WRITERS[dataset.kind](dataset, rows, folder)
        try:
            iwps(["embed", *arguments, "--out", str(out), *extra])
        except SystemExit as end:
            if end.code:
                raise Refusal(f"iwps embed ended with status {end.code}.") from end
    names = (out / IDS).read_text(encoding="utf-8").split()
    places = [int(Path(name).stem) for name in names]
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])
    return Embedded(np.load(out / POOL), labels[places])


def _write_photos(dataset: Any, rows: np.ndarray, folder: Path) -> list[str]:
    """Images as PNG files, whose names are their positions."""
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    of_training = len(dataset.train_labels)
    for row in rows.tolist():
        is_test = row >= of_training
        images = dataset.test_images if is_test else dataset.train_images
        image = np.asarray(images[row - of_training * is_test])
        shown = image[..., 0] if image.shape[-1] == 1 else image
        Image.fromarray(shown).save(photos / f"{row:06}.png")
    return [str(photos)]


def _write_texts(dataset: Any, rows: np.ndarray, folder: Path) -> list[str]:
    """Texts as a CSV file."""
    texts = (*dataset.train_texts, *dataset.test_texts)
    path = folder / "texts.csv"
    _write_table(path, ("number", "text"), ((row, texts[row]) for row in rows.tolist()))
    return [str(path), "--text", "text", "--id", "number"]


def _write_rows(dataset: Any, rows: np.ndarray, folder: Path) -> list[str]:
    """Rows of a table as a CSV file."""
    table = np.concatenate([dataset.train_rows, dataset.test_rows])
    path = folder / "table.csv"
    names = table.dtype.names or ()
    _write_table(
        path,
        ("number", *names),
        ((row, *table[row].tolist()) for row in rows.tolist()),
    )
    return [str(path), "--table", "--id", "number"]


def _write_table(path, header, rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


WRITERS = {IMAGES: _write_photos, TEXTS: _write_texts, TABLE: _write_rows}
"""By kind, what writes the files and names the arguments of the command."""
