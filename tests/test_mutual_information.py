"""FLQMI: the greedy picks of its formula, on gradients that are formed in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import iwps_jax
from iwps_jax.selection.mutual_information import rare_classes

POOL, LABELED, DIM, CLASSES, K = 43, 30, 5, 4, 9
NEGATIVE = -np.ones(LABELED, np.int32)


@pytest.fixture(scope="module", autouse=True)
def small_sizes():
    """Sizes that make a small pool a large one: bounds and blocks of queries count."""
    module = "iwps_jax.selection.mutual_information."
    sizes = {"QUERIES_PER_BLOCK": 8, "ROWS_AT_HAND": 3, "FEW_TIMES": 2}
    with pytest.MonkeyPatch.context() as patch:
        for name, size in sizes.items():
            patch.setattr(f"{module}{name}", size)
        yield


def some_case(kind, seed):
    """Features and logits of a pool, of labeled samples, and the labels of these."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(POOL + LABELED, DIM))
    kernel = 2 * rng.normal(size=(DIM, CLASSES))
    if kind == "copies":
        features[:POOL] = features[:POOL][np.arange(POOL) // 4]
    if kind == "equal":
        features[:POOL] = 1
    labels = rng.choice(CLASSES, LABELED, p=[0.6, 0.2, 0.1, 0.1])
    labels[rng.random(LABELED) < 0.2] = -1
    if kind == "one class":
        labels = np.where(labels >= 0, 2, -1)
    logits = features @ kernel
    if kind == "huge":
        features, logits = 1e30 * features, 1e30 * logits
    parts = [a.astype(np.float32) for a in (features, logits)]
    pool, labeled = (
        [part[s] for part in parts] for s in (slice(POOL), slice(POOL, None))
    )
    for part in labeled:
        part[labels < 0] = np.nan
    return (*pool, *labeled, labels.astype(np.int32))


def directions(features, logits, labels):
    """Last-layer gradients of the cross-entropy, kernel and bias, of length one."""
    inputs = np.concatenate([features, np.ones((len(features), 1))], 1)
    inputs = np.float64(inputs) / np.abs(inputs).max(1, keepdims=True)
    residuals = [reference.residual(z, y) for z, y in zip(logits, labels, strict=True)]
    gradients = np.stack(
        [np.outer(r, h).ravel() for r, h in zip(residuals, inputs, strict=True)]
    )
    return gradients / np.linalg.norm(gradients, axis=1, keepdims=True)


def brute_force(case, where, is_rare, eta=1.0, k=K):
    features, logits, labeled_features, labeled_logits, labels = case
    query = [i for i in range(LABELED) if labels[i] >= 0 and is_rare[labels[i]]]
    rows = directions(features, logits, logits.argmax(1))
    near = directions(labeled_features[query], labeled_logits[query], labels[query])
    similarity = (1 + rows @ near.T) / 2

    def information(batch):
        return similarity[batch].max(0).sum() + eta * similarity[batch].max(1).sum()

    batch = []
    for _ in range(k):
        left = [row for row in range(POOL) if where[row] and row not in batch]
        gains = [information([*batch, row]) for row in left]
        best = max(gains)
        batch.append(left[next(i for i, g in enumerate(gains) if g > best - 1e-7)])
    return batch


def pick(case, where, k=K, seed=0, **options):
    return iwps_jax.facility_location_mutual_information(
        jax.random.key(seed), *case, k, where, **options
    )


WHERE = np.arange(POOL) % 5 != 2


@pytest.mark.parametrize("kind", ["normal", "copies", "equal", "one class"])
def test_every_pick_is_that_of_the_formula(kind):
    for seed in range(4):
        case = some_case(kind, seed)
        counts = np.bincount(case[-1][case[-1] >= 0], minlength=CLASSES)
        is_rare = (counts > 0) & (counts < counts[counts > 0].mean())
        if kind == "one class":
            is_rare = counts > 0
        picks = pick(case, WHERE)
        assert picks.tolist() == brute_force(case, WHERE, is_rare)
        assert picks.dtype == np.int32


@pytest.mark.parametrize("eta", [0.0, 5.0])
def test_classes_and_eta_are_options(eta):
    case, rare = some_case("normal", 1), np.array([True, False, False, True])
    picks = pick(case, WHERE, rare=rare, eta=eta)
    # Without η nothing is left to gain once each sample has its nearest row.
    size = K if eta else 3
    expected = brute_force(case, WHERE, rare, eta, size)
    assert picks[:size].tolist() == expected
    assert len({*picks.tolist()}) == K and WHERE[picks].all()


def test_the_sizes_of_blocks_change_no_pick(monkeypatch):
    case = some_case("normal", 2)
    picks = pick(case, WHERE).tolist()
    module = "iwps_jax.selection.mutual_information."
    for name, size in {"QUERIES_PER_BLOCK": 128, "ROWS_AT_HAND": 512}.items():
        monkeypatch.setattr(f"{module}{name}", size)
    assert pick(case, WHERE).tolist() == picks


def test_the_order_of_the_pool_does_not_matter():
    features, logits, *labeled = some_case("normal", 3)
    order = np.random.default_rng(0).permutation(POOL)
    picks = pick((features, logits, *labeled), WHERE)
    mixed = pick((features[order], logits[order], *labeled), WHERE[order])
    assert order[mixed].tolist() == picks.tolist()


def test_without_a_query_rows_are_drawn_at_random():
    *case, labels = some_case("normal", 4)
    found = [pick((*case, NEGATIVE), WHERE, seed=seed).tolist() for seed in range(3)]
    none = np.zeros(CLASSES, bool)
    found.append(pick((*case, labels), WHERE, seed=5, rare=none).tolist())
    assert len({*map(tuple, found)}) == 4
    for rows in found:
        assert len({*rows}) == K and WHERE[rows].all()


def test_certain_and_huge_rows_have_a_direction():
    """In float32, residuals are zero and squares of features infinite."""
    case = some_case("normal", 5)
    features, logits, *labeled = case
    certain = 1e3 * logits, 1e3 * labeled[1]
    picks = pick((features, certain[0], labeled[0], certain[1], labeled[2]), WHERE)
    assert len({*picks.tolist()}) == K and WHERE[picks].all()
    picks = pick(some_case("huge", 5), WHERE)
    assert len({*picks.tolist()}) == K and WHERE[picks].all()
    left = np.isin(np.arange(POOL), picks)
    assert sorted(pick(case, left).tolist()) == np.flatnonzero(left).tolist()


def test_many_keys_at_once_are_those_one_by_one():
    cases = [some_case("normal", seed) for seed in range(2)]
    args = [np.stack(part) for part in zip(*cases, strict=True)]

    def one(key, *case):
        return iwps_jax.facility_location_mutual_information(key, *case, K, WHERE)

    picks = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 2), *args)
    for i in range(2):
        assert picks[i].tolist() == pick(cases[i], WHERE).tolist()


def test_rare_classes_are_below_the_mean_of_those_with_labels():
    for counts, expected in (
        ([6, 0, 1, 5], [False, False, True, False]),
        ([3, 3, 0], [True, True, False]),
        ([3, 4, 0], [True, False, False]),
        ([0, 0], [False, False]),
    ):
        assert rare_classes(jnp.array(counts)).tolist() == expected


def test_wrong_arguments_are_named(without_jaxtyping):
    features, logits, *labeled = case = some_case("normal", 0)
    for args, options, name in (
        ((features[:3], logits, *labeled), {}, "features"),
        ((features, logits, labeled[0][:, :2], *labeled[1:]), {}, "labeled_features"),
        ((features, logits, labeled[0][:2], *labeled[1:]), {}, "labeled_features"),
        (case, {"eta": -1.0}, "eta"),
        (case, {"rare": np.ones(2, bool)}, "rare"),
    ):
        with pytest.raises(ValueError, match=name):
            pick(args, WHERE, **options)
