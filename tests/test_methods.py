"""One contract for all ten methods, on a pool of 90 tiny images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import methods
from experiments.methods import METHODS, PoolView
from iwps_jax import models

ACQUIRE_SIZE = 7
POOL_SIZE = 90
SEE_HOLDOUT = ("iwps_app", "iwps")
BY_DISTANCE = ("coreset", "badge")
NUM_IMAGES = 120
FAST_COMPILE = {"xla_backend_optimization_level": "0"}
NETWORK = models.mlp((3, 3, 1), 4, mean=127.5, std=76.5, hidden_sizes=(8, 6))


def params_like():
    return jax.eval_shape(NETWORK.init, jax.random.key(0))


def some_view():
    """120 images, shuffled into a pool, a holdout set and a rest."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(NUM_IMAGES)
    return PoolView(
        images=jnp.asarray(rng.integers(0, 256, (NUM_IMAGES, 3, 3, 1), np.uint8)),
        pool_ids=jnp.asarray(np.sort(ids[:POOL_SIZE]), jnp.int32),
        holdout_ids=jnp.asarray(ids[POOL_SIZE : POOL_SIZE + 12], jnp.int32),
        holdout_labels=jnp.asarray(np.arange(12) % 4, jnp.int32),
    )


def make_programs():
    """One program that scores by all methods, and one that selects: compiled once.

    A method is handed (key, params, view) and (key, scores, where): no labels of the
    pool.
    """
    competitors = methods.make_methods(
        NETWORK, acquire_size=ACQUIRE_SIZE, steps=2, learning_rate=0.1
    )
    assert tuple(competitors) == METHODS

    def score(params, view):
        return {
            name: method.score(jax.random.key(1), params, view)
            for name, method in competitors.items()
        }

    def select(scores, where):
        return {
            name: method.select(jax.random.key(2), scores[name], where)
            for name, method in competitors.items()
        }

    return jax.jit(score), jax.jit(select)


def assert_same(got, want, **tolerance):
    """Two scores or pairs of embeddings are the same, exactly without tolerance."""
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(one, other, **{"rtol": 0} | tolerance)


@pytest.fixture(scope="module")
def params():
    # Far from the initial weights, so that predictions differ between the images.
    return jax.tree.map(lambda leaf: 3 * leaf, NETWORK.init(jax.random.key(0)))


@pytest.fixture(scope="module")
def where():
    """Every third row is labeled already."""
    return jnp.arange(POOL_SIZE) % 3 != 0


@pytest.fixture(scope="module")
def select():
    return make_programs()[1]


@pytest.fixture(scope="module")
def score():
    """Scores by all methods, 64 rows at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "CHUNK_SIZE", 64)
        program, _ = make_programs()
        return program.lower(params_like(), some_view()).compile(FAST_COMPILE)


@pytest.fixture(scope="module")
def scores(score, params):
    """Scores of every method by chunk size."""
    with pytest.MonkeyPatch.context() as patch:
        made = {64: score(params, some_view())}
        for chunk_size in (7, 10**6):
            patch.setattr(methods, "CHUNK_SIZE", chunk_size)
            program, _ = make_programs()
            program = program.lower(params_like(), some_view()).compile(FAST_COMPILE)
            made[chunk_size] = program(params, some_view())
    return made


@pytest.fixture(scope="module")
def picks(select, scores, where):
    return {size: select(made, where) for size, made in scores.items()}


@pytest.mark.parametrize("name", METHODS)
def test_picks_are_distinct_unlabeled_rows(picks, where, name):
    for made in picks.values():
        rows = np.asarray(made[name])
        assert rows.shape == (ACQUIRE_SIZE,)
        assert rows.dtype == np.int32
        assert len(set(rows.tolist())) == ACQUIRE_SIZE
        assert np.asarray(where)[rows].all()


@pytest.mark.parametrize("name", METHODS)
def test_every_row_has_a_finite_score_of_its_own(scores, name):
    for leaf in jax.tree.leaves(scores[7][name]):
        assert leaf.shape[0] == POOL_SIZE
        assert np.isfinite(leaf).all()
        assert len(np.unique(np.asarray(leaf), axis=0)) > POOL_SIZE / 2


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("chunk_size", [7, 64])
def test_the_chunk_size_changes_neither_scores_nor_picks(
    scores, picks, name, chunk_size
):
    """Also where masks are drawn: a sample's key is its own, not its chunk's."""
    assert_same(scores[chunk_size][name], scores[10**6][name], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(picks[chunk_size][name], picks[10**6][name])


def test_every_method_takes_the_last_rows_that_are_left(select, scores):
    left = [3, 4, 20, 41, 63, 64, 89]
    where = jnp.zeros(POOL_SIZE, bool).at[jnp.array(left)].set(True)
    for name, rows in select(scores[64], where).items():
        assert sorted(rows.tolist()) == left, name


@pytest.mark.parametrize("name", [m for m in METHODS if m not in BY_DISTANCE])
def test_the_highest_scores_are_picked_highest_first(scores, picks, where, name):
    unlabeled = np.where(where, scores[64][name], -np.inf)
    rows = picks[64][name]
    highest = np.sort(unlabeled)[::-1][:ACQUIRE_SIZE]
    np.testing.assert_array_equal(unlabeled[rows], highest)


def test_no_method_is_another_one_under_a_second_name(picks):
    assert len({tuple(rows.tolist()) for rows in picks[64].values()}) == len(METHODS)


def test_there_are_no_labels_of_the_pool_in_a_view():
    """A method sees what is in a view; a field more has to be justified here."""
    fields = ("images", "pool_ids", "holdout_ids", "holdout_labels")
    assert PoolView._fields == fields


@pytest.mark.parametrize("other", ["labels", "images"])
def test_only_iwps_looks_at_the_holdout(score, scores, params, other):
    view = some_view()
    if other == "labels":
        view = view._replace(holdout_labels=(view.holdout_labels + 1) % 4)
    else:
        view = view._replace(holdout_ids=view.pool_ids[:12])
    changed = score(params, view)
    for name in METHODS:
        if name in SEE_HOLDOUT:
            assert not np.allclose(changed[name], scores[64][name], rtol=1e-3), name
        else:
            assert_same(changed[name], scores[64][name])


def test_images_outside_pool_and_holdout_do_not_matter(score, scores, params):
    """Nothing takes a row of the pool for the number of an image."""
    view = some_view()
    used = np.concatenate([view.pool_ids, view.holdout_ids])
    is_used = np.isin(np.arange(NUM_IMAGES), used)[:, None, None, None]
    view = view._replace(images=jnp.where(is_used, view.images, 255 - view.images))
    changed = score(params, view)
    for name in METHODS:
        assert_same(changed[name], scores[64][name])


def test_random_draws_depend_on_the_image_not_on_its_row(score, scores, params):
    """Without its first ten images, a pool's others keep their draws."""
    view = some_view()
    tail = jnp.concatenate([view.pool_ids[10:], view.pool_ids[:10]])
    changed = score(params, view._replace(pool_ids=tail))
    for name in ("random", "mc_dropout", "bald"):
        rolled = np.roll(scores[64][name], -10)
        np.testing.assert_allclose(changed[name], rolled, rtol=1e-4, atol=1e-6)
