"""BAIT in float64: all of A formed, added to, taken from and inverted at every step."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iwps_jax import bait, bait_by_class, methods, picking
from iwps_jax.method import Model
from iwps_jax.selection import fisher
from iwps_jax.types import Head, Holdout

POOL, WIDTH, CLASSES, K = 40, 4, 3, 6
KEY = jax.random.key(0)
both = pytest.mark.parametrize("select", [bait, bait_by_class])


def some_case(seed, size=1.0, num_labeled=8):
    """Features, head, and which rows are labeled."""
    rng = np.random.default_rng(seed)
    features = size * rng.normal(size=(POOL, WIDTH))
    head = rng.normal(size=(WIDTH, CLASSES)) / size, rng.normal(size=CLASSES)
    labeled = np.isin(np.arange(POOL), rng.permutation(POOL)[:num_labeled])
    return *(a.astype(np.float32) for a in (features, *head)), labeled


def information_of(select, features, kernel, bias):
    """F of every row, from the gradients of each label."""
    features, kernel, bias = (np.asarray(a, float) for a in (features, kernel, bias))
    logits = features @ kernel + bias
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    one, all_ = np.eye(len(bias)), []
    for h, p in zip(features, probs, strict=True):
        gradients = [np.kron(p - one[c], h) for c in range(len(p))]
        all_.append(sum(p[c] * np.outer(g, g) for c, g in enumerate(gradients)))
    if select is bait_by_class:
        within = np.kron(one, np.ones((features.shape[1],) * 2))
        all_ = [within * part for part in all_]
    return np.array(all_)


def brute_force(added, of_pool, start, left, k):
    """Rows picked from `left` and kept, with every A inverted."""

    def trace(a):
        return np.trace(np.linalg.solve(a, of_pool))

    a, left, picks = start, list(left), []
    for _ in range(min(2 * k, len(left))):
        picks.append(left.pop(int(np.argmin([trace(a + added[i]) for i in left]))))
        a = a + added[picks[-1]]
    while len(picks) > k:
        out = picks.pop(int(np.argmin([trace(a - added[i]) for i in picks])))
        a = a - added[out]
    return picks


def expected_of(select, case, k=K, prior=1.0, weight=1.0, left=None):
    *arrays, labeled = case
    each = information_of(select, *arrays)
    start = prior * np.eye(each.shape[1]) + weight * each[labeled].sum(0)
    left = np.flatnonzero(~labeled) if left is None else left
    return brute_force(each, each.mean(0), start, left, k)


@both
@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("num_labeled", [0, 8, 26, 32])
def test_every_pick_and_removal_is_that_of_the_formula(select, size, num_labeled):
    """Also where nothing is labeled, and where no 2 k rows are left to pick."""
    for seed in range(3):
        case = some_case(seed, size, num_labeled)
        picks = select(KEY, *case[:3], K, case[3])
        assert picks.dtype == jnp.int32
        assert picks.tolist() == expected_of(select, case), seed


@both
def test_prior_and_weight_are_those_of_the_formula(select):
    case = some_case(5)
    for prior, weight in ((0.01, 1.0), (30.0, 0.2)):
        picks = select(KEY, *case[:3], K, case[3], prior=prior, labeled_weight=weight)
        assert picks.tolist() == expected_of(select, case, K, prior, weight)


def test_the_public_code_is_another_prior_and_weight():
    """The mean over n labeled rows counts n / (n + k), and a pick k / (n + k)."""
    for seed in range(5):
        *arrays, labeled = case = some_case(seed)
        n, each = int(labeled.sum()), information_of(bait, *arrays)
        start = np.eye(each.shape[1]) + each[labeled].mean(0) * n / (n + K)
        left = np.flatnonzero(~labeled)
        expected = brute_force(each * K / (n + K), each.mean(0), start, left, K)
        options = {"prior": (n + K) / K, "labeled_weight": 1 / K}
        assert bait(KEY, *case[:3], K, labeled, **options).tolist() == expected


@pytest.mark.full
def test_as_many_rows_are_picked_as_are_asked_for():
    case = some_case(1)
    each = information_of(bait, *case[:3])
    picks = bait(KEY, *case[:3], K, case[3], oversampling=1)
    left, a, expected = [*np.flatnonzero(~case[3])], np.eye(12), []
    a += each[case[3]].sum(0)
    for _ in range(K):
        traces = [np.trace(np.linalg.solve(a + each[i], each.mean(0))) for i in left]
        expected.append(left.pop(int(np.argmin(traces))))
        a += each[expected[-1]]
    assert picks.tolist() == expected


@both
def test_the_order_of_the_pool_does_not_matter(select):
    *arrays, labeled = some_case(2)
    order = np.random.default_rng(0).permutation(POOL)
    picks = select(KEY, *arrays, K, labeled)
    moved = select(KEY, arrays[0][order], *arrays[1:], K, labeled[order])
    assert order[np.asarray(moved)].tolist() == picks.tolist()


@both
@pytest.mark.parametrize(
    "kind", ["equal rows", "copies", "one class", "huge", "tiny", "an outlier"]
)
def test_picks_are_distinct_unlabeled_rows_of_any_pool(select, kind):
    features, kernel, bias, labeled = some_case(3)
    if kind == "equal rows":
        features = np.ones_like(features)
    elif kind == "copies":
        features = np.tile(features[: POOL // 2], (2, 1))
    elif kind == "one class":
        kernel = kernel * 0
        bias = np.array([200, 0, 0], np.float32)
    elif kind == "an outlier":
        features[7] *= np.float32(1e25)
    else:
        size = np.float32(1e30 if kind == "huge" else 1e-30)
        features, kernel = features * size, kernel / size
    picks = np.asarray(select(KEY, features, kernel, bias, K, labeled))
    assert len({*picks.tolist()}) == K and not labeled[picks].any()
    if kind == "one class":  # nothing is to be learned: the lower rows
        assert picks.tolist() == np.flatnonzero(~labeled)[:K].tolist()
    if kind == "tiny":  # λ is all that counts, whatever its size
        larger = select(KEY, features * 2**40, kernel / 2**40, bias, K, labeled)
        assert picks.tolist() == larger.tolist()


@both
def test_huge_labeled_rows_leave_all_others_to_be_picked(select):
    features, kernel, bias, labeled = some_case(4)
    features[labeled] *= np.float32(1e30)
    picks = np.asarray(select(KEY, features, kernel, bias, K, labeled))
    assert len({*picks.tolist()}) == K and not labeled[picks].any()


OTHER_PROGRAMS = [
    pytest.param(bait, marks=pytest.mark.full),  # it takes longer to compile
    bait_by_class,
]


@pytest.mark.parametrize("select", OTHER_PROGRAMS)
def test_of_many_rows_some_are_drawn_in_blocks_of_any_size(monkeypatch, select):
    """And sums that are formed anew after every other pick are the same."""
    monkeypatch.setattr(fisher, "ROWS_PER_BLOCK", 16)
    monkeypatch.setattr(fisher, "FALL", 0.9)
    module, firsts = sys.modules["iwps_jax.selection.bait"], set()
    picks_of = module._picks.__wrapped__

    def anew(*arrays, **static):
        return picks_of(*arrays, **static)

    program = jax.jit(anew, static_argnames=module.STATIC)
    monkeypatch.setattr(module, "_picks", program)
    case = some_case(6)
    for seed in range(4):
        noise = np.where(case[3], -1, jax.random.uniform(jax.random.key(seed), (POOL,)))
        left, key = np.sort(np.argsort(-noise)[:20]), jax.random.key(seed)
        picks = select(key, *case[:3], K, case[3], num_candidates=20).tolist()
        assert picks == expected_of(select, case, left=left)
        firsts.add(picks[0])
    assert len(firsts) > 1


@pytest.mark.parametrize("select", OTHER_PROGRAMS)
def test_seeds_are_mapped_over(select):
    cases = [some_case(seed, 3.0, num) for seed, num in ((0, 8), (1, 32))]
    stacked = [jnp.stack(parts) for parts in zip(*cases, strict=True)]

    @jax.jit
    @jax.vmap
    def mapped(features, kernel, bias, labeled):
        return select(KEY, features, kernel, bias, K, labeled)

    for picks, case in zip(mapped(*stacked), cases, strict=True):
        assert picks.tolist() == expected_of(select, case)


def test_labeled_samples_count_wherever_they_are():
    """Beside the pool, as in `iwps score`, or among its rows, as in a study."""
    features, kernel, bias, labeled = some_case(7)
    row, head = methods.BAIT, Head(kernel, bias)
    within = row.select(KEY, None, features, Model(head), K, ~labeled)
    order = np.argsort(labeled, stable=True)
    pool, known = features[order[:-8]], features[order[-8:]]
    model = Model(head, labeled=Holdout(known, np.zeros(8, int)))
    beside = row.select(KEY, None, pool, model, K, np.ones(len(pool), bool))
    assert order[np.asarray(beside)].tolist() == within.tolist()


@pytest.mark.parametrize("row", [methods.BAIT, methods.BAIT_BY_CLASS])
def test_what_it_holds_is_asked_for_before(row):
    """Sums and probabilities of each row, and eight matrices as large as A."""
    features, kernel, bias, _ = some_case(0)
    model = Model(Head(kernel, bias))
    needed = picking.whole_pool_bytes(row, model, features)
    plain = picking.whole_pool_bytes(row._replace(held=None), model, features)
    rank, width = (2, 12) if row is methods.BAIT else (1, 4)
    problems = 1 if row is methods.BAIT else 3
    held = POOL * (2 * problems * rank**2 + CLASSES) + 8 * problems * width**2
    assert needed - plain == 4 * held


def test_what_is_too_large_is_sent_elsewhere():
    features, kernel = np.ones((5, 81), np.float32), np.zeros((81, 50), np.float32)
    labeled = np.zeros(5, bool)
    with pytest.raises(ValueError, match=r"4,000 weights, got 4,050 .*bait_by_class"):
        bait(KEY, features, kernel, kernel[0], 1, labeled)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"k": 33}, "k must be at most the number of samples left, 32"),
        ({"prior": 0.0}, "prior must be positive"),
        ({"oversampling": 0}, "oversampling must be at least 1, got 0"),
        ({"num_candidates": 3}, "num_candidates must be at least k = 6, got 3"),
        ({"labeled": np.ones(POOL, bool)}, "k must be at most the number of .*, 0"),
    ],
)
def test_what_is_impossible_is_refused(changes, sentence):
    features, kernel, bias, labeled = some_case(0)
    given = {"k": K, "labeled": labeled} | changes
    with pytest.raises(ValueError, match=sentence):
        bait(KEY, features, kernel, bias, **given)
