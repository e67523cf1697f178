"""Names of version 0.6 that stand elsewhere now, and answer with a warning until 1.0.

Two tables say all. `FUNCTIONS` are names of `iwps_jax` itself; `MODULES` are modules
under it, whose old names are imported as before but hold what the new ones hold.
`LEFT` are modules that the wheel no longer has: they came with the experiments.
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


def moved_function(package: str, name: str) -> object:
    """A function by its old name; for the `__getattr__` of a package.

    Raises:
        AttributeError: if there never was one.
    """
    if name not in FUNCTIONS:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    home = FUNCTIONS[name]
    _warn(f"{package}.{name}", f"{home}.{name}", stacklevel=4)
    return getattr(importlib.import_module(home), name)


def _warn(old: str, new: str, stacklevel: int) -> None:
    warnings.warn(
        f"{old} is now {new}; the old name goes in version 1.0.",
        DeprecationWarning,
        stacklevel=stacklevel,
    )


class _Moved(Loader):
    """Fills a module of an old name."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Leaves that to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Gives it what the module of the new name has.

        Raises:
            ImportError: if that has left the wheel.
        """
        old = module.__name__
        top = ".".join(old.split(".")[:2])
        if top in LEFT:
            new = LEFT[top] + old.removeprefix(top)
            raise ImportError(
                f"{old} is no longer installed: it belongs to the experiments, which "
                f"are run from a clone of the repository, and is {new} there.",
                name=old,
            )
        new = MODULES[old]
        _warn(old, new, stacklevel=3)
        content = vars(importlib.import_module(new))
        module.__dict__.update({k: v for k, v in content.items() if k[:2] != "__"})
        module.__doc__ = content["__doc__"]


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


def answer_old_names() -> None:
    """Lets Python find the modules of old names from now on."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
