"""Checks the settings and arrays of a campaign's folder, which may have been edited."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from iwps_jax.app.campaign.state import MOST_CONTROL
from iwps_jax.app.files.unreadable import FileError

ARRAYS = {
    "holdout_features": (2, "f"),
    "holdout_labels": (1, "iu"),
    "holdout_rows": (1, "iu"),
    "mean": (1, "f"),
    "factor": (0, "f"),
}
"""Axes and kinds of number of the arrays."""


def require_settings(path: Path, about: dict[str, Any]) -> None:
    """Refuses settings that no command has written.

    Raises:
        FileError: for the first such field.
    """
    for name, is_right in {
        "pool": _is_place,
        "ids": lambda value: value is None or _is_place(value),
        "pool_shape": lambda value: _is_list(value, int) and len(value) == 2,
        "pool_probes": lambda value: _is_list(value, str),
        "ids_sha256": lambda value: value is None or isinstance(value, str),
        "classes": lambda value: _is_list(value, str) and len({*value}) == len(value),
        "method": lambda value: isinstance(value, str),
        "steps": lambda value: type(value) is int and value > 0,
        "learning_rate": _is_positive,
        "rarity": lambda value: value == 0 or _is_positive(value),
        "seed": lambda value: type(value) is int and value >= 0,
        "control": lambda value: type(value) is float and 0 <= value <= MOST_CONTROL,
        "is_open": lambda value: type(value) is bool,
    }.items():
        if name in about and not is_right(about[name]):
            raise FileError(f"{path} is damaged: no command writes such a {name}.")


def require_arrays(path: Path, arrays: dict[str, np.ndarray], about) -> None:
    """Refuses arrays that do not fit each other, the pool or the classes.

    Raises:
        FileError: for the first such array.
    """
    for name, (axes, kinds) in ARRAYS.items():
        array = arrays.get(name)
        if array is None or array.ndim != axes or array.dtype.kind not in kinds:
            raise FileError(f"{path} is damaged: it has no such {name}.")
    size, width = about["pool_shape"]
    labels, rows = arrays["holdout_labels"], arrays["holdout_rows"]
    features = arrays["holdout_features"]
    for name, is_right in {
        "holdout_features": features.shape == (len(labels), width),
        "holdout_labels": ((labels >= 0) & (labels < len(about["classes"]))).all(),
        "holdout_rows": ((rows >= 0) & (rows < size)).all(),
        "mean": arrays["mean"].shape == (width,),
        "factor": _is_positive(float(arrays["factor"])),
        "cap": float(arrays.get("cap", np.inf)) > 0,
    }.items():
        if not is_right:
            raise FileError(f"{path} is damaged: its {name} does not fit.")


def _is_list(value, kind) -> bool:
    return isinstance(value, list) and all(type(entry) is kind for entry in value)


def _is_place(value) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), str) for name in ("beside", "at")
    )


def _is_positive(value) -> bool:
    is_number = type(value) in (int, float)
    return is_number and math.isfinite(value) and value > 0
