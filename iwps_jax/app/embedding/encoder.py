"""A network that turns samples into features, and what its output must be."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.app.embedding.source import IMAGES, TEXTS
from iwps_jax.refusal import Refusal
from iwps_jax.wording import plural

OWN_AT_ONCE = {IMAGES: 16, TEXTS: 256}
"""Samples of a call of a network of other people: images are in their full size."""


class Encoder(NamedTuple):
    """A network with its weights.

    Attributes:
        identity: all that the features depend on but the samples.
        encode: `encode(samples) -> float32 [n, d]`.
        at_once: samples of a call.
        block: samples whose features are kept together; None: `blocks.SIZE`.
    """

    identity: dict[str, Any]
    encode: Callable[[Sequence[Any]], np.ndarray]
    at_once: int = 256
    block: int | None = None


def checked(
    name: str, encode: Callable[[list[Any]], Any]
) -> Callable[[Sequence[Any]], np.ndarray]:
    """An `encode` of which the output is a finite matrix, float32.

    Args:
        name: of the backbone, for the refusals.
        encode: returns numbers [n, d] for n samples, or else the new function raises
            a `Refusal`.
    """

    def encode_and_check(samples):
        found = np.asarray(encode(list(samples)))
        is_right = found.ndim == 2 and len(found) == len(samples) and found.size > 0
        if not is_right or found.dtype.kind not in "fiu":
            raise Refusal(
                f"--backbone {name} must return numbers [{len(samples)}, d] for "
                f"{plural(len(samples), 'sample')}, got {found.dtype} {found.shape}."
            )
        with np.errstate(over="ignore"):  # becomes infinite, and is refused
            found = found.astype(np.float32)
        if not np.isfinite(found).all():
            raise Refusal(
                f"--backbone {name} must return numbers that are finite in float32."
            )
        return found

    return encode_and_check
