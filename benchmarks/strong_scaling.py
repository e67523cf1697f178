"""Does the same pool take less time on more devices and processes, for the same picks?

    python -m benchmarks.strong_scaling                          # a minute
    python -m benchmarks.strong_scaling --rows 20000000 --out scaling.json

Scans one pool by exact IWPS on the last layer on 1, 2, 4 and 8 devices, in turns, and
by 2 processes of one device each; picks must be the same rows everywhere. Without that
many accelerators the devices are virtual ones of the CPU, which share its cores: that
shows what dividing the rows costs, not what it gains.
"""

import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import iwps_jax
from benchmarks import command
from benchmarks.command import Positive
from benchmarks.large_pool import Sizes, a_model

DEVICES = (1, 2, 4, 8)
PROCESSES = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Sizes):
    """The options of the benchmark."""

    repeats: Positive = 5
    rows: Positive = 1_000_000
    coordinator: str | None = None
    """for the processes that the benchmark starts: address of process 0"""
    process: int | None = None
    """likewise: number of the process"""


def a_pool(options: Options) -> np.ndarray:
    """The same rows in every process."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(options.rows, options.dim)).astype(np.float16)


def scan(options: Options, pool, devices) -> tuple[float, list[int]]:
    """Seconds and picked rows of one scan."""
    model = a_model(options.dim, options.classes, options.holdout_size)
    score = partial(iwps_jax.iwps_last_layer, **model)
    start = time.perf_counter()
    top = iwps_jax.top_k_of_pool(score, pool, options.k, devices=devices)
    return time.perf_counter() - start, top.rows.tolist()


def on_devices(options: Options) -> dict[str, dict]:
    """The scan on every number of devices there are, in turns."""
    pool, results = a_pool(options), {}
    counts = [count for count in DEVICES if count <= len(jax.devices())]
    for turn in range(options.repeats + 1):
        for count in counts:
            seconds, rows = scan(options, pool, jax.devices()[:count])
            result = results.setdefault(
                f"{count} device{'s' * (count > 1)}", {"seconds": [], "rows": rows}
            )
            if turn > 0:  # the first one compiles
                result["seconds"].append(seconds)
            assert rows == result["rows"], "two scans on the same devices differ"
    return results


def as_process(options: Options) -> None:
    """One of several processes; prints what it measured as JSON."""
    jax.distributed.initialize(options.coordinator, PROCESSES, options.process)
    pool, seconds = a_pool(options), []
    for _ in range(options.repeats + 1):
        taken, rows = scan(options, pool, jax.local_devices()[:1])
        seconds.append(taken)
    print(json.dumps({"seconds": seconds[1:], "rows": rows}))


def on_processes(arguments: Sequence[str]) -> dict:
    """What the slowest of several processes on this machine measured."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "benchmarks.strong_scaling", *arguments]
    workers = [
        subprocess.Popen(
            [*command, "--coordinator", coordinator, "--process", str(process)],
            stdout=subprocess.PIPE,
            text=True,
            # One process cannot share an accelerator with another.
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        for process in range(PROCESSES)
    ]
    printed = [worker.communicate()[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        raise SystemExit("a process has failed, see above.")
    told = [json.loads(text.strip().splitlines()[-1]) for text in printed]
    assert all(each["rows"] == told[0]["rows"] for each in told)
    seconds = [max(turn) for turn in zip(*(x["seconds"] for x in told), strict=True)]
    return {"seconds": seconds, "rows": told[0]["rows"]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Scans, compares, prints and keeps the numbers."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = command.parse(Options, "strong_scaling", __doc__, arguments)
    if options.coordinator:
        as_process(options)
        return
    # Before JAX looks at its devices; accelerators, where there are any, come first.
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    results = on_devices(options)
    results[f"{PROCESSES} processes on the CPU"] = on_processes(arguments)
    alone = results["1 device"]
    table = Table("on", "samples/s", "times 1 device", "picks")
    for name, result in results.items():
        result["same_picks"] = result["rows"] == alone["rows"]
        seconds = statistics.median(result["seconds"])
        result["samples_per_second"] = options.rows / seconds
        result["speed_ratio"] = statistics.median(alone["seconds"]) / seconds
        table.add_row(
            name,
            f"{result['samples_per_second']:,.0f}",
            f"{result['speed_ratio']:.2f}",
            "the same" if result["same_picks"] else "DIFFERENT",
        )
    Console().print(table)
    for result in results.values():
        del result["rows"]
    results, ignored = {"results": results}, ["coordinator", "process"]
    command.finish("strong_scaling", options, results, ignored=ignored)


if __name__ == "__main__":
    main()
