"""Facility-location mutual information: rows that are like labeled rare samples."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import blocks, checks, numerics
from iwps_jax.selection import line
from iwps_jax.types import AnyArray

QUERIES_PER_BLOCK = 128
# So many of the largest upper bounds are computed anew at a time.
ROWS_AT_HAND = 512
# And after so many times all are: where many gains are alike, bounds do not help.
FEW_TIMES = 4
# By so much, in relation to itself, a gain may round differently in another block.
SLACK = 1e-5


def facility_location_mutual_information(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "pool d"],
    logits: Float[AnyArray, "pool classes"],
    labeled_features: Float[AnyArray, "m d"],
    labeled_logits: Float[AnyArray, "m classes"],
    labels: Int[AnyArray, " m"],
    k: int,
    where: Bool[AnyArray, " pool"] | None = None,
    *,
    rare: Bool[AnyArray, " classes"] | None = None,
    eta: float = 1.0,
) -> Int[jax.Array, " k"]:
    """FLQMI: the batch A that shares most with the labeled samples Q of rare classes.

        I(A; Q) = Σ_(q in Q) max_(i in A) s_iq + η Σ_(i in A) max_(q in Q) s_iq

        s_iq = (1 + cos(g_i, g_q)) / 2,    g = (p - onehot(y)) ⊗ (h, 1)

    g is the last layer's gradient, with y the prediction for a row of the pool and the
    label for a sample of Q; no gradient is formed. The first sum wants a row near every
    sample of Q, the second rows that are each near one. A grows greedily, which is
    within 1 - 1/e of the best A; ties go to the lower row.

    Q: the labeled samples of the classes `rare`. By default these are the classes with
    fewer labels than the mean of all classes that have one, or all of these if none
    has fewer. Where Q is empty, as before the first label, rows are drawn at random.

    Gains only fall as A grows, so that those of earlier picks are upper bounds, and
    few are computed anew for a pick. Where many rows are alike all are, so the time is
    between that of one and of k products of the pool with Q; memory beside the
    arguments is a few numbers a row and blocks of 8,192 rows, or of 262,144 where no
    CPU computes.

    Args:
        key: draws rows where Q is empty.
        features: inputs h of the last layer.
        logits: its outputs.
        labeled_features: those inputs of the labeled samples.
        labeled_logits: and those outputs.
        labels: classes of these; negative in empty places.
        k: how many rows to choose.
        where: rows that may be chosen; all by default.
        rare: whether the samples of a class are in Q.
        eta: η, at least 0.

    Returns:
        k distinct rows.

    Raises:
        ValueError: if k is not in [1, rows left], shapes disagree or η is negative or
            not finite; outside `jax.jit` also if a number is not finite or a label is
            no class.
        TypeError: if features or logits are not floating point, labels are not integers
            or a mask is not boolean.

    References:
        Kothawade et al. 2021, "SIMILAR: Submodular Information Measures Based Active
        Learning In Realistic Scenarios", FLQMI for rare classes.
        https://arxiv.org/abs/2107.00717

    Example:
        >>> features = jnp.array([[1.0], [-1.0], [9.0]])
        >>> logits = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> sample = jnp.array([[1.0]]), jnp.array([[0.0, 1.0]]), jnp.array([0])
        >>> key = jax.random.key(0)
        >>> pool = features, logits
        >>> print(facility_location_mutual_information(key, *pool, *sample, 1))
        [0]
    """
    checks.require_key("key", key)
    checks.require_finite("features", features, "pool d")
    checks.require_size("features", features, 0, len(logits), "logits")
    labels, labeled_features, labeled_logits = line.with_a_place(
        labels, labeled_features, labeled_logits
    )
    checks.require_floating("labeled_features", labeled_features, "m d")
    size = features.shape[1]
    checks.require_size("labeled_features", labeled_features, 1, size, "features")
    where = line.check(logits, labeled_logits, labels, k, where)
    size = len(labeled_logits)
    checks.require_size("labeled_features", labeled_features, 0, size, "labeled_logits")
    known = jnp.where((labels >= 0)[:, None], labeled_features, 0)
    checks.require_finite("labeled_features", known, "m d")
    if rare is not None:
        checks.require_mask("rare", rare, logits.shape[1], "the classes")
    if not 0 <= eta < float("inf"):
        raise ValueError(f"eta must be at least 0 and finite, got {eta}.")
    samples = _Samples(labeled_features, labeled_logits, labels)
    eta = jnp.float32(eta)
    sizes = QUERIES_PER_BLOCK, ROWS_AT_HAND, FEW_TIMES
    return _pick(
        *(key, features, logits, samples, where, rare, eta), k=int(k), sizes=sizes
    )


class _Samples(NamedTuple):
    """Labeled samples, as they are given."""

    features: AnyArray
    logits: AnyArray
    labels: AnyArray


class _Units(NamedTuple):
    """Directions of the two factors of gradients.

    Attributes:
        left: of p - onehot(y).
        right: of h.
        bias: what the 1 behind h becomes.
    """

    left: Float[jax.Array, "rows classes"]
    right: Float[jax.Array, "rows d"]
    bias: Float[jax.Array, " rows"]


def _units(features, logits, labels) -> _Units:
    """The directions, which no size of feature and no certainty takes away.

    (p - onehot(y))_c ∝ e_c = exp(z_c - max_(c' not y) z_c') for c not y, and -Σ e_c
    for y.
    """
    classes = jnp.arange(logits.shape[1], dtype=jnp.int32)
    is_label = classes[None] == labels[:, None]
    others = jnp.where(is_label, -jnp.inf, logits)
    largest = others.max(-1)
    largest = jnp.where(jnp.isneginf(largest), 0, largest)
    odds = jnp.exp(others - largest[:, None])
    left = jnp.where(is_label, -odds.sum(-1)[:, None], odds)
    length = jnp.sqrt((left**2).sum(-1))
    left = left / jnp.where(length > 0, length, 1)[:, None]
    entries = jnp.maximum(jnp.abs(features).max(-1), 1)
    right, bias = features / entries[:, None], 1 / entries
    length = jnp.sqrt((right**2).sum(-1) + bias**2)
    return _Units(left, right / length[:, None], bias / length)


def _similarities(rows: _Units, queries: _Units):
    """The similarities of all pairs, [rows, queries]."""
    left = _product(rows.left, queries.left)
    right = _product(rows.right, queries.right)
    right = right + rows.bias[:, None] * queries.bias[None]
    return (1 + left * right) / 2


def _product(rows, others):
    return jnp.matmul(rows, others.T, precision=numerics.PRECISION)


class _Query(NamedTuple):
    """Q, as numbers of samples.

    Attributes:
        samples: those of Q first; a multiple of a block.
        number: how many are in Q.
    """

    samples: Int[jax.Array, " m"]
    number: Int[jax.Array, ""]


class _State(NamedTuple):
    """The batch so far.

    Attributes:
        covered: max_(i in A) s_iq.
        gains: of the rows, when they were computed last.
        since: for which pick that was.
    """

    covered: Float[jax.Array, " m"]
    gains: Float[jax.Array, " pool"]
    since: Int[jax.Array, " pool"]


@partial(jax.jit, static_argnames=("k", "sizes"))
def _pick(key, features, logits, samples, where, rare, eta, *, k, sizes):
    at_once, at_hand, few_times = sizes
    where = jnp.asarray(where)
    labels = jnp.asarray(samples.labels).astype(jnp.int32)
    samples = samples._replace(labels=labels)
    dtype = numerics.upcast(tuple(part[:1] for part in (features, *samples[:2])))
    dtype = jnp.result_type(*(part.dtype for part in dtype))
    query = _query_of(labels, rare, logits.shape[1], at_once)
    draws = line.random_draws(key, len(features)).astype(dtype)

    def units_of(get, *place):
        some = get(features, *place).astype(dtype), get(logits, *place).astype(dtype)
        return _units(*some, some[1].argmax(-1).astype(jnp.int32))

    def against(rows, start):
        """Similarities to a block of Q, and which of them count."""
        places = start + jnp.arange(at_once, dtype=jnp.int32)
        chosen = jax.lax.dynamic_slice(query.samples, (start,), (at_once,))
        some = (
            blocks.take_rows(part, chosen).astype(dtype)
            for part in (samples.features, samples.logits)
        )
        return _similarities(rows, _units(*some, labels[chosen])), places < query.number

    num_blocks = (query.number + at_once - 1) // at_once

    def gains_of(rows, draws, covered):
        def add(i, sums):
            gain, best = sums
            start = i * at_once
            near, counts = against(rows, start)
            old = jax.lax.dynamic_slice(covered, (start,), (at_once,))
            new = jnp.where(counts[None], jnp.maximum(near - old[None], 0), 0)
            near = jnp.where(counts[None], near, 0)
            return gain + blocks.sum_rows(new), jnp.maximum(best, near.max(-1))

        zeros = jnp.zeros(len(rows.left), dtype)
        gain, best = jax.lax.fori_loop(0, num_blocks, add, (zeros, zeros))
        return jnp.where(query.number > 0, gain + eta.astype(dtype) * best, draws)

    def cover(covered, row):
        rows = units_of(blocks.take_rows, row[None])

        def add(i, covered):
            start = i * at_once
            old = jax.lax.dynamic_slice(covered, (start,), (at_once,))
            new = jnp.maximum(old, against(rows, start)[0][0])
            return jax.lax.dynamic_update_slice(covered, new, (start,))

        return jax.lax.fori_loop(0, num_blocks, add, covered)

    def all_anew(i, covered):
        def of_block(start, size, _):
            some = jax.lax.dynamic_slice(draws, (start,), (size,))
            return gains_of(units_of(blocks.take_slice, start, size), some, covered)

        return blocks.in_blocks(of_block, jnp.zeros_like(draws)), jnp.full_like(
            query.samples, i, shape=len(draws)
        )

    number = min(at_hand, len(features))

    def largest_anew(i, state, bounds):
        _, rows = jax.lax.top_k(bounds, number)
        rows = jnp.sort(rows)
        some = gains_of(units_of(blocks.take_rows, rows), draws[rows], state.covered)
        return state.gains.at[rows].set(some), state.since.at[rows].set(i)

    def pick(i, carry):
        state, is_left, picks = carry

        def bounds_of(state):
            bounds = jnp.where(state.since == i, jnp.asarray(1, dtype), 1 + SLACK)
            return jnp.where(is_left, bounds * state.gains, -jnp.inf)

        def is_open(carry):
            _, state = carry
            return state.since[blocks.argmax(bounds_of(state))] != i

        def resolve(carry):
            times, state = carry
            gains, since = jax.lax.cond(
                numerics.all_of_batch(times < few_times),
                lambda: largest_anew(i, state, bounds_of(state)),
                lambda: all_anew(i, state.covered),
            )
            return times + 1, state._replace(gains=gains, since=since)

        _, state = jax.lax.while_loop(is_open, resolve, (jnp.int32(0), state))
        row = blocks.argmax(bounds_of(state))
        state = state._replace(covered=cover(state.covered, row))
        return state, is_left.at[row].set(False), picks.at[i].set(row)

    covered = jnp.zeros(len(query.samples), dtype)
    start = _State(covered, *all_anew(jnp.int32(0), covered))
    carry = start, where, jnp.zeros(k, jnp.int32)
    return jax.lax.fori_loop(0, k, pick, carry)[-1]


def _query_of(labels, rare, num_classes, at_once):
    """Q by numbers of samples, those of Q first."""
    classes = jnp.arange(num_classes, dtype=jnp.int32)
    counts = (labels[:, None] == classes[None]).sum(0, dtype=jnp.int32)
    if rare is None:
        is_rare = rare_classes(counts)
    else:
        is_rare = jnp.asarray(rare)
    is_query = (labels >= 0) & is_rare[jnp.maximum(labels, 0)]
    order = jnp.argsort(~is_query, stable=True).astype(jnp.int32)
    room = -len(labels) % at_once
    return _Query(jnp.pad(order, (0, room)), is_query.sum(dtype=jnp.int32))


def rare_classes(counts: Int[jax.Array, " classes"]) -> Bool[jax.Array, " classes"]:
    """Classes with fewer labels than the mean of those that have one, or all of these.

    Example:
        >>> print(rare_classes(jnp.array([9, 1, 0])))
        [False  True False]
        >>> print(rare_classes(jnp.array([2, 2, 0])))
        [ True  True False]
    """
    has_label = counts > 0
    number = jnp.maximum(has_label.sum(dtype=jnp.int32), 1)
    # A count is below the mean if it is below that rounded up.
    is_below = has_label & (counts < -(-counts.sum(dtype=jnp.int32) // number))
    return jnp.where(is_below.any(), is_below, has_label)
