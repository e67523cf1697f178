"""Expected error reduction: which label, whatever it is, would settle most?"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from iwps_jax import checks, numerics
from iwps_jax.scores import entropy_change, head, many_labels
from iwps_jax.types import AnyArray

# From here on the labels share what they can; of fewer each is taken by itself.
MANY_CLASSES = 64
# Of these numbers of the likeliest labels, the first that keeps what is left out below
# TOLERANCE of the largest score is taken one by one; the error is usually far smaller.
EXACT_LABELS = (8, 32)
TOLERANCE = 1e-3


def error_reduction(
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    reference_features: Float[AnyArray, "m d"],
    *,
    steps: int = 3,
    learning_rate: float | Float[AnyArray, ""] = 1e-3,
) -> Float[jax.Array, " pool"]:
    """Minus the expected entropy on a reference set after labeling a candidate.

        score(x) = -Σ_c p(c|x) mean_m H[p(y | g_m; θ_(x,c))]

    with θ_(x,c) the head after T SGD steps on x under label c, in the closed form of
    `iwps_last_layer`. In [-log(classes), 0]. The cost is pool · classes² · m
    exponentials, the memory a few times pool · m: take a few hundred reference samples
    and chunks of a large pool. From 64 classes on it is some pool · classes · (m +
    classes) where the likeliest labels are taken one by one and the others together; by
    a bound, that changes no score by more than 1e-3 of the largest change of those
    scored together, and else it is not done. Beside an entropy near one, float32
    cannot show changes below 1e-7: to rank candidates, use
    `expected_entropy_reduction`, which leaves the constant out.

    Args:
        features: inputs h of the last layer.
        kernel: weights of the last layer.
        bias: bias of the last layer.
        reference_features: inputs g of the last layer for a random subset of the
            pool, on which the expected error is estimated.
        steps: T, the SGD steps under each hypothetical label.
        learning_rate: η, the length of a step.

    Returns:
        One float32 score per candidate, in nats.

    Raises:
        ValueError: if shapes disagree, or outside `jax.jit` if a number is not
            finite.
        TypeError: if features are not floating point.

    References:
        Roy, McCallum 2001, "Toward Optimal Active Learning through Sampling
        Estimation of Error Reduction", log-loss version, §3. The retraining is
        replaced by the head's look-ahead.

    Example:
        >>> scores = error_reduction(
        ...     features=jnp.array([[1.0, 1.0], [0.0, 0.0]]),
        ...     kernel=jnp.eye(2),
        ...     bias=jnp.zeros(2),
        ...     reference_features=jnp.array([[2.0, 0.0], [0.0, 2.0]]),
        ...     learning_rate=0.1,
        ... )
        >>> bool(((-jnp.log(2) < scores) & (scores < 0)).all())
        True
    """
    reduction, entropy_now = _checked_reduction(
        features, kernel, bias, reference_features, steps, learning_rate
    )
    return jnp.minimum(reduction - entropy_now, 0)


def expected_entropy_reduction(
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    reference_features: Float[AnyArray, "m d"],
    *,
    steps: int = 3,
    learning_rate: float | Float[AnyArray, ""] = 1e-3,
) -> Float[jax.Array, " pool"]:
    """How much labeling a candidate is expected to lower the reference's entropy.

        score(x) = Σ_c p(c|x) mean_m {H[p(y | g_m; θ)] - H[p(y | g_m; θ_(x,c))]}

    `error_reduction` plus the present mean entropy, one constant for all candidates:
    the same order, with the digits that the constant would take. Negative where the
    update is expected to raise the entropy.

    Args:
        features: inputs h of the last layer.
        kernel: weights of the last layer.
        bias: bias of the last layer.
        reference_features: inputs g of the last layer for a random subset of the
            pool.
        steps: T, the SGD steps under each hypothetical label.
        learning_rate: η, the length of a step.

    Returns:
        One float32 score per candidate, in nats.

    Raises:
        ValueError: if shapes disagree, or outside `jax.jit` if a number is not
            finite.
        TypeError: if features are not floating point.

    References:
        Roy, McCallum 2001, "Toward Optimal Active Learning through Sampling
        Estimation of Error Reduction", log-loss version, §3.

    Example:
        >>> candidates = jnp.array([[1.0, 1.0], [0.0, 0.0]])
        >>> head = jnp.eye(2), jnp.zeros(2)
        >>> reference = jnp.array([[2.0, 0.0], [0.0, 2.0]])
        >>> reduction = expected_entropy_reduction(candidates, *head, reference)
        >>> bool(abs(reduction[1]) < abs(reduction[0]) < 1e-3)
        True
    """
    return _checked_reduction(
        features, kernel, bias, reference_features, steps, learning_rate
    )[0]


def _checked_reduction(
    features, kernel, bias, reference_features, steps, learning_rate
):
    head.check_head(features, kernel, bias)
    head.check_same_features("reference_features", reference_features, kernel)
    checks.require_steps(steps, learning_rate)
    return _entropy_reduction(
        features, kernel, bias, reference_features, learning_rate, steps=int(steps)
    )


@partial(jax.jit, static_argnames="steps")
def _entropy_reduction(
    features, kernel, bias, reference_features, learning_rate, *, steps
):
    """The expected reduction for every candidate, and the present mean entropy."""
    features, kernel, bias, reference_features = numerics.upcast(
        (features, kernel, bias, reference_features)
    )
    reference = entropy_change.reference_of(
        numerics.log_softmax(head.head_logits(reference_features, kernel, bias))
    )
    candidates = Candidates(
        features,
        head.head_logits(features, kernel, bias),
        head.couplings(features, reference_features),
    )
    look_ahead = dict(steps=steps, learning_rate=learning_rate)
    if len(bias) < MANY_CLASSES:
        change = _by_labels(candidates, reference, **look_ahead)
    else:
        change = _by_bumps(candidates, reference, **look_ahead)
    entropy_now = reference.entropy.mean()
    return -change.astype(jnp.float32), entropy_now.astype(jnp.float32)


class Candidates(NamedTuple):
    """The candidates, as the forms read them."""

    features: Float[jax.Array, "pool d"]
    logits: Float[jax.Array, "pool classes"]
    couplings: Float[jax.Array, "pool m"]


def largest_change(couplings, *, steps, learning_rate) -> Float[jax.Array, ""]:
    """A bound of every |k δ|, for no entry of a step exceeds η, whatever the label."""
    return steps * learning_rate * jnp.abs(couplings).max()


def _by_labels(candidates, reference, *, steps, learning_rate):
    """Every label's change: pool · classes² · m exponentials."""
    look_ahead = dict(steps=steps, learning_rate=learning_rate)
    largest = largest_change(candidates.couplings, **look_ahead)
    classes, size = candidates.logits.shape[1], len(candidates.logits)
    labels = jnp.broadcast_to(jnp.arange(classes)[:, None], (classes, size))

    def of_all(change_of):
        return lambda: _of_labels(
            labels, change_of, candidates, reference, **look_ahead
        )

    return jax.lax.switch(
        entropy_change.form_of_step(largest),
        [of_all(change_of) for _, change_of in entropy_change.FORMS],
    )


def _of_labels(labels, change_of, candidates, reference, *, steps, learning_rate):
    """Σ_a π_a mean_m ΔH over the `labels` [any number, pool], one after another."""
    displace = partial(head.displacement, steps=steps, learning_rate=learning_rate)
    features, logits, couplings = candidates
    probs = jax.nn.softmax(logits)

    def add_label(total, label):
        deltas = jax.vmap(displace)(features, logits, label)
        # A mean of differences keeps digits that a difference of means has not.
        change = jax.vmap(partial(change_of, reference))(couplings, deltas).mean(-1)
        prob = jnp.take_along_axis(probs, label[:, None], axis=1)[:, 0]
        return total + prob * change, None

    return jax.lax.scan(add_label, jnp.zeros_like(logits[:, 0]), labels)[0]


def _by_bumps(candidates, reference, *, steps, learning_rate):
    """The likeliest labels' changes, and the others' as bumps, where those hold.

    As few labels are taken one by one as the bound of what is left out allows.
    """
    look_ahead = dict(steps=steps, learning_rate=learning_rate)
    largest = largest_change(candidates.couplings, **look_ahead)
    is_moderate = numerics.all_of_batch(largest <= many_labels.RADIUS)

    def form(num_exact):
        exact = jax.lax.top_k(candidates.logits, num_exact)[1]
        change, bound = many_labels.mean_change(
            exact, candidates, reference, **look_ahead
        )
        change = change + _of_labels(
            exact.T, entropy_change.plain_change, candidates, reference, **look_ahead
        )
        tolerance = TOLERANCE * jnp.abs(change).max()
        holds = is_moderate & (bound.max() <= tolerance)
        return change, numerics.all_of_batch(jax.lax.stop_gradient(holds))

    result = jnp.zeros_like(candidates.logits[:, 0]), jnp.array(False)
    for num_exact in EXACT_LABELS:
        result = jax.lax.cond(
            result[1] | ~is_moderate,
            lambda kept: kept,
            lambda _, num_exact=num_exact: form(num_exact),
            result,
        )
    change, holds = result
    return jax.lax.cond(
        holds, lambda: change, lambda: _by_labels(candidates, reference, **look_ahead)
    )
