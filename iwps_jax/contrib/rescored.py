"""IWPS once more after every pick: what the batch has learned already counts."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Integer, Key

from iwps_jax import checks, numerics
from iwps_jax.scores import head
from iwps_jax.selection.candidates import number_of_candidates
from iwps_jax.selection.greedy import greedy
from iwps_jax.selection.highest import top_rows
from iwps_jax.types import AnyArray


class LookAhead(NamedTuple):
    """What IWPS on the last layer looks at; the arguments of `iwps_last_layer`.

    Attributes:
        features: inputs h of the last layer.
        kernel: weights of the last layer.
        bias: bias of the last layer.
        holdout_features: inputs g of the last layer for the holdout samples.
        holdout_labels: their true classes, in [0, classes).
    """

    features: Float[AnyArray, "pool d"]
    kernel: Float[AnyArray, "d classes"]
    bias: Float[AnyArray, " classes"]
    holdout_features: Float[AnyArray, "m d"]
    holdout_labels: Integer[AnyArray, " m"]


def rescored_iwps(
    key: Key[jax.Array, ""],
    scores: Float[AnyArray, " pool"],
    look_ahead: LookAhead,
    k: int,
    *,
    steps: int = 3,
    learning_rate: float | Float[AnyArray, ""] = 1e-3,
    candidates_per_pick: int = 4,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """IWPS one pick at a time, each from the head that has learned those before.

        next = argmax_i ℓ_v(θ after i) - ℓ_v(θ),    θ ← θ after next

    with ŷ of all candidates kept from the first θ. In closed form, for a pick with
    features h displaces the head by Δkernel = h δᵀ, Δbias = δ: the logits of another
    candidate or holdout sample with features g move by (1 + h·g) δ, and no weight is
    copied. As η → 0 the picks tend to those of `top_k`: only steps that move the
    predictions tell a batch from its samples.

    Every pick costs a walk over candidates · m · classes.

    Args:
        key: not used; for one signature of all batch selectors.
        scores: those of `iwps_last_layer`; they only choose the candidates.
        look_ahead: features, head and holdout set.
        k: how many rows to choose.
        steps: T, the SGD steps on each pseudo-label.
        learning_rate: η, the length of a step.
        candidates_per_pick: so many times k candidates.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows; ties go to the higher score.

    Raises:
        ValueError: if k is not in [1, rows left], there is no candidate a pick or
            shapes disagree; outside `jax.jit` also for a score of NaN, a label out of
            range or a number that is not finite.
        TypeError: if scores or features are not floating point, labels no integers
            or `where` is not boolean.

    References:
        Aljundi et al. 2020, Eq. 2 and Eq. 3, last layer as in supplement §5.1; one pick
        after another is not of the paper, whose batch is the plain top.

    Example:
        >>> look_ahead = LookAhead(
        ...     features=jnp.array([[0.6, -0.5], [9.0, 0.0]]),
        ...     kernel=jnp.eye(2),
        ...     bias=jnp.zeros(2),
        ...     holdout_features=jnp.array([[0.5, -0.6]]),
        ...     holdout_labels=jnp.array([1]),
        ... )
        >>> scores = jnp.array([0.4, 0.1])
        >>> print(rescored_iwps(jax.random.key(0), scores, look_ahead, 1))
        [0]
    """
    checks.require_key("key", key)
    checks.require_no_nan("scores", scores, "pool")
    features, kernel, bias, holdout_features, holdout_labels = look_ahead
    head.check_head(features, kernel, bias)
    head.check_holdout(holdout_features, holdout_labels, kernel)
    checks.require_size("features", features, 0, len(scores), "scores")
    checks.require_steps(steps, learning_rate)
    number, where = number_of_candidates(scores, k, candidates_per_pick, where)
    return _rescored(
        scores,
        look_ahead,
        where,
        learning_rate,
        k=int(k),
        steps=int(steps),
        number=number,
    )


@partial(jax.jit, static_argnames=("k", "steps", "number"))
def _rescored(scores, look_ahead, where, learning_rate, *, k, steps, number):
    candidates = top_rows(scores, where, k=number)
    labels = look_ahead.holdout_labels.astype(jnp.int32)
    of_candidates = jnp.asarray(look_ahead.features)[candidates]
    features, kernel, bias, others = numerics.upcast((of_candidates, *look_ahead[1:4]))
    logits = head.head_logits(features, kernel, bias)
    predicted, reach = logits.argmax(-1), head.couplings(features, others)
    displace = jax.vmap(
        partial(head.displacement, steps=steps, learning_rate=learning_rate)
    )

    def gain(i, state, eligible):
        _, holdout_logits, deltas = state
        log_probs = jax.nn.log_softmax(holdout_logits).T

        def score(delta, coupling):
            changes = numerics.cross_entropy_change(
                log_probs, lambda c: coupling * (delta[c] - delta[labels])
            )
            return changes.mean()

        return jax.vmap(score)(deltas, reach)

    def learn(i, state, row):
        logits, holdout_logits, deltas = state
        coupling = head.couplings(features, features[row][None])
        return of_head(
            logits + coupling * deltas[row][None],
            holdout_logits + reach[row][:, None] * deltas[row][None],
        )

    def of_head(logits, holdout_logits):
        return logits, holdout_logits, displace(features, logits, predicted)

    start = of_head(logits, head.head_logits(others, kernel, bias))
    eligible = jnp.asarray(where)[candidates]
    # Candidates are in order of their first scores, and argmax takes the first.
    picks = greedy(k, start, eligible, gain=gain, update=learn, best=jnp.argmax)
    return candidates[picks]
