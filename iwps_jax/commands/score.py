"""`python -m iwps_jax score`: which rows of a pool on disk to label next.

The pool's last-layer features and a model in an .npz file are enough:

    python -m iwps_jax score features.npy --model model.npz --pick 1000 --out picks.csv

with arrays `kernel`, `bias`, `holdout_features` and `holdout_labels` in the model. Any
other pool, or score, is a function of your own, named as module:function:

    python -m iwps_jax score my_code:open_pool --score my_code:make_score --pick 1000

A large scan goes on where it was killed if it has a --folder. The same command, started
once for each process by a launcher that JAX knows (Slurm, a TPU pod, Open MPI), with
--distributed, divides the rows among the processes; any other launcher gives
--coordinator, --processes and --process.
"""

import argparse
import csv
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from iwps_jax.pool.ranking import TopK
from iwps_jax.pool.scan import top_k_of_pool
from iwps_jax.pool.sources import PoolError
from iwps_jax.scores.kernel import iwps_app_last_layer
from iwps_jax.scores.lookahead import iwps_last_layer
from iwps_jax.scores.predictive import entropy, least_confidence, margin

OF_LOGITS = {
    "entropy": entropy,
    "margin": margin,
    "least_confidence": least_confidence,
}
MODEL = ("kernel", "bias", "holdout_features", "holdout_labels")
NAMES = ("iwps_last_layer", "iwps_app_last_layer", *OF_LOGITS)

# Waits for the end of its parent, which JAX may abort or the system kill.
LAST_WORDS = """
import sys
if sys.stdin.buffer.read() != b"done":
    print(sys.argv[1], file=sys.stderr, flush=True)
"""


def add_to(commands: Any) -> None:
    """Adds the command and its options to those of `python -m iwps_jax`."""
    parser = commands.add_parser(
        "score",
        help="which rows of a pool on disk to label next",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "pool",
        help="an .npy file, read as a memory map: features, or logits for "
        f"{', '.join(OF_LOGITS)}; or module:function that returns a pool",
    )
    parser.add_argument(
        "--score",
        default="iwps_last_layer",
        help=f"{', '.join(NAMES)}, or module:function that returns a score of rows "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--model", type=Path, help=f".npz with {', '.join(MODEL)} for the first two"
    )
    parser.add_argument("--steps", type=int, default=3, help="T of iwps_last_layer")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="η of it")
    parser.add_argument("--pick", type=int, required=True, help="how many rows")
    parser.add_argument(
        "--labeled", type=Path, help=".npy of rows that are labeled: never picked"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("picks.csv"), help="default %(default)s"
    )
    parser.add_argument(
        "--folder", type=Path, help="keeps what is finished; same command goes on"
    )
    parser.add_argument("--chunk-size", type=int, help="default: by memory")
    processes = parser.add_argument_group("several processes")
    processes.add_argument("--distributed", action="store_true")
    processes.add_argument("--coordinator", help="host:port of process 0")
    processes.add_argument("--processes", type=int)
    processes.add_argument("--process", type=int, help="this one, from 0")
    processes.add_argument(
        "--peer-timeout",
        type=int,
        default=60,
        help="seconds after which a silent process counts as dead "
        "(default %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    """Scores, picks and writes; returns the exit status.

    A refusal is one sentence on standard error, and no picks are written.
    """
    _use_all_cores()
    is_one_of_several = _join_processes(options)
    close = _watch_over(options) if is_one_of_several else lambda: None
    try:
        top = top_k_of_pool(
            _score(options),
            _pool(options.pool),
            options.pick,
            where=_where(options),
            chunk_size=options.chunk_size,
            folder=options.folder,
            show_progress=jax.process_index() == 0,
        )
        if jax.process_index() == 0:
            _write(top, options.out)
            print(f"{len(top.rows):,} rows, best first, in {options.out}")
    except (PoolError, ValueError, TypeError, MemoryError, OSError) as error:
        print(f"{error}", file=sys.stderr, flush=True)
        close()
        if is_one_of_several:
            # An orderly end would wait for processes that may be no more.
            os._exit(1)
        return 1
    close()
    return 0


def _use_all_cores():
    """On a CPU, a device for each core: one alone leaves much of them idle."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    with suppress(RuntimeError):  # a caller of `main` may have used JAX before
        jax.config.update("jax_num_cpu_devices", cores)


def _join_processes(options) -> bool:
    """Makes this process one of several where the options say so."""
    several = (options.coordinator, options.processes, options.process)
    if not options.distributed and several == (None, None, None):
        return False
    if not options.distributed and None in several:
        raise SystemExit(
            "--coordinator, --processes and --process must be given together, or "
            "--distributed for a launcher that JAX knows."
        )
    jax.distributed.initialize(*several, heartbeat_timeout_seconds=options.peer_timeout)
    return True


def _watch_over(options) -> Callable[[], None]:
    """Says what to do should this process be ended from outside.

    When another process dies, JAX aborts this one, and no line of Python runs.
    """
    if options.folder is None:
        kept = "Nothing was kept: give the command a --folder"
    else:
        kept = f"What was finished is in {options.folder}: run the same command"
    message = (
        f"Process {jax.process_index()} of {jax.process_count()} was ended before the "
        "scan was, most likely because it or another one died; no picks were written. "
        f"{kept} to go on from there."
    )
    watcher = subprocess.Popen(
        [sys.executable, "-c", LAST_WORDS, message],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    return lambda: watcher.communicate(b"done")


def _score(options) -> Callable:
    if ":" in options.score:
        return _made_by(options.score)
    if options.score in OF_LOGITS:
        return OF_LOGITS[options.score]
    if options.score not in NAMES:
        raise ValueError(
            f"--score must be one of {', '.join(NAMES)} or module:function, "
            f"got {options.score}."
        )
    if options.model is None:
        raise ValueError(f"--score {options.score} needs a --model.")
    arrays = np.load(options.model)
    names = arrays.files if isinstance(arrays, np.lib.npyio.NpzFile) else ()
    missing = [name for name in MODEL if name not in names]
    if missing:
        raise ValueError(f"{options.model} must hold {', '.join(missing)}.")
    model = {name: arrays[name] for name in MODEL}
    if options.score == "iwps_app_last_layer":
        return partial(iwps_app_last_layer, **model)
    return partial(
        iwps_last_layer,
        **model,
        steps=options.steps,
        learning_rate=options.learning_rate,
    )


def _pool(name):
    if ":" in name and not Path(name).exists():
        return _made_by(name)
    if not name.endswith(".npy"):
        raise ValueError(f"the pool must be an .npy file or module:function: {name}.")
    return np.load(name, mmap_mode="r")


def _made_by(name):
    """What the function named module:function returns."""
    module, function = name.split(":", 1)
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name} cannot be called: {error}.") from error


def _where(options):
    """The rows that may be picked, as a mask; None for all."""
    if options.labeled is None:
        return None
    labeled = np.load(options.labeled)
    size = len(jax.tree.leaves(_pool(options.pool))[0])
    if labeled.ndim != 1 or not np.issubdtype(labeled.dtype, np.integer):
        raise ValueError(f"{options.labeled} must hold a vector of row numbers.")
    if labeled.size and not 0 <= labeled.min() <= labeled.max() < size:
        raise ValueError(f"{options.labeled} must hold rows in [0, {size}).")
    where = np.ones(size, bool)
    where[labeled] = False
    return where


def _write(top: TopK, path: Path) -> None:
    """A line for each pick, best first; the file is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    with half.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("row", "score"))
        lines.writerows(zip(top.rows.tolist(), top.scores.tolist(), strict=True))
    half.replace(path)
