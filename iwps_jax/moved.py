"""Names of version 0.6 that stand elsewhere now, and answer with a warning until 1.0.

Three tables say all. `FUNCTIONS` are names of the packages in `HAD_FUNCTIONS`;
`MODULES` are modules, whose old names are imported as before but hold what the new ones
hold. `LEFT` are modules that the wheel no longer has: they came with the experiments.
"""

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

FUNCTIONS = {
    name: "iwps_jax.contrib"
    for name in (
        "LookAhead",
        "farthest_first",
        "greedy_volume",
        "k_means_plus_plus",
        "rescored_iwps",
        "score_weighted",
    )
}
HAD_FUNCTIONS = ("iwps_jax", "iwps_jax.selection")
MODULES = {
    "iwps_jax.campaign": "iwps_jax.app.campaign",
    "iwps_jax.campaign.asking": "iwps_jax.app.campaign.next_batch",
    "iwps_jax.campaign.folder": "iwps_jax.app.campaign.folder",
    "iwps_jax.campaign.scaling": "iwps_jax.app.campaign.scaling",
    "iwps_jax.campaign.state": "iwps_jax.app.campaign.state",
    "iwps_jax.campaign.stopping": "iwps_jax.app.campaign.stopping",
    "iwps_jax.campaign.telling": "iwps_jax.app.campaign.learn",
    "iwps_jax.cross_fitting": "iwps_jax.heads.cross_fitted",
    "iwps_jax.leaks": "iwps_jax.app.leaks",
    "iwps_jax.linear_probe": "iwps_jax.heads.linear_probe",
    "iwps_jax.naming": "iwps_jax.app.naming",
    "iwps_jax.pool.record": "iwps_jax.pool.resume",
    "iwps_jax.pool.spans": "iwps_jax.pool.row_ranges",
    "iwps_jax.scores.pixel_head": "iwps_jax.pixels.head",
    "iwps_jax.scores.pixel_kernel": "iwps_jax.pixels.kernel",
    "iwps_jax.scores.pixel_lookahead": "iwps_jax.pixels.lookahead",
    "iwps_jax.scores.pixel_maps": "iwps_jax.pixels.maps",
    "iwps_jax.scores.reductions": "iwps_jax.pixels.reductions",
    "iwps_jax.selection.batches": "iwps_jax.contrib.batches",
    "iwps_jax.selection.rescored": "iwps_jax.contrib.rescored",
    "iwps_jax.selection.whole_batch": "iwps_jax.selection.iwps_batch",
    "iwps_jax.upsampling": "iwps_jax.pixels.upsampling",
}
LEFT = {
    "iwps_jax.checkpoint": "experiments.engine.checkpoint",
    "iwps_jax.models": "experiments.models",
    "iwps_jax.training": "experiments.classification.training",
}


def _moved_name(package: str, name: str) -> object:
    """A function or a module by its old name, asked for as an attribute.

    Raises:
        AttributeError: if there never was one.
    """
    old = f"{package}.{name}"
    if old in MODULES:
        _warn(old, MODULES[old], stacklevel=4)
        with warnings.catch_warnings():  # which would point at the import below
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(old)
    if package not in HAD_FUNCTIONS or name not in FUNCTIONS:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    home = FUNCTIONS[name]
    _warn(old, f"{home}.{name}", stacklevel=4)
    return getattr(importlib.import_module(home), name)


def _warn(old: str, new: str, stacklevel: int) -> None:
    # "from", since a function can hide the module of its name in a package.
    home, _, name = new.rpartition(".")
    line = f"from {new} import ..." if old in MODULES else f"from {home} import {name}"
    warnings.warn(
        f"{old} is now {new}: write `{line}`. The old name goes in version 1.0.",
        DeprecationWarning,
        stacklevel=stacklevel,
    )


def _gone(old: str) -> str:
    """The sentence about a module that has left the wheel; "" for all others."""
    top = ".".join(old.split(".")[:2])
    if top not in LEFT:
        return ""
    return (
        f"{old} is no longer installed: it belongs to the experiments, which are run "
        "from a clone of the repository, and is "
        f"{LEFT[top]}{old.removeprefix(top)} there."
    )


class _Moved(Loader):
    """Fills a module of an old name."""

    def get_code(self, name: str) -> None:
        """Refuses `python -m`.

        Raises:
            ImportError: always; it says where the module is.
        """
        raise ImportError(_gone(name) or f"{name} is now {MODULES[name]}.", name=name)

    def create_module(self, spec: ModuleSpec) -> None:
        """Leaves that to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Gives it what the module of the new name has.

        Raises:
            ImportError: if that has left the wheel.
        """
        old = module.__name__
        if gone := _gone(old):
            raise ImportError(gone, name=old)
        new = MODULES[old]
        _warn(old, new, stacklevel=3)
        content = vars(importlib.import_module(new))
        module.__dict__.update({k: v for k, v in content.items() if k[:2] != "__"})
        module.__doc__ = content["__doc__"]
        _answer_in(module)


class Finder(MetaPathFinder):
    """Finds the old names; asked last, when nothing else has them."""

    def find_spec(
        self,
        name: str,
        path: object = None,
        target: object = None,
    ) -> ModuleSpec | None:
        """How to load a module of an old name; None for all others."""
        has_left = any(name == old or name.startswith(f"{old}.") for old in LEFT)
        if not has_left and name not in MODULES:
            return None
        is_package = any(old.startswith(f"{name}.") for old in MODULES)
        return ModuleSpec(name, _Moved(), is_package=is_package)


def _answer_in(package: ModuleType) -> None:
    """Gives it the function that Python asks for names that it lacks.

    Here and not in its file, so that a type checker still sees a wrong name.
    """
    of_its_own = vars(package).get("__getattr__")

    def __getattr__(name: str) -> object:
        is_old = f"{package.__name__}.{name}" in MODULES or (
            package.__name__ in HAD_FUNCTIONS and name in FUNCTIONS
        )
        if is_old or of_its_own is None:
            return _moved_name(package.__name__, name)
        return of_its_own(name)

    vars(package)["__getattr__"] = __getattr__


def answer_old_names(package: str) -> None:
    """Lets Python find functions and modules by their old names from now on.

    Args:
        package: that had such names, and asks for this while it is imported.
    """
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
    _answer_in(sys.modules[package])
