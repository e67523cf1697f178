"""`iwps init`: begin a labeling campaign in a folder.

    iwps init --pool pool.npy --holdout holdout.npz --labels initial.csv

After this, repeat: take samples with `iwps next --k 50`, label them, hand in the
answers with `iwps label FILE`, and look at `iwps status`.
"""

import dataclasses
from pathlib import Path

import numpy as np

from iwps_jax import checks
from iwps_jax.app import leaks, naming
from iwps_jax.app.campaign import METHODS, folder, labels_of, scaling, start
from iwps_jax.app.campaign.next_batch import FIRST, needs_head
from iwps_jax.app.commands import advice, exit_status
from iwps_jax.app.commands.answers import (
    OfCampaign,
    naming_line,
    naming_source,
    take_answers,
)
from iwps_jax.app.commands.inputs import require_pool, require_seed
from iwps_jax.app.commands.jax_settings import Computing, start_jax
from iwps_jax.app.commands.method_options import flag
from iwps_jax.app.files.labels import require_single
from iwps_jax.app.files.picks import read_answers
from iwps_jax.app.files.readers import (
    places_of,
    read_classes,
    read_holdout,
    read_ids,
    read_pool,
    require_classes,
    require_few_classes,
    warn_of_lookalikes,
)
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import NAMED
from iwps_jax.method import LEARNING_RATE, STEPS
from iwps_jax.methods import ROWS, row_of
from iwps_jax.recommendations import recommend
from iwps_jax.refusal import Refusal, nearest
from iwps_jax.types import Head, Holdout

RECOMMENDED = recommend(["holdout", "labels"])  # a campaign has both


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(OfCampaign, Computing):
    """The options of the command."""

    pool: Path
    """features [pool, d]: .npy, .npz or .safetensors, of any size"""
    holdout: Path
    """a few labeled samples that judge the head: .npz or .safetensors with features
    [m, d] and integer labels [m], or .csv with id,label that names rows of the pool"""
    labels: Path | None = None
    """labels that you already have: .csv with the columns id and label"""
    ids: Path | None = None
    """names of the rows of the pool: .txt, .csv or .npy (default: 0, 1, ...)"""
    classes: str | None = None
    """names of the classes: cat,dog,... or a file with one name per line (default:
    those in the files)"""
    method: str = RECOMMENDED.method
    """how to choose samples: any method of `iwps score --help` but those that compare
    dropout masks"""
    steps: int = STEPS
    """T, the number of steps of the look-ahead"""
    learning_rate: float = LEARNING_RATE
    """η, the learning rate of the look-ahead"""
    seed: int = 0
    """seed of all random choices"""

    def __post_init__(self):
        """Refuses a method that is not there."""
        if self.method in ROWS and self.method not in METHODS:
            raise Refusal(
                f"--method {self.method} needs logits of several dropout masks, which "
                "the head of a campaign does not have."
            )
        if self.method not in METHODS:
            raise Refusal(nearest(self.method, "method", METHODS))
        for option, default in (("steps", STEPS), ("learning_rate", LEARNING_RATE)):
            is_used = option in ROWS[self.method].options
            if getattr(self, option) != default and not is_used:
                raise Refusal(f"{flag(option)} does not apply to {self.method}.")


def run(options: Options) -> int:
    """Checks everything, then makes the folder; returns the exit status."""
    return exit_status.run(lambda: _init(options))


def _init(options: Options):
    _check(options)
    start_jax(options)
    pool = read_pool(options.pool)
    require_pool(str(options.pool), pool)
    ids = None if options.ids is None else read_ids(options.ids, len(pool))
    told = [] if options.labels is None else read_answers(options.labels)
    is_of_pool = options.holdout.suffix.lower() == ".csv"
    judged = read_answers(options.holdout) if is_of_pool else []
    if is_of_pool:
        classes = _classes(options, told, judged, None)
        with naming_line(options.holdout, judged):
            rows, holdout = _holdout_of_pool(options, judged, pool, ids, classes)
    else:
        rows, holdout = (), read_holdout(options.holdout)
        classes = _classes(options, told, judged, holdout)
        _require_holdout(options, holdout, pool, classes)
    _require_small_head(options.method, pool.shape[1], len(classes))
    with naming_source(options.pool):  # of all else nothing is left to refuse
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
    state = take_answers(state, options.labels, told)
    _refuse_leak(options, state)
    folder.create(options.campaign, folder.Paths(options.pool, options.ids), state)
    print(
        f"{options.campaign}: {len(pool):,} samples, {len(classes)} classes, "
        f"{len(holdout.labels)} holdout samples, {len(labels_of(state))} labeled, "
        f"method {options.method}. Next: iwps next --k 50"
    )
    _warn(options, state)
    if options.method == RECOMMENDED.method:
        print(f"{options.method} is the recommended method: {RECOMMENDED.reason}")
    if state.head is None and needs_head(row_of(options.method)):
        print(f"Until two classes have labels, {FIRST.label} covers the pool.")
    missing = sorted(set(range(len(classes))) - set(holdout.labels.tolist()))
    if missing:
        names = ", ".join(classes[c] for c in missing[:NAMED])
        print(
            f"The holdout set has no sample of {len(missing)} of {len(classes)} "
            f"classes ({names}{', ...' * (len(missing) > NAMED)}): it cannot show "
            "that predictions of these are wrong."
        )


def _warn(options: Options, state) -> None:
    """Warns of a head that is near chance, and of rows far from all others."""
    task = state.task
    judged = Holdout(task.scaling.of(task.holdout_features), task.holdout_labels)
    head = None if state.head is None else Head(state.head.kernel, state.head.bias)
    warnings = advice.head_warnings(head, judged)
    rows = np.array(sorted({*scaling.spread_rows(len(task.pool)), *labels_of(state)}))
    features = scaling.rows_of(task.pool, rows.tolist())
    outlying = rows[task.scaling.are_outlying(features)].tolist()
    if outlying:
        names = naming.ids_of(task.ids, np.array(outlying[:NAMED]))
        warnings.append(
            advice.outlying_warning(
                str(options.pool), len(outlying), names, scaling.OUTLYING
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


def _classes(options: Options, told, judged, holdout) -> tuple[str, ...]:
    """As given, or names from the answers, or numbers up to the largest of all."""
    if options.classes is not None:
        classes = read_classes(options.classes)
        if holdout is not None:
            _require_order(classes)
        return classes
    names: dict[str, str] = {}  # by their form: of two spellings the first counts
    places: dict[int, str] = {}
    for path, answers in ((options.labels, told), (options.holdout, judged)):
        require_single(path, answers)
        for answer in answers:
            number = naming.number_of(answer.label)
            if number is not None:
                places.setdefault(number, f"{path}: line {answer.line}")
            if naming.is_class(answer.label):
                names.setdefault(naming.form(answer.label), answer.label)
    if len(places) < len(names):
        if holdout is not None:
            raise FileError(
                "--classes must be given if labels are names: their order says which "
                "name belongs to which number in the holdout file."
            )
        classes = tuple(sorted(names.values()))
        warn_of_lookalikes(f"{options.labels or options.holdout}", classes)
    else:
        if holdout is not None:
            places |= places_of(options.holdout, holdout.labels)
        require_few_classes(places)
        classes = tuple(map(str, range(max(places, default=0) + 1)))
    if len(classes) < 2:
        raise FileError(
            "--classes must be given if fewer than two classes have labels."
        )
    return classes


def _require_order(classes):
    """Refuses names that are numbers but others than the holdout file's."""
    numbers = [naming.number_of(name) for name in classes]
    if None not in numbers and numbers != list(range(len(classes))):
        raise FileError(
            "--classes must be 0, 1, ... in this order if they are numbers, as in "
            f"the holdout file, got {', '.join(classes[:NAMED])}."
        )


def _require_holdout(options: Options, holdout, pool, classes):
    """Refuses a holdout set that does not fit the pool or the classes."""
    d, width = holdout.features.shape[1], pool.shape[1]
    if d != width:
        raise FileError(
            f"{options.holdout} must have {width} columns like the pool "
            f"{options.pool}, got {d}."
        )
    require_classes(options.holdout, holdout.labels, len(classes))


def _require_small_head(method: str, num_features: int, num_classes: int) -> None:
    """Refuses a method that cannot do with the head that the labels will train."""
    most, number = row_of(method).most_weights, num_features * num_classes
    if most is not None and number > most:
        raise FileError(
            f"--method {method} takes heads of at most {most:,} weights; "
            f"{num_features:,} features and {num_classes} classes make {number:,}."
        )


def _holdout_of_pool(options: Options, judged, pool, ids, classes):
    """Rows of the pool that are holdout samples, with their features and labels."""
    if not judged:
        raise FileError(f"{options.holdout} must have a holdout sample, got none.")
    names = [answer.id for answer in judged]
    rows = naming.rows_of(ids, len(pool), names)
    labels = naming.classes_of(classes, names, [answer.label for answer in judged])
    for name, label in zip(names, labels, strict=True):
        if label is None or label < 0:
            raise naming.AnswerError(
                name, f"a holdout sample must have a class, {name!r} has none."
            )
    with np.errstate(over="ignore"):  # becomes infinite, and is refused
        features = scaling.rows_of(pool, rows.tolist()).astype(np.float32)
    naming.require_finite(names, rows, features)
    return rows, Holdout(features, np.array(labels, np.int32))
