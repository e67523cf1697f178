"""`iwps score`: which rows of a pool on disk to label next.

    iwps score --pool pool.npy --head head.npz --holdout holdout.npz --k 200

ranks features of a last layer by whether learning the head's own prediction of them
would hurt the holdout set, and writes picks.csv: method, id, row, score and, with a
head or logits, predicted, confidence. Methods:

    iwps              the look-ahead (iwps_last_layer); needs --head and --holdout
    iwps_app          its first order (iwps_app_last_layer); likewise
    iwps_batch        of the 10 k best by iwps the k that together tell most: for picks
                      that would be alike, and rare classes; also needs --training-set
    entropy, margin, least_confidence
                      of the head's predictions; need --head, or --logits for --pool
    random            by --seed
    module:function   of your own: returns a score of rows

Several, as in --method iwps,margin, are one scan of the pool after another, their picks
one after another in the file. --explain adds which holdout samples learning what is
predicted would hurt most: hurts holds up to three of their rows, hurts_by the changes
of their losses in nats (of iwps_app: per unit of step length).

A scan goes on where it was killed if it has a --folder; of several methods each has a
folder in it. The same command, started once for each process by a launcher that JAX
knows (Slurm, a TPU pod, Open MPI), with --distributed, divides the rows among the
processes; any other launcher gives --coordinator, --processes and --process.

Refusals end with status 2 and one sentence. No picks are written then; a --folder keeps
what was finished.
"""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np

from iwps_jax import methods
from iwps_jax.app.commands import exit_status, inputs, processes
from iwps_jax.app.commands.inputs import Given
from iwps_jax.app.files.picks import Pick, write_picks
from iwps_jax.pool.ranking import TopK
from iwps_jax.pool.scan import score_pool, top_k_of_pool
from iwps_jax.selection.iwps_batch import Evidence

COLUMNS = ("method", "id", "row", "score")
PREDICTED = ("predicted", "confidence")
HURT = ("hurts", "hurts_by")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    inputs.add_options(parser, is_pool_required=True)
    parser.add_argument(
        "--method", default="iwps", help="one or more, a,b,c (default %(default)s)"
    )
    parser.add_argument("--k", type=int, required=True, help="how many rows")
    parser.add_argument(
        "--training-set",
        type=Path,
        help="what the head was trained on, for iwps_batch: .npz or .safetensors: "
        "features [n, d], labels [n]",
    )
    parser.add_argument(
        "--labeled",
        type=Path,
        help="rows never to pick: .npy of their numbers, .txt of ids, or .csv with a "
        "column id (and label: without one a row is still to pick)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("picks.csv"), help="default %(default)s"
    )
    parser.add_argument(
        "--explain", action="store_true", help=f"adds {', '.join(HURT)}"
    )
    parser.add_argument("--steps", type=int, help="T of the look-ahead, default 3")
    parser.add_argument(
        "--learning-rate", type=float, help="η of the look-ahead, default 1e-3"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of random and iwps_batch, default 0"
    )
    parser.add_argument(
        "--folder", type=Path, help="keeps what is finished; same command goes on"
    )
    parser.add_argument("--chunk-size", type=int, help="default: by memory")
    processes.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Scores, picks and writes; returns the exit status."""
    close, is_one_of_several = (lambda: None), False

    def work():
        nonlocal close, is_one_of_several
        _check(options)
        processes.use_all_cores()
        is_one_of_several = processes.join(options)
        if is_one_of_several:
            close = processes.watch_over(options.folder)
        _score(options)

    status = exit_status.run(work)
    close()
    if status and is_one_of_several:
        processes.leave(status)
    return status


def _check(options):
    """What can be refused before a file is read."""
    processes.require_described(options)
    names = _methods(options)
    for name in names:
        if not name or names.count(name) > 1:
            raise ValueError(
                f"--method must name each method once, got {options.method}."
            )
        if name not in methods.NAMES and ":" not in name:
            raise ValueError(
                f"--method must be of {', '.join(methods.NAMES)} or module:function, "
                f"got {name}."
            )
        missing = [
            _flag(need) for need in _needs(name, options) if not _has(options, need)
        ]
        if missing:
            raise ValueError(f"--method {name} needs {' and '.join(missing)}.")
    if options.explain and not (options.logits or options.head):
        raise ValueError("--explain needs a --head, or --logits.")
    if not (options.explain or {"iwps", "iwps_batch"} & {*names}):
        for option in ("steps", "learning_rate"):
            if _has(options, option):
                raise ValueError(
                    f"{_flag(option)} is of iwps, not of {options.method}."
                )
    if _has(options, "training_set") and "iwps_batch" not in names:
        raise ValueError(
            f"--training-set is of iwps_batch, not of {options.method}: rows never to "
            "pick are --labeled."
        )
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
        raise ValueError(f"--out must name a file, got the folder {path}.")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise ValueError(f"--out must be in a folder that can be written: {path}.")


def _score(options):
    files = inputs.read(options)
    where = _where(files, options.k)
    picks, columns = [], COLUMNS
    if options.explain or _has_predictions(files):
        columns += PREDICTED
    if options.explain:
        columns += HURT
    for method in _methods(options):
        choose = _together if method == "iwps_batch" else _highest
        top = choose(options, method, files, where, options.k)
        why = None
        if columns != COLUMNS:
            why = _explanation(options, method, files, top)
        picks += _picks(method, files, top, why)
    if jax.process_index() == 0:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_picks(options.out, picks, columns)
        print(f"{len(picks):,} rows, best first, in {options.out}")


def _where(files: Given, k: int) -> np.ndarray | None:
    """The rows that may be picked, as a mask; None for all."""
    if files.labeled is None:
        return None
    where = np.ones(inputs.size_of(files.pool, "--labeled"), bool)
    where[files.labeled] = False
    if k > where.sum():
        raise ValueError(
            f"--k must be at most the {where.sum():,} rows that are not labeled, got "
            f"{k}."
        )
    return where


def _together(options, method, files, where, k) -> TopK:
    """Of the best rows those that tell most together; the same in all processes."""
    if where is None:
        where = np.ones(inputs.size_of(files.pool, f"--method {method}"), bool)
    number = methods.num_candidates(k, int(where.sum()))
    candidates = _highest(options, method, files, where, number)
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


def _highest(options, method, files, where, k) -> TopK:
    pool, folder = files.pool, options.folder
    if method == "random":  # reads no row
        pool = range(inputs.size_of(pool, "--method random"))
    if folder is not None and len(_methods(options)) > 1:
        folder = folder / method.replace(":", ".")
    return top_k_of_pool(
        _score_fn(options, method, files),
        pool,
        k,
        where=where,
        chunk_size=options.chunk_size,
        folder=folder,
        show_progress=jax.process_index() == 0,
    )


def _score_fn(options, method, files) -> Callable:
    if ":" in method:
        return inputs.made_by(method)
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
        raise ValueError("--explain needs a pool of features, or of logits.")
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
