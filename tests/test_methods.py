"""One contract for all methods and variants, on a pool of 90 tiny images."""

import jax
import numpy as np
import pytest

import iwps_jax
from experiments import models
from experiments.classification import methods
from experiments.classification.methods import METHODS, PoolView, Setting
from experiments.classification.variants import (
    FULL_NETWORK,
    ON_TRAINING,
    VARIANTS,
    make_variants,
    training_subset,
)
from iwps_jax.methods import ROWS
from iwps_jax.types import Variables

ACQUIRE_SIZE = 7
POOL_SIZE = 90
WHOLE = 10**6  # a chunk size that no pool of this file reaches
NUM_CLASSES, PER_CLASS = 4, 3
# Two of the five sizes: the pool of this file has three holdout samples a class.
SOME_SIZES = ("iwps_holdout_1", "iwps_app_holdout_2")


def rows_of_their_own():
    """Rows that a study may recommend, by name; of selectors one for each kind.

    Those of a kind are handed the same by a study; `tests/test_picking.py` has all.
    """
    kinds, names = set(), []
    for name, row in ROWS.items():
        kind = row.needs, row.uses, row.reads, row.style
        is_new = row.select is None or kind not in kinds
        # Shares of ten draws are the same for many rows.
        if is_new and not row.is_research and name != "variation_ratio":
            kinds.add(kind)
            names.append(name)
    return names


OF_TABLE = rows_of_their_own()
COMPARED = (*OF_TABLE, *FULL_NETWORK, *ON_TRAINING, *SOME_SIZES)
JUDGED = [name for name in OF_TABLE if "holdout" in ROWS[name].needs]
SEE_HOLDOUT = (*JUDGED, *FULL_NETWORK, *SOME_SIZES)
# Their selectors look at it, their scores do not.
SELECT_BY_HOLDOUT = [name for name in OF_TABLE if "holdout" in ROWS[name].uses]
NOT_BY_SCORE_ALONE = [name for name in OF_TABLE if ROWS[name].select is not None]
# Chunks differ in what is read of them: one method for each kind of reading.
READ_ALIKE = {ROWS[name].reads: name for name in OF_TABLE}
CHUNKED = (*READ_ALIKE.values(), *FULL_NETWORK, *ON_TRAINING)
FEW_VALUES = ("drop_query",)  # shares of three draws
NUM_IMAGES = 120
NETWORK = models.mlp((3, 3, 1), 4, mean=127.5, std=76.5, hidden_sizes=(8,))


def variables_like():
    return jax.eval_shape(NETWORK.init, jax.random.key(0))


def some_labels():
    """Classes of all images; only those of labeled rows get into a view."""
    return np.random.default_rng(1).integers(0, NUM_CLASSES, NUM_IMAGES)


def some_view():
    """120 images, shuffled into a pool, a holdout set and a rest."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(NUM_IMAGES)
    pool_ids = np.sort(ids[:POOL_SIZE])
    known = np.where(np.arange(POOL_SIZE) % 3 == 0, some_labels()[pool_ids], -1)
    return PoolView(
        inputs=rng.integers(0, 256, (NUM_IMAGES, 3, 3, 1), np.uint8),
        pool_ids=pool_ids.astype(np.int32),
        known_labels=known.astype(np.int32),
        holdout_ids=ids[POOL_SIZE : POOL_SIZE + 12].astype(np.int32),
        holdout_labels=(np.arange(12) // PER_CLASS).astype(np.int32),
    )


def make_programs(chunk_size, names=COMPARED):
    """One program that scores by all methods, and one that selects: compiled once.

    A method is handed (key, variables, view) and (key, scores, where): no labels of
    the pool but those of labeled rows.
    """
    setting = Setting(
        network=NETWORK,
        num_classes=NUM_CLASSES,
        num_initial=30,
        most_labeled=POOL_SIZE,
        holdout_per_class=PER_CLASS,
        acquire_size=ACQUIRE_SIZE,
        steps=2,
        learning_rate=0.1,
        chunk_size=chunk_size,
    )
    made = methods.make_methods(setting)
    assert tuple(made) == tuple(ROWS) and {*METHODS} <= {*made}
    variants = make_variants(setting)
    assert tuple(variants) == VARIANTS
    competitors = {name: {**made, **variants}[name] for name in names}

    def score(variables, view):
        return {
            name: method.score(jax.random.key(1), variables, view)
            for name, method in competitors.items()
        }

    def select(scores, where):
        return {
            name: competitors[name].select(jax.random.key(2), scores[name], where)
            for name in scores
        }

    return jax.jit(score), jax.jit(select)


def per_row(made):
    """Scores, or features, without the model that selectors get beside them."""
    return made[:-1] if isinstance(made, tuple) else made


def assert_same(got, want, **tolerance):
    """Two scores or pairs of embeddings are the same, exactly without tolerance."""
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(one, other, **{"rtol": 0} | tolerance)


@pytest.fixture(scope="module")
def variables():
    # Far from the initial weights, so that predictions differ between the images.
    start = jax.jit(NETWORK.init)(jax.random.key(0))
    return jax.tree.map(lambda leaf: 3 * np.asarray(leaf), start)


@pytest.fixture(scope="module")
def where():
    """Every third row is labeled already."""
    return np.arange(POOL_SIZE) % 3 != 0


@pytest.fixture(scope="module")
def select():
    return make_programs(WHOLE)[1]


@pytest.fixture(scope="module")
def score():
    """Scores by all methods, all rows at once."""
    program, _ = make_programs(WHOLE)
    return program.lower(variables_like(), some_view()).compile()


@pytest.fixture(scope="module")
def scores(score, variables):
    """Scores of every method by chunk size."""
    made = {WHOLE: score(variables, some_view())}
    program, _ = make_programs(7, CHUNKED)
    made[7] = program.lower(variables_like(), some_view()).compile()(
        variables, some_view()
    )
    return made


@pytest.fixture(scope="module")
def picks(select, scores, where):
    # The same names each time: one program.
    whole = scores[WHOLE]
    return {size: select({**whole, **made}, where) for size, made in scores.items()}


@pytest.mark.parametrize("name", COMPARED)
def test_picks_are_distinct_unlabeled_rows(picks, where, name):
    rows = np.asarray(picks[WHOLE][name])
    assert rows.shape == (ACQUIRE_SIZE,)
    assert rows.dtype == np.int32
    assert len(set(rows.tolist())) == ACQUIRE_SIZE
    assert np.asarray(where)[rows].all()


@pytest.mark.parametrize("name", COMPARED)
def test_every_row_has_a_finite_score_of_its_own(scores, name):
    for leaf in jax.tree.leaves(per_row(scores[WHOLE][name])):
        assert leaf.shape[0] == POOL_SIZE
        assert np.isfinite(leaf).all()
        least = 1 if name in FEW_VALUES else POOL_SIZE / 2
        assert len(np.unique(np.asarray(leaf), axis=0)) > least


@pytest.mark.parametrize("name", CHUNKED)
def test_the_chunk_size_changes_neither_scores_nor_picks(scores, picks, name):
    """Also where masks are drawn: a sample's key is its own, not its chunk's."""
    assert_same(scores[7][name], scores[WHOLE][name], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(picks[7][name], picks[WHOLE][name])


def test_every_method_takes_the_last_rows_that_are_left(select, scores):
    left = [3, 4, 20, 41, 63, 64, 89]
    where = np.isin(np.arange(POOL_SIZE), left)
    for name, rows in select(scores[WHOLE], where).items():
        assert sorted(rows.tolist()) == left, name


@pytest.mark.parametrize("name", [m for m in COMPARED if m not in NOT_BY_SCORE_ALONE])
def test_the_highest_scores_are_picked_highest_first(scores, picks, where, name):
    unlabeled = np.where(where, scores[WHOLE][name], -np.inf)
    rows = picks[WHOLE][name]
    highest = np.sort(unlabeled)[::-1][:ACQUIRE_SIZE]
    np.testing.assert_array_equal(unlabeled[rows], highest)


def test_no_method_is_another_one_under_a_second_name(scores):
    """Compared by scores and selector: so few picks of so few rows may coincide."""
    made = set()
    for name in COMPARED:
        leaves = jax.tree.leaves(scores[WHOLE][name])
        select = ROWS[name].select if name in ROWS else None
        made.add((select, *map(bytes, map(np.asarray, leaves))))
    assert len(made) == len(COMPARED)


def test_there_is_one_place_for_labels_of_the_pool_in_a_view():
    """A method sees what is in a view; a field more has to be justified here."""
    fields = ("inputs", "pool_ids", "known_labels", "holdout_ids", "holdout_labels")
    assert PoolView._fields == fields


def test_only_variants_on_training_look_at_known_labels(score, scores, variables):
    view = some_view()
    known = view.known_labels
    changed_labels = np.where(known >= 0, (known + 1) % 4, -1).astype(np.int32)
    view = view._replace(known_labels=changed_labels)
    changed = score(variables, view)
    for name in COMPARED:
        if name in ON_TRAINING:
            assert not np.allclose(changed[name], scores[WHOLE][name], rtol=1e-3), name
        else:
            assert_same(per_row(changed[name]), per_row(scores[WHOLE][name]))
    *_, model = changed["iwps_batch"]
    np.testing.assert_array_equal(model.labeled.labels, view.known_labels)


@pytest.mark.parametrize("other", ["labels", "inputs"])
def test_only_iwps_looks_at_the_holdout(score, scores, variables, other):
    view = some_view()
    if other == "labels":
        view = view._replace(holdout_labels=(view.holdout_labels + 1) % 4)
    else:
        view = view._replace(holdout_ids=view.pool_ids[:12])
    changed = score(variables, view)
    for name in COMPARED:
        if name in SEE_HOLDOUT:
            new, old = (
                jax.tree.leaves(per_row(made[name]))[0]
                for made in (changed, scores[WHOLE])
            )
            assert not np.allclose(new, old, rtol=1e-3), name
        elif name in SELECT_BY_HOLDOUT:
            assert_same(per_row(changed[name]), per_row(scores[WHOLE][name]))
            *_, model = changed[name]
            np.testing.assert_array_equal(model.holdout.labels, view.holdout_labels)
        else:
            assert_same(changed[name], scores[WHOLE][name])


def test_images_outside_pool_and_holdout_do_not_matter(score, scores, variables):
    """Nothing takes a row of the pool for the number of an image."""
    view = some_view()
    used = np.concatenate([view.pool_ids, view.holdout_ids])
    is_used = np.isin(np.arange(NUM_IMAGES), used)[:, None, None, None]
    view = view._replace(inputs=np.where(is_used, view.inputs, 255 - view.inputs))
    changed = score(variables, view)
    for name in COMPARED:
        assert_same(changed[name], scores[WHOLE][name])


def test_random_draws_depend_on_the_image_not_on_its_row(score, scores, variables):
    """Without its first ten images, a pool's others keep their draws."""
    view = some_view()
    tail = np.concatenate([view.pool_ids[10:], view.pool_ids[:10]])
    changed = score(variables, view._replace(pool_ids=tail))
    for name in ("random", "power_margin", "mc_dropout", "bald"):
        rolled = np.roll(scores[WHOLE][name], -10)
        np.testing.assert_allclose(changed[name], rolled, rtol=1e-4, atol=1e-6)


# Who judges, in the variants


def last_layer_scores(score_fn, variables, view, ids, labels, **options):
    """A score of the last layer, asked of these samples, without chunks."""
    return score_fn(
        NETWORK.features(variables, view.inputs[view.pool_ids]),
        *NETWORK.head(variables),
        NETWORK.features(variables, view.inputs[ids]),
        labels,
        **options,
    )


LOOK_AHEAD = {"steps": 2, "learning_rate": 0.1}


@pytest.mark.parametrize(
    "name, score_fn, options, per_class",
    [
        ("iwps", iwps_jax.iwps_last_layer, LOOK_AHEAD, 3),
        ("iwps_app", iwps_jax.iwps_app_last_layer, {}, 3),
        ("iwps_holdout_1", iwps_jax.iwps_last_layer, LOOK_AHEAD, 1),
        ("iwps_app_holdout_2", iwps_jax.iwps_app_last_layer, {}, 2),
    ],
)
def test_so_many_of_each_class_judge(
    scores, variables, name, score_fn, options, per_class
):
    view = some_view()
    chosen = np.flatnonzero(np.arange(12) % PER_CLASS < per_class)
    labels = view.holdout_labels[chosen]
    assert np.bincount(labels).tolist() == [per_class] * NUM_CLASSES
    expected = last_layer_scores(
        score_fn, variables, view, view.holdout_ids[chosen], labels, **options
    )
    np.testing.assert_allclose(scores[WHOLE][name], expected, rtol=1e-3, atol=1e-6)


def test_the_full_network_is_asked_as_a_whole(scores, variables):
    view = some_view()

    def apply(params, inputs):
        return NETWORK.apply(Variables(params, {}), inputs)

    pool, judging = view.inputs[view.pool_ids], view.inputs[view.holdout_ids]
    params, labels = variables.params, view.holdout_labels
    exact = iwps_jax.iwps(apply, params, pool, judging, labels, **LOOK_AHEAD)
    np.testing.assert_allclose(scores[WHOLE]["iwps_full"], exact, rtol=1e-3, atol=1e-5)
    gradient = iwps_jax.holdout_gradient(apply, params, judging, labels)
    first_order = iwps_jax.iwps_app(apply, params, pool, gradient)
    np.testing.assert_allclose(
        scores[WHOLE]["iwps_app_full"], first_order, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("num_initial", [5, 30])
def test_labeled_rows_judge_drawn_anew(num_initial):
    view = some_view()
    judges = jax.jit(training_subset(num_initial))
    drawn = []
    for seed in range(20):
        ids, labels = map(np.asarray, judges(jax.random.key(seed), view))
        assert len(ids) == min(12, num_initial) == len(set(ids.tolist()))
        np.testing.assert_array_equal(labels, some_labels()[ids])
        rows = np.searchsorted(view.pool_ids, ids)
        assert (np.asarray(view.known_labels)[rows] >= 0).all()
        drawn.append(frozenset(ids.tolist()))
    assert len(set(drawn)) == 20
    # 20 draws of 5 or 12 among 30 labeled rows: any row may come.
    assert len(frozenset.union(*drawn)) >= 25
