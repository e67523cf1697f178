"""`iwps score`: choose which rows of a pool on disk to label next.

    iwps score --pool pool.npy --head head.npz --holdout holdout.npz --k 200

Without --method the command takes the method that it recommends for the given files,
and says why: iwps_batch with --training-set, iwps with --head and --holdout, margin
otherwise. The command writes picks.csv with the columns method, id, row and score
and, with a head or logits, predicted and confidence. The methods are:

    iwps              lets the head learn its own prediction for each row and asks how
                      much this would hurt the holdout set (iwps_last_layer); needs
                      --head and --holdout
    iwps_app          its first-order approximation (iwps_app_last_layer); needs the
                      same files
    iwps_batch        takes the 10 k best rows by iwps, and of these the k that tell
                      most together; for pools with similar rows or rare classes; also
                      needs --training-set
    entropy, margin, least_confidence
                      use only the head's predictions; need --head, or --logits instead
                      of --pool
    random            draws rows at random with --seed
    module:function   calls your own function, which returns a score function

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
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
from tyro import conf

from iwps_jax import checks, methods
from iwps_jax.app.commands import advice, exit_status, inputs, outputs, processes
from iwps_jax.app.commands.inputs import Given
from iwps_jax.app.files.picks import Pick, write_picks
from iwps_jax.app.options import Flag
from iwps_jax.pool.ranking import TopK
from iwps_jax.pool.scan import score_pool, top_k_of_pool
from iwps_jax.pool.sources import PoolError
from iwps_jax.refusal import Refusal, refusing
from iwps_jax.selection.iwps_batch import Evidence

COLUMNS = ("method", "id", "row", "score")
PREDICTED = ("predicted", "confidence")
HURT = ("hurts", "hurts_by")


ONE_POOL = conf.create_mutex_group(required=True, title="one of these")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(inputs.Files, processes.Processes):
    """The options of the command."""

    pool: Annotated[str | None, conf.arg(metavar="POOL"), ONE_POOL] = None
    logits: Annotated[str | None, conf.arg(metavar="LOGITS"), ONE_POOL] = None
    method: str | None = None
    """one method, or several as a,b,c (default: iwps_batch with --training-set, iwps
    with --head and --holdout, margin otherwise)"""
    k: int
    """how many rows to pick"""
    training_set: Path | None = None
    """for iwps_batch, the samples that the head was trained on: .npz or .safetensors
    with features [n, d] and labels [n]"""
    labeled: Path | None = None
    """rows that must not be picked: .npy of row numbers, .txt of ids, or .csv with a
    column id; if the .csv has a column label, too, rows without a label may be
    picked"""
    out: Path = Path("picks.csv")
    """file to write"""
    explain: Flag = False
    """also write the columns hurts and hurts_by"""
    steps: int | None = None
    """T, the number of steps of the look-ahead (default: 3)"""
    learning_rate: float | None = None
    """η, the learning rate of the look-ahead (default: 1e-3)"""
    seed: int = 0
    """seed of random and iwps_batch"""
    folder: Path | None = None
    """checkpoint folder; rerun the same command to resume"""
    chunk_size: int | None = None
    """rows per device that are scored at once (default: as memory allows)"""


def run(options: Options) -> int:
    """Scores, picks and writes; returns the exit status."""
    close, is_one_of_several = (lambda: None), False

    def work():
        nonlocal options, close, is_one_of_several
        options, reason = _choose_method(options)
        _check(options)
        processes.use_all_cores()
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
    if options.method is not None:
        return options, None
    has_labels = options.training_set is not None
    # Who gives a training set means iwps_batch, and is told what it lacks.
    has_holdout = has_labels or not (options.head is None or options.holdout is None)
    method, reason = advice.recommend(has_holdout=has_holdout, has_labels=has_labels)
    return dataclasses.replace(options, method=method), reason


def _check(options):
    """What can be refused before a file is read."""
    processes.require_described(options)
    names = _methods(options)
    for name in names:
        if not name or names.count(name) > 1:
            raise Refusal(f"--method must name each method once, got {options.method}.")
        if name not in methods.NAMES and ":" not in name:
            raise Refusal(
                f"--method must be one of {', '.join(methods.NAMES)} or "
                f"module:function, got {name}."
            )
        missing = [
            _flag(need) for need in _needs(name, options) if not _has(options, need)
        ]
        if missing:
            raise Refusal(f"--method {name} needs {' and '.join(missing)}.")
    if options.explain and not (options.logits or options.head):
        raise Refusal("--explain needs a --head, or --logits.")
    if not (options.explain or {"iwps", "iwps_batch"} & {*names}):
        for option in ("steps", "learning_rate"):
            if _has(options, option):
                raise Refusal(
                    f"{_flag(option)} applies only to iwps, iwps_batch and --explain, "
                    f"not to {options.method}."
                )
    if _has(options, "training_set") and "iwps_batch" not in names:
        raise Refusal(
            f"--training-set applies only to iwps_batch, not to {options.method}: use "
            "--labeled to name rows that must not be picked."
        )
    inputs.require_seed(options.seed)
    if options.k < 1:
        raise Refusal(f"--k must be at least 1, got {options.k}.")
    if options.chunk_size is not None and options.chunk_size < 1:
        raise Refusal(f"--chunk-size must be at least 1, got {options.chunk_size}.")
    outputs.require_no_loss(options, "out")
    _require_writable(options.out)


def _methods(options) -> list[str]:
    return [name.strip() for name in options.method.split(",")]


def _has(options, name):
    return getattr(options, name) is not None


def _flag(name) -> str:
    return f"--{name.replace('_', '-')}"


def _needs(method, options) -> tuple[str, ...]:
    """The options without which a method cannot score."""
    if method == "iwps_batch":
        return ("pool", "head", "holdout", "training_set")
    if method in methods.JUDGED:
        return ("pool", "head", "holdout")
    if method in methods.OF_LOGITS and options.logits is None:
        return ("head",)
    return ()


def _require_writable(path: Path):
    """Refuses a file that could not be written after all the work."""
    if path.is_dir():
        raise Refusal(f"--out must name a file, got the folder {path}.")
    if path.exists() and not path.is_file():
        raise Refusal(f"--out must name a file that can be replaced, got {path}.")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise Refusal(f"--out must be in a folder that can be written: {path}.")


def _score(options):
    defaults = {"steps": methods.STEPS, "learning_rate": methods.LEARNING_RATE}
    with refusing(ValueError):  # by JAX, which must have joined the processes before
        checks.require_steps(**defaults | _look_ahead(options))
    files = inputs.read(
        options, training_set=options.training_set, labeled=options.labeled
    )
    name = str(options.logits or options.pool)
    inputs.require_pool(name, files.pool)
    where = _where(files, options.k)
    with refusing(PoolError, MemoryError, about=name):
        picks, columns = _chosen(options, files, where)
    if jax.process_index() == 0:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_picks(options.out, picks, columns)
        print(f"{len(picks):,} rows, best first, in {options.out}")


def _chosen(options, files, where) -> tuple[list[Pick], tuple[str, ...]]:
    """The picks of all methods, and the columns that say something of them."""
    picks: list[Pick] = []
    columns: tuple[str, ...] = COLUMNS
    if options.explain or _has_predictions(files):
        columns += PREDICTED
    if options.explain:
        columns += HURT
    # All before the first scan: a refusal need not wait for hours.
    scores = {name: _score_fn(options, name, files) for name in _methods(options)}
    for method, score_fn in scores.items():
        choose = _together if method == "iwps_batch" else _highest
        top = choose(options, method, score_fn, files, where, options.k)
        why = None
        if columns != COLUMNS:
            why = _explanation(options, method, files, top)
        picks += _picks(method, files, top, why)
    return picks, columns


def _where(files: Given, k: int) -> np.ndarray | None:
    """The rows that may be picked, as a mask; None for all."""
    if files.labeled is None:
        is_stream = hasattr(files.pool, "__next__")
        if not is_stream and k > (size := inputs.size_of(files.pool, "--k")):
            raise Refusal(
                f"--k must be at least 1 and at most the {size} that may be picked, "
                f"got {k}."
            )
        return None
    where = np.ones(inputs.size_of(files.pool, "--labeled"), bool)
    where[files.labeled] = False
    if k > where.sum():
        raise Refusal(
            f"--k must be at most {where.sum():,}, the number of rows that are not "
            f"labeled, got {k}."
        )
    return where


def _together(options, method, score_fn, files, where, k) -> TopK:
    """Of the best rows those that tell most together; the same in all processes."""
    if where is None:
        where = np.ones(inputs.size_of(files.pool, f"--method {method}"), bool)
    number = methods.num_candidates(k, int(where.sum()))
    candidates = _highest(options, method, score_fn, files, where, number)
    drawn = methods.draw_rows(options.seed, 0, where)
    features, sample = (
        np.asarray(inputs.rows_of(files.pool, rows.tolist()), np.float32)
        for rows in (candidates.rows, drawn)
    )
    evidence = Evidence(
        features,
        files.head.kernel,
        files.head.bias,
        files.holdout.features,
        files.training.features,
        files.training.labels,
        sample,
    )
    return methods.pick_together(candidates, evidence, k)


def _highest(options, method, score_fn, files, where, k) -> TopK:
    pool, folder = files.pool, options.folder
    if method == "random":  # reads no row
        pool = range(inputs.size_of(pool, "--method random"))
    if folder is not None and len(_methods(options)) > 1:
        folder = folder / method.replace(":", ".")
    return top_k_of_pool(
        score_fn,
        pool,
        k,
        where=where,
        chunk_size=options.chunk_size,
        folder=folder,
        show_progress=jax.process_index() == 0,
    )


def _score_fn(options, method, files) -> Callable:
    if ":" in method:
        score_fn = inputs.made_by(method)
        inputs.require_score(method, score_fn, files.pool)
        return score_fn
    return methods.make_score(
        method, files.head, files.holdout, seed=options.seed, **_look_ahead(options)
    )


def _look_ahead(options):
    """T and η, as far as they were given."""
    asked = {"steps": options.steps, "learning_rate": options.learning_rate}
    return {name: value for name, value in asked.items() if value is not None}


def _has_predictions(files) -> bool:
    """Whether it is known what is predicted of rows that can be read again."""
    has_model = files.head is not None or files.are_logits
    return has_model and getattr(files.pool, "ndim", None) == 2


def _explanation(
    options, method, files, top
) -> methods.Explanation | methods.Predictions:
    """Of every pick; by all processes together."""
    inputs.size_of(files.pool, "--explain")
    rows = inputs.rows_of(files.pool, top.rows.tolist())
    if not options.explain:
        return score_pool(partial(methods.predictions, head=files.head), rows)
    if getattr(rows, "ndim", None) != 2:
        raise Refusal("--explain needs a pool of features, or of logits.")
    explain = partial(
        methods.explain,
        method=method,
        head=files.head,
        holdout=files.holdout,
        **_look_ahead(options),
    )
    return score_pool(explain, rows)


def _picks(method, files, top, why) -> list[Pick]:
    scores = np.asarray(top.scores)  # whose own text is the shortest
    picks = [
        Pick(files.id_of(row), str(row), str(score), method)
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
        not isinstance(why, methods.Explanation)
        or why.hurts is None
        or why.hurts_by is None
    ):
        return {"hurts": "", "hurts_by": ""}
    is_hurt = why.hurts_by[number] > 0
    return {
        "hurts": " ".join(map(str, why.hurts[number][is_hurt])),
        "hurts_by": " ".join(f"{by:.6g}" for by in why.hurts_by[number][is_hurt]),
    }
