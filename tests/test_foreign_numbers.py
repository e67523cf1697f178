"""Numbers that compiled programs would take for others: foreign bytes, 64 bits."""

from functools import partial
from operator import attrgetter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_pixels
import score_arguments
import test_score_contract as scores
import test_signatures

import iwps_jax
from iwps_jax import explanations, loop, methods, picking
from iwps_jax.heads import logistic
from iwps_jax.heads.linear_probe import fit_linear_probe
from iwps_jax.method import Model
from iwps_jax.scores.power_margin import power_margin
from iwps_jax.types import Head, Holdout

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, score_arguments.POOL)
HEAD, NETWORK = score_arguments.head_arguments(0), score_arguments.network_arguments(0)
FEATURES, LABELS = HEAD["holdout_features"], HEAD["holdout_labels"]
LOGITS = score_arguments.logits_arguments(0)["logits"]
PIXELS = reference_pixels.problem(0)
POOL = {name: HEAD[name] for name in ("features", "kernel", "bias")}
IMAGES = {name: PIXELS[name] for name in ("features", "where", "kernel", "bias")}
GRADIENT = iwps_jax.HeadGradient(PIXELS["kernel"], PIXELS["bias"])
MAP = {"values": LOGITS, "where": LOGITS > 0, "predicted": None}
BATCH = {"scores": LOGITS[:, 0], "k": 2}
SPACE = {**BATCH, "key": KEY, "space": iwps_jax.Space(HEAD["features"], LOGITS)}
SAMPLES = {"features": FEATURES, "labels": LABELS}
KNOWN = {"holdout_features": FEATURES, "holdout_labels": LABELS}
LINES = {"logits": LOGITS, "labeled_logits": LOGITS[: len(LABELS)], "labels": LABELS}
ANSWERS = np.zeros(len(LOGITS), int)
COVERED = {"k": 2, "labeled": np.arange(score_arguments.POOL) < 1}


OTHERS = {  # beside the table of the scores' contract
    "holdout_changes": HEAD,
    "dense_layers": {"params": NETWORK["params"], "inputs": NETWORK["inputs"]},
    "holdout_gradient": {n: v for n, v in NETWORK.items() if n != "inputs"},
    "class_balanced_weights": {
        "labels": LABELS,
        "num_classes": score_arguments.CLASSES,
    },
    "cross_fitted_iwps": score_arguments.cross_fitted_arguments(0),
    "gradient_kernel": {
        "params": NETWORK["params"],
        **{"inputs_a": NETWORK["holdout_inputs"], "labels_a": LABELS},
        **{"inputs_b": NETWORK["holdout_inputs"], "labels_b": LABELS},
    },
    "iwps_pixel_head": PIXELS,
    "iwps_app_pixel_head": {**IMAGES, "gradient": GRADIENT},
    "pixel_head_gradient": {**IMAGES, "labels": np.zeros(PIXELS["where"].shape, int)},
    "pixel_head_embedding": IMAGES,
    "pixel_mc_dropout": {"key": KEY, **IMAGES},
    "pixel_bald": {"key": KEY, **IMAGES},
    "pixel_scores": {"score_fn": iwps_jax.margin, **IMAGES},
    "mean_of_pixels": MAP,
    "mean_of_highest": MAP,
    "highest_region": MAP,
    "mean_of_classes": {
        **{"values": LOGITS, "where": LOGITS > 0, "num_classes": 1},
        "predicted": np.zeros(LOGITS.shape, np.int32),
    },
    "pooled_features": {"features": PIXELS["features"], "where": PIXELS["where"]},
    "upsample": {"maps": PIXELS["features"], "factor": 2},
    "top_k": BATCH,
    "k_center_greedy": {"features": FEATURES, "k": 1, "labeled": LABELS > 0},
    "badge": {"key": KEY, "features": HEAD["features"], "logits": LOGITS, "k": 2},
    "bait": {"key": KEY, **POOL, **COVERED},
    "bait_by_class": {"key": KEY, **POOL, **COVERED},
    "glister": {**HEAD, "k": 2},
    "max_herding": {"key": KEY, "features": HEAD["features"], **COVERED},
    "balanced_herding": {
        **{"key": KEY, "features": HEAD["features"], "logits": LOGITS},
        **COVERED,
    },
    "uncertainty_herding": {
        **{"key": KEY, "features": HEAD["features"], "logits": LOGITS},
        **COVERED,
    },
    "fit_temperature": {"logits": LOGITS[: len(LABELS)], "labels": LABELS},
    "prob_cover": {"features": HEAD["features"], **COVERED, "delta": 0.5},
    "ball_radius": {
        **{"key": KEY, "features": FEATURES},
        "clusters": LABELS,
    },
    "galaxy": {"key": KEY, **LINES, "k": 2},
    "galaxy_sequential": {"key": KEY, **LINES, "answers": ANSWERS, "k": 2},
    "direct": {"key": KEY, **LINES, "k": 2},
    "direct_sequential": {"key": KEY, **LINES, "answers": ANSWERS, "k": 2},
    "facility_location_mutual_information": {
        **{"key": KEY, "features": HEAD["features"], **LINES, "k": 2},
        "labeled_features": FEATURES,
    },
    "iwps_batch": {
        **{"key": KEY, **BATCH},
        "evidence": iwps_jax.Evidence(*POOL.values(), FEATURES, FEATURES, LABELS),
    },
    "k_means": {"key": KEY, "features": FEATURES, "num_clusters": 2},
    "average_linkage": {"features": FEATURES, "num_clusters": 2},
    "typiclust": {
        **{"features": FEATURES, "clusters": LABELS},
        **{"k": 1, "labeled": LABELS > 0},
    },
    "prediction_changes": {"keys": KEYS, **POOL},
    "drop_query": {
        **{"key": KEY, "changes": LOGITS[:, 0]},
        **{"features": HEAD["features"], "k": 2},
    },
    "cluster_margin": {
        **{"key": KEY, **BATCH},
        "clusters": np.zeros(len(LOGITS), np.int32),
    },
    "feature_space": {"features": FEATURES},
    "gradient_space": {"features": HEAD["features"], "logits": LOGITS},
    "score_in_chunks": {"score_fn": jnp.sum, "inputs": LOGITS, "chunk_size": 8},
    "sample_keys": {"key": KEY, "rows": np.arange(3)},
    **{name: SPACE for name in test_signatures.IN_MODULES if "contrib" in name},
    "contrib.rescored_iwps": {
        **{"key": KEY, **BATCH},
        "look_ahead": iwps_jax.contrib.rescored.LookAhead(*HEAD.values()),
    },
    "heads.cross_fitted.cross_fitted_heads": {
        **{"key": KEY, **SAMPLES, "num_classes": score_arguments.CLASSES},
    },
    "heads.calibration.cross_validated_temperature": {
        **{**SAMPLES, "num_classes": score_arguments.CLASSES, "penalty": 0.1},
    },
    "heads.calibration.most_likely_temperature": {
        **{"logits": LOGITS[: len(LABELS)], "labels": LABELS},
    },
}
WITH_NETWORK = ("dense_layers", "holdout_gradient", "gradient_kernel")
EXAMPLES = {
    **{row.name: (row.score, row.arguments(0)) for row in scores.TABLE},
    **{
        name: (
            partial(function, score_arguments.apply_network)
            if name in WITH_NETWORK
            else function,
            OTHERS[name],
        )
        for name in OTHERS
        for function in [attrgetter(name)(iwps_jax)]
    },
    "power_margin": (power_margin, {"keys": KEYS, "logits": LOGITS}),
    "fit_linear_probe": (fit_linear_probe, {**SAMPLES, **KNOWN, "num_classes": 4}),
    "minimum": (
        logistic.minimum,
        {
            **{**SAMPLES, "weights": np.ones(len(LABELS), np.float32)},
            **{
                "penalty": 1.0,
                "num_classes": score_arguments.CLASSES,
                "tolerance": 0.1,
            },
        },
    ),
    "with weights": (
        iwps_jax.iwps_app_last_layer,
        {**HEAD, "holdout_weights": np.ones(len(LABELS), np.float32)},
    ),
    "with a step length": (
        iwps_jax.iwps_last_layer,
        {**HEAD, "learning_rate": np.array(0.1, np.float32)},
    ),
}
CONVERT = {"score_pool", "top_k_of_pool"}  # a file may have any order


def changed_one_by_one(arguments, change):
    """The arguments with one array changed; in turn each that can be."""
    leaves, structure = jax.tree.flatten(arguments)
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, np.ndarray) and (other := change(leaf)) is not None:
            put = [*leaves[:place], other, *leaves[place + 1 :]]
            yield jax.tree.unflatten(structure, put)


def swapped(array):
    """The same numbers in the other byte order."""
    if array.dtype.itemsize > 1:
        return array.astype(array.dtype.newbyteorder())


def beyond(array):
    """Integers that are the same in their lower 32 bits."""
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.int64) + 2**32


def test_every_public_function_has_an_example():
    promised = {*test_signatures.SIGNATURES, *test_signatures.IN_MODULES}
    assert promised - {*EXAMPLES} == CONVERT


@pytest.mark.parametrize("name", EXAMPLES)
def test_other_numbers_are_refused_before_anything_is_compiled(without_jaxtyping, name):
    function, arguments = EXAMPLES[name]
    cases = list(changed_one_by_one(arguments, swapped))
    assert cases
    for case in cases:
        with pytest.raises(TypeError, match="byte order of this machine, got >"):
            function(**case)
    for case in changed_one_by_one(arguments, beyond):
        with pytest.raises(ValueError, match="must fit u?int32"):
            function(**case)


def test_a_program_that_is_compiled_refuses_them_as_well():
    first = iwps_jax.margin(LOGITS)
    with pytest.raises(TypeError, match="logits must be in the byte order"):
        iwps_jax.margin(swapped(LOGITS))
    np.testing.assert_array_equal(iwps_jax.margin(LOGITS), first)
    known = iwps_jax.class_balanced_weights(np.array([0, 1]), 2)
    assert known.tolist() == [0.5, 0.5]
    for wide in (np.array([2**32, 1]), np.array([2**32, 1], np.uint64)):
        with pytest.raises(ValueError, match=f"labels must fit .*, got 1 to {2**32}"):
            iwps_jax.class_balanced_weights(wide, 2)
    with jax.enable_x64(True):
        with pytest.raises(ValueError, match="labels must be in"):
            iwps_jax.class_balanced_weights(np.array([2**32, 1]), 2)


def test_picks_of_a_round_are_refused():
    state = loop.init(np.array([False, False]), None, budget=1)
    with pytest.raises(ValueError, match="picks must fit int32"):
        loop.acquire(
            KEY,
            state,
            score=lambda key, train_state: np.zeros(2, np.float32),
            select=lambda key, scores, where: np.array([2**32 + 1]),
        )


@pytest.mark.parametrize("kind", ["array", "file", "records", "stream"])
def test_a_pool_of_any_byte_order_is_read(tmp_path, kind):
    np.save(tmp_path / "pool.npy", swapped(LOGITS))
    pool = {
        "array": swapped(LOGITS),
        "file": np.load(tmp_path / "pool.npy", mmap_mode="r"),
        "records": iwps_jax.Records(list(swapped(LOGITS)), lambda record: record),
        "stream": iter([LOGITS[:5], swapped(LOGITS[5:])]),
    }[kind]
    best = iwps_jax.top_k_of_pool(iwps_jax.margin, pool, 3, chunk_size=8)
    np.testing.assert_array_equal(best.rows, iwps_jax.top_k(iwps_jax.margin(LOGITS), 3))


def test_picks_and_predictions_from_foreign_bytes_are_the_same():
    model = Model(Head(*list(POOL.values())[1:]), Holdout(FEATURES, LABELS))
    foreign = jax.tree.map(
        lambda leaf: swapped(leaf) if isinstance(leaf, np.ndarray) else leaf, model
    )
    picks, others = (
        picking.pick(methods.IWPS_APP, its, rows, None, 4)
        for its, rows in (
            (model, POOL["features"]),
            (foreign, swapped(POOL["features"])),
        )
    )
    np.testing.assert_array_equal(others.rows, picks.rows)
    np.testing.assert_array_equal(others.scores, picks.scores)
    told, same = (
        explanations.predictions(rows, head=its.head)
        for its, rows in (
            (model, POOL["features"]),
            (foreign, swapped(POOL["features"])),
        )
    )
    np.testing.assert_array_equal(told.predicted, same.predicted)


@pytest.mark.parametrize("k", [2**32 + 1, np.int64(2**32 + 1)])
def test_a_number_of_picks_beyond_32_bits_is_refused(without_jaxtyping, k):
    with pytest.raises(ValueError, match="k must be at most the number"):
        iwps_jax.top_k(LOGITS[:, 0], k)


def test_a_seed_beyond_what_a_key_keeps_is_refused():
    with pytest.raises(ValueError, match="seed must be in"):
        picking.pick(methods.RANDOM, Model(seed=2**32), LOGITS, None, 1)
