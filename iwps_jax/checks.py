"""Refusals at the public boundary: sentences that name the argument and the rule.

Shapes, types and static numbers are checked while tracing, at no cost at run
time. Values (NaN, labels out of range) are checked only where they are known,
that is outside `jax.jit`; inside it nothing is raised and nothing is cleaned.
"""

import operator
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from iwps_jax.types import AnyArray


def is_known_true(predicate: AnyArray) -> bool:
    """Whether `predicate` is true; false where a trace hides its value."""
    try:
        return bool(predicate)
    except jax.errors.TracerBoolConversionError:
        return False


def _by_either(question: Callable[..., AnyArray]) -> Callable[..., AnyArray]:
    """A question about numbers, asked by NumPy where they are NumPy's.

    There is nothing to compile then. The numbers are those that JAX would make of the
    array: in 32-bit mode, 1e300 is infinite.
    """
    compiled = jax.jit(partial(question, jnp))

    @wraps(question)
    def ask(array, *bound):
        if not isinstance(array, np.ndarray):
            return compiled(array, *bound)
        with np.errstate(all="ignore"):
            dtype = jax.dtypes.canonicalize_dtype(array.dtype)
            found = question(np, array.astype(dtype, copy=False), *bound)
        return np.asarray(found)

    return ask


@_by_either
def _any_nonfinite(xp, array):
    return ~xp.isfinite(array).all()


@_by_either
def _any_nan(xp, array):
    return xp.isnan(array).any()


@_by_either
def _any_undefined_softmax(xp, logits):
    # The largest logit is NaN, or an infinity, where the softmax is not defined.
    return ~xp.isfinite(logits.max(-1)).all()


@_by_either
def _any_positive(xp, array):
    return (array > 1e-3).any()


@_by_either
def any_outside(xp: Any, labels: AnyArray, num_classes: Any) -> Any:
    """Whether a label is outside [0, num_classes), by NumPy or JAX."""
    if labels.dtype.itemsize < 4:  # int8 cannot hold a num_classes of 300
        labels = labels.astype(xp.int32)
    return (labels < 0).any() | (labels >= num_classes).any()


@_by_either
def _any_negative_or_no_sum(xp, weights):
    return (weights < 0).any() | ~(weights.sum() > 0)


def require_same_numbers(name: str, tree: PyTree) -> None:
    """Refuses arrays whose numbers a compiled program would take for others.

    It reads the bytes of any order as this machine's, and of 64-bit integers half of
    the bits. JAX notices the first only while it compiles, so every call must ask.
    """
    for leaf in jax.tree.leaves(tree):
        dtype = getattr(leaf, "dtype", None)
        if not getattr(dtype, "isnative", True):
            raise TypeError(
                f"{name} must be in the byte order of this machine, got {dtype}: pass "
                f"{name}.astype({name}.dtype.newbyteorder('='))."
            )
        if not isinstance(leaf, np.ndarray | np.integer) or leaf.size == 0:
            continue
        if np.issubdtype(leaf.dtype, np.integer):
            kept = jax.dtypes.canonicalize_dtype(leaf.dtype)
            if kept != leaf.dtype and not fits(np.asarray(leaf), kept):
                raise ValueError(
                    f"{name} must fit {kept}, which JAX makes of {leaf.dtype} unless "
                    f"jax_enable_x64 is set, got {leaf.min()} to {leaf.max()}."
                )


def fits(numbers: np.ndarray, dtype: Any) -> bool:
    """Whether a type holds the integers, or the size of the finite numbers."""
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)
        return bool(info.min <= numbers.min() and numbers.max() <= info.max)
    largest = np.abs(numbers[np.isfinite(numbers)]).max(initial=0)
    return bool(largest <= jnp.finfo(dtype).max)


def require_axes(name: str, array: AnyArray, axes: str) -> None:
    """Refuses what is not an array with as many axes as `axes` has words."""
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        raise TypeError(f"{name} must be an array, got {type(array).__name__}.")
    require_same_numbers(name, array)
    expected = axes.split()
    if len(array.shape) != len(expected):
        raise ValueError(
            f"{name} must have {len(expected)} axes [{', '.join(expected)}], "
            f"got shape {tuple(array.shape)}."
        )


def require_floating(name: str, array: AnyArray, axes: str) -> None:
    """Refuses anything but floating-point numbers, finite or not, with these axes."""
    require_axes(name, array, axes)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must be floating point, got {array.dtype}.")
    if 0 in array.shape:
        raise ValueError(f"{name} must not be empty, got shape {tuple(array.shape)}.")


def require_finite(name: str, array: AnyArray, axes: str) -> None:
    """Refuses anything but finite floating-point numbers with these axes."""
    require_floating(name, array, axes)
    if is_known_true(_any_nonfinite(array)):
        raise ValueError(f"{name} must be finite, got NaN or infinity.")


def require_no_nan(name: str, array: AnyArray, axes: str) -> None:
    """Refuses NaN but lets infinities pass: log 0 and masked classes are legal."""
    require_floating(name, array, axes)
    if is_known_true(_any_nan(array)):
        raise ValueError(f"{name} must not contain NaN.")


def require_logits(name: str, logits: AnyArray, axes: str) -> None:
    """Refuses logits whose softmax is not defined; -inf rules single classes out."""
    require_floating(name, logits, axes)
    if is_known_true(_any_undefined_softmax(logits)):
        raise ValueError(
            f"{name} must have a finite largest entry in every row: NaN, +inf and rows "
            "of only -inf have no softmax."
        )


def require_log_probs(name: str, log_probs: AnyArray, axes: str) -> None:
    """Refuses what cannot be log-probabilities; -inf is one."""
    require_no_nan(name, log_probs, axes)
    if is_known_true(_any_positive(log_probs)):
        raise ValueError(
            f"{name} must be logarithms of probabilities, at most 0; got positive "
            "entries. Take jax.nn.log_softmax of logits, or the logarithm of "
            "probabilities."
        )


def require_finite_tree(name: str, tree: PyTree) -> None:
    """Refuses a pytree with no arrays or with a NaN or infinity in a leaf."""
    leaves = jax.tree.leaves(tree)
    if not leaves:
        raise ValueError(f"{name} must hold at least one array, got none.")
    require_same_numbers(name, tree)
    for leaf in leaves:
        if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float):
            raise TypeError(
                f"{name} must hold arrays only, got a {type(leaf).__name__}."
            )
        is_floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        if is_floating and is_known_true(_any_nonfinite(leaf)):
            raise ValueError(f"{name} must be finite, got NaN or infinity.")


def require_params(name: str, params: PyTree) -> None:
    """Refuses parameters that cannot take a gradient step."""
    require_finite_tree(name, params)
    for leaf in jax.tree.leaves(params):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(
                f"{name} must be floating point throughout, got {leaf.dtype}. Pass "
                "only what a gradient step may move and let apply_fn close over the "
                "rest: nnx.split(model, nnx.Param, ...), equinox.partition, "
                'variables["params"].'
            )


def require_key(name: str, key: AnyArray) -> None:
    """Refuses what is not one random key, of the typed or of the older kind."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    is_typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    is_raw = dtype == jnp.uint32 and len(shape or ()) == 1
    if not (is_raw or (is_typed and shape == ())):
        raise TypeError(f"{name} must be one key, as made by jax.random.key(seed).")


def require_keys(name: str, keys: AnyArray, size: int, source: str) -> None:
    """Refuses what is not one random key for each row of another argument."""
    require_same_numbers(name, keys)
    if jnp.ndim(keys) == 0:
        raise ValueError(f"{name} must be one a row, made by sample_keys, got one.")
    require_size(name, keys, 0, size, source)


def require_same_tree(name: str, tree: PyTree, like_name: str, like: PyTree) -> None:
    """Refuses a pytree whose structure or shapes differ from those of `like`."""
    of_tree: Any = jax.tree.structure(tree)
    of_like: Any = jax.tree.structure(like)
    if of_tree != of_like:
        raise ValueError(
            f"{name} must have the structure of {like_name}, got "
            f"{of_tree} and {of_like}."
        )
    for leaf, expected in zip(
        jax.tree.leaves(tree), jax.tree.leaves(like), strict=True
    ):
        if jnp.shape(leaf) != jnp.shape(expected):
            raise ValueError(
                f"{name} must have the shapes of {like_name}, got a leaf of shape "
                f"{jnp.shape(leaf)} where {like_name} has {jnp.shape(expected)}."
            )


def batch_size(name: str, inputs: PyTree) -> int:
    """The length of the leading axis that all leaves of `inputs` share."""
    require_same_numbers(name, inputs)
    leaves = jax.tree.leaves(inputs)
    if not leaves or any(jnp.ndim(leaf) == 0 for leaf in leaves):
        raise ValueError(f"{name} must be arrays with a leading sample axis.")
    sizes = {jnp.shape(leaf)[0] for leaf in leaves}
    if len(sizes) > 1:
        raise ValueError(
            f"{name} must share one leading axis, got lengths {sorted(sizes)}."
        )
    (size,) = sizes
    if size == 0:
        raise ValueError(f"{name} must hold at least one sample, got none.")
    return size


def require_size(
    name: str, array: AnyArray, axis: int, expected: int, source: str
) -> None:
    """Refuses an axis whose length differs from what another argument says."""
    size = array.shape[axis]
    if size != expected:
        raise ValueError(
            f"{name} must have length {expected} on axis {axis} to match {source}, "
            f"got shape {tuple(array.shape)}."
        )


def require_labels(name: str, labels: AnyArray, num_classes: int) -> None:
    """Refuses labels that are not integers in [0, num_classes), or none at all."""
    require_integers(name, labels)
    if is_known_true(any_outside(labels, num_classes)):
        raise ValueError(f"{name} must be in [0, {num_classes}), got others.")


def require_integers(name: str, labels: AnyArray) -> None:
    """Refuses what is not at least one integer a sample, of whatever size."""
    require_axes(name, labels, "samples")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers, got {labels.dtype}.")
    if labels.shape[0] == 0:
        raise ValueError(f"{name} must hold at least one label, got none.")


def require_clusters(name: str, clusters: AnyArray, size: int) -> None:
    """Refuses what is not one integer below `size` per row; negative ones are legal."""
    require_integers(name, clusters)
    require_size(name, clusters, 0, size, "the pool")
    if is_known_true((jnp.asarray(clusters) >= size).any()):
        raise ValueError(f"{name} must be below {size}, the size of the pool.")


def require_weights(name: str, weights: AnyArray, size: int, source: str) -> None:
    """Refuses weights that have no mean: negative ones, or none that is positive."""
    require_finite(name, weights, "samples")
    require_size(name, weights, 0, size, source)
    if is_known_true(_any_negative_or_no_sum(weights)):
        raise ValueError(
            f"{name} must be at least 0, some of them more, got a negative one or "
            "only zeros."
        )


def require_steps(steps: int, learning_rate: AnyArray | float) -> None:
    """Refuses a look-ahead of no steps, or along no or a backward step length."""
    if require_integer("steps", steps) < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    require_positive("learning_rate", learning_rate)


def require_positive(name: str, value: AnyArray | float) -> None:
    """Refuses what is not one positive and finite number."""
    _require_number(name, value, "positive and finite", lambda number: number > 0)


def require_not_negative(name: str, value: AnyArray | float) -> None:
    """Refuses what is not one finite number from zero on."""
    _require_number(name, value, "at least 0 and finite", lambda number: number >= 0)


def _require_number(name, value, rule, is_allowed):
    require_same_numbers(name, value)
    try:
        number = jnp.asarray(value)
    except (TypeError, ValueError):
        number = None
    if number is None or not (
        jnp.issubdtype(number.dtype, jnp.floating)
        or jnp.issubdtype(number.dtype, jnp.integer)
    ):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if number.ndim != 0:
        raise ValueError(f"{name} must be a scalar, got shape {number.shape}.")
    if is_known_true(~(jnp.isfinite(number) & is_allowed(number))):
        raise ValueError(f"{name} must be {rule}, got {value}.")


def require_callable(name: str, value: Any) -> None:
    """Refuses what cannot be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {type(value).__name__}.")


def require_integer(name: str, value: int) -> int:
    """Refuses a static number that is not an integer; returns it as an int."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} must be an integer, got {type(value).__name__}."
        ) from None


def require_mask(name: str, mask: AnyArray, size: int, what: str = "the pool") -> None:
    """Refuses a mask that is not one boolean per row, or per part of something else."""
    require_axes(name, mask, what.split()[-1])
    if mask.dtype != bool:
        raise TypeError(f"{name} must be boolean, got {mask.dtype}.")
    require_size(name, mask, 0, size, what)


def require_at_most(
    name: str, value: int, available: AnyArray | int, what: str = "samples left"
) -> None:
    """Refuses a number of samples below one or above those available."""
    if require_integer(name, value) < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    try:
        most = int(available)
    except jax.errors.ConcretizationTypeError:  # a trace hides it
        return
    if value > most:
        raise ValueError(
            f"{name} must be at most the number of {what}, {most}, got {value}."
        )
