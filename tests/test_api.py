"""The promises to callers, and the rules of the house that a machine can check."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
import types
import warnings
from operator import attrgetter
from pathlib import Path

import jax
import jaxlib
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import iwps_jax
from iwps_jax import checkpoint, cross_fitting, loop, training, versions
from iwps_jax.models import classifiers
from iwps_jax.pool import chunks, planning, scan

ROOT = Path(iwps_jax.__file__).parents[1]
EMPTY = inspect.Parameter.empty

HEAD = "features, kernel, bias"
CROSS_FITTED = "features, cross_fit, labeled_features, labels"
PIXEL_HEAD = "features, where, kernel, bias"
DRAWS = "*, num_draws=10, dropout_rate=0.1"
REDUCED = "values, where, predicted"
CANDIDATES = "candidates_per_pick=4, where=None"
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
    "farthest_first": f"key, scores, space, k, *, {CANDIDATES}",
    "score_weighted": f"key, scores, space, k, *, {CANDIDATES}",
    "k_means_plus_plus": f"key, scores, space, k, *, {CANDIDATES}",
    "greedy_volume": f"key, scores, space, k, *, {CANDIDATES}",
    "rescored_iwps": "key, scores, look_ahead, k, *, "
    f"steps=3, learning_rate=0.001, {CANDIDATES}",
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
# Not with the package itself: they need more than JAX.
IN_MODULES = {
    "cross_fitting.cross_fitted_heads": "key, features, labels, where=None, *, "
    "num_classes, num_folds=5, penalty=0.01",
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
LITERATURE = [name for name in SIGNATURES if name not in AROUND_SCORES]
MODULES = (
    *(loop, training, checkpoint, cross_fitting),
    *(chunks, planning, scan, classifiers),
)


def parameters(function):
    return list(inspect.signature(function).parameters.values())


def public_functions():
    """What users can call: the package's functions and those of its modules."""
    functions = {name: getattr(iwps_jax, name) for name in SIGNATURES}
    for module in MODULES:
        for name, value in vars(module).items():
            is_own = getattr(value, "__module__", None) == module.__name__
            if is_own and inspect.isfunction(value) and not name.startswith("_"):
                functions[f"{module.__name__}.{name}"] = value
    return functions


PUBLIC = public_functions()


# Names and signatures


def test_all_is_complete_and_sorted():
    assert iwps_jax.__all__ == sorted(iwps_jax.__all__)
    names = {
        name
        for name, value in vars(iwps_jax).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert set(iwps_jax.__all__) == (names - {"warn_if_excluded"}) | {"loop"}
    assert names >= {*SIGNATURES, "LoopState", "RoundInfo"}


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


@pytest.mark.parametrize("name", LITERATURE)
def test_scores_and_selectors_have_all_sections(name):
    doc = inspect.getdoc(getattr(iwps_jax, name))
    sections = ("Args:", "Returns:", "Raises:", "References:", "Example:")
    places = [doc.find(f"\n\n{section}\n") for section in sections]
    assert -1 not in places and places == sorted(places)
    args = doc[places[0] : places[1]]
    documented = re.findall(r"^    (\w+): ", args, flags=re.MULTILINE)
    assert documented == [p.name for p in parameters(getattr(iwps_jax, name))]
    references = doc[places[3] : places[4]]
    assert re.search(r"\b(19|20)\d\d\b", references)
    assert "    >>> " in doc[places[4] :]
    if name != "top_k":  # its one sentence is the formula
        assert re.search(r"^    \S.* = .*", doc[: places[0]], flags=re.MULTILINE)


@pytest.mark.parametrize("name", [*AROUND_SCORES, *IN_MODULES, "loop.step"])
def test_other_functions_of_the_readme_have_an_example(name):
    function = PUBLIC.get(name) or PUBLIC[f"iwps_jax.{name}"]
    assert ">>> " in inspect.getdoc(function)


# Layers

LAYERS = [  # a module may import from those above it only
    "types",
    "versions",
    "checks",
    "numerics",
    "blocks",
    "leaks",
    "upsampling",
    "scores",
    "selection",
    "pool",
    "naming",
    "files",
    "methods",
    "models",
    "training",
    "loop",
    "checkpoint",
    "cross_fitting",
    "linear_probe",
    "campaign",
    "gallery",
    "commands",
    "__main__",
]


def imported_names(path):
    """Dotted names of the modules, or of their members, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(path):
    return path.relative_to(ROOT / "iwps_jax").with_suffix("").parts[0]


LIBRARY = [
    path
    for path in sorted((ROOT / "iwps_jax").rglob("*.py"))
    if path.name != "__init__.py"
]


def importers_of(package):
    """Library modules, and __init__, that import a package from elsewhere."""
    return {
        layer_of(path)
        for path in (ROOT / "iwps_jax").rglob("*.py")
        if any(f"{name}.".startswith(f"{package}.") for name in imported_names(path))
    }


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_imports_point_upward(path):
    below = LAYERS[LAYERS.index(layer_of(path)) :]
    if path.parent.name == layer_of(path):
        below.remove(layer_of(path))  # files of one folder may build on another
    for name in imported_names(path):
        package, _, inside = name.partition(".")
        assert package != "iwps_jax" or inside.split(".")[0] not in below


def test_scores_know_only_jax():
    outside = {
        name.split(".")[0]
        for path in LIBRARY
        if layer_of(path) == "scores"
        for name in imported_names(path)
    }
    assert outside - set(sys.stdlib_module_names) == {"iwps_jax", "jax", "jaxtyping"}


def test_heavy_packages_have_few_doors():
    assert importers_of("orbax") == {"checkpoint"}
    assert importers_of("flax") == {"models"}
    assert importers_of("optax") == {"training", "linear_probe", "cross_fitting"}
    assert importers_of("experiments") == set()
    assert importers_of("iwps_jax.models") == {"models"}


def test_dependencies_are_what_the_library_imports():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    declared = {Requirement(line).name for line in project["dependencies"]}
    outside = {name.split(".")[0] for path in LIBRARY for name in imported_names(path)}
    outside -= {"iwps_jax", *sys.stdlib_module_names}
    distributions = {"orbax": "orbax-checkpoint", "PIL": "pillow"}
    assert {distributions.get(name, name) for name in outside} == declared


def test_import_loads_nothing_but_jax_and_jaxtyping():
    code = """
import sys
import jax, jax.numpy, jaxtyping, wadler_lindig  # jaxtyping needs it late
before = {name.split(".")[0] for name in sys.modules}
import iwps_jax
after = {name.split(".")[0] for name in sys.modules}
print(*sorted(after - before - set(sys.stdlib_module_names)))
unwanted = "tensorflow_datasets matplotlib sklearn tyro rich scipy flax optax orbax"
unwanted += " safetensors"
print(*sorted(after & {*unwanted.split(), "chex", "pandas", "PIL", "experiments"}))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == ["iwps_jax", ""]
    assert result.stderr == ""


@pytest.mark.parametrize(
    "path", sorted((ROOT / "iwps_jax").rglob("*.py")), ids=lambda path: path.stem
)
def test_every_file_is_short_and_says_what_it_is_for(path):
    source = path.read_text()
    assert ast.get_docstring(ast.parse(source))
    assert len(source.splitlines()) <= 400
    assert "import annotations" not in source and "import *" not in source


# Versions of JAX


@pytest.mark.parametrize("version", versions.EXCLUDED_JAXLIB)
def test_excluded_versions_warn(version):
    with pytest.warns(RuntimeWarning, match=f"jaxlib {re.escape(version)} is excl"):
        versions.warn_if_excluded(version)


@pytest.mark.parametrize("version", ["0.10.1", "0.10.3", "0.11.1", "1.0.0"])
def test_other_versions_are_silent(version):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions.warn_if_excluded(version)


def requirements_of_jax():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = project["optional-dependencies"].values()
    lines = sum(extras, project["dependencies"])
    return [r for r in map(Requirement, lines) if r.name in ("jax", "jaxlib")]


def test_the_project_excludes_exactly_those_versions():
    requirements = requirements_of_jax()
    assert {r.name for r in requirements} == {"jax", "jaxlib"}
    for requirement in requirements:
        excluded = {s.version for s in requirement.specifier if s.operator == "!="}
        assert excluded == set(versions.EXCLUDED_JAXLIB)
        lower = [s.version for s in requirement.specifier if s.operator == ">="]
        assert lower == ["0.10.1"] and len(requirement.specifier) == 1 + len(excluded)


def test_the_warning_recommends_what_the_project_requires():
    with pytest.warns(RuntimeWarning) as caught:
        versions.warn_if_excluded("0.10.2")
    recommended = re.findall(r"'([^']+)'", str(caught[0].message))
    found = {Requirement(text).name: Requirement(text) for text in recommended}
    for requirement in requirements_of_jax():
        assert found[requirement.name].specifier == requirement.specifier


def test_installed_versions_are_allowed():
    for requirement in requirements_of_jax():
        module = {"jax": jax, "jaxlib": jaxlib}[requirement.name]
        assert Version(module.__version__) in requirement.specifier
