"""How many rows to score at once: from the memory of the device, or a refusal."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from jaxtyping import PyTree

from iwps_jax import checks
from iwps_jax.blocks import LANES
from iwps_jax.pool import sources
from iwps_jax.pool.devices import Program, traced
from iwps_jax.pool.footprint import Footprint
from iwps_jax.pool.quick import first_form, program_of
from iwps_jax.pool.sources import Source

LARGEST_CHUNK = 2**16
TRIAL = 64
# A CPU is fastest on what its caches hold; accelerators want all they can get.
CPU_WORKING_SET = 2**22
CPU_FLOPS_PER_CALL, CPU_ROWS_PER_CALL = 2e9, 2**14
SHARE_OF_FREE_MEMORY = 0.5
# Beside the chunk at work: one being read, one on its way, one waiting.
CHUNKS_IN_FLIGHT = 3

CHEAPER = (
    "iwps -> iwps_mlp (fully connected networks), iwps_app (any network) or "
    "iwps_last_layer (the last layer's features)"
)


def plan_program(
    score_fn: Callable[[PyTree], PyTree],
    source: Source,
    chunk_size: int | None,
    devices: Sequence[jax.Device] | None,
) -> Program:
    """The score, for chunks of this pool that suit these devices.

    Args:
        score_fn: the score of a chunk.
        source: the pool.
        chunk_size: rows at once on each device; planned if None.
        devices: of this process; all if None.

    Raises:
        PoolError: if the first row cannot be read.
        ValueError: if the score does not return one row for each row, or an argument
            is out of range.
        TypeError: if an argument is of a wrong type, or rows are not numbers.
        MemoryError: if not even one row fits.
    """
    devices = _check_devices(devices)
    row, _ = sources.read_chunk(source, 0, 1)
    sources.check_numbers(row)
    most = LARGEST_CHUNK
    if source.size is not None:  # no call needs more than the pool has for each device
        most = LANES * -(-source.size // (LANES * len(devices)))
    if chunk_size is not None:
        if checks.require_integer("chunk_size", chunk_size) < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}.")
        chunk_size = whole_lanes(min(int(chunk_size), most))
        return program_of(score_fn, row, devices, chunk_size=chunk_size, chunks=1)
    footprint = traced(first_form(score_fn), row, TRIAL, devices[0])
    free = SHARE_OF_FREE_MEMORY * min(free_memory(device) for device in devices)
    chunk_size = plan_chunk_size(footprint, row, devices[0], free)
    while True:
        chunk_size = whole_lanes(min(chunk_size, most))
        chunks = plan_chunks_per_call(footprint, chunk_size, devices[0])
        waiting = chunk_size * _in_flight(row)
        chunks = max(1, min(chunks, -(-most // chunk_size), int(free / 2 // waiting)))
        program = program_of(
            score_fn, row, devices, chunk_size=chunk_size, chunks=chunks
        )
        needed = program.working_bytes() + chunks * waiting
        if needed <= free:
            return program
        if chunk_size == 1:
            raise MemoryError(
                f"one row takes {needed / 1e6:,.0f} MB on {devices[0]}, more than half "
                f"of the {free / SHARE_OF_FREE_MEMORY / 1e6:,.0f} MB free there: take "
                f"a score that needs less ({CHEAPER}) or fewer holdout samples."
            )
        chunk_size = min(chunk_size // 2, power_of_two(chunk_size * free / needed))


def _check_devices(devices):
    if devices is None:
        return tuple(jax.local_devices())
    if not isinstance(devices, Sequence) or not all(
        isinstance(device, jax.Device) for device in devices
    ):
        raise TypeError(f"devices must be a list of devices, got {devices!r}.")
    if len(devices) == 0 or len(set(devices)) < len(devices):
        raise ValueError(
            "devices must be one device or more, each once, "
            f"got {', '.join(map(str, devices)) or 'none'}."
        )
    return tuple(devices)


def plan_chunk_size(
    footprint: Footprint, row: PyTree, device: jax.Device, free_bytes: float
) -> int:
    """Rows that one device scores at once, as far as the trace of a score tells.

        rows = (free memory / 2) / (bytes a row)

    rounded down to a power of two, at most 65,536; on a CPU also few enough for
    4 MiB, which its caches hold, if that leaves 8 or more.

    Args:
        footprint: what scoring `TRIAL` rows at once takes.
        row: one row of the pool, with a leading axis of length one.
        device: where the chunk will be scored.
        free_bytes: memory that may be used there.
    """
    working = max(footprint.working_bytes / TRIAL, 1)
    fitting = free_bytes / (working + _in_flight(row))
    if device.platform == "cpu":
        fitting = min(fitting, max(CPU_WORKING_SET / working, 8))
    return min(LARGEST_CHUNK, power_of_two(fitting))


def power_of_two(size: float) -> int:
    """The next one down, and at least 1."""
    return 1 << max(0, int(size).bit_length() - 1)


def _in_flight(row):
    return CHUNKS_IN_FLIGHT * sum(leaf.nbytes for leaf in jax.tree.leaves(row))


def whole_lanes(chunk_size: int) -> int:
    """Whole lanes of rows, if there is one, for copies to tie: see `blocks.LANES`.

    A chunk of fewer rows is kept: it was chosen because more do not fit.

    Example:
        >>> whole_lanes(37), whole_lanes(5)
        (32, 5)
    """
    return max(chunk_size // LANES * LANES, min(chunk_size, LANES - 1))


def plan_chunks_per_call(
    footprint: Footprint, chunk_size: int, device: jax.Device
) -> int:
    """Chunks one device scores between two looks of the host.

    On a CPU, whose chunks are small, as many as take some hundredths of a second, for
    the host to be no burden, up to 16,384 rows; elsewhere one.
    """
    if device.platform != "cpu":
        return 1
    flops = footprint.flops * chunk_size / TRIAL
    by_work = CPU_FLOPS_PER_CALL / flops if flops > 0 else 1
    return max(1, int(min(by_work, CPU_ROWS_PER_CALL / chunk_size)))


def free_memory(device: jax.Device) -> int:
    """Bytes that a program may still take on this device.

    Devices of one CPU share what the machine, or the control group of the process,
    has available.
    """
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    sharing = sum(other.platform == device.platform for other in jax.local_devices())
    return _available_on_host() // sharing


def _available_on_host() -> int:
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].split()[0])
    group = Path("/sys/fs/cgroup")
    limit = group / "memory.max"
    if limit.exists() and limit.read_text().strip().isdigit():
        counts = (group / "memory.stat").read_text().splitlines()
        # Pages of files count as used but are given back on demand.
        cached = int(dict(line.split() for line in counts)["inactive_file"])
        used = int((group / "memory.current").read_text()) - cached
        free = min(free, int(limit.read_text()) - used)
    return max(free, 0)
