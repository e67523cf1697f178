"""IWPS after every pick, against a head whose weights really move, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from scipy import special

import iwps_jax
from iwps_jax import contrib

KEY = jax.random.key(0)
OPTIONS = dict(steps=3, learning_rate=0.5)


def some_look_ahead(seed, pool=12, features=4, classes=3):
    rng = np.random.default_rng(seed)
    return contrib.LookAhead(
        rng.normal(size=(pool, features)).astype(np.float32),
        rng.normal(size=(features, classes)).astype(np.float32),
        rng.normal(size=classes).astype(np.float32),
        rng.normal(size=(6, features)).astype(np.float32),
        rng.integers(0, classes, 6),
    )


@partial(jax.jit, static_argnames=("k", "candidates_per_pick", "steps"))
def select(scores, look_ahead, where, k, candidates_per_pick=2, **options):
    return contrib.rescored_iwps(
        KEY,
        scores,
        look_ahead,
        k,
        candidates_per_pick=candidates_per_pick,
        where=where,
        **options,
    )


def moved(kernel, bias, h, label, steps, learning_rate):
    """The head after SGD steps on one sample, every weight of it."""
    for _ in range(steps):
        residual = special.softmax(h @ kernel + bias) - np.eye(len(bias))[label]
        kernel = kernel - learning_rate * np.outer(h, residual)
        bias = bias - learning_rate * residual
    return kernel, bias


def pick_by_moving(scores, look_ahead, where, k, candidates_per_pick, **options):
    *arrays, labels = look_ahead
    features, kernel, bias, others = map(reference.wide, arrays)
    predicted = np.argmax(features @ kernel + bias, axis=1)

    def loss(kernel, bias):
        log_probs = special.log_softmax(others @ kernel + bias, axis=1)
        return -np.mean(log_probs[np.arange(len(labels)), labels])

    free, picks = list(reference.top_k(scores, candidates_per_pick * k, where)), []
    for _ in range(k):
        after = [
            moved(kernel, bias, features[row], predicted[row], **options)
            for row in free
        ]
        best = int(np.argmax([loss(*head) for head in after]))
        kernel, bias = after[best]
        picks.append(free.pop(best))
    return np.array(picks)


def test_picks_are_those_of_a_head_that_really_moves():
    differ = 0
    for seed in range(12):
        look_ahead = some_look_ahead(seed)
        where = np.arange(12) != seed
        scores = np.asarray(iwps_jax.iwps_last_layer(*look_ahead, **OPTIONS))
        picks = select(scores, look_ahead, where, 4, **OPTIONS)
        expected = pick_by_moving(scores, look_ahead, where, 4, 2, **OPTIONS)
        np.testing.assert_array_equal(picks, expected)
        assert picks.dtype == jnp.int32
        first, *_ = reference.top_k(scores, 4, where)
        assert picks[0] == first
        differ += set(picks.tolist()) != set(reference.top_k(scores, 4, where).tolist())
    assert differ > 6  # else plain scores would pass


def test_scores_only_choose_the_candidates():
    look_ahead = some_look_ahead(1)
    where = np.arange(12) != 3
    scores = np.arange(12.0, dtype=np.float32)
    picks = select(scores, look_ahead, where, 4, **OPTIONS)
    expected = pick_by_moving(scores, look_ahead, where, 4, 2, **OPTIONS)
    np.testing.assert_array_equal(picks, expected)


def test_tiny_steps_and_one_candidate_a_pick_are_the_plain_top():
    look_ahead, everywhere = some_look_ahead(2), np.ones(12, bool)
    tiny = dict(steps=3, learning_rate=1e-6)
    scores = np.asarray(iwps_jax.iwps_last_layer(*look_ahead, **tiny))
    expected = reference.top_k(scores, 4)
    picks = select(scores, look_ahead, everywhere, 4, **tiny)
    np.testing.assert_array_equal(picks, expected)
    picks = select(scores, look_ahead, everywhere, 4, 1, **OPTIONS)
    assert set(picks.tolist()) == set(expected.tolist())


def test_copies_are_kept_apart_and_many_heads_run_at_once():
    look_aheads = [some_look_ahead(seed) for seed in range(3)]
    for look_ahead in look_aheads:
        look_ahead.features[6:] = look_ahead.features[:6]
    stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *look_aheads)
    scores, where = jnp.ones((3, 12)), jnp.ones(12, bool)
    many = jax.vmap(lambda scores, head: select(scores, head, where, 4, 3, **OPTIONS))
    for picks, alone, look_ahead in zip(
        many(scores, stacked), scores, look_aheads, strict=True
    ):
        expected = select(alone, look_ahead, where, 4, 3, **OPTIONS)
        np.testing.assert_array_equal(picks, expected)
        assert len(set(picks.tolist())) == 4 and picks[0] < 6  # ties: the lower row


def test_what_cannot_be_selected_is_named(without_jaxtyping):
    look_ahead, scores = some_look_ahead(4), jnp.arange(12.0)
    with pytest.raises(ValueError, match=r"\bk\b"):
        contrib.rescored_iwps(KEY, scores, look_ahead, 13)
    with pytest.raises(ValueError, match="candidates_per_pick must be at least 1"):
        contrib.rescored_iwps(KEY, scores, look_ahead, 2, candidates_per_pick=0)
    with pytest.raises(ValueError, match="features must have length 11"):
        contrib.rescored_iwps(KEY, scores[1:], look_ahead, 2)
    with pytest.raises(ValueError, match="steps"):
        contrib.rescored_iwps(KEY, scores, look_ahead, 2, steps=0)
    with pytest.raises(ValueError, match="holdout_labels"):
        wrong = look_ahead._replace(holdout_labels=jnp.full(6, 3))
        contrib.rescored_iwps(KEY, scores, wrong, 2)
