"""The networks that turn samples into features, as one table."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.app.embedding.source import IMAGES, TEXTS
from iwps_jax.refusal import Refusal, nearest, short

SIDE = 224
"""Pixels of the square that EfficientNet-Lite0 was trained on."""
IMAGES_AT_ONCE = {"cpu": 8}
OTHER_IMAGES_AT_ONCE = 128


class Encoder(NamedTuple):
    """A network with its weights.

    Attributes:
        identity: all that the features depend on but the samples.
        encode: `encode(samples) -> float32 [n, d]`.
    """

    identity: dict[str, Any]
    encode: Callable[[Sequence[Any]], np.ndarray]


class Backbone(NamedTuple):
    """A row of the table.

    Attributes:
        name: in commands and files.
        kind: of the samples that it sees.
        about: in a clause.
        load: fetches the weights, if need be.
        side: how many pixels of each side it needs of an image; None for all of them.
    """

    name: str
    kind: str
    about: str
    load: Callable[[], Encoder]
    side: int | None = None


def _efficientnet() -> Encoder:
    import jax

    from iwps_jax.backbones import efficientnet, efficientnet_weights

    path = efficientnet_weights.find_weights()
    network = efficientnet_weights.load_network(path)
    identity = efficientnet_weights.identity(path) | {"enlargement": 1, "side": SIDE}
    features = jax.jit(partial(efficientnet.features, network, enlargement=1))
    most = IMAGES_AT_ONCE.get(jax.default_backend(), OTHER_IMAGES_AT_ONCE)

    def encode(images):
        found = []
        for start in range(0, len(images), most):
            some = np.stack([_square(image) for image in images[start : start + most]])
            padding = [(0, most - len(some)), (0, 0), (0, 0), (0, 0)]
            found.append(np.asarray(features(np.pad(some, padding)))[: len(some)])
        return np.concatenate(found)

    return Encoder(identity, encode)


def _square(image):
    """The middle of an image, its shorter side `SIDE` pixels."""
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(fitted, np.uint8)


def _minilm() -> Encoder:
    from iwps_jax.backbones import minilm

    path = minilm.find_weights()
    encoder = minilm.load(path)
    return Encoder(
        minilm.identity(path), lambda texts: minilm.encode(encoder, texts).features
    )


BACKBONES = {
    row.name: row
    for row in (
        Backbone(
            "efficientnet_lite0",
            IMAGES,
            "EfficientNet-Lite0, trained on ImageNet: 1,280 numbers of the middle "
            "square",
            _efficientnet,
            SIDE,
        ),
        Backbone(
            "minilm",
            TEXTS,
            "all-MiniLM-L6-v2: 384 numbers of the first 256 tokens; needs the extra "
            "text",
            _minilm,
        ),
    )
}
"""By name; the first of a kind is its default."""
OWN = (
    "a function of your own: it takes a list of images (PIL, RGB) or of texts, and "
    "returns an array [n, d]; the working folder is searched first"
)


def about_backbones() -> str:
    """The table, as `--backbone help` prints it."""
    rows = [(row.name, row.kind, row.about) for row in BACKBONES.values()]
    rows.append(("MODULE:FUNCTION", "any", OWN))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(
        f"{name:{widths[0]}}  {kind:{widths[1]}}  {about}" for name, kind, about in rows
    )


def backbone_of(name: str | None, kind: str) -> Backbone:
    """The backbone of a name, or the default of a kind.

    Raises:
        Refusal: if there is none, or it sees another kind of samples.
    """
    if name is None:
        return next(row for row in BACKBONES.values() if row.kind == kind)
    if ":" in name:
        return Backbone(name, kind, OWN, lambda: _own(name))
    if name not in BACKBONES:
        known = (*BACKBONES, "MODULE:FUNCTION")
        raise Refusal(nearest(name, "backbone", known))
    if BACKBONES[name].kind != kind:
        raise Refusal(
            f"--backbone {name} sees {BACKBONES[name].kind}, and these are {kind}."
        )
    return BACKBONES[name]


def _own(name: str) -> Encoder:
    module, _, function = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        encode = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise
        raise Refusal(f"--backbone {name}: there is no module {module}.") from None
    except AttributeError:
        raise Refusal(f"--backbone {name}: {module} has no {function}.") from None

    def checked(samples):
        found = np.asarray(encode(list(samples)))
        if (
            found.ndim != 2
            or len(found) != len(samples)
            or found.dtype.kind not in "fiu"
        ):
            raise Refusal(
                f"--backbone {name} must return numbers [{len(samples)}, d] for "
                f"{len(samples)} samples, got {found.dtype} {found.shape}."
            )
        if not np.isfinite(found).all():
            raise Refusal(f"--backbone {name} must return finite numbers, and did not.")
        return found.astype(np.float32)

    return Encoder({"function": short(name)}, checked)
