"""Dropout masks that cost little beside the products they mask: hashes of a counter.

A mask of a score's draws need not be unpredictable, only even and without structure
that a network could see: the entries are hashed from the words of the key and from
their place, where `jax.random.bernoulli` runs a cipher of twenty rounds.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Key, UInt32

from iwps_jax.types import AnyArray

# x ^= x >> 16, x *= first, x ^= x >> 15, x *= second, x ^= x >> 16: the bijection of
# 32 bits that Wellons' search found to flip each bit nearest to half of the time.
_FIRST, _SECOND = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
# 2³² over the golden ratio, odd: the bijection leaves zero where it is.
_NOT_ZERO = np.uint32(0x9E3779B9)


def kept(
    key: Key[AnyArray, ""], share: float, shape: Sequence[int]
) -> Bool[jax.Array, "..."]:
    """A mask that is true with probability `share`, by a hash of key and place.

        x = m(… m(m(w_0 ^ (i_0 + g)) ^ (i_1 + g)) …)
        x ← m(x ^ w) for the other words w,    kept = x < share · 2³²

    with w the words of the key, i the place along each axis, m a bijection of 32 bits
    and g a constant. An entry depends on its own place alone: larger shapes have the
    mask of a smaller one in their corner. The same in 64-bit mode.

    Not for secrets, nor for numbers of which more than a few bits matter.

    Args:
        key: randomness of the mask.
        share: of the entries that are kept, in (0, 1].
        shape: of the mask, one axis at least.

    Returns:
        The mask.

    Raises:
        ValueError: if the share is not in (0, 1].

    References:
        Wellons 2018, "Prospecting for Hash Functions", the function lowbias32.
        https://nullprogram.com/blog/2018/07/31/ Salmon et al. 2011, "Parallel Random
        Numbers: As Easy as 1, 2, 3", on counters in place of states.

    Example:
        >>> mask = kept(jax.random.key(0), 0.8, (100, 100))
        >>> corner = kept(jax.random.key(0), 0.8, (9, 9))
        >>> print(f"{mask.mean():.2f}", (mask[:9, :9] == corner).all())
        0.80 True
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}.")
    first, *others = jax.random.key_data(key)
    bits = first
    for axis, size in enumerate(shape):
        place = jax.lax.broadcasted_iota(jnp.uint32, (1,) * axis + (size,), axis)
        bits = _mix(bits[..., None] ^ (place + _NOT_ZERO))
    for word in others:
        bits = _mix(bits ^ word)
    return bits <= np.uint32(np.ceil(share * 2.0**32) - 1)


def _mix(bits: UInt32[jax.Array, "..."]) -> UInt32[jax.Array, "..."]:
    bits = (bits ^ (bits >> 16)) * _FIRST
    bits = (bits ^ (bits >> 15)) * _SECOND
    return bits ^ (bits >> 16)
