"""`iwps init`: begin a labeling campaign in a folder.

    iwps init pool                # a folder that iwps embed has made
    iwps init --pool pool.npy --holdout holdout.npz --labels initial.csv

After this, repeat: take samples with `iwps next --k 50`, label them, hand in the
answers with `iwps label FILE`, and look at `iwps status`. One sample in ten is drawn at
random, to measure how often the model is right; --control says otherwise.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, cast

import numpy as np
from tyro import conf

from iwps_jax import checks
from iwps_jax.app import leaks, naming
from iwps_jax.app.campaign import (
    METHODS,
    RECOMMENDED,
    Campaign,
    folder,
    labels_of,
    scaling,
    start,
)
from iwps_jax.app.campaign.control import judges_of
from iwps_jax.app.campaign.learn import learned
from iwps_jax.app.campaign.next_batch import FIRST, method_now
from iwps_jax.app.campaign.state import MOST_CONTROL
from iwps_jax.app.commands import advice, exit_status
from iwps_jax.app.commands.answers import OfCampaign, naming_source, note_answers
from iwps_jax.app.commands.holdout_files import OfHoldout, read_judges
from iwps_jax.app.commands.inputs import require_pool, require_seed
from iwps_jax.app.commands.jax_settings import Computing, start_jax
from iwps_jax.app.commands.method_options import flag
from iwps_jax.app.embedding.pool_folder import IDS, POOL
from iwps_jax.app.files.picks import read_answers
from iwps_jax.app.files.readers import (
    read_ids,
    read_pool,
)
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import NAMED
from iwps_jax.method import LEARNING_RATE, RARITY, STEPS
from iwps_jax.methods import ROWS, row_of
from iwps_jax.recommendations import TABLE, recommend
from iwps_jax.refusal import Refusal, nearest
from iwps_jax.types import Head
from iwps_jax.wording import plural

WITH_HOLDOUT = recommend(["holdout", "labels"])
RECOMMENDABLE = tuple(line.method for line in TABLE)
DEFAULTS = {"steps": STEPS, "learning_rate": LEARNING_RATE, "rarity": RARITY}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(OfHoldout, OfCampaign, Computing):
    """The options of the command."""

    embedded: conf.Positional[Annotated[Path | None, conf.arg(metavar="[DIR]")]] = None
    """folder that iwps embed has made, in place of --pool and --ids"""
    pool: Path | None = None
    """features [pool, d]: .npy, .npz or .safetensors, of any size"""
    ids: Path | None = None
    """names of the rows of the pool: .txt, .csv or .npy (default: 0, 1, ...)"""
    method: str | None = None
    """how to choose samples: any method of `iwps score --help` but those that compare
    dropout masks, or recommended: the best for what is there at each batch (default:
    recommended; with --holdout iwps_batch)"""
    control: float | None = None
    """share of each batch that is drawn at random, to measure the accuracy: 0 to 0.5
    (default: 0.1; with --holdout 0)"""
    steps: int = STEPS
    """T, the number of steps of the look-ahead"""
    learning_rate: float = LEARNING_RATE
    """η, the learning rate of the look-ahead"""
    rarity: float = RARITY
    """your aim, for balanced_herding: 1 for accuracy on rare classes as on others, 0
    for accuracy on samples as frequent as in the pool, or between"""
    seed: int = 0
    """seed of all random choices"""

    def __post_init__(self):
        """Refuses a method that is not there, and a pool that is named twice."""
        if (self.embedded is None) == (self.pool is None):
            raise Refusal(
                "iwps init needs a folder that iwps embed has made, or --pool: one of "
                "the two."
            )
        if self.embedded is not None and self.embedded.is_file():
            raise Refusal(
                f"iwps init takes a folder, and {self.embedded} is a file: a file of "
                "features needs --pool."
            )
        if self.control is not None and not 0 <= self.control <= MOST_CONTROL:
            raise Refusal(f"--control must be in [0, {MOST_CONTROL}].")
        settled = self.holdout is not None or self.classes is not None
        if self.new_classes and (settled or self.labels is None):
            raise Refusal(
                "--new-classes needs --labels, and applies only without --holdout and "
                "--classes."
            )
        if self.embedded is not None and self.ids is not None:
            raise Refusal("--ids needs --pool: the folder has ids of its own.")
        if self.method in ROWS and self.method not in METHODS:
            raise Refusal(
                f"--method {self.method} needs logits of several dropout masks, which "
                "the head of a campaign does not have."
            )
        if self.chosen not in (RECOMMENDED, *METHODS):
            raise Refusal(nearest(self.chosen, "method", (RECOMMENDED, *METHODS)))
        usable = [self.chosen] if self.chosen in ROWS else RECOMMENDABLE
        used = {option for name in usable for option in ROWS[name].options}
        for option, default in DEFAULTS.items():
            if getattr(self, option) != default and option not in used:
                raise Refusal(f"{flag(option)} does not apply to {self.chosen}.")

    @property
    def chosen(self) -> str:
        """The method, where none was named as well."""
        default = RECOMMENDED if self.holdout is None else WITH_HOLDOUT.method
        return self.method or default

    @property
    def files(self) -> folder.Paths:
        """Files of the pool and of its ids."""
        if self.embedded is None:
            return folder.Paths(cast(Path, self.pool), self.ids)
        return folder.Paths(self.embedded / POOL, self.embedded / IDS)


def run(options: Options) -> int:
    """Checks everything, then makes the folder; returns the exit status."""
    return exit_status.run(lambda: _init(options))


def _init(options: Options):
    _check(options)
    start_jax(options)
    files = options.files
    pool = read_pool(files.pool)
    require_pool(str(files.pool), pool)
    ids = None if files.ids is None else read_ids(files.ids, len(pool))
    told = [] if options.labels is None else read_answers(options.labels)
    judges = read_judges(options, told, files.pool, pool, ids)
    if options.chosen in ROWS:
        _require_small_head(options.chosen, pool.shape[1], len(judges.classes or ()))
    with naming_source(files.pool):  # of all else nothing is left to refuse
        state = start(
            pool,
            *judges.holdout,
            classes=judges.classes,
            ids=ids,
            holdout_rows=judges.rows,
            method=options.chosen,
            steps=options.steps,
            learning_rate=options.learning_rate,
            rarity=options.rarity,
            seed=options.seed,
            control=options.control,
            is_open=options.holdout is None and options.classes is None,
        )
    noted = note_answers(state, options.labels, judges.told)
    if options.holdout is not None:
        _refuse_leak(options, noted)
    state = learned(state, noted)
    folder.create(options.campaign, files, state)
    _say(options, state)


def _say(options: Options, state: Campaign) -> None:
    task = state.task
    classes = plural(len(task.classes), "class") if task.classes else "no class yet"
    judges = ""
    if options.holdout is not None:
        judges = f"{plural(len(task.holdout_labels), 'holdout sample')}, "
    print(
        f"{options.campaign}: {plural(len(task.pool), 'sample')}, {classes}, {judges}"
        f"{len(labels_of(state))} labeled, method {task.method}. "
        "Next: iwps next --k 20"
    )
    _warn(options, state)
    if options.chosen == WITH_HOLDOUT.method and options.holdout is not None:
        print(f"{task.method} is the recommended method: {WITH_HOLDOUT.reason}")
    if state.head is None and method_now(state) == FIRST:
        print(f"Until two classes have labels, {FIRST.label} covers the pool.")
    if task.control:
        print(
            f"{100 * task.control:.3g}% of the samples, and at least two of a batch of "
            "four or more, are drawn at random to measure how often the model is right."
        )


def _warn(options: Options, state) -> None:
    """Warns of a head that is near chance, and of rows far from all others."""
    task, judged = state.task, judges_of(state)
    head = None if state.head is None else Head(state.head.kernel, state.head.bias)
    warnings = advice.head_warnings(head, judged)
    if options.holdout is not None:
        counts = np.bincount(task.holdout_labels, minlength=len(task.classes))
        warnings = [*advice.holdout_warnings(counts, task.classes), *warnings]
    rows = np.array(sorted({*scaling.spread_rows(len(task.pool)), *labels_of(state)}))
    features = scaling.rows_of(task.pool, rows.tolist())
    outlying = rows[task.scaling.are_outlying(features)].tolist()
    if outlying:
        names = naming.ids_of(task.ids, np.array(outlying[:NAMED]))
        warnings.append(
            advice.outlying_warning(
                str(options.files.pool), len(outlying), names, scaling.OUTLYING
            )
        )
    advice.warn(warnings)


def _refuse_leak(options: Options, state):
    """Refuses a holdout set with a sample that is learned from.

    If it names rows of the pool, a copy is another sample, as in tables of few values.
    """
    labeled = list(labels_of(state))
    if not labeled:
        return
    known = scaling.rows_of(state.task.pool, labeled)
    copies = leaks.copies_of(state.task.holdout_features, known)
    is_copy = copies != leaks.NO_COPY
    if is_copy.any():
        sample = int(np.argmax(is_copy))
        name = naming.ids_of(state.task.ids, np.array([labeled[copies[sample]]]))[0]
        if len(state.task.holdout_rows):
            advice.warn(
                [
                    f"{options.holdout} has samples with the features of labeled ones "
                    f"({is_copy.sum():,}, the first like {name!r}): where they are the "
                    "same thing, they cannot judge what the head has learned."
                ]
            )
            return
        raise FileError(
            f"{options.holdout} must not hold samples that are labeled in "
            f"{options.labels}, because the head learns them: "
            f"sample {sample} is a copy of {name!r}; copies in all: {is_copy.sum():,}."
        )


def _check(options: Options):
    """What can be refused before a file is read."""
    require_seed(options.seed)
    with naming_source("--steps"):
        checks.require_steps(options.steps, LEARNING_RATE)
    with naming_source("--learning-rate"):
        checks.require_steps(STEPS, options.learning_rate)
    with naming_source("--rarity"):
        checks.require_not_negative("rarity", options.rarity)


def _require_small_head(method: str, num_features: int, num_classes: int) -> None:
    """Refuses a method that cannot do with the head that the labels will train."""
    most, number = row_of(method).most_weights, num_features * num_classes
    if most is not None and number > most:
        features = plural(num_features, "feature")
        raise FileError(
            f"--method {method} takes heads of at most {most:,} weights; {features} "
            f"and {plural(num_classes, 'class')} make {number:,}."
        )
