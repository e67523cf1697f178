"""The last layer of a classifier, in the forms in which people have it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from iwps_jax.app.files.arrays import names_in, open_array, open_arrays
from iwps_jax.app.files.numeric import finite, require_matrix, require_real
from iwps_jax.app.files.readers import require_classes
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.types import Head
from iwps_jax.wording import plural

TEMPERATURE = "temperature"


class Form(NamedTuple):
    """How a program keeps a last layer.

    Attributes:
        kernel: name of the weights.
        bias: name of the offsets.
        is_transposed: whether the weights are [classes, d].
    """

    kernel: str
    bias: str
    is_transposed: bool


OURS = Form("kernel", "bias", False)
SCIKIT_LEARN = Form("coef_", "intercept_", True)


def read_head(path: str | Path) -> Head:
    """The last layer of a classifier, as float32.

    A single column is the logit of the second of two classes, as scikit-learn keeps
    it; that of the first is zero. So softmax gives the probabilities of its sigmoid.
    All logits are divided by the temperature, if there is one.

    Args:
        path: .npz or .safetensors with kernel [d, classes] and bias [classes], or with
            coef_ [classes, d] and intercept_ [classes]; with one column for two
            classes; and, if wanted, a number temperature.

    Returns:
        kernel [d, classes] and bias [classes], for two classes or more.

    Raises:
        FileError: if it cannot be read, an array is missing or has another shape or
            type, a number is not finite, or the temperature is not positive.
    """
    names = names_in(path)
    form = SCIKIT_LEARN if _is_scikit_learn(names) else OURS
    kernel, bias = open_arrays(path, (form.kernel, form.bias))
    require_matrix(path, form.kernel, kernel)
    if bias.ndim != 1:
        raise FileError(
            f"{path}: {form.bias} must have 1 axis [classes], got shape {bias.shape}."
        )
    require_real(path, form.bias, bias)
    _require_fit(path, form, kernel.shape, len(bias))
    weights = finite(path, form.kernel, kernel)
    head = Head(
        weights.T if form.is_transposed else weights, finite(path, form.bias, bias)
    )
    if len(head.bias) == 1:
        head = Head(*(np.concatenate([np.zeros_like(x), x], axis=-1) for x in head))
    return head if TEMPERATURE not in names else _cooled(path, head)


def require_known(path: str | Path, labels: np.ndarray, head: Head) -> None:
    """Refuses labels of classes that the head does not have.

    Raises:
        FileError: see `require_classes`; for two classes of which one logit is zero,
            as `read_head` makes them of one column, it says what that column means.
    """
    num_classes = len(head.bias)
    is_one_column = num_classes == 2 and not (head.kernel[:, 0].any() or head.bias[0])
    if is_one_column and labels.max(initial=0) > 1:
        row = int(np.argmax(labels > 1))
        raise FileError(
            f"{path}: labels must be 0 or 1, because one column of the head tells two "
            f"classes apart, got {labels[row]} in row {row}: for more classes, the "
            "head needs a column for each."
        )
    require_classes(path, labels, num_classes)


def _is_scikit_learn(names) -> bool:
    ours, theirs = {*OURS[:2]}, {*SCIKIT_LEARN[:2]}
    return len(theirs & {*names}) > len(ours & {*names})


def _require_fit(path, form, shape, num_classes) -> None:
    """Refuses a kernel that does not fit the bias."""
    if shape[0 if form.is_transposed else 1] == num_classes:
        return
    wanted = f"[{num_classes}, d]" if form.is_transposed else f"[d, {num_classes}]"
    other, hint = shape[1 if form.is_transposed else 0], ""
    if other == num_classes and not form.is_transposed:
        hint = "; it looks like [classes, d], as PyTorch keeps it: save kernel.T"
    elif other == num_classes:
        hint = f"; it looks like [d, classes]: save {form.kernel}.T"
    raise FileError(
        f"{path}: {form.kernel} must be {wanted} to match {form.bias} of "
        f"{plural(num_classes, 'class')}, got {list(shape)}{hint}."
    )


def _cooled(path, head: Head) -> Head:
    """The head with its logits divided by the temperature."""
    array = open_array(path, TEMPERATURE)
    if array.shape not in ((), (1,)):
        raise FileError(
            f"{path}: {TEMPERATURE} must be one number, got shape {array.shape}."
        )
    require_real(path, TEMPERATURE, array)
    temperature = float(np.asarray(array).reshape(()))
    limits = np.finfo(np.float32)
    least, most = float(limits.tiny), float(limits.max)
    if not least <= temperature <= most:  # nor NaN
        raise FileError(
            f"{path}: {TEMPERATURE} must be positive and finite in float32, got "
            f"{temperature:g}."
        )
    kernel, bias = (np.asarray(x, np.float64) / temperature for x in head)
    return Head(
        finite(path, f"kernel / {TEMPERATURE}", kernel),
        finite(path, f"bias / {TEMPERATURE}", bias),
    )
