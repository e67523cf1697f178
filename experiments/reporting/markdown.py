"""Tables in Markdown, and differences in percentage points."""

from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are as given, with an empty line behind it.

    Example:
        >>> print(markdown_table(("a", "b"), [("1", "2")]).strip())
        | a | b |
        | --- | --- |
        | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + "\n"


def as_points(share: float) -> str:
    """A difference of two shares in percentage points.

    Example:
        >>> as_points(-0.0123)
        '-1.23'
    """
    return f"{100 * share:+.2f}"


def as_interval(mean: float, low: float | None, high: float | None) -> str:
    """The same with its interval, where there is one.

    Example:
        >>> as_interval(0.01, 0.005, 0.015), as_interval(0.01, None, None)
        ('+1.00 [+0.50, +1.50]', '+1.00')
    """
    if low is None or high is None:
        return as_points(mean)
    return f"{as_points(mean)} [{as_points(low)}, {as_points(high)}]"
