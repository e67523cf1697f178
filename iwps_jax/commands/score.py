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
import importlib.util
import os
import subprocess
import sys
import traceback
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
    parser.add_argument("--steps", type=int, help="T of iwps_last_layer, default 3")
    parser.add_argument("--learning-rate", type=float, help="η of it, default 1e-3")
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

    A refusal is one sentence on standard error, an error in code that the options name
    a traceback; no picks are written then.
    """
    close, is_one_of_several = lambda: None, False
    try:
        _check(options)
        _use_all_cores()
        is_one_of_several = _join_processes(options)
        close = _watch_over(options) if is_one_of_several else close
        pool = _pool(options.pool)
        top = top_k_of_pool(
            _score(options),
            pool,
            options.pick,
            where=_where(options, pool),
            chunk_size=options.chunk_size,
            folder=options.folder,
            show_progress=jax.process_index() == 0,
        )
        if jax.process_index() == 0:
            _write(top, options.out)
            print(f"{len(top.rows):,} rows, best first, in {options.out}")
        close()
        return 0
    except BaseException as error:
        _tell(error)
        close()
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
        if is_one_of_several:
            # An orderly end would wait for the others, who may be waiting for this.
            sys.stderr.flush()
            os._exit(status)
        return status


def _tell(error):
    """One sentence, or the traceback of an error that is not of our making."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return
    origin = traceback.extract_tb(error.__traceback__)[-1].filename
    is_refusal = isinstance(error, PoolError | OSError | MemoryError) or (
        Path(origin).is_relative_to(Path(__file__).parents[1])
    )
    if not is_refusal:
        traceback.print_exception(error)
    print(str(error) or type(error).__name__, file=sys.stderr)


def _check(options):
    """What can be refused before the work is done."""
    several = (options.coordinator, options.processes, options.process)
    if not options.distributed and several != (None, None, None):
        if None in several:
            raise ValueError(
                "--coordinator, --processes and --process must be given together, or "
                "--distributed for a launcher that JAX knows."
            )
        host, _, port = options.coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"--coordinator must be host:port: {several[0]}.")
        if not 0 <= options.process < options.processes:
            raise ValueError(
                f"--process must be in [0, {options.processes}), got {options.process}."
            )
    if options.peer_timeout < 1:
        raise ValueError(
            f"--peer-timeout must be at least 1, got {options.peer_timeout}."
        )
    for name in ("steps", "learning_rate"):
        given = getattr(options, name) is not None
        if given and options.score != "iwps_last_layer":
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is of iwps_last_layer, not {options.score}.")
    if options.out.is_dir():
        raise ValueError(f"--out must name a file, got the folder {options.out}.")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(options.out.parent, os.W_OK):
        raise ValueError(
            f"--out must be in a folder that can be written: {options.out}."
        )


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
    if not options.distributed and options.coordinator is None:
        return False
    try:
        jax.distributed.initialize(
            options.coordinator,
            options.processes,
            options.process,
            heartbeat_timeout_seconds=options.peer_timeout,
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the processes cannot be joined: {error}") from error
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
    look_ahead = {"steps": options.steps, "learning_rate": options.learning_rate}
    given = {name: value for name, value in look_ahead.items() if value is not None}
    return partial(iwps_last_layer, **model, **given)


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
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"{name} cannot be called: there is no module {module}.")
    made_by = getattr(importlib.import_module(module), function, None)
    if made_by is None:
        raise ValueError(f"{name} cannot be called: {module} has no {function}.")
    return made_by()


def _where(options, pool):
    """The rows that may be picked, as a mask; None for all."""
    if options.labeled is None:
        return None
    labeled = np.load(options.labeled)
    if hasattr(pool, "__next__"):
        raise ValueError("--labeled needs a pool with a length, got an iterator.")
    size = len(jax.tree.leaves(pool)[0])
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
