"""The promises to callers: names, signatures, docstrings."""

import inspect
import re
import types
from operator import attrgetter

import pytest

import iwps_jax
from iwps_jax import loop
from iwps_jax.heads import calibration, cross_fitted
from iwps_jax.pool import chunks, planning, scan

EMPTY = inspect.Parameter.empty

HEAD = "features, kernel, bias"
CROSS_FITTED = "features, cross_fit, labeled_features, labels"
LINES = "logits, labeled_logits, labels"
PIXEL_HEAD = "features, where, kernel, bias"
DRAWS = "*, num_draws=10, dropout_rate=0.1"
REDUCED = "values, where, predicted"
CANDIDATES = "candidates_per_pick=4, where=None"
OF_BAIT = "*, prior=1.0, labeled_weight=1.0, oversampling=2, num_candidates=None"
MEAN = iwps_jax.mean_of_pixels
SIGNATURES = {
    "iwps_last_layer": f"{HEAD}, holdout_features, holdout_labels, *, "
    "holdout_weights=None, steps=3, learning_rate=0.001",
    "holdout_changes": f"{HEAD}, holdout_features, holdout_labels, *, "
    "steps=3, learning_rate=0.001",
    "iwps": "apply_fn, params, inputs, holdout_inputs, holdout_labels, *, "
    "steps=3, learning_rate=0.001",
    "iwps_mlp": "layers, inputs, holdout_inputs, holdout_labels, *, "
    "steps=3, learning_rate=0.001",
    "dense_layers": "apply_fn, params, inputs",
    "holdout_gradient": "apply_fn, params, holdout_inputs, holdout_labels",
    "iwps_app": "apply_fn, params, inputs, holdout_gradient",
    "iwps_app_last_layer": f"{HEAD}, holdout_features, holdout_labels, *, "
    "holdout_weights=None",
    "class_balanced_weights": "labels, num_classes, where=None",
    "cross_fitted_iwps": f"{CROSS_FITTED}, *, weights=None, steps=3, "
    "learning_rate=0.001",
    "cross_fitted_iwps_app": f"{CROSS_FITTED}, *, weights=None",
    "gradient_kernel": "apply_fn, params, inputs_a, labels_a, inputs_b, labels_b",
    "entropy": "logits",
    "margin": "logits",
    "least_confidence": "logits",
    "balanced_margin": "logits, labels, *, smoothing=1.0",
    "mc_dropout": "log_probs",
    "variation_ratio": "log_probs",
    "bald": "log_probs",
    "iwps_pixel_head": f"{PIXEL_HEAD}, holdout_features, holdout_labels, "
    "holdout_where, *, steps=10, learning_rate=0.01",
    "iwps_app_pixel_head": f"{PIXEL_HEAD}, gradient",
    "pixel_head_gradient": "features, labels, where, kernel, bias",
    "pixel_head_embedding": PIXEL_HEAD,
    "pixel_mc_dropout": f"key, {PIXEL_HEAD}, {DRAWS}, reduction={MEAN}",
    "pixel_bald": f"key, {PIXEL_HEAD}, {DRAWS}, reduction={MEAN}",
    "pixel_scores": f"score_fn, {PIXEL_HEAD}, *, reduction={MEAN}",
    "mean_of_pixels": REDUCED,
    "mean_of_highest": f"{REDUCED}, *, share=0.1",
    "highest_region": f"{REDUCED}, *, side=16",
    "mean_of_classes": f"{REDUCED}, *, num_classes",
    "pooled_features": "features, where",
    "upsample": "maps, factor",
    "error_reduction": f"{HEAD}, reference_features, *, steps=3, learning_rate=0.001",
    "expected_entropy_reduction": (
        f"{HEAD}, reference_features, *, steps=3, learning_rate=0.001"
    ),
    "top_k": "scores, k, where=None",
    "k_center_greedy": "features, k, labeled",
    "badge": "key, features, logits, k, where=None",
    "k_means": "key, features, num_clusters, where=None, *, number=None, steps=100, "
    "most_rows=131072",
    "average_linkage": "features, num_clusters, *, most_rows=2048",
    "typiclust": "features, clusters, k, labeled, *, neighbors=20, least_size=5",
    "prediction_changes": f"keys, {HEAD}, *, num_draws=3, dropout_rate=0.75",
    "drop_query": "key, changes, features, k, where=None",
    "cluster_margin": "key, scores, clusters, k, where=None, *, candidates_per_pick=10",
    "bait": f"key, {HEAD}, k, labeled, {OF_BAIT}",
    "bait_by_class": f"key, {HEAD}, k, labeled, {OF_BAIT}",
    "glister": f"{HEAD}, holdout_features, holdout_labels, k, where=None, *, "
    "learning_rate=0.01, diversity=0.0, picks_per_gradient=1",
    "balanced_herding": "key, features, logits, k, labeled, *, rarity=1.0, "
    "bandwidth=None, num_targets=8192",
    "max_herding": "key, features, k, labeled, *, bandwidth=None, num_targets=35000",
    "uncertainty_herding": "key, features, logits, k, labeled, *, temperature=1.0, "
    "bandwidth=None, num_targets=35000",
    "fit_temperature": "logits, labels",
    "prob_cover": "features, k, labeled, *, delta",
    "ball_radius": "key, features, clusters, *, purity=0.95, num_rows=None",
    "galaxy": f"key, {LINES}, k, where=None",
    "galaxy_sequential": f"key, {LINES}, answers, k, where=None",
    "direct": f"key, {LINES}, k, where=None",
    "direct_sequential": f"key, {LINES}, answers, k, where=None, *, num_parallel=20",
    "facility_location_mutual_information": "key, features, logits, "
    "labeled_features, labeled_logits, labels, k, where=None, *, rare=None, eta=1.0",
    "iwps_batch": "key, scores, evidence, k, *, candidates_per_pick=10, where=None",
    "feature_space": "features",
    "gradient_space": "features, logits",
    "score_in_chunks": "score_fn, inputs, *, chunk_size",
    "sample_keys": "key, rows",
    "score_pool": "score_fn, pool, *, chunk_size=None, devices=None, "
    "show_progress=False",
    "top_k_of_pool": "score_fn, pool, k, *, where=None, chunk_size=None, "
    "devices=None, folder=None, show_progress=False",
}
IN_MODULES = {  # research, and what needs more than JAX
    **{
        f"contrib.{name}": f"key, scores, space, k, *, {CANDIDATES}"
        for name in (
            *("farthest_first", "score_weighted"),
            *("k_means_plus_plus", "greedy_volume"),
        )
    },
    "contrib.rescored_iwps": "key, scores, look_ahead, k, *, "
    f"steps=3, learning_rate=0.001, {CANDIDATES}",
    "heads.cross_fitted.cross_fitted_heads": "key, features, labels, where=None, *, "
    "num_classes, num_folds=5, penalty=0.01",
    "heads.calibration.cross_validated_temperature": "features, labels, *, "
    "num_classes, penalty, num_folds=5",
    "heads.calibration.most_likely_temperature": "logits, labels",
}
AROUND_SCORES = (
    "class_balanced_weights",
    "dense_layers",
    "feature_space",
    "gradient_space",
    "highest_region",
    "mean_of_classes",
    "mean_of_highest",
    "mean_of_pixels",
    "pixel_scores",
    "pooled_features",
    "sample_keys",
    "score_in_chunks",
    "score_pool",
    "top_k_of_pool",
    "upsample",
)
LITERATURE = [
    *(name for name in SIGNATURES if name not in AROUND_SCORES),
    *(name for name in IN_MODULES if name.startswith("contrib.")),
]
SECTIONS = ("Args", "Returns", "Raises", "References", "Example")
MODULES = (loop, calibration, cross_fitted, chunks, planning, scan)


def parameters(function):
    return list(inspect.signature(function).parameters.values())


def functions_of(modules):
    """The public functions that modules define, by dotted name."""
    return {
        f"{module.__name__}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
        if inspect.isfunction(value) and not name.startswith("_")
    }


PUBLIC = {
    **{name: attrgetter(name)(iwps_jax) for name in (*SIGNATURES, *IN_MODULES)},
    **functions_of(MODULES),
}


# Names and signatures


def test_all_is_complete_and_sorted():
    assert iwps_jax.__all__ == sorted(iwps_jax.__all__)
    public = {name: getattr(iwps_jax, name) for name in iwps_jax.__all__}
    modules = {n for n, value in public.items() if isinstance(value, types.ModuleType)}
    assert modules == {"contrib", "loop"}
    assert {*public} >= {*SIGNATURES, "LoopState", "RoundInfo"}
    assert {*dir(iwps_jax)} >= {*public}


def test_every_exported_function_has_a_promised_signature():
    exported = [getattr(iwps_jax, name) for name in iwps_jax.__all__]
    functions = {f.__name__ for f in exported if inspect.isfunction(f)}
    assert functions == set(SIGNATURES)


@pytest.mark.parametrize("name", [*SIGNATURES, *IN_MODULES])
def test_signature_is_the_promised_one(name):
    function = attrgetter(name)(iwps_jax)
    bare = [p.replace(annotation=EMPTY) for p in parameters(function)]
    promised = SIGNATURES.get(name) or IN_MODULES[name]
    assert str(inspect.Signature(bare)) == f"({promised})"


def test_loop_functions_take_verbs_by_name():
    names = {
        name: [(p.name, p.kind.name) for p in parameters(getattr(loop, name))]
        for name in ("init", "train", "acquire", "step")
    }
    start = [("key", "POSITIONAL_OR_KEYWORD"), ("state", "POSITIONAL_OR_KEYWORD")]
    verbs = {name: (name, "KEYWORD_ONLY") for name in ("fit", "score", "select")}
    assert names["step"] == [*start, *verbs.values()]
    assert names["train"] == [*start, verbs["fit"]]
    assert names["acquire"] == [*start, verbs["score"], verbs["select"]]
    assert names["init"][-1] == ("budget", "KEYWORD_ONLY")


@pytest.mark.parametrize("name", PUBLIC)
def test_key_comes_first_and_defaults_are_keyword_only(name):
    for position, parameter in enumerate(parameters(PUBLIC[name])):
        assert parameter.name != "key" or position == 0
        assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is not EMPTY and parameter.name != "where":
            assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.annotation is not EMPTY


# Docstrings


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_says_what_it_is(name):
    summary = inspect.getdoc(PUBLIC[name]).splitlines()[0]
    assert summary.endswith(".") and len(summary) > 20


def sections_of(function_or_module):
    """The text of a docstring before its sections, by "", and of each of them."""
    doc = inspect.getdoc(function_or_module)
    parts = re.split(rf"\n\n({'|'.join(SECTIONS)}):\n", f"\n\n{doc}")
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def arguments_of(sections):
    return re.findall(r"^    (\w+): ", sections.get("Args", ""), flags=re.MULTILINE)


@pytest.mark.parametrize("name", LITERATURE)
def test_scores_and_selectors_have_all_sections(name):
    """Args and Raises that all functions of a module share stand in its docstring."""
    function = attrgetter(name)(iwps_jax)
    own = sections_of(function)
    shared = sections_of(inspect.getmodule(function))
    in_module = [section for section in ("Args", "Raises") if section in shared]
    assert list(own) == ["", *(s for s in SECTIONS if s in own)]
    assert {*own, *in_module} >= {*SECTIONS}
    names = [p.name for p in parameters(function)]
    common = arguments_of(shared)
    assert common == [name for name in names if name in common]
    assert arguments_of(own) == [name for name in names if name not in common]
    assert re.search(r"\b(19|20)\d\d\b", own["References"])
    assert "    >>> " in own["Example"]
    if name != "top_k":  # its one sentence is the formula
        assert re.search(r"^    \S.* = .*", own[""], flags=re.MULTILINE)


@pytest.mark.parametrize("name", [*AROUND_SCORES, *IN_MODULES, "loop.step"])
def test_other_functions_of_the_readme_have_an_example(name):
    function = attrgetter(name)(iwps_jax)
    assert ">>> " in inspect.getdoc(function)
