"""`iwps show`: a page with the picks' images, for people who label them.

    iwps show picks.csv --images photos --classes cat,dog --out picks.html

One HTML file, which any browser opens without a network. A key labels an image; what is
labeled is kept in the browser, and saved as labels.csv, which `iwps label` reads. With
--campaign, or with --pool and --labels, the nearest labeled example is shown beside
each pick.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.commands import ending
from iwps_jax.files.inputs import SKIP, read_classes, read_ids, read_pool
from iwps_jax.files.picks import Pick, read_answers, read_picks
from iwps_jax.files.whole import write_whole
from iwps_jax.gallery.nearest import nearest_rows
from iwps_jax.gallery.page import Card, Neighbor, page
from iwps_jax.gallery.sources import FromId, open_images

SIDES = 16, 1024


class Known(NamedTuple):
    """What is known of the pool besides the picks.

    Attributes:
        pool: its features, a memory map; None if there are none.
        ids: of its rows; None if the numbers of the rows are the ids.
        labels: names of classes by id, of what is labeled.
        classes: their names; None if nobody named them.
    """

    pool: np.ndarray | None = None
    ids: Sequence[str] | None = None
    labels: Mapping[str, str] = {}
    classes: tuple[str, ...] | None = None


def add_to(commands: Any) -> None:
    """Adds the command and its options to those of `iwps`."""
    parser = commands.add_parser(
        "show",
        help="a page with the picks' images, for people who label them",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("picks", type=Path, help="of `iwps next` or `iwps score`")
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        help="a folder, where an id is a file's path with or without its suffix, or a "
        "number with or without zeros before it; or an .npy file of [pool, height, "
        "width] or [pool, height, width, 1 | 3 | 4]",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("picks.html"), help="default %(default)s"
    )
    parser.add_argument(
        "--thumbnail",
        type=int,
        default=160,
        metavar="PIXELS",
        help="largest side of an image (default %(default)s)",
    )
    parser.add_argument("--title", help="of the page, default: the name of the picks")
    parser.add_argument(
        "--classes",
        help="cat,dog,... or a file with one a line; default: those of the campaign, or "
        "else of the predictions and labels",
    )
    parser.add_argument("--campaign", type=Path, help="folder of `iwps init`")
    beside = parser.add_argument_group("without a campaign: nearest labeled examples")
    beside.add_argument("--pool", type=Path, help="features of the whole pool")
    beside.add_argument("--labels", type=Path, help="CSV with id and label")
    beside.add_argument("--ids", type=Path, help="of the pool's rows, default: 0, 1, …")


def run(options: argparse.Namespace) -> int:
    """Writes the page; returns the exit status."""
    return ending.status_of(lambda: _show(options))


def _show(options):
    _check(options)
    picks = read_picks(options.picks)
    known = _known(options, open_images(options.images), picks)
    classes = known.classes or _classes_in(picks, known.labels)
    cards = _cards(options, picks, known, classes)
    title = options.title or f"Picks of {options.picks.name}"
    write_whole(options.out, page(cards, classes, title, side=options.thumbnail))
    print(f"{len(cards)} picks of {len(classes)} classes in {options.out}")
