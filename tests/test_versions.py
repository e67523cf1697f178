"""Releases of JAX that compute wrong scores are excluded and warned of."""

import re
import tomllib
import warnings
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import iwps_jax
from iwps_jax import versions

ROOT = Path(iwps_jax.__file__).parents[1]


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


def test_the_compiler_does_not_make_the_mistake_of_jaxlib_0_10_2():
    """There, from some hundred rows on, the sums of this product are other numbers."""
    rng = np.random.default_rng(0)
    probs, reach = rng.dirichlet(np.ones(10), 100), rng.normal(size=(4096, 100))
    steps = 1e-3 * rng.normal(size=(4096, 10))

    def change(numpy, probs, reach, steps):
        moved = numpy.expm1(reach[..., None] * steps[:, None])
        return numpy.log1p((probs[None] * moved).sum(-1))

    arrays = [jnp.asarray(array, jnp.float32) for array in (probs, reach, steps)]
    found = jax.jit(partial(change, jnp))(*arrays)
    np.testing.assert_allclose(
        found, change(np, probs, reach, steps), rtol=1e-3, atol=1e-7
    )


def test_installed_versions_are_allowed():
    for requirement in requirements_of_jax():
        module = {"jax": jax, "jaxlib": jaxlib}[requirement.name]
        assert Version(module.__version__) in requirement.specifier
