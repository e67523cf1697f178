"""Words of the sentences that people read."""

from typing import SupportsIndex


def plural(number: SupportsIndex, one: str, many: str | None = None) -> str:
    """A number with its noun, and with all else that depends on the number.

    Args:
        number: how many; NumPy's integers serve as well.
        one: the words that follow 1.
        many: those that follow any other number; None for the same with an s, or with
            `es` after an s.

    Example:
        >>> plural(1, "class"), plural(1200, "class"), plural(0, "row")
        ('1 class', '1,200 classes', '0 rows')
        >>> plural(2, "sample waits", "samples wait")
        '2 samples wait'
    """
    if many is None:
        many = f"{one}es" if one.endswith("s") else f"{one}s"
    return f"{number:,} {one if number == 1 else many}"
