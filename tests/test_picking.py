"""`pick` by every method of the table: one contract, and parity with the functions."""

import functools
from functools import partial

import jax
import numpy as np
import pytest
import reference

import iwps_jax
from iwps_jax import methods, picking
from iwps_jax.method import Method, Model
from iwps_jax.picking import bind_score, draw_rows, pick
from iwps_jax.pool.scan import top_k_of_pool
from iwps_jax.pool.sources import PoolError
from iwps_jax.types import Head, Holdout

SIZE, WIDTH, CLASSES, DRAWS, K = 200, 6, 4, 5, 9
PROBLEM = reference.head_problem(3, SIZE, WIDTH, CLASSES, 12, 2.0)
OTHER = reference.head_problem(4, 8, WIDTH, CLASSES, 20, 2.0)
FEATURES = PROBLEM["features"]
HEAD = Head(PROBLEM["kernel"], PROBLEM["bias"])
LOGITS = np.float32(FEATURES @ HEAD.kernel + HEAD.bias)
MODEL = Model(
    head=HEAD,
    holdout=Holdout(PROBLEM["holdout_features"], PROBLEM["holdout_labels"]),
    labeled=Holdout(OTHER["holdout_features"], OTHER["holdout_labels"]),
    learning_rate=0.1,
)
WHERE = np.arange(SIZE) % 4 != 0
NOISE = np.random.default_rng(0).normal(size=(SIZE, DRAWS, CLASSES))
DRAWN_LOGITS = (LOGITS[:, None] + NOISE).astype(np.float32)

# The functions behind research alternatives have tests of their own.
every_method = pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=[pytest.mark.full] * row.is_research)
        for row in methods.ROWS.values()
    ],
    ids=lambda row: row.name,
)


def pool_of(row: Method):
    return DRAWN_LOGITS if "draws" in row.needs else FEATURES


main_methods = pytest.mark.parametrize(
    "row",
    [row for row in methods.ROWS.values() if not row.is_research],
    ids=lambda row: row.name,
)


def picked(row, model=MODEL, where=WHERE, k=K, chunk_size=64):
    scan = partial(top_k_of_pool, chunk_size=chunk_size)
    return pick(row, model, pool_of(row), where, k, scan=scan)


@functools.cache
def first(name):
    return picked(methods.ROWS[name])


@every_method
def test_picks_are_distinct_allowed_rows(row):
    top = first(row.name)
    rows = top.rows.tolist()
    assert len({*rows}) == K == len(top.scores) and WHERE[rows].all()
    assert picked(row).rows.tolist() == rows
    if row.select is None:
        assert (np.diff(top.scores) <= 0).all()


@main_methods
def test_all_rows_that_are_left_are_picked(row):
    left = [3, 50, 51, 52, 60, 61, 99, 120, 199]
    where = np.isin(np.arange(SIZE), left)
    assert sorted(picked(row, where=where).rows) == left


@main_methods
def test_the_chunk_size_changes_no_pick(row):
    again = picked(row, chunk_size=16)
    assert again.rows.tolist() == first(row.name).rows.tolist()
    np.testing.assert_allclose(again.scores, first(row.name).scores, rtol=1e-3)


@main_methods
def test_only_methods_that_say_so_depend_on_seed_and_rate(row):
    for option, value in (("seed", 5), ("learning_rate", 2.0)):
        if option in row.options and option == "seed":
            continue  # other targets of iwps_batch need not change its picks
        other = picked(row, MODEL._replace(**{option: value}))
        is_same = np.array_equal(first(row.name).scores, other.scores, equal_nan=True)
        assert is_same == (option not in row.options), option


@pytest.mark.parametrize(
    "row", [methods.RANDOM, methods.BADGE, methods.MARGIN_KMEANS], ids=lambda r: r.name
)
def test_another_seed_draws_other_rows(row):
    rows = picked(row, MODEL._replace(seed=5)).rows.tolist()
    assert rows != first(row.name).rows.tolist()


@every_method
def test_what_a_method_needs_is_asked_for_and_nothing_else_is_looked_at(row):
    needed = {"head": "head", "holdout": "holdout", "labels": "labeled"}
    parts = {part for need, part in needed.items() if need in row.needs + row.uses}
    parts |= {"head"} if "logits" in row.needs else set()  # of a pool of features
    only = Model(learning_rate=0.1)._replace(**{p: getattr(MODEL, p) for p in parts})
    assert picked(row, only).rows.tolist() == first(row.name).rows.tolist()
    parts -= {needed[use] for use in row.uses}
    for part in parts if "logits" not in row.needs else ():
        with pytest.raises(ValueError, match=f"{row.name} needs "):
            picked(row, only._replace(**{part: None}))


@pytest.mark.parametrize(
    "row",
    # A sample of the rows left would be another program in so small a pool.
    [r for r in methods.ROWS.values() if not (r.is_research or r.sample)],
    ids=lambda row: row.name,
)
def test_a_second_batch_picks_no_row_twice(row):
    left = WHERE.copy()
    left[first(row.name).rows] = False
    second = picked(row, MODEL._replace(batch=1), left).rows
    assert not {*first(row.name).rows} & {*second}


def test_logits_stand_in_for_features_and_head():
    for row in methods.ROWS.values():
        if row.needs == ("logits",):
            by_head = first(row.name).rows.tolist()
            scan = partial(top_k_of_pool, chunk_size=64)
            top = pick(row, Model(), LOGITS, WHERE, K, scan=scan)
            assert top.rows.tolist() == by_head


def test_the_selectors_that_see_the_whole_pool_are_those_of_the_library():
    coreset = pick(methods.CORESET, Model(), FEATURES, WHERE, K)
    expected = iwps_jax.k_center_greedy(FEATURES, K, ~WHERE)
    assert coreset.rows.tolist() == expected.tolist()
    assert np.isnan(coreset.scores).all()
    both = np.concatenate([FEATURES, MODEL.labeled.features])
    is_center = np.concatenate([~WHERE, np.ones(len(both) - SIZE, bool)])
    expected = iwps_jax.k_center_greedy(both, K, is_center)
    covered = pick(methods.CORESET, MODEL, FEATURES, WHERE, K).rows.tolist()
    assert covered == expected.tolist() != coreset.rows.tolist()
    key = jax.random.fold_in(jax.random.key(7), 2)
    expected = iwps_jax.badge(key, FEATURES, LOGITS, K, WHERE)
    model = MODEL._replace(seed=7, batch=2)
    assert pick(methods.BADGE, model, FEATURES, WHERE, K).rows.tolist() == (
        expected.tolist()
    )


def test_draws_are_those_of_the_library():
    log_probs = jax.nn.log_softmax(np.moveaxis(DRAWN_LOGITS, 1, 0))
    top = pick(methods.BALD, Model(), DRAWN_LOGITS, None, K)
    scores = np.asarray(iwps_jax.bald(log_probs))
    assert top.rows.tolist() == np.argsort(-scores, kind="stable")[:K].tolist()


def test_a_selector_sees_the_candidates_and_a_sample_of_the_pool():
    top = first("iwps_batch")
    scores = np.asarray(bind_score(methods.IWPS, MODEL)(FEATURES))
    best = np.asarray(iwps_jax.top_k(scores, 10 * K, WHERE))
    evidence = iwps_jax.Evidence(
        FEATURES[best],
        *HEAD,
        MODEL.holdout.features,
        *MODEL.labeled,
        pool_sample=FEATURES[draw_rows(0, 0, WHERE, 300)],
    )
    picks = iwps_jax.iwps_batch(jax.random.key(0), scores[best], evidence, K)
    assert top.rows.tolist() == best[np.asarray(picks)].tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8])
def test_pools_of_other_number_types_are_selected_from(dtype):
    pool = (4 * FEATURES).astype(dtype)
    picks = pick(methods.CORESET, Model(), pool, WHERE, K).rows
    expected = iwps_jax.k_center_greedy(pool.astype(np.float32), K, ~WHERE)
    assert picks.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "row", [methods.CORESET, methods.BADGE], ids=lambda row: row.name
)
def test_a_pool_that_does_not_fit_is_refused_with_its_bytes(monkeypatch, row):
    needed = picking.whole_pool_bytes(row, MODEL, FEATURES)
    beside = 64 + (2 * 4 * CLASSES if row.score else 0)
    joined = 4 * WIDTH * (SIZE + len(MODEL.labeled.labels)) if row.uses else 0
    assert needed == SIZE * (2 * 4 * WIDTH + beside) + joined
    half = picking.whole_pool_bytes(row, MODEL, FEATURES.astype(np.float16))
    assert half == needed + 2 * SIZE * WIDTH  # widened, beside the pool's own
    monkeypatch.setattr(picking, "free_memory", lambda device: needed - 1)
    with pytest.raises(MemoryError, match=f"{row.name} .* in memory, {needed:,}"):
        pick(row, MODEL, FEATURES, WHERE, K)
    assert len(picked(methods.IWPS_BATCH).rows) == K


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name", ["coreset", "badge", "iwps_batch_alone", "error_reduction", "margin"]
)
def test_rows_that_are_not_finite_are_named(name, value):
    bad = FEATURES.copy()
    bad[7, 2] = value
    with pytest.raises(PoolError, match=r"[: ]7\b"):
        pick(methods.ROWS[name], MODEL, bad, None, K)


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"method": "margin"}, TypeError, "method"),
        ({"where": WHERE[:9]}, ValueError, "where must"),
        ({"where": WHERE.astype(int)}, TypeError, "where"),
        ({"pool": FEATURES[:, :3]}, ValueError, "kernel must .* to match pool"),
        ({"labels": MODEL.holdout.labels + 9}, ValueError, "holdout_labels must be in"),
        ({"k": 0}, ValueError, "k must be at least 1"),
    ],
)
@pytest.mark.parametrize("name", ["iwps_batch", "badge", "iwps"])
def test_what_does_not_fit_together_is_refused(name, changes, error, sentence):
    given = {"method": methods.ROWS[name], "where": WHERE, "pool": FEATURES, "k": K}
    given |= changes
    model = MODEL
    if "labels" in given:
        holdout = Holdout(MODEL.holdout.features, given["labels"])
        model = MODEL._replace(holdout=holdout)
    with pytest.raises(error, match=sentence):
        pick(given["method"], model, given["pool"], given["where"], given["k"])


def test_a_head_may_be_any_pair_of_arrays():
    for row in (methods.BADGE, methods.IWPS_BATCH):
        model = MODEL._replace(head=tuple(HEAD), holdout=tuple(MODEL.holdout))
        assert picked(row, model).rows.tolist() == first(row.name).rows.tolist()


def test_pools_without_a_length_or_an_axis_are_refused():
    stream = iter([FEATURES])
    with pytest.raises(ValueError, match="needs a pool of features"):
        pick(methods.CORESET, Model(), stream, None, K)
    with pytest.raises(ValueError, match="must have a length, got an iterator"):
        pick(methods.RANDOM, Model(), stream, None, K)
    assert len(pick(methods.MARGIN, MODEL, stream, None, K).rows) == K
