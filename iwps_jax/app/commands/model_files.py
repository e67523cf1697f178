"""Models as files: arrays for any program, or a pipeline of scikit-learn."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from iwps_jax.app.campaign.final_model import FinalModel
from iwps_jax.app.commands.outputs import format_of
from iwps_jax.app.files.unreadable import FileError

Encode = Callable[[FinalModel, dict[str, Any] | None], bytes]
"""The bytes of a file, from a model and its backbone, or None without one."""


def encoder_of(path: Path) -> Encode:
    """How the model becomes a file of this name.

    Raises:
        FileError: if the suffix names no format, or a package is missing.
    """
    encode = format_of(path, FORMATS)
    if encode is _as_joblib:
        _require_sklearn(path)
    return encode


def arrays_of(model: FinalModel) -> dict[str, np.ndarray]:
    """The model for features as they are, in float64.

        p(h) = softmax((clip(h, low, high) kernel + bias) / temperature)

    Returns:
        kernel [d, classes], bias [classes], low [d], high [d] and temperature.
    """
    mean, factor, cap = model.scaling
    mean = mean.astype(np.float64)
    # By rows: the format of safetensors has no other order.
    kernel = np.ascontiguousarray(model.kernel * factor)
    return {
        "kernel": kernel,
        "bias": model.bias - mean @ kernel,
        "low": mean - cap / factor,
        "high": mean + cap / factor,
        "temperature": np.array(model.temperature),
    }


def pipeline_of(model: FinalModel) -> Any:
    """The same model as a fitted `Pipeline` of scikit-learn.

    Its steps center and scale the features, cut them off, and classify.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    mean, factor, cap = model.scaling
    size = 1 / factor
    # Two rows from which both find what they are to know.
    scale = StandardScaler().fit(
        np.stack([mean.astype(np.float64) + s * size for s in (-1, 1)])
    )
    has_cap = bool(np.isfinite(cap))
    edge = cap if has_cap else 1.0
    clip = MinMaxScaler((-edge, edge), clip=has_cap)
    clip.fit(np.outer([-edge, edge], np.ones(len(mean))))
    kernel, bias = (part / model.temperature for part in (model.kernel, model.bias))
    if len(model.classes) == 2:  # one column says how much likelier the second one is
        kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
    classify = LogisticRegression()
    classify.classes_ = np.array(model.classes)
    classify.coef_, classify.intercept_ = np.ascontiguousarray(kernel.T), bias
    classify.n_features_in_, classify.n_iter_ = len(mean), np.array([0])
    return Pipeline([("scale", scale), ("clip", clip), ("classify", classify)])


def _as_npz(model, backbone) -> bytes:
    content = io.BytesIO()
    arrays = arrays_of(model) | {"classes": np.array(model.classes)}
    arrays |= {name: np.array(text) for name, text in _texts_of(backbone).items()}
    np.savez(content, **arrays)  # type: ignore[arg-type]  # no name is allow_pickle
    return content.getvalue()


def _as_safetensors(model, backbone) -> bytes:
    from safetensors.numpy import save

    classes = json.dumps(model.classes, ensure_ascii=False)
    return save(arrays_of(model), {"classes": classes, **_texts_of(backbone)})


def _as_joblib(model, backbone) -> bytes:
    import joblib

    content, pipeline = io.BytesIO(), pipeline_of(model)
    pipeline.backbone_ = backbone
    joblib.dump(pipeline, content)
    return content.getvalue()


def _texts_of(backbone) -> dict[str, str]:
    """The backbone's name, empty without one, and all that its features depend on."""
    name = "" if backbone is None else str(backbone.get("name", ""))
    about = json.dumps(backbone, sort_keys=True, ensure_ascii=False)
    return {"backbone": name, "backbone_identity": about}


FORMATS: dict[str, Encode] = {
    ".npz": _as_npz,
    ".safetensors": _as_safetensors,
    ".joblib": _as_joblib,
}


def _require_sklearn(path):
    try:
        import joblib  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError:
        raise FileError(
            f"{path} needs scikit-learn: pip install 'iwps-jax[embed]', or name an "
            ".npz or .safetensors file."
        ) from None
