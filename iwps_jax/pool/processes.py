"""What the processes of one scan tell each other, through `jax.distributed`."""

import io
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

from iwps_jax.pool.sources import PoolError

T = TypeVar("T")


def gathered(arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The arrays of every process, in the order of their numbers, on every process.

    Waits for all of them. Shapes may differ; 64-bit numbers stay 64-bit.

    Raises:
        PoolError: if another process has died. JAX may notice first and abort this one.
    """
    if jax.process_count() == 1:
        return [arrays]
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]  # no name is allow_pickle
    message = np.frombuffer(packed.getvalue(), np.uint8)
    lengths = _all_gather(np.int32(len(message)))
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: len(message)] = message
    messages = _all_gather(padded)
    return [
        _unpacked(message[:length])
        for message, length in zip(messages, lengths, strict=True)
    ]


def _all_gather(array):
    from jax.experimental import multihost_utils

    try:
        return multihost_utils.process_allgather(array)
    except (RuntimeError, ValueError) as error:  # JAX raises either
        raise PoolError(
            "another process has died before the scan was finished: start all of them "
            f"again, with the same folder if there was one, to go on ({error})."
        ) from error


def together(work: Callable[[], T]) -> T:
    """What `work` returns; its error, on whichever process, is raised on all of them.

    Without that the others would wait for one that has given up.

    Raises:
        PoolError: if another process had an error; quotes it.
    """
    error = None
    try:
        result = work()
    except Exception as caught:
        error = caught
    told = gathered({"error": np.array("" if error is None else _sentence(error))})
    if error is not None:
        raise error
    for process, each in enumerate(told):
        if each["error"]:
            raise PoolError(f"process {process} gave up: {each['error']}")
    return result


def _sentence(error):
    return str(error) or type(error).__name__


def _unpacked(message):
    with np.load(io.BytesIO(message.tobytes())) as arrays:
        return dict(arrays)
