"""The forms of the last layer's look-ahead: which steps each serves, and how.

All compute the same change of every holdout loss by every candidate's step,

    change_nm = log Σ_c p_mc exp(k_nm (δ_nc - δ_n,y_m)),  k_nm = 1 + h_n·g_m

in the symbols of `iwps_jax.scores.lookahead`; small |k δ| allow cheaper forms.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from iwps_jax import dialect, numerics
from iwps_jax.scores import head

# (radius, order): up to |k δ| = radius, an exponential series of so many terms is
# exact to float32 rounding (1e-7 relative).
SERIES = ((0.25, 5), (0.75, 7))
# The same with fewer terms, for whoever scores all rows in one form: where each chunk
# of a pool has its own, this radius would part copies of a row by their rounding.
SHORT_SERIES = (0.02, 3)
# Up to here exponentials need no shift: they stay far within float32.
PLAIN_RADIUS = 16.0
RADII = (*(radius for radius, _ in SERIES), PLAIN_RADIUS)
"""The largest |k δ| that each of `forms` serves; one more form serves all."""
ALL_RADII = (SHORT_SERIES[0], *RADII)
"""The same of `all_forms`."""
# So many are walked without a loop; XLA does not vectorize one unrolled in part.
FEW_CLASSES = 10


class Judges(NamedTuple):
    """The holdout set, as every candidate's score needs it.

    Attributes:
        features: g.
        labels: y.
        log_probs: log p.
        is_label: one at the label, else zero.
        others: p, zero at the label.
    """

    features: Float[jax.Array, "m d"]
    labels: Int[jax.Array, " m"]
    log_probs: Float[jax.Array, "m classes"]
    is_label: Float[jax.Array, "m classes"]
    others: Float[jax.Array, "m classes"]


class Steps(NamedTuple):
    """The candidates' steps, and all that a form needs beside.

    Attributes:
        features: h, of the candidates.
        deltas: δ.
        reach: bounds of |k|, see `head.reach`.
        holdout: what judges.
    """

    features: Float[jax.Array, "pool d"]
    deltas: Float[jax.Array, "pool classes"]
    reach: Float[jax.Array, " pool"]
    holdout: Judges


def take_steps(
    features, kernel, bias, holdout_features, holdout_labels, learning_rate, steps
) -> Steps:
    """The steps of all candidates under `head.displacement`, of arrays of any type."""
    features, kernel, bias, holdout_features = numerics.upcast(
        (features, kernel, bias, holdout_features)
    )
    deltas = jax.vmap(
        partial(head.displacement, steps=steps, learning_rate=learning_rate)
    )(features, head.head_logits(features, kernel, bias))
    # It cancels, and the root in it has no slope at features of only zeros.
    reach = jax.lax.stop_gradient(head.reach(features, holdout_features))
    labels = holdout_labels.astype(jnp.int32)
    return Steps(
        features, deltas, reach, _holdout(holdout_features, labels, kernel, bias)
    )


def forms(reduce: Callable) -> list[Callable]:
    """`form(*steps)` for every form: what `reduce` makes of the changes [pool, m]."""
    return all_forms(reduce)[1:]


def all_forms(reduce: Callable) -> list[Callable]:
    """`forms`, and before them the one for steps that are shorter still."""
    by_series = [
        partial(_changes_by_series, numerics.expm1_series(radius, order))
        for radius, order in (SHORT_SERIES, *SERIES)
    ]
    changes = [*by_series, _changes_by_classes, _changes_of_any_step]
    return [partial(_reduced, form, reduce) for form in changes]


def _reduced(form, reduce, *steps):
    return reduce(form(*steps))


def largest_change(
    deltas: Float[jax.Array, "pool classes"], reach: Float[jax.Array, " pool"]
) -> Float[jax.Array, " pool"]:
    """A bound of each candidate's |k δ|."""
    return jnp.abs(deltas).max(-1) * reach


def form_of_step(
    deltas: Float[jax.Array, "pool classes"], reach: Float[jax.Array, " pool"]
) -> Int[jax.Array, ""]:
    """Which form serves the longest step: a series of `SERIES`, any |k δ|, any step.

    One form for all, under `jax.vmap` too: else every one would be computed.
    """
    largest = largest_change(deltas, reach).max()
    beyond = [~numerics.all_of_batch(largest <= radius) for radius in RADII]
    return jnp.stack(beyond).sum(dtype=jnp.int32)


def _holdout(features, labels, kernel, bias) -> Judges:
    logits = head.head_logits(features, kernel, bias)
    is_label = jax.nn.one_hot(labels, kernel.shape[1], dtype=logits.dtype)
    others = jnp.where(is_label > 0, 0, -numerics.label_residual(logits, labels))
    return Judges(features, labels, jax.nn.log_softmax(logits), is_label, others)


_matmul = partial(jnp.matmul, precision=numerics.PRECISION)


def _at_labels(deltas, holdout):
    """δ at the holdout labels, [pool, m]; a CPU gathers few classes slowly."""
    few = _by_product if deltas.shape[1] <= FEW_CLASSES else _by_gather
    return dialect.by_platform(few, _by_gather)(
        deltas, holdout.labels, holdout.is_label
    )


def _by_product(deltas, labels, is_label):
    del labels
    return _matmul(deltas, is_label.T)


def _by_gather(deltas, labels, is_label):
    del is_label
    return deltas[:, labels]


def mean(
    weights: Float[jax.Array, " m"] | None, changes: Float[jax.Array, "pool m"]
) -> Float[jax.Array, " pool"]:
    """The weighted sum over the holdout set; the mean without weights."""
    if weights is None:
        weights = jnp.full(changes.shape[1], 1 / changes.shape[1], changes.dtype)
    # A CPU's sums are not vectorized; elsewhere a sum is part of what makes its terms.
    return dialect.by_platform(_matmul, _sum)(changes, weights.astype(changes.dtype))


def _sum(changes, weights):
    return (changes * weights[None]).sum(-1)


def keep(
    weights: None, changes: Float[jax.Array, "pool m"]
) -> Float[jax.Array, "pool m"]:
    """All changes."""
    del weights
    return changes


def _changes_by_series(series, features, deltas, reach, holdout):
    """Small |k δ|, where matrix products sum the classes.

    With y the holdout label, q_c = p_c for c != y, u = k δ_y, and expm1(x) written as
    the polynomial Σ_j a_j x^j,

        Σ_c p_c exp(k (δ_c - δ_y)) - 1 = A + (A + 1 - p_y) expm1(-u)
        A = Σ_(c != y) q_c expm1(k δ_c) = Σ_j k^j (Σ_c q_c a_j δ_c^j)

    Every term carries a factor q, so a holdout sample that is already sure of its
    label keeps its digits.
    """
    # Between -1 and 1, so that no power of a tiny δ or a huge k leaves float32.
    couplings = head.couplings(features, holdout.features) / reach[:, None]
    deltas = deltas * reach[:, None]
    powers = [deltas]
    for _ in series[1:]:
        powers.append(powers[-1] * deltas)
    total = jnp.zeros_like(couplings)
    for coefficient, power in zip(reversed(series), reversed(powers), strict=True):
        moment = _matmul(coefficient * power, holdout.others.T)
        total = (total + moment) * couplings
    label_change = couplings * _at_labels(deltas, holdout)
    shrink = numerics.polynomial((0.0, *series), -label_change)
    excess = total + (total + holdout.others.sum(-1)[None]) * shrink
    return numerics.moderate_log1p(excess)


def _changes_by_classes(features, deltas, reach, holdout):
    """Any |k δ| <= PLAIN_RADIUS: pool · m · classes exponentials.

    With y the holdout label, q_c = p_c for c != y, and v_c = k (δ_c - δ_y),

        Σ_c p_c exp(v_c) - 1 = Σ_(c != y) q_c expm1(v_c)

    or, where that is near -1, the sum on the left.
    """
    del reach
    couplings = head.couplings(features, holdout.features)
    label_deltas = _at_labels(deltas, holdout)
    num_classes = deltas.shape[1]
    label_probs = jnp.exp((holdout.log_probs * holdout.is_label).sum(-1))

    def add_class(sums, of_class):
        total, excess = sums
        delta, prob = of_class
        exp, expm1 = numerics.exp_and_expm1(couplings * (delta[:, None] - label_deltas))
        return total + prob[None] * exp, excess + prob[None] * expm1

    total, excess = dialect.over_classes(
        add_class,
        (jnp.broadcast_to(label_probs, couplings.shape), jnp.zeros_like(couplings)),
        (deltas.T, holdout.others.T),
        on_cpu=num_classes if num_classes <= FEW_CLASSES else 1,
    )
    return numerics.log_of_sum(total, excess)


def _changes_of_any_step(features, deltas, reach, holdout):
    """The same beyond, where an exponential may leave float32."""
    del reach
    log_probs = holdout.log_probs.T

    def changes(delta, coupling):
        delta_of_label = delta[holdout.labels]
        return numerics.cross_entropy_change(
            log_probs, lambda c: coupling * (delta[c] - delta_of_label)
        )

    return jax.vmap(changes)(deltas, head.couplings(features, holdout.features))
