"""Deep active learning on JAX: which samples to label next.

Scores are pure functions from arrays to one number per candidate, bigger = label it
first; selectors turn scores into rows; `loop` drives rounds of both.
"""

import importlib

import lazy_loader

from iwps_jax.moved import answer_old_names
from iwps_jax.versions import warn_if_excluded

_public_name, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.7.0"


def __getattr__(name: str) -> object:
    """A public name or a module, imported now: most commands need few of them."""
    if name in __all__:
        globals()[name] = _public_name(name)
        return globals()[name]
    module = f"{__name__}.{name}"
    try:
        if name.isidentifier():
            return importlib.import_module(module)
    except ImportError as error:
        if error.name != module:  # something that the module needs
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


warn_if_excluded()
answer_old_names(__name__)
