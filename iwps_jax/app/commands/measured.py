"""The accuracy on the control rows, as people read it."""

from iwps_jax.app.campaign import Measured
from iwps_jax.wording import plural

FEW = 10
"""Fewer control rows than these say hardly anything."""


def sentence_of(measured: Measured) -> str:
    """How often the model is right, with its interval; without the period.

    Example:
        >>> said = sentence_of(Measured(8, 10, 0, (0.4439, 0.9748), None))
        >>> print(said.split(", ")[0], "...")
        The model is right on 80% of the pool (8 of 10 control rows ...
    """
    low, high = measured.interval
    interval = f"95% interval {low:.0%} to {high:.0%}"
    counted = f"{measured.right} of {plural(measured.total, 'control row')}"
    if measured.total < FEW:
        said = (
            "How often the model is right in the pool is not known well yet: it is "
            f"right on {counted} ({interval})"
        )
    else:
        share = f"{measured.accuracy:.0%} of the pool"
        said = f"The model is right on {share} ({counted}, {interval})"
    if measured.balanced is not None:
        said += f", and on {measured.balanced:.0%} if every class counts as much"
    if measured.unclear:
        unclear = ("more control row has no class", "more control rows have no class")
        said += f"; {plural(measured.unclear, *unclear)}"
    return said
