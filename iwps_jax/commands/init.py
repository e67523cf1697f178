"""`iwps init`: begin a labeling campaign in a folder.

    iwps init --pool pool.npy --holdout holdout.npz --labels initial.csv

then, again and again, `iwps next --k 50`, label, `iwps label FILE`, `iwps status`.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from iwps_jax import methods
from iwps_jax.campaign import folder, labels_of, names, scaling, start
from iwps_jax.commands import answering, ending
from iwps_jax.commands.parsing import add_command
from iwps_jax.files.arrays import FileError
from iwps_jax.files.inputs import (
    SKIP,
    Holdout,
    read_classes,
    read_holdout,
    read_ids,
    read_pool,
)
from iwps_jax.files.picks import read_answers


def add_to(commands: Any) -> None:
    """Adds the command and its options."""
    parser = add_command(
        commands,
        "init",
        run,
        summary="begin a labeling campaign in a folder",
        description=__doc__,
    )
    parser.add_argument(
        "--pool",
        type=Path,
        required=True,
        help="features [pool, d]: .npy, .npz or .safetensors, of any size",
    )
    parser.add_argument(
        "--holdout",
        type=Path,
        required=True,
        help="a few labeled samples that judge: .npz or .safetensors with features "
        "[m, d] and integer labels [m], or .csv with id,label of rows of the pool",
    )
    parser.add_argument(
        "--labels", type=Path, help=".csv with id,label of what is labeled already"
    )
    parser.add_argument(
        "--ids", type=Path, help="names of the rows: .txt, .csv or .npy; else 0, 1, ..."
    )
    parser.add_argument(
        "--classes",
        help="names like cat,dog or a file with one a line; else those of the files",
    )
    parser.add_argument(
        "--method", default="iwps", choices=methods.NAMES, help="default %(default)s"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=methods.STEPS,
        help="T of iwps, default %(default)s",
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=methods.LEARNING_RATE,
        help="η of iwps, default %(default)s",
    )
    parser.add_argument("--seed", type=int, default=0, help="of random picks")
    answering.add_campaign(parser)


def run(options: argparse.Namespace) -> int:
    """Checks everything, then makes the folder; returns the exit status."""
    return ending.status_of(lambda: _init(options))


def _init(options):
    pool = read_pool(options.pool)
    ids = None if options.ids is None else read_ids(options.ids, len(pool))
    told = [] if options.labels is None else read_answers(options.labels)
    is_of_pool = options.holdout.suffix.lower() == ".csv"
    judged = read_answers(options.holdout) if is_of_pool else []
    holdout = None if is_of_pool else read_holdout(options.holdout)
    classes = _classes(options.classes, [*told, *judged], holdout)
    rows = ()
    if is_of_pool:
        with answering.naming_line(options.holdout, judged):
            rows, holdout = _holdout_of_pool(judged, pool, ids, classes)
    with answering.naming_file(options.holdout):
        state = start(
            pool,
            *holdout,
            classes=classes,
            ids=ids,
            holdout_rows=rows,
            method=options.method,
            steps=options.steps,
            learning_rate=options.learning_rate,
            seed=options.seed,
        )
    state = answering.told(state, options.labels, told)
    folder.create(options.campaign, folder.Paths(options.pool, options.ids), state)
    print(
        f"{options.campaign}: {len(pool):,} samples, {len(classes)} classes, "
        f"{len(holdout.labels)} holdout samples, {len(labels_of(state))} labeled. "
        "Next: iwps next --k 50"
    )


def _classes(given, told, holdout) -> tuple[str, ...]:
    """As given, or names from the answers, or numbers up to the largest of all."""
    if given is not None:
        return read_classes(given)
    names = {answer.label for answer in told} - {"", SKIP}
    numbers = {int(name) for name in names if name.isascii() and name.isdecimal()}
    if len(numbers) < len(names):
        if holdout is not None:
            raise FileError(
                "--classes must be given where labels are names: the holdout file has "
                "numbers, whose order they decide."
            )
        return tuple(sorted(names))
    if holdout is not None:
        numbers.add(int(holdout.labels.max()))
    return tuple(map(str, range(max(numbers, default=0) + 1)))


def _holdout_of_pool(judged, pool, ids, classes):
    """Rows of the pool that are holdout samples, with their features and labels."""
    rows = names.rows_of(ids, len(pool), [answer.id for answer in judged])
    labels = [names.class_of(classes, answer.id, answer.label) for answer in judged]
    for answer, label in zip(judged, labels, strict=True):
        if label is None or label < 0:
            raise names.AnswerError(
                answer.id,
                f"a holdout sample must have a class, {answer.id!r} has none.",
            )
    if not labels:
        raise FileError("there must be at least one holdout sample.")
    features = scaling.rows_of(pool, rows.tolist()).astype(np.float32)
    return rows, Holdout(features, np.array(labels, np.int32))
