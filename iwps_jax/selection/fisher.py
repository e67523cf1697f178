"""Picks by Fisher information, one after another and back again: the loop of BAIT.

The Fisher information of the head at a sample with probabilities p and features h is

    F = (diag(p) - p pᵀ) ⊗ h hᵀ = V Vᵀ,    V = R ⊗ h,    R Rᵀ = diag(p) - p pᵀ

with R of rank C - 1, in closed form. What F adds to A changes the trace of A⁻¹ F_U by a
number of the small matrices VᵀA⁻¹V and VᵀA⁻¹F_U A⁻¹V alone. They are kept for all
candidates: a pick changes A⁻¹ by U Uᵀ of the same rank, and so each of them by products
of VᵀU. No candidate's F is formed, and no matrix is inverted at a pick.

By class, the parts of F between classes are left out: then there is a problem of its
own for every class, of rank one. Axes:

    problems  one, or one for each class
    slots     classes of a problem: all, or one
    rank      columns of R in a problem: C - 1, or one
    pairs     of classes between which F is kept: each once
    n         candidates of a block, last of all: a CPU then runs along them
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from iwps_jax import blocks, numerics
from iwps_jax.scores.head import head_logits
from iwps_jax.types import AnyArray, Head

ROWS_PER_BLOCK = 2048
# The kept matrices are formed anew when the best gain has fallen so many times: what
# they were before leaves its rounding behind.
FALL = 100.0
# And after so many picks, for each of them rounds.
PICKS = 512


class Layout(NamedTuple):
    """Which classes share a problem, and where each pair of them stands.

    Attributes:
        first: class of each pair.
        second: the other one.
        place: the pair of two slots of a problem.
    """

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    place: Int[np.ndarray, "problems slots slots"]

    @property
    def by_class(self) -> bool:
        """Whether every class has a problem of its own."""
        return self.place.shape[1] == 1


def layout(num_classes: int, by_class: bool) -> Layout:
    """All pairs of classes in one problem, or one class in each.

    Example:
        >>> layout(2, False).place.tolist(), layout(2, True).place.tolist()
        ([[[0, 1], [1, 2]]], [[[0]], [[1]]])
    """
    if by_class:
        classes = np.arange(num_classes, dtype=np.int32)
        return Layout(classes, classes, classes[:, None, None])
    first, second = np.triu_indices(num_classes)
    place = np.zeros((1, num_classes, num_classes), np.int32)
    place[0, first, second] = place[0, second, first] = np.arange(len(first))
    return Layout(first.astype(np.int32), second.astype(np.int32), place)


class Points(NamedTuple):
    """Candidates in blocks; rows of the last one may stand in that before as well.

    Attributes:
        features: of all of them, as they are given.
        scale: of the features, a power of two.
        probs: of their classes.
    """

    features: Float[AnyArray, "candidates d"]
    scale: Float[jax.Array, ""]
    probs: Float[jax.Array, "blocks classes n"]

    def start(self, block):
        """The first row of a block."""
        size = self.probs.shape[-1]
        return jnp.minimum(block * size, len(self.features) - size)

    def block(self, block):
        """Features of a block, scaled, and probabilities."""
        size = self.probs.shape[-1]
        rows = blocks.take_slice(self.features, self.start(block), size)
        return rows * self.scale, self.probs[block]


class Sums(NamedTuple):
    """What is kept of all candidates.

    Attributes:
        own: VᵀA⁻¹V.
        told: VᵀA⁻¹F_U A⁻¹V.
    """

    own: Float[jax.Array, "blocks problems rank rank n"]
    told: Float[jax.Array, "blocks problems rank rank n"]


class State(NamedTuple):
    """A and its inverse; `features` are those of each slot, one slot after the other.

    Attributes:
        precision: A.
        inverse: A⁻¹.
        sums: of all candidates.
    """

    precision: Float[jax.Array, "problems features features"]
    inverse: Float[jax.Array, "problems features features"]
    sums: Sums


_matmul = partial(jnp.matmul, precision=numerics.PRECISION)


def points_of(features: AnyArray, head_: Head, scale: jax.Array) -> Points:
    """Rows as candidates; their probabilities are computed a block at a time."""
    num_rows = len(features)
    num_blocks = -(-num_rows // ROWS_PER_BLOCK)
    size = -(-num_rows // num_blocks)
    size = min(-(-size // blocks.LANES) * blocks.LANES, num_rows)
    classes = len(head_.bias)
    zeros = jnp.zeros((num_blocks, classes, size), head_.kernel.dtype)
    points = Points(features, scale, zeros)

    def add(block, probs):
        rows = blocks.take_slice(features, points.start(block), size)
        logits = head_logits(rows, *head_)
        return probs.at[block].set(jax.nn.softmax(logits).T)

    return points._replace(probs=jax.lax.fori_loop(0, num_blocks, add, zeros))


def information(
    points: Points,
    head_: Head,
    order: Int[jax.Array, " candidates"],
    number: Int[jax.Array, ""],
    pairs: Layout,
) -> Float[jax.Array, "problems features features"]:
    """Σ F of the first so many rows of an order, a block at a time."""
    features, scale, _ = points
    size = min(ROWS_PER_BLOCK, len(order))
    order = jnp.pad(order, (0, -len(order) % size))
    first, second = jnp.asarray(pairs.first), jnp.asarray(pairs.second)

    def add_block(block, total):
        rows = jax.lax.dynamic_slice(order, (block * size,), (size,))
        counts = block * size + jnp.arange(size, dtype=jnp.int32) < number
        raw = blocks.take_rows(features, rows)
        # |onehot - p| is 1 - p at the prediction and p elsewhere, with all digits.
        logits = head_logits(raw, *head_)
        distance = jnp.abs(numerics.label_residual(logits, logits.argmax(-1))).T
        probs, variance = jax.nn.softmax(logits).T, distance * (1 - distance)
        is_one = (first == second)[:, None]
        both = jnp.where(is_one, variance[first], -probs[first] * probs[second])
        weights = jnp.where(counts[None], both, 0)
        inputs = jnp.where(counts[:, None], raw * scale, 0)

        def add_pair(pair, total):
            part = _matmul((inputs * weights[pair][:, None]).T, inputs)
            return total.at[pair].add(part)

        return jax.lax.fori_loop(0, len(pairs.first), add_pair, total)

    d = features.shape[1]
    zeros = jnp.zeros((len(pairs.first), d, d), scale.dtype)
    num_blocks = (number + size - 1) // size
    total = jax.lax.fori_loop(jnp.int32(0), num_blocks, add_block, zeros)
    problems, slots, _ = pairs.place.shape
    whole = total[jnp.asarray(pairs.place)].transpose(0, 1, 3, 2, 4)
    return whole.reshape(problems, slots * d, slots * d)


def begin(
    points: Points,
    precision: Float[jax.Array, "problems features features"],
    fisher: Float[jax.Array, "problems features features"],
    sign: int,
    pairs: Layout,
) -> tuple[State, Float[jax.Array, " candidates"]]:
    """A inverted, and all sums by their definition.

    With it the gains: by how much the trace falls (1) or rises (-1) where the F of a
    candidate is added to A or taken away.
    """
    one = jnp.eye(precision.shape[-1], dtype=precision.dtype)
    one = jnp.broadcast_to(one, precision.shape)
    factor = jnp.linalg.cholesky(precision)
    root = jax.scipy.linalg.solve_triangular(factor, one, lower=True)
    inverse = _matmul(root.mT, root)
    told = _matmul(_matmul(inverse, fisher), inverse)
    middles = _pairs_of(inverse, pairs), _pairs_of(told, pairs)

    def fill(block, carry):
        features, probs = points.block(block)

        def of(matrices):
            forms = jax.lax.map(
                lambda m: blocks.sum_rows(_matmul(features, m) * features), matrices
            )
            once = _root_times(probs, forms[jnp.asarray(pairs.place)], pairs.by_class)
            return _root_times(probs, once.swapaxes(1, 2), pairs.by_class)

        return _put(points, block, carry, Sums(*map(of, middles)), sign)

    carry = no_sums(points, pairs), jnp.zeros(len(points.features), precision.dtype)
    sums, gains = jax.lax.fori_loop(0, len(points.probs), fill, carry)
    return State(precision, inverse, sums), gains


def _put(points, block, carry, new, sign):
    """The sums of a block, and the gains by them, in their places."""
    sums, gains = carry
    sums = jax.tree.map(lambda parts, part: parts.at[block].set(part), sums, new)
    worth, start = _worth(*new, sign), (points.start(block),)
    return sums, jax.lax.dynamic_update_slice(gains, worth, start)


def no_sums(points: Points, pairs: Layout) -> Sums:
    """Room for what is kept of all candidates."""
    num_blocks, _, size = points.probs.shape
    problems, slots, _ = pairs.place.shape
    rank = max(slots - 1, 1)
    shape = (num_blocks, problems, rank, rank, size)
    zeros = jnp.zeros(shape, points.probs.dtype)
    return Sums(zeros, zeros)


def _pairs_of(whole, pairs):
    """The [d, d] part between each pair of classes."""
    problems, slots, _ = pairs.place.shape
    parts = whole.reshape(problems, slots, -1, slots, whole.shape[-1] // slots)
    if pairs.by_class:
        return parts[:, 0, :, 0]
    return parts[0, pairs.first, :, pairs.second]


def _root_times(probs, columns, by_class):
    """Rᵀ times columns: [problems, slots, s, n] -> [problems, rank, s, n].

    R is the Cholesky factor of diag(p) - p pᵀ, in closed form (Tanabe, Sagae 1992,
    "An Exact Cholesky Decomposition and the Generalized Inverse of the
    Variance-Covariance Matrix of the Multinomial Distribution"):

        R_aa = √(p_a q_a / (p_a + q_a)),  R_ja = -R_aa p_j / q_a,  q_a = Σ_(j>a) p_j

    for j > a: sums of probabilities, with nothing to cancel.
    """
    if by_class:
        return columns * jnp.sqrt(probs * _others(probs))[:, None, None]

    def row(state, of_class):
        after, weighted = state
        prob, column = of_class
        is_left = after > jnp.finfo(after.dtype).tiny
        safe = jnp.where(is_left, after, 1)
        lead = jnp.sqrt(jnp.where(is_left, prob * (safe / (prob + safe)), 0))
        out = lead[None] * (column - weighted / safe[None])
        return (after + prob, weighted + prob[None] * column), out

    zeros = jnp.zeros_like(probs[0]), jnp.zeros_like(columns[0, 0])
    _, rows = jax.lax.scan(row, zeros, (probs, columns[0]), reverse=True)
    return rows[None, : max(len(probs) - 1, 1)]


def _others(probs):
    """1 - p of each class, with its digits where p is close to one."""
    classes = jnp.arange(len(probs), dtype=jnp.int32)
    is_top = classes[:, None] == blocks.argmax(probs)[None]
    return jnp.where(is_top, jnp.where(is_top, 0, probs).sum(0)[None], 1 - probs)


def root_of(
    probs: Float[jax.Array, " classes"], pairs: Layout
) -> Float[jax.Array, "problems slots rank"]:
    """R of one sample."""
    problems, slots, _ = pairs.place.shape
    one = jnp.broadcast_to(jnp.eye(slots, dtype=probs.dtype), (problems, slots, slots))
    return _root_times(probs[:, None], one[..., None], pairs.by_class)[..., 0].mT


def _worth(own, told, sign):
    """The trace of (I ± VᵀA⁻¹V)⁻¹ VᵀA⁻¹F_U A⁻¹V, a column of V after the other.

    Each is an update of rank one, after which the other columns are what they are
    once it is made. A denominator is never less than rounding leaves of one.
    """
    least = 4 * jnp.finfo(own.dtype).eps

    def eliminate(j, state):
        own, told, total = state
        x, y = own[:, j], told[:, j]
        pivot = jnp.maximum(1 + sign * x[:, j], least)
        share, middle = x / pivot[:, None], y[:, j]
        cross = share[:, :, None] * (sign * y - 0.5 * middle[:, None] * share)[:, None]
        told = told - cross - cross.swapaxes(1, 2)
        own = own - sign * share[:, :, None] * x[:, None]
        return own, told, total + (middle / pivot).sum(0)

    total = jnp.zeros(own.shape[-1], own.dtype)
    total = jax.lax.fori_loop(0, own.shape[1], eliminate, (own, told, total))[-1]
    return jnp.maximum(total, 0)


def move(
    points: Points,
    state: State,
    fisher: Float[jax.Array, "problems features features"],
    features: Float[jax.Array, " d"],
    root: Float[jax.Array, "problems slots rank"],
    sign: int,
    pairs: Layout,
) -> tuple[State, Float[jax.Array, " candidates"]]:
    """A ± F of one sample, and the gains of the next one in the same direction.

        A⁻¹ ← A⁻¹ ∓ U Uᵀ,  U = A⁻¹ V (I ± VᵀA⁻¹V)^(-½)
        A⁻¹F_U A⁻¹ ← A⁻¹F_U A⁻¹ ∓ (U Eᵀ + E Uᵀ),  E = A⁻¹F_U U ± ½ U UᵀF_U U

    with the new A⁻¹ in E.
    """
    problems, slots, rank = root.shape
    d = len(features)
    v = root[:, :, None] * features[None, None, :, None]
    v = v.reshape(problems, slots * d, rank)
    image = _matmul(state.inverse, v)
    u = _whitened(image, _matmul(v.mT, image), sign)
    inverse = state.inverse - sign * _matmul(u, u.mT)
    pulled = _matmul(fisher, u)
    e = _matmul(inverse, pulled) + sign / 2 * _matmul(u, _matmul(u.mT, pulled))
    precision = state.precision + sign * _matmul(v, v.mT)
    both = jnp.stack([u, e]).reshape(2, problems, slots, d, rank)
    both = both.transpose(1, 2, 0, 4, 3).reshape(-1, d)

    def add(block, carry):
        sums = carry[0]
        rows, probs = points.block(block)
        along = _matmul(both, rows.T).reshape(problems, slots, 2 * rank, -1)
        along = _root_times(probs, along, pairs.by_class)
        along = along.reshape(problems, rank, 2, rank, -1).transpose(3, 2, 0, 1, 4)

        def subtract(matrices, columns):
            b, e = columns
            own = matrices[0] - sign * b[:, :, None] * b[:, None]
            cross = b[:, :, None] * e[:, None]
            return (own, matrices[1] - sign * (cross + cross.swapaxes(1, 2))), None

        old = sums.own[block], sums.told[block]
        new = jax.lax.scan(subtract, old, (along[:, 0], along[:, 1]))[0]
        return _put(points, block, carry, Sums(*new), sign)

    carry = state.sums, jnp.zeros(len(points.features), v.dtype)
    sums, gains = jax.lax.fori_loop(0, len(points.probs), add, carry)
    return State(precision, inverse, sums), gains


def _whitened(image, own, sign):
    """A⁻¹V (I ± VᵀA⁻¹V)^(-½) by Cholesky's factor, a column after the other.

    A pivot is never less than rounding leaves of one.
    """
    least = 4 * jnp.finfo(own.dtype).eps
    size = own.shape[-1]

    def column(j, state):
        image, rest = state
        pivot = jnp.sqrt(jnp.maximum(rest[:, j, j], least))
        is_after = jnp.arange(size, dtype=jnp.int32) > j
        entries = jnp.where(is_after[None], rest[:, :, j], 0) / pivot[:, None]
        one = image[:, :, j] / pivot[:, None]
        rest = rest - entries[:, :, None] * entries[:, None]
        image = image - one[:, :, None] * entries[:, None]
        return image.at[:, :, j].set(one), rest

    rest = jnp.eye(size, dtype=own.dtype)[None] + sign * own
    return jax.lax.fori_loop(np.int32(0), np.int32(size), column, (image, rest))[0]
