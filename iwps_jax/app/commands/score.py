"""`iwps score`: choose which rows of a pool on disk to label next.

    iwps score --pool pool.npy --head head.npz --holdout holdout.npz --k 200

Without --method the command takes the method that it recommends for the given files,
and says why: iwps_batch with --head, --holdout and --training-set, iwps with --head and
--holdout, balanced_herding with --head and --training-set, margin with --head or
--logits, and max_herding with --pool alone. The command writes picks.csv with the
columns method, id, row and score and, with a head or logits, predicted and confidence.
The methods are:

{methods}

With several methods, as in --method iwps,margin, the command scans the pool once per
method, and the file lists the picks of one method after those of the other. --explain
adds the holdout samples that learning the prediction would hurt most: hurts holds up to
three of their rows, hurts_by the changes of their losses in nats (for iwps_app: per
unit of step length).

With --folder, rerun the same command to resume a scan that was killed. Several methods
have a folder each inside it. To divide the rows among several processes, start the same
command once per process. Add --distributed if a launcher that JAX knows starts them
(Slurm, a TPU pod, Open MPI); otherwise give --coordinator, --processes and --process.

A refusal is one sentence and ends with status 2. No picks are written then, but
--folder keeps the finished part.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np

from iwps_jax import checks, explanations, methods, picking
from iwps_jax.app.commands import (
    advice,
    exit_status,
    inputs,
    jax_settings,
    method_options,
    outputs,
    processes,
)
from iwps_jax.app.commands.inputs import Given
from iwps_jax.app.commands.method_options import MethodOptions
from iwps_jax.app.files.picks import Pick, as_text, write_picks
from iwps_jax.app.leaks import NO_COPY, copies_of
from iwps_jax.method import ABSENT, Model
from iwps_jax.pool import sources
from iwps_jax.pool.ranking import TopK
from iwps_jax.pool.scan import score_pool, top_k_of_pool
from iwps_jax.pool.sources import PoolError
from iwps_jax.recommendations import recommend
from iwps_jax.refusal import Refusal, nearest, refusing
from iwps_jax.types import Holdout
from iwps_jax.wording import plural

COLUMNS = ("method", "id", "row", "score")
PREDICTED = ("predicted", "confidence")
HURT = ("hurts", "hurts_by")
__doc__ = (__doc__ or "").replace("{methods}", method_options.about_methods())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(MethodOptions, processes.Processes):
    """The options of the command."""

    writes: ClassVar = ("out",)
    k: int
    """how many rows to pick"""
    labeled: Path | None = None
    """rows that must not be picked: .npy of row numbers, .txt of ids, or .csv with a
    column id; if the .csv has a column label, too, rows without a label may be
    picked"""
    out: Path = Path("picks.csv")
    """file to write"""
    chunk_size: int | None = None
    """rows per device that are scored at once (default: as memory allows)"""


def run(options: Options) -> int:
    """Scores, picks and writes; returns the exit status."""
    close, is_one_of_several = (lambda: None), False

    def work():
        nonlocal options, close, is_one_of_several
        options, reason = _choose_method(options)
        _check(options)
        jax_settings.start_jax(options)
        is_one_of_several = processes.join(options)
        if is_one_of_several:
            close = processes.watch_over(options.folder)
        _score(options)
        if reason and jax.process_index() == 0:
            print(f"The method was {options.method}, by default: {reason}")

    status = exit_status.run(work)
    close()
    if status and is_one_of_several:
        processes.leave(status)
    return status


def _choose_method(options: Options) -> tuple[Options, str | None]:
    """With the recommended method where none was named, and the reason."""
    if options.pool is None and options.logits is None:
        raise Refusal("iwps score needs --pool, or --logits.")
    if options.method is not None:
        return options, None
    has_head = options.head is not None
    there = {
        "head": has_head or options.logits is not None,
        "holdout": has_head and options.holdout is not None,
        "labels": options.training_set is not None,
    }
    line = recommend([part for part, is_there in there.items() if is_there])
    method = line.method
    method_options.require_needs(options, method, "is recommended for these files, and")
    options = dataclasses.replace(options, method=method)
    row = methods.ROWS[method]
    if "labels" not in (*row.needs, *row.uses):  # the reason says so
        options = dataclasses.replace(options, training_set=None)
    return options, line.reason


def _check(options: Options):
    """What can be refused before a file is read."""
    processes.require_described(options)
    names = _methods(options)
    for name in names:
        if not name or names.count(name) > 1:
            raise Refusal(f"--method must name each method once, got {options.method}.")
        if name not in methods.ROWS and ":" not in name:
            known = (*methods.ROWS, "module:function")
            raise Refusal(nearest(name, "method", known))
        method_options.require_needs(options, name)
    if options.explain and not (options.logits or options.head):
        raise Refusal("--explain needs a --head, or --logits.")
    method_options.require_effect(options, names)
    inputs.require_seed(options.seed)
    if options.k < 1:
        raise Refusal(f"--k must be at least 1, got {options.k}.")
    if options.chunk_size is not None and options.chunk_size < 1:
        raise Refusal(f"--chunk-size must be at least 1, got {options.chunk_size}.")
    outputs.require_writable(options.out)


def _methods(options: Options) -> list[str]:
    return [name.strip() for name in (options.method or "").split(",")]


def _score(options: Options):
    with refusing(ValueError):  # by JAX, which must have joined the processes before
        settings = _settings(options)
        checks.require_steps(settings.steps, settings.learning_rate)
        checks.require_not_negative("rarity", settings.rarity)
    files = inputs.read(
        options, training_set=options.training_set, labeled=options.labeled
    )
    name = str(options.logits or options.pool)
    inputs.require_pool(name, files.pool)
    where = _where(options, files)
    with refusing(PoolError, MemoryError, about=name):
        picks, columns = _chosen(options, files, where)
    if jax.process_index() == 0:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_picks(options.out, picks, columns)
        print(f"{plural(len(picks), 'row')}, best first, in {options.out}")


def _chosen(options: Options, files, where) -> tuple[list[Pick], tuple[str, ...]]:
    """The picks of all methods, and the columns that say something of them."""
    picks: list[Pick] = []
    columns: tuple[str, ...] = COLUMNS
    if options.explain or _has_predictions(files):
        columns += PREDICTED
    if options.explain:
        columns += HURT
    # All before the first scan: a refusal need not wait for hours.
    pickers = {name: _picker(options, name, files) for name in _methods(options)}
    if jax.process_index() == 0:
        advice.warn(advice.head_warnings(files.head, files.holdout))
    for method, pick in pickers.items():
        top = pick(where, options.k)
        why = None
        if columns != COLUMNS:
            why = _explanation(options, method, files, top)
        picks += _picks(method, files, top, why)
    return picks, columns


def _where(options: Options, files: Given) -> np.ndarray | None:
    """The rows that may be picked, as a mask; None for all."""
    pool, k = options.logits or options.pool, options.k
    if files.labeled is None:
        is_stream = hasattr(files.pool, "__next__")
        if not is_stream and k > (size := inputs.size_of(files.pool, "--k")):
            raise Refusal(
                f"--k must be at least 1 and at most the {size} that may be picked, "
                f"the rows of {pool}, got {k}."
            )
        return None
    where = np.ones(inputs.size_of(files.pool, "--labeled"), bool)
    where[files.labeled] = False
    if k > where.sum():
        raise Refusal(
            f"--k must be at most {where.sum():,}, the number of rows of {pool} that "
            f"are not in {options.labeled}, got {k}."
        )
    return where


def _picker(options: Options, name, files) -> Callable[..., TopK]:
    """`pick(where, k)` of a method, or of a score of the user's."""
    scan = partial(
        top_k_of_pool,
        chunk_size=options.chunk_size,
        folder=_folder(options, name),
        show_progress=jax.process_index() == 0,
    )
    if ":" in name:
        score_fn = inputs.made_by(name)
        inputs.require_score(name, score_fn, files.pool)
        return lambda where, k: scan(score_fn, files.pool, k, where=where)
    method = methods.ROWS[name]
    model = _beside(method, _model(options, files), files)
    _require_shape(options, method, files)
    with refusing(ValueError, about=str(options.logits or options.pool)):
        picking.require_memory(method, model, files.pool)
    return partial(_pick, method, model, files.pool, scan)


def _beside(method, model, files) -> Model:
    """The model; a method for which `--labeled` rows are labels sees no row twice.

    Where a round's labels joined the training set, its samples are also such rows.
    """
    if "labels" not in method.uses or model.labeled is None or files.labeled is None:
        return model
    rows = np.unique(files.labeled).tolist()
    if not rows or getattr(files.pool, "ndim", None) != 2:
        return model
    known = model.labeled.features
    if np.shape(known)[1:] != tuple(files.pool.shape[1:]):
        return model  # refused where they meet
    is_other = copies_of(known, sources.take(files.pool, rows)) == NO_COPY
    if not is_other.any():
        return model._replace(labeled=ABSENT)
    return model._replace(
        labeled=Holdout(known[is_other], model.labeled.labels[is_other])
    )


def _pick(method, model, pool, scan, where, k) -> TopK:
    return picking.pick(method, model, pool, where, k, scan=scan)


def _folder(options: Options, name) -> Path | None:
    if options.folder is None or len(_methods(options)) == 1:
        return options.folder
    return options.folder / name.replace(":", ".")


def _model(options: Options, files) -> Model:
    return _settings(options)._replace(
        head=files.head, holdout=files.holdout, labeled=files.training
    )


def _require_shape(options: Options, method, files):
    """Refuses a pool that the method cannot read, as far as its shape tells."""
    if method.select is not None or "numbers" in method.reads:
        inputs.size_of(files.pool, f"--method {method.name}")
    axes = getattr(files.pool, "ndim", None)
    if axes is None or not files.are_logits:
        return
    if "draws" in method.needs and axes != 3:
        raise Refusal(
            f"--method {method.name} needs --logits with the axes [pool, draws, "
            f"classes], but {options.logits} has {plural(axes, 'axis', 'axes')}."
        )
    if "logits" in method.needs and axes != 2:
        of_draws = [r.name for r in methods.ROWS.values() if "draws" in r.needs]
        raise Refusal(
            f"--method {method.name} needs --logits with the axes [pool, classes], but "
            f"{options.logits} has {plural(axes, 'axis', 'axes')}, which "
            f"{', '.join(of_draws)} need."
        )


def _settings(options: Options) -> Model:
    """A model of the numbers that were given, and of defaults."""
    given = {name: getattr(options, name) for name in method_options.OPTIONAL}
    given = {name: value for name, value in given.items() if value is not None}
    return Model(seed=options.seed, **given)


def _has_predictions(files) -> bool:
    """Whether it is known what is predicted of rows that can be read again."""
    has_model = files.head is not None or files.are_logits
    return has_model and getattr(files.pool, "ndim", None) == 2


def _explanation(
    options, method, files, top
) -> explanations.Explanation | explanations.Predictions:
    """Of every pick; by all processes together."""
    inputs.size_of(files.pool, "--explain")
    rows = sources.take(files.pool, top.rows.tolist())
    if not options.explain:
        say = partial(explanations.predictions, head=files.head)
        return _said_of(say, rows, top.rows)
    if getattr(rows, "ndim", None) != 2:
        raise Refusal("--explain needs a pool of features, or of logits.")
    row, model = methods.ROWS.get(method), _model(options, files)
    explain = partial(
        explanations.explain,
        model=model._replace(labeled=ABSENT, seed=0),
        changes=None if row is None else row.changes,
    )
    return _said_of(explain, rows, top.rows)


def _said_of(say, picked, rows):
    """What there is to say of the picks; an error names their rows of the pool."""
    try:
        return score_pool(say, picked)
    except PoolError:
        confidence = np.asarray(say(picked).confidence)
        bad = rows[~np.isfinite(confidence)].tolist()
        if not bad:
            raise
        raise PoolError(
            f"predictions must be finite, got others for the picked rows {bad}."
        ) from None


def _picks(method, files, top, why) -> list[Pick]:
    scores = np.asarray(top.scores)  # whose own text is the shortest
    picks = [
        Pick(files.id_of(row), str(row), as_text(score), method)
        for row, score in zip(top.rows.tolist(), scores, strict=True)
    ]
    if why is None:
        return picks
    return [
        pick._replace(
            predicted=files.name_of(int(why.predicted[number])),
            confidence=f"{why.confidence[number]:.6g}",
            **_hurt(why, number),
        )
        for number, pick in enumerate(picks)
    ]


def _hurt(why, number) -> dict[str, str]:
    """Who is hurt by a pick, and by how much; those who are not are left out."""
    if (
        not isinstance(why, explanations.Explanation)
        or why.hurts is None
        or why.hurts_by is None
    ):
        return {"hurts": "", "hurts_by": ""}
    is_hurt = why.hurts_by[number] > 0
    return {
        "hurts": " ".join(map(str, why.hurts[number][is_hurt])),
        "hurts_by": " ".join(f"{by:.6g}" for by in why.hurts_by[number][is_hurt]),
    }
