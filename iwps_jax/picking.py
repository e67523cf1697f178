"""Picks by any method of the table, from a pool of any kind.

    pick(method, model, pool, where, k)

Most methods need one scan of the pool, in memory that does not grow: the highest scores
are the picks, or the candidates of which `Method.select` takes k. A method that must
compare all rows with each other holds the whole pool in memory, and is refused where
that does not fit.

Raises, in all functions:
    TypeError: if the method is no row of the table, or the mask is not boolean.
    ValueError: if the method lacks a part of the model, k is not in [1, rows that may
        be picked], or shapes disagree.
    PoolError: if rows cannot be read or their scores are NaN; names the rows.
    MemoryError: if the whole pool is needed and does not fit.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PyTree

from iwps_jax import checks, numerics
from iwps_jax.method import ABSENT, LEARNING_RATE, STEPS, Method, Model, Rows
from iwps_jax.pool import sources
from iwps_jax.pool.planning import free_memory
from iwps_jax.pool.quick import Quick
from iwps_jax.pool.ranking import TopK
from iwps_jax.pool.scan import score_pool, top_k_of_pool
from iwps_jax.pool.sources import PoolError
from iwps_jax.scores.head import check_holdout, head_logits
from iwps_jax.types import AnyArray, Head, Holdout

PARTS = {"head": "a head", "holdout": "a holdout set", "labeled": "the labeled samples"}
BESIDE_EACH_ROW = 64
"""Bytes of distances, masks and the like that a selector keeps for each row."""
ROWS_NAMED = 10
ROWS_LOOKED_AT = 256
"""By which the form is chosen that a scan begins with."""
COPIES = 2
"""Of the features: the host's, and the one on the device."""


def pick(
    method: Method,
    model: Model,
    pool: Any,
    where: Bool[np.ndarray, " pool"] | None,
    k: int,
    *,
    scan: Callable[..., TopK] = top_k_of_pool,
) -> TopK:
    """The rows to label next, by a method.

    Args:
        method: a row of `iwps_jax.methods.ROWS`.
        model: what the method may know; with a seed in place of key and sample.
        pool: as in `top_k_of_pool`: features, or logits where the model has no head
            and the method reads logits, or logits [pool, draws, classes] for a method
            that reads draws.
        where: rows that may be picked; None for all.
        k: how many.
        scan: `top_k_of_pool`, with options bound to it.

    Returns:
        Rows, the first to be labeled first, and their scores: they need not fall where
        rows were selected together, and are NaN where the method has none.

    Example:
        >>> from iwps_jax import methods
        >>> logits = np.array([[0.0, 9.0], [0.0, 1.0], [0.0, 5.0]], np.float32)
        >>> print(pick(methods.MARGIN, Model(), logits, None, 2).rows)
        [1 2]
    """
    model = _checked(method, model, pool, where)
    model = _drawn(method, model, pool, where)
    if not method.is_scan:
        return _of_whole_pool(method, model, pool, where, k)
    score_fn = bind_score(method, model, some_rows=_some_features(method, pool))
    rows = _scored_part(method, pool)
    if method.select is None:
        return scan(score_fn, rows, k, where=where)
    left = _size(pool) if where is None else int(where.sum())
    number = num_candidates(k, left, method.candidates_per_pick or 1)
    best = scan(score_fn, rows, number, where=where)
    features = _as_floats(sources.take(pool, best.rows.tolist()))
    return _selected(method, model, best, features, k, np.ones(number, bool))


def _checked(method, model, pool, where) -> Model:
    """The model in its own types, if method, model, pool and mask fit together."""
    if not isinstance(method, Method):
        kind = type(method).__name__
        raise TypeError(f"method must be a row of iwps_jax.methods.ROWS, got {kind}.")
    require_known(method, model)
    model = sources.in_byte_order(model)
    if where is not None:
        size = len(where) if hasattr(pool, "__next__") else _size(pool)
        checks.require_mask("where", where, size)
    if model.head is not None:
        model = model._replace(head=Head(*model.head))
        if "draws" not in method.needs and len(getattr(pool, "shape", ())) == 2:
            width = pool.shape[1]
            checks.require_size("kernel", model.head.kernel, 0, width, "pool")
    if model.head is not None and model.holdout is not None:
        features, labels = model.holdout
        check_holdout(features, labels, model.head.kernel)
        model = model._replace(holdout=Holdout(features, labels))
    return model


def bind_score(
    method: Method, model: Model, *, some_rows: Float[AnyArray, "s d"] | None = None
) -> Callable[[PyTree], PyTree]:
    """The score of a method, bound to a model, as `top_k_of_pool` wants it.

    Args:
        method: a row of the table that has a score.
        model: with what the method needs; a key or a seed where it draws.
        some_rows: features of rows like those that will be scored, for the score to
            begin with the form that serves them; None if it shall not, or has none.

    Returns:
        `score(rows)` of rows of features, or of logits where the model has no head; for
        a method that reads row numbers, of a pair of those and the rows.

    Example:
        >>> from iwps_jax import methods
        >>> print(bind_score(methods.MARGIN, Model())(jnp.zeros((1, 2))))
        [1.]
    """
    require_known(method, model)
    known = sources.in_byte_order(model)._replace(labeled=ABSENT, seed=0)
    if not {"features", "logits"} & {*method.reads}:
        known = known._replace(head=ABSENT)
    if "holdout" not in method.needs:
        known = known._replace(holdout=ABSENT, holdout_weights=ABSENT)
    if method.select is not None:
        known = known._replace(sample=ABSENT)
    if "steps" not in method.options:  # else each value would be another program
        known = known._replace(steps=STEPS, learning_rate=LEARNING_RATE)
    if "numbers" in method.reads:
        batch = np.asarray(model.batch, np.int32)  # an array: one program for all
        known = known._replace(key=_key(model), batch=batch)
    else:
        known = known._replace(key=ABSENT, batch=0)
    bound = partial(_score, reads=method.reads, model=known)
    score: Any = partial(bound, score=method.score)
    if method.quick is not None and some_rows is not None:
        forms = method.quick(Rows(features=some_rows), known)
        score = Quick(tuple(partial(bound, score=form) for form in forms), score)
    return score


def require_known(method: Method, model: Model) -> None:
    """Refuses a model that lacks what the method needs."""
    names = {"labels": "labeled"}
    parts = [names.get(need, need) for need in method.needs]
    missing = [PARTS[p] for p in parts if p in PARTS and getattr(model, p) is None]
    if missing:
        raise ValueError(f"{method.name} needs {' and '.join(missing)}.")


def _score(raw, *, score, reads, model):
    numbers = None
    if "numbers" in reads:
        numbers, raw = raw
    read = {
        "numbers": lambda: numbers,
        "features": lambda: floating(raw),
        "logits": lambda: logits_of(raw, model.head),
        "draws": lambda: _log_probs(raw),
    }
    return score(Rows(**{name: read[name]() for name in reads}), model)


def _log_probs(logits):
    wide = numerics.upcast(floating(logits))
    return jax.nn.log_softmax(jnp.moveaxis(wide, 1, 0))


def _scored_part(method, pool):
    """What of the pool the score reads: row numbers, rows, or both."""
    if "numbers" not in method.reads:
        return pool
    reads_no_row = method.reads == ("numbers",)
    return range(_size(pool)), None if reads_no_row else pool


def _some_features(method, pool):
    """A few rows from all over the pool; None if they cannot be had before the scan."""
    if method.quick is None or len(getattr(pool, "shape", ())) != 2:
        return None
    size = _size(pool)
    rows = np.linspace(0, size - 1, min(size, ROWS_LOOKED_AT)).astype(int)
    try:
        return sources.take(pool, rows.tolist())
    except PoolError:  # the scan comes to it, and keeps what it has finished before
        return None


def _key(model):
    if model.key is not None:
        return model.key
    if not 0 <= checks.require_integer("seed", model.seed) < 2**32:  # a key keeps 32
        raise ValueError(f"seed must be in [0, 2**32), got {model.seed}.")
    return jax.random.key(model.seed)


def _drawn(method, model, pool, where) -> Model:
    """The model with the rows that the method draws from the pool."""
    if not method.sample or model.sample is not None:
        return model
    if where is None:
        where = np.ones(_size(pool), bool)
    drawn = draw_rows(model.seed, int(model.batch), where, method.sample)
    sample = _as_floats(sources.take(pool, drawn.tolist()))
    _require_finite(sample, drawn)
    return model._replace(sample=sample)


def _require_finite(features, rows):
    """Refuses features of these rows that no score or distance can be made of."""
    bad = rows[~np.isfinite(features).all(axis=-1)]
    if bad.size:
        named = ", ".join(map(str, bad[:ROWS_NAMED])) + ", ..." * (
            bad.size > ROWS_NAMED
        )
        raise PoolError(
            f"features must be finite, got others in {bad.size} "
            f"row{'s' * (bad.size > 1)} of the pool: {named}."
        )


def _selected(method, model, best, features, k, where) -> TopK:
    key = jax.random.fold_in(_key(model), model.batch)
    picks = method.select(key, best.scores, features, model, k, where)
    picks = np.asarray(picks)
    if getattr(best.scores, "ndim", None) != 1:  # none, or several numbers a row
        return TopK(best.rows[picks], np.full(len(picks), np.nan, np.float32))
    return TopK(best.rows[picks], best.scores[picks])


def _of_whole_pool(method, model, pool, where, k) -> TopK:
    require_memory(method, model, pool)
    rows, _ = sources.read_chunk(sources.open_source(pool), 0, _size(pool))
    features, scores = _as_floats(rows), ABSENT
    _require_finite(features, np.arange(len(features)))
    if method.score is not None:
        scores = score_pool(bind_score(method, model), _scored_part(method, pool))
    where = np.ones(len(features), bool) if where is None else where
    everything = TopK(np.arange(len(features)), scores)
    return _selected(method, model, everything, features, k, where)


def require_memory(method: Method, model: Model, pool: Any) -> None:
    """Refuses a pool that does not fit, if the method needs the whole of it.

    Args:
        method: a row of the table.
        model: whose head tells the number of classes.
        pool: of features.
    """
    if method.is_scan:
        return
    if len(getattr(pool, "shape", ())) != 2:
        raise ValueError(
            f"{method.name} compares all rows with each other and needs a pool of "
            "features [pool, d], in one array."
        )
    needed, device = whole_pool_bytes(method, model, pool), jax.local_devices()[0]
    if needed > (free := free_memory(device)):
        raise MemoryError(
            f"{method.name} compares all rows with each other and needs the whole pool "
            f"in memory, {needed:,} bytes, but only {free:,} are free: take a part of "
            "the pool, or a method that scans it."
        )


def whole_pool_bytes(method: Method, model: Model, pool: Any) -> int:
    """What a method that needs the whole pool takes, in bytes.

        n · (2 d w + 2 · 4 c + 64) + n d r + (n + l) d w

    for n rows of d features, w bytes for a number as it is computed with, c classes
    if it reads logits, r bytes for a number as the pool has it, if that is another
    type, and, if it looks at l labeled samples, one more copy of all features; and w
    for each number that `Method.held` counts of them.
    """
    n, d = pool.shape
    kept, wide = np.dtype(pool.dtype), _wide_type(pool.dtype)
    classes = 0 if method.score is None or model.head is None else len(model.head.bias)
    needed = n * (COPIES * d * wide.itemsize + COPIES * 4 * classes + BESIDE_EACH_ROW)
    if kept != wide:
        needed += n * d * kept.itemsize
    if "labels" in method.uses and model.labeled is not None:
        n += len(model.labeled.labels)
        needed += n * d * wide.itemsize
    if method.held is not None:
        num_classes = 0 if model.head is None else len(model.head.bias)
        needed += method.held(n, d, num_classes) * wide.itemsize
    return needed


def num_candidates(k: int, left: int, candidates_per_pick: int) -> int:
    """How many rows to scan for, of which k are selected.

    A k that is impossible stays so, for the scan to refuse.

    Args:
        k: how many are to be picked.
        left: rows that may be picked.
        candidates_per_pick: so many times k, if there are as many.

    Example:
        >>> num_candidates(5, 1000, 10), num_candidates(5, 30, 10)
        (50, 30)
        >>> num_candidates(50, 30, 10)
        50
    """
    return max(k, min(candidates_per_pick * k, left))


def draw_rows(
    seed: int, batch: int, where: Bool[np.ndarray, " pool"], size: int
) -> Int[np.ndarray, " drawn"]:
    """Rows of the pool drawn at random, sorted.

    Args:
        seed: of the draw.
        batch: a number that differs from batch to batch.
        where: rows that may be drawn; where they are fewer than `size`, all are taken.
        size: how many.

    Example:
        >>> print(draw_rows(0, 0, np.array([True, False, True]), 300))
        [0 2]
    """
    left = np.flatnonzero(where)
    generator = np.random.default_rng((seed, batch))
    return np.sort(generator.choice(left, min(size, len(left)), replace=False))


def logits_of(
    rows: AnyArray, head: Head | None = None
) -> Float[jax.Array, "n classes"]:
    """The logits of rows of features, or, without a head, the rows themselves."""
    wide = numerics.upcast(floating(rows))
    if head is None:
        return wide
    return head_logits(wide, *map(jnp.asarray, sources.in_byte_order(head)))


def floating(rows: AnyArray) -> jax.Array:
    """Rows as floating-point numbers; integers become float32."""
    rows = jnp.asarray(sources.in_byte_order(rows))
    return rows.astype(_floating_type(rows.dtype))


def _floating_type(dtype):
    return dtype if jnp.issubdtype(dtype, jnp.floating) else np.dtype(np.float32)


def _as_floats(rows):
    return np.asarray(rows, _wide_type(rows.dtype))


def _wide_type(dtype):
    """The type in which selectors see features: float32, or wider if they are."""
    return np.promote_types(_floating_type(dtype), np.float32)


def _size(pool) -> int:
    if hasattr(pool, "__next__"):
        raise ValueError("pool must have a length, got an iterator.")
    return len(jax.tree.leaves(pool)[0])
