"""The refusal of an unknown name."""

import difflib


def nearest(name: str, what: str, names: tuple[str, ...]) -> str:
    """A sentence that refuses `name` and suggests the nearest valid one.

    Example:
        >>> print(nearest("MNST", "dataset", ("digits", "mnist")))
        unknown dataset 'MNST': did you mean 'mnist'? One of ('digits', 'mnist').
    """
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.0)
    return f"unknown {what} {name!r}: did you mean {close[0]!r}? One of {names}."
