"""MaxHerding and UHerding: brute force, bounds, bandwidths, temperature, contract."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import iwps_jax
from iwps_jax import methods
from iwps_jax.method import Model
from iwps_jax.picking import pick
from iwps_jax.selection import cover, herding
from iwps_jax.types import Head, Holdout

POOL, WIDTH, CLASSES, K = 64, 5, 3, 8
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(POOL, WIDTH)).astype(np.float32) + 0.5
LOGITS = (2 * RNG.normal(size=(POOL, CLASSES))).astype(np.float32)
LABELED = np.arange(POOL) % 6 == 1
NONE = np.zeros(POOL, bool)
H = 0.7


def new_key():
    return jax.random.key(3)


def by_max(features=FEATURES, labeled=LABELED, k=K, bandwidth=H, **options):
    key = new_key()
    picks = iwps_jax.max_herding(
        key, features, k, labeled, bandwidth=bandwidth, **options
    )
    return np.asarray(picks)


def by_uncertainty(features=FEATURES, labeled=LABELED, k=K, bandwidth=H, **options):
    logits = options.pop("logits", LOGITS)
    picks = iwps_jax.uncertainty_herding(
        new_key(), features, logits, k, labeled, bandwidth=bandwidth, **options
    )
    return np.asarray(picks)


both = pytest.mark.parametrize("herd", [by_max, by_uncertainty])


# The oracle, from the papers' formula.


def unit(features):
    wide = np.asarray(features, float)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def distances(features):
    points = unit(features)
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def unsure(logits, temperature=1.0):
    """One minus the gap of the two largest probabilities."""
    scaled = np.asarray(logits, float) / temperature
    probs = np.exp(scaled - scaled.max(1, keepdims=True))
    ordered = np.sort(probs / probs.sum(1, keepdims=True))
    return 1 - (ordered[:, -1] - ordered[:, -2])


def gains_before_each_pick(picks, features, weights, labeled, bandwidth):
    """Gains of all rows before each pick, -inf where a row may not be picked."""
    kernel = np.exp(-((distances(features) / bandwidth) ** 2))
    covered = kernel[labeled].max(0, initial=0)
    may = ~labeled
    for row in picks:
        gains = [
            sum(weights[u] * max(kernel[i, u] - covered[u], 0) for u in targets)
            if may[i]
            else -np.inf
            for targets in [np.flatnonzero(~labeled)]
            for i in range(len(features))
        ]
        yield row, np.array(gains)
        covered = np.maximum(covered, kernel[row])
        may = may & (np.arange(len(features)) != row)


def assert_each_is_best(picks, *problem):
    assert len(picks) == K
    for row, gains in gains_before_each_pick(picks, *problem):
        assert gains[row] >= gains.max() * (1 - 1e-5) - 1e-5


@both
@pytest.mark.parametrize("labeled", [LABELED, NONE], ids=["labeled", "cold"])
def test_every_pick_is_the_brute_force_argmax(herd, labeled):
    weights = np.ones(POOL) if herd is by_max else unsure(LOGITS)
    picks = herd(labeled=labeled)
    assert_each_is_best(picks, FEATURES, weights, labeled, H)


def test_the_two_differ_and_agree_where_all_rows_are_as_unsure():
    same = np.zeros_like(LOGITS)
    assert by_uncertainty(logits=same).tolist() == by_max().tolist()
    assert by_uncertainty().tolist() != by_max().tolist()


# Bounds.


def lazy(monkeypatch, rows, num_targets, features=FEATURES, labeled=LABELED):
    """Picks and turns with so few rows at hand, of a program of its own."""
    number = min(num_targets, len(features))
    monkeypatch.setattr(cover, "ENTRIES_AT_HAND", rows * number)
    herd = partial(herding.uncertainty_herd.__wrapped__, k=K, num_targets=num_targets)
    weights = jnp.asarray(unsure(LOGITS), jnp.float32)
    program = jax.jit(lambda *arrays: herd(*arrays, H))
    return program(new_key(), features, weights, jnp.asarray(labeled))


@pytest.mark.parametrize("rows", [8, 24])
def test_lazy_picks_are_those_of_the_plain_form(monkeypatch, rows):
    picks, turns = lazy(monkeypatch, rows, POOL)
    assert picks.tolist() == by_uncertainty().tolist()
    # All rows once, and then fewer than all for each pick.
    assert POOL // rows < turns < K * POOL // rows


def test_drawn_targets_are_the_ones_that_are_covered(monkeypatch):
    picks, _ = lazy(monkeypatch, 8, 24)
    targets = cover.draw_targets(
        new_key(), FEATURES, jnp.ones(POOL), ~jnp.asarray(LABELED), 24
    )
    drawn = np.asarray(targets.rows)
    assert len({*drawn.tolist()}) == 24 and not LABELED[drawn].any()
    weights = np.where(np.isin(np.arange(POOL), drawn), unsure(LOGITS), 0)
    assert_each_is_best(picks.tolist(), FEATURES, weights, LABELED, H)


# Bandwidths.


def test_the_bandwidth_is_the_least_distance_between_labeled_rows():
    features = FEATURES.copy()
    features[13] = 4 * features[7]  # a copy once it has norm one
    among = distances(features[LABELED])
    least = float(among[among > 1e-3].min())
    place = jnp.zeros(WIDTH)
    found = herding.least_distance(features, jnp.asarray(LABELED), place)
    np.testing.assert_allclose(found, least, rtol=1e-4)
    default = by_uncertainty(features, bandwidth=None).tolist()
    assert default == by_uncertainty(features, bandwidth=least).tolist()
    assert default != by_uncertainty(features).tolist()


def test_without_two_labeled_rows_that_differ_the_bandwidth_follows_the_median():
    among = distances(FEATURES)[np.triu_indices(POOL, 1)]
    half = float(np.sqrt(np.median(among) ** 2 / 2))
    cold = by_uncertainty(labeled=NONE, bandwidth=None).tolist()
    assert cold == by_uncertainty(labeled=NONE, bandwidth=half).tolist()
    assert by_max(labeled=NONE, bandwidth=None).tolist() == (
        by_max(labeled=NONE, bandwidth=half).tolist()
    )
    copies = FEATURES.copy()
    copies[13] = copies[7]
    is_copy = np.isin(np.arange(POOL), [7, 13])
    picks = by_uncertainty(copies, labeled=is_copy, bandwidth=None)
    assert picks.tolist() != by_uncertainty(copies, labeled=is_copy).tolist()
    among = distances(copies)[np.ix_(~is_copy, ~is_copy)]
    half = float(np.median(among[np.triu_indices(POOL - 2, 1)]) / np.sqrt(2))
    again = by_uncertainty(copies, labeled=is_copy, bandwidth=half)
    assert picks.tolist() == again.tolist()


# Temperature.


def calibration_error(logits, labels, temperature):
    scaled = np.asarray(logits, float) / temperature
    probs = np.exp(scaled - scaled.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    confidence, right = probs.max(1), probs.argmax(1) == labels
    error, ends = 0.0, np.linspace(0, 1, logits.shape[1] + 1)
    for lower, upper in zip(ends[:-1], ends[1:], strict=True):
        is_in = (confidence > lower) & (confidence <= upper)
        if is_in.any():
            gap = abs(confidence[is_in].mean() - right[is_in].mean())
            error += gap * is_in.mean()
    return error


@pytest.mark.parametrize("scale", [0.1, 4.0])
def test_the_temperature_has_the_least_calibration_error(scale):
    rng = np.random.default_rng(5)
    labels = rng.integers(0, CLASSES, 60)
    logits = scale * (3 * np.eye(3)[labels] + 3 * rng.normal(size=(60, CLASSES)))
    logits = logits.astype(np.float32)
    temperature = float(iwps_jax.fit_temperature(logits, labels))
    errors = [calibration_error(logits, labels, t / 10) for t in range(10, 200)]
    found = calibration_error(logits, labels, temperature)
    assert found <= min(errors) + 1e-6
    assert (temperature == 1) == (scale < 1)


def test_the_method_fits_the_temperature_on_the_holdout_set():
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(WIDTH, CLASSES)).astype(np.float32)
    holdout = Holdout(
        rng.normal(size=(60, WIDTH)).astype(np.float32), rng.integers(0, 3, 60)
    )
    model = Model(head=Head(kernel, np.zeros(CLASSES, "f")), holdout=holdout)
    temperature = iwps_jax.fit_temperature(holdout.features @ kernel, holdout.labels)
    assert temperature > 1.5
    picks = []
    for known, value in ((model, temperature), (model._replace(holdout=None), 1.0)):
        top = pick(methods.UNCERTAINTY_HERDING, known, FEATURES, ~LABELED, K)
        expected = by_uncertainty(
            logits=FEATURES @ kernel, temperature=value, bandwidth=None
        )
        picks.append(top.rows.tolist())
        assert picks[-1] == expected.tolist()
    assert picks[0] != picks[1]


# The contract.


@both
def test_picks_are_distinct_unlabeled_rows_to_the_last(herd):
    picks = herd(labeled=~np.isin(np.arange(POOL), range(40, 40 + K)))
    assert picks.dtype == np.int32 and sorted(picks) == [*range(40, 40 + K)]


@both
def test_the_order_of_the_pool_permutes_the_picks(herd):
    order = np.random.default_rng(2).permutation(POOL)
    logits = {} if herd is by_max else {"logits": LOGITS[order]}
    permuted = herd(FEATURES[order], LABELED[order], **logits)
    assert order[permuted].tolist() == herd().tolist()


@both
def test_equal_rows_tie_to_the_lower_one_and_copies_come_last(herd):
    same = np.ones((POOL, WIDTH), np.float32)
    assert herd(same, NONE, bandwidth=None).tolist() == [*range(K)]
    few = np.tile(FEATURES[:4], (POOL // 4, 1))
    logits = {} if herd is by_max else {"logits": np.tile(LOGITS[:4], (POOL // 4, 1))}
    picks = herd(few, NONE, **logits)
    assert sorted(picks[:4]) == [0, 1, 2, 3] and sorted(picks[4:]) == [4, 5, 6, 7]
    certain = np.tile(np.float32([1e4, 0, 0]), (POOL, 1))
    assert by_uncertainty(logits=certain).tolist() == [0, 2, 3, 4, 5, 6, 8, 9]


@both
def test_the_length_of_a_row_does_not_matter(herd):
    scale = np.where(np.arange(POOL) % 2, 1e30, 1e-30)[:, None]
    assert herd((FEATURES * scale).astype(np.float32)).tolist() == herd().tolist()
    zeros = FEATURES * (np.arange(POOL) > 9)[:, None]
    picks = herd(zeros.astype(np.float32))
    assert len({*picks.tolist()}) == K and sum(picks < 10) <= 1


@both
@pytest.mark.parametrize("bandwidth", [1e-30, 1e30])
def test_extreme_bandwidths_are_finite(herd, bandwidth):
    picks = herd(bandwidth=bandwidth).tolist()
    assert len({*picks}) == K and not LABELED[picks].any()


def test_a_batch_of_seeds_is_each_by_itself(monkeypatch):
    monkeypatch.setattr(cover, "ENTRIES_AT_HAND", 8 * POOL)
    features = np.stack([FEATURES, FEATURES[::-1]])
    labeled = np.stack([LABELED, NONE])
    weights = jnp.asarray(unsure(LOGITS), jnp.float32)

    def lazy(key, features, labeled):
        herd = herding.uncertainty_herd.__wrapped__
        return herd(key, features, weights, labeled, None, k=K, num_targets=POOL)[0]

    keys = jax.random.split(new_key(), 2)
    together = jax.jit(jax.vmap(lazy))(keys, features, labeled)
    monkeypatch.undo()
    for i in range(2):
        alone = by_uncertainty(features[i], labeled[i], bandwidth=None)
        assert together[i].tolist() == alone.tolist()


def test_max_herding_picks_what_scikit_activeml_picks():
    pool = pytest.importorskip("skactiveml.pool")
    classes = np.where(LABELED, 0.0, np.nan)
    rival = pool.MaxHerding(metric_dict={"gamma": H**-2}, random_state=0)
    expected = rival.query(FEATURES, classes, batch_size=K)
    assert by_max().tolist() == expected.tolist()


def test_what_does_not_fit_is_refused():
    for options, sentence in (
        ({"k": 0}, "k must be at least 1"),
        ({"k": POOL}, "k must be at most"),
        ({"bandwidth": 0.0}, "bandwidth must be positive"),
        ({"num_targets": 0}, "num_targets must be at least 1"),
        ({"features": FEATURES * np.inf}, "features must be finite"),
    ):
        for herd in (by_max, by_uncertainty):
            with pytest.raises(ValueError, match=sentence):
                herd(**options)
    with pytest.raises(ValueError, match="temperature must be positive"):
        by_uncertainty(temperature=0.0)
