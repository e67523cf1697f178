"""The accuracy on the control rows, as people read it."""

from iwps_jax.app.campaign import Measured


def sentence_of(measured: Measured) -> str:
    """How often the model is right, with its interval; without the period.

    Example:
        >>> said = sentence_of(Measured(8, 10, (0.4439, 0.9748), None))
        >>> print(said.split(", ")[0], "...")
        The model is right on 80% of the pool (8 of 10 control rows ...
    """
    low, high = measured.interval
    said = (
        f"The model is right on {measured.accuracy:.0%} of the pool ({measured.right} "
        f"of {measured.total} control rows, 95% interval {low:.0%} to {high:.0%})"
    )
    if measured.balanced is not None:
        said += f", and on {measured.balanced:.0%} if every class counts as much"
    return said
