"""The active-learning loop: fit, score, select, label, over static shapes.

State in, state out; the loop knows no method by name. Neither the labeled set nor
the pool ever changes its shape: a boolean mask says what is labeled, so that a round
is traced once and several seeds can run side by side under `jax.vmap`.

    key ──fold_in(round)──┬─ fit ────> train state
                          ├─ score ──> scores of every row
                          └─ select ─> rows, labeled from the next round on

Keys are consumed, never stored: (key, state) resumes a run exactly.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Key

from iwps_jax import checks
from iwps_jax.types import AnyArray, FitFn, ScoreFn, SelectFn


class LoopState(NamedTuple):
    """What the next round needs.

    Attributes:
        round: number of acquisitions so far, an int32 scalar.
        labeled: [pool] mask of the labeled rows.
        acquired: [budget] rows in order of acquisition, -1 where none is yet.
        train_state: what `fit` made last; the loop never looks inside.
    """

    round: jax.Array
    labeled: jax.Array
    acquired: jax.Array
    train_state: Any


class RoundInfo(NamedTuple):
    """What a human wants to know of a round.

    Attributes:
        round: the round that acquired these rows.
        num_labeled: labeled rows before them.
        picks: [k] rows chosen, in order.
        num_nonfinite: NaN or infinite numbers among the scores of all rows; a run
            should stop when this is not zero. The int 0 where there are no scores.
    """

    round: jax.Array
    num_labeled: jax.Array
    picks: jax.Array
    num_nonfinite: jax.Array | int


def init(
    labeled: Bool[AnyArray, " pool"], train_state: Any, *, budget: int
) -> LoopState:
    """The state before the first round.

    Args:
        labeled: rows of the initial labeled set.
        train_state: any pytree that `fit` takes and returns.
        budget: rows that will be acquired over all rounds; the length of the record.

    Returns:
        A `LoopState`.

    Raises:
        ValueError: if the budget is below 1 or above the number of unlabeled rows.
        TypeError: if `labeled` is not boolean.
    """
    checks.require_mask("labeled", labeled, len(labeled))
    checks.require_at_most(
        "budget", budget, (~jnp.asarray(labeled)).sum(), "unlabeled rows"
    )
    return LoopState(
        round=jnp.zeros((), jnp.int32),
        labeled=jnp.asarray(labeled),
        acquired=jnp.full(budget, -1, jnp.int32),
        train_state=train_state,
    )


def _round_keys(key, state):
    """Keys of this round's fit, score and select; new consumers come last."""
    return jax.random.split(jax.random.fold_in(key, state.round), 3)


def train(key: Key[jax.Array, ""], state: LoopState, *, fit: FitFn) -> LoopState:
    """First half of a round: the state with the model fitted to the labeled rows."""
    fit_key, _, _ = _round_keys(key, state)
    return state._replace(train_state=fit(fit_key, state.train_state, state.labeled))


def acquire(
    key: Key[jax.Array, ""], state: LoopState, *, score: ScoreFn, select: SelectFn
) -> tuple[LoopState, RoundInfo]:
    """Second half of a round: scores every row, selects, and labels the picks."""
    _, score_key, select_key = _round_keys(key, state)
    scores = score(score_key, state.train_state)
    picks = select(select_key, scores, ~state.labeled)
    for name, chosen in (("scores", scores), ("picks", picks)):
        checks.require_same_numbers(name, chosen)
    info = RoundInfo(
        round=state.round,
        num_labeled=state.labeled.sum(),
        picks=picks,
        num_nonfinite=sum(
            (~jnp.isfinite(leaf)).sum() for leaf in jax.tree.leaves(scores)
        ),
    )
    state = state._replace(
        round=state.round + 1,
        labeled=jnp.asarray(state.labeled).at[picks].set(True),
        acquired=jnp.asarray(state.acquired)
        .at[state.round * len(picks) + jnp.arange(len(picks))]
        .set(picks, mode="drop"),
    )
    return state, info


def step(
    key: Key[jax.Array, ""],
    state: LoopState,
    *,
    fit: FitFn,
    score: ScoreFn,
    select: SelectFn,
) -> tuple[LoopState, RoundInfo]:
    """One round: fit on the labeled rows, score all rows, label the k selected.

    Args:
        key: the run's key, the same in every round; the round is folded in.
        state: from `init` or the round before.
        fit: `fit(key, train_state, labeled) -> train_state`.
        score: `score(key, train_state) -> [pool, ...]`, labeled rows included.
        select: `select(key, scores, where) -> [k]` distinct rows where `where`.

    Returns:
        The next state and what to report of this round.

    Example:
        >>> from iwps_jax import top_k
        >>> state = init(jnp.array([True, False, False, False]), None, budget=2)
        >>> state, info = step(
        ...     jax.random.key(0),
        ...     state,
        ...     fit=lambda key, train_state, labeled: labeled.sum(),
        ...     score=lambda key, train_state: jnp.array([0.9, 0.1, 0.8, 0.3]),
        ...     select=lambda key, scores, where: top_k(scores, 1, where),
        ... )
        >>> print(info.picks, state.labeled)
        [2] [ True False  True False]
    """
    state = train(key, state, fit=fit)
    return acquire(key, state, score=score, select=select)
