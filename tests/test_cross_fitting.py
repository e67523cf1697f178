"""Cross-fitting: heads that never saw their fold, and IWPS judged by these folds."""

from functools import partial

import jax
import numpy as np
import pytest
import reference
from reference import ASKED
from sklearn.linear_model import LogisticRegression
from some_campaigns import some_digits

import iwps_jax
from iwps_jax.heads.cross_fitted import cross_fitted_heads

FOLDS, CLASSES, ROOM = 3, 10, 128
fit = partial(cross_fitted_heads, num_classes=CLASSES, num_folds=FOLDS)
jitted_fit = jax.jit(fit)
score = jax.jit(iwps_jax.cross_fitted_iwps)
first_order_score = jax.jit(iwps_jax.cross_fitted_iwps_app)


def digits_heads(seed, features, labels, where, *, penalty=1e-2):
    """One program for all tests: what changes is data."""
    arrays = features, labels, where
    return jitted_fit(jax.random.key(seed), *arrays, penalty=penalty)


@pytest.fixture(scope="module")
def samples():
    """A buffer of 128 digits, 100 of them there; the others hold no numbers at all."""
    digits = some_digits(0, rarity=2)
    where = np.random.default_rng(1).permutation(ROOM) < 100
    features = np.where(where[:, None], digits["pool"][:ROOM] + 7, np.nan)
    return features.astype(np.float32), digits["truth"][:ROOM], where


@pytest.fixture(scope="module")
def heads(samples):
    return digits_heads(0, *samples)


def left_out(heads, fold):
    return np.asarray(heads.rows[fold])[np.asarray(heads.where[fold])]


def test_every_sample_is_left_out_once_and_no_other(samples, heads):
    rows = np.concatenate([left_out(heads, fold) for fold in range(FOLDS)])
    assert sorted(rows.tolist()) == np.flatnonzero(samples[2]).tolist()
    assert heads.rows.shape == heads.where.shape == (FOLDS, -(-ROOM // FOLDS))


def test_folds_are_stratified_and_of_one_size(samples, heads):
    counts = np.array(
        [
            np.bincount(samples[1][left_out(heads, fold)], minlength=CLASSES)
            for fold in range(FOLDS)
        ]
    )
    assert np.ptp(counts, axis=0).max() <= 1 and np.ptp(counts.sum(1)) <= 1


def test_another_key_draws_other_folds(samples, heads):
    others = digits_heads(1, *samples)
    folds = [set(left_out(h, 0).tolist()) for h in (heads, others)]
    assert folds[0] != folds[1]


@pytest.mark.parametrize("penalty", [1e-3, 1e-2, 1.0])
def test_heads_are_the_optimum_that_scikit_learn_finds(samples, penalty):
    features, labels, where = samples
    heads = digits_heads(0, *samples, penalty=penalty)
    for fold in range(FOLDS):
        rows = np.setdiff1d(np.flatnonzero(where), left_out(heads, fold))
        learned = features[rows].astype(np.float64)
        mean, size = learned.mean(0), np.sqrt(((learned - learned.mean(0)) ** 2).mean())
        scaled = np.column_stack([(learned - mean) / size, np.ones(len(rows))])
        other = LogisticRegression(
            C=1 / (penalty * len(rows)), fit_intercept=False, tol=1e-9, max_iter=10_000
        ).fit(scaled, labels[rows])
        assert len(other.classes_) == CLASSES
        found = np.float64(heads.kernel[fold]) * size
        np.testing.assert_allclose(found, other.coef_[:, :-1].T, atol=2e-3)
        bias = np.float64(heads.bias[fold]) + mean @ np.float64(heads.kernel[fold])
        np.testing.assert_allclose(bias, other.coef_[:, -1], atol=2e-3)


def test_a_head_never_saw_its_fold(samples, heads):
    features, labels, where = samples
    row = int(left_out(heads, 1)[0])
    features = features.copy()
    features[row] = features[row][::-1]
    others = digits_heads(0, features, labels, where)
    np.testing.assert_array_equal(others.rows, heads.rows)
    is_same = (others.kernel == heads.kernel).all((1, 2))
    assert is_same.tolist() == [False, True, False]


def test_a_label_is_not_learned_by_the_head_it_judges(samples):
    """Under a key whose folds stay as they are when a sample changes its class."""
    features, labels, where = samples
    labels = 2 + labels % 8
    labels[np.flatnonzero(where)[:4]] = [0, 0, 1, 1]
    for seed in range(50):
        heads = digits_heads(seed, features, labels, where)
        relabeled = labels.copy()
        relabeled[heads.rows[1, 0]] = 1  # the last one of class 0
        others = digits_heads(seed, features, relabeled, where)
        if (others.rows == heads.rows).all():
            break
    assert (relabeled != labels).sum() == 1 and (others.rows == heads.rows).all()
    is_same = (others.kernel == heads.kernel).all((1, 2))
    assert is_same.tolist() == [False, True, False]


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_heads_do_not_depend_on_the_unit_of_the_features(samples, heads, shift):
    features, labels, where = samples
    others = digits_heads(0, features * 64 + shift, labels, where)
    rows = np.flatnonzero(where)
    for f in range(FOLDS):
        logits = features[rows] @ np.float64(heads.kernel[f])
        other = (features[rows] * 64 + shift) @ np.float64(others.kernel[f])
        moved = np.float64(others.bias[f]) - np.float64(heads.bias[f])
        np.testing.assert_allclose(other + moved, logits, atol=2e-2)


def test_a_class_with_one_sample_and_one_with_none():
    rng, where = np.random.default_rng(0), np.arange(ROOM) < 20
    features = np.zeros((ROOM, 64), np.float32)
    features[:20, :4] = rng.normal(size=(20, 4))
    labels = np.where(np.arange(ROOM) == 7, 2, np.arange(ROOM) % 2)
    heads = digits_heads(0, features, labels, where)
    kernels, biases = np.asarray(heads.kernel), np.asarray(heads.bias)
    assert np.isfinite(kernels).all() and np.isfinite(biases).all()
    (fold,) = [f for f in range(FOLDS) if 7 in left_out(heads, f)]
    probs = reference.softmax(features[:20] @ kernels + biases[:, None])
    # Unseen, the two are as likely as each other: the minimum is unique.
    np.testing.assert_allclose(probs[fold, :, 2], probs[fold, :, 3], rtol=1e-4)
    assert probs[:, :, 3].max() < 0.1 and probs[(fold + 1) % FOLDS, 7, 2] > 0.2
    weights = np.ones(ROOM, np.float32)
    scores = score(features, heads, features, labels, weights=weights)
    assert np.isfinite(scores).all()


def test_seeds_can_be_mapped_over(samples):
    features, labels, where = samples
    masks = np.stack([where, np.roll(where, 1)])
    features = np.where(np.isnan(features), 0, features)

    def scores_of(seed, where):
        heads = fit(jax.random.key(seed), features, labels, where)
        weights = iwps_jax.class_balanced_weights(labels, CLASSES, where)
        arrays = features, heads, features, labels
        return iwps_jax.cross_fitted_iwps(*arrays, weights=weights)

    together = jax.jit(jax.vmap(scores_of))(np.arange(2), masks)
    for seed in range(2):
        heads = digits_heads(seed, features, labels, masks[seed])
        weights = iwps_jax.class_balanced_weights(labels, CLASSES, masks[seed])
        expected = score(features, heads, features, labels, weights=weights)
        scale = np.abs(expected).mean()
        np.testing.assert_allclose(together[seed], expected, atol=2e-3 * scale)


# The scores, for whatever heads


def some_problem(pool, n=40, dim=16, classes=4):
    """A pool, labeled samples, and heads that were drawn: each row left out once."""
    rng = np.random.default_rng(2)
    problem = reference.head_problem(2, pool, dim, classes, n)
    kernels = problem["kernel"] + rng.normal(size=(FOLDS, dim, classes)) / 8
    order = rng.permutation(n)
    rows = np.pad(order[:-1], (0, 3))[:42].reshape(14, FOLDS).T  # one is not there
    heads = iwps_jax.CrossFit(
        kernels.astype(np.float32),
        (rng.normal(size=(FOLDS, classes)) / 8).astype(np.float32),
        rows,
        (np.arange(42) < n - 1).reshape(14, FOLDS).T,
    )
    labeled = problem["holdout_features"].copy()
    labeled[order[-1]] = np.nan
    labels = problem["holdout_labels"]
    return problem["features"], heads, labeled, labels, rng.uniform(0, 2, n)


def terms_of(heads, weights, of_fold):
    """The oracle's terms [pool, all left out], for a function of a fold's arrays."""
    weights = np.concatenate([weights[left_out(heads, f)] for f in range(FOLDS)])
    return np.concatenate([of_fold(f) for f in range(FOLDS)], axis=1) * (
        weights / weights.sum()
    )


@pytest.mark.parametrize("learning_rate", [1e-5, 1e-3, 1.0])
def test_scores_are_the_sum_over_folds(learning_rate):
    features, heads, labeled, labels, weights = some_problem(4096)
    found = score(
        *(features, heads, labeled, labels),
        weights=np.float32(weights),
        learning_rate=learning_rate,
    )
    terms = terms_of(
        heads,
        np.float64(np.float32(weights)),
        lambda f: reference.look_ahead_changes(
            [(heads.kernel[f], heads.bias[f])],
            features[ASKED],
            labeled[left_out(heads, f)],
            labels[left_out(heads, f)],
            learning_rate=learning_rate,
        ),
    )
    reference.assert_same_scores(found[ASKED], terms.sum(1), np.abs(terms).sum(1))


def test_first_order_scores_are_the_sum_over_folds():
    features, heads, labeled, labels, weights = some_problem(4096)
    arrays = features, heads, labeled, labels
    found = first_order_score(*arrays, weights=np.float32(weights))
    terms = terms_of(
        heads,
        np.float64(np.float32(weights)),
        lambda f: (
            -reference.gradient_kernel(
                [(heads.kernel[f], heads.bias[f])],
                features[ASKED],
                None,
                labeled[left_out(heads, f)],
                labels[left_out(heads, f)],
            )
        ),
    )
    reference.assert_same_scores(found[ASKED], terms.sum(1), np.abs(terms).sum(1))


def test_one_head_for_all_folds_is_iwps_on_all_labels():
    features, heads, labeled, labels, _ = some_problem(4096)
    heads = heads._replace(
        kernel=np.repeat(heads.kernel[:1], FOLDS, axis=0),
        bias=np.repeat(heads.bias[:1], FOLDS, axis=0),
    )
    is_there = ~np.isnan(labeled[:, 0])
    arrays = features, heads, labeled, labels
    weights = np.full(len(labels), 2, np.float32)
    on_all = heads.kernel[0], heads.bias[0], labeled[is_there], labels[is_there]
    for found, plain in (
        (score(*arrays, weights=weights, learning_rate=1e-3), iwps_jax.iwps_last_layer),
        (first_order_score(*arrays, weights=weights), iwps_jax.iwps_app_last_layer),
    ):
        expected = np.asarray(plain(features, *on_all))
        scale = np.abs(expected).mean()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * scale)


# Refusals


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_folds": 1}, r"num_folds must be in \[2, 6\]"),
        ({"num_folds": 7}, r"num_folds must be in \[2, 6\]"),
        ({"num_folds": 5}, "num_folds must be at most the number of samples left, 4"),
        ({"penalty": 0.0}, "penalty must be positive"),
        ({"labels": np.array([0, 1, 2, 0, 1, 0])}, r"labels must be in \[0, 2\)"),
        ({"labels": np.zeros(6)}, "labels must be integers"),
        ({"labels": np.zeros(5, int)}, "labels must have length 6"),
        ({"where": np.ones(5, bool)}, "where must have length 6"),
        ({"features": np.full((6, 2), np.nan, np.float32)}, "features must be finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(without_jaxtyping, change, sentence):
    some = {
        "features": np.ones((6, 2), np.float32),
        "labels": np.array([0, 1, 0, 1, 0, 1]),
        "where": np.arange(6) < 4,
        "num_classes": 2,
        "num_folds": 2,
    }
    with pytest.raises((ValueError, TypeError), match=sentence):
        cross_fitted_heads(jax.random.key(0), **{**some, **change})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weights": np.zeros(40, np.float32)}, "weights must be at least 0"),
        ({"weights": np.ones(39, np.float32)}, "weights must have length 40"),
        ({"labels": np.full(40, 4)}, r"labels must be in \[0, 4\)"),
        ({"labeled_features": np.ones((40, 3), np.float32)}, "labeled_features must"),
        ({"features": np.ones((5, 3), np.float32)}, "kernel must have length 3"),
    ],
)
@pytest.mark.parametrize("name", ["cross_fitted_iwps", "cross_fitted_iwps_app"])
def test_what_cannot_be_judged_is_refused(without_jaxtyping, name, change, sentence):
    features, heads, labeled, labels, _ = some_problem(5)
    some = {
        "features": features,
        "cross_fit": heads,
        "labeled_features": np.nan_to_num(labeled),
        "labels": labels,
    }
    with pytest.raises((ValueError, TypeError), match=sentence):
        getattr(iwps_jax, name)(**{**some, **change})


def test_weights_of_no_sample_that_judges_are_refused():
    features, heads, labeled, labels, _ = some_problem(5)
    in_no_fold = np.isnan(labeled[:, 0]).astype(np.float32)
    arrays = features, heads, labeled, labels
    with pytest.raises(ValueError, match="weights must be at least 0, some of them"):
        iwps_jax.cross_fitted_iwps(*arrays, weights=in_no_fold)
