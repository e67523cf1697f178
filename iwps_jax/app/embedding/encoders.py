"""The networks that turn samples into features, as one table."""

import hashlib
import importlib
import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from iwps_jax.app.embedding import hugging_face
from iwps_jax.app.embedding.encoder import OWN_AT_ONCE, Encoder, checked
from iwps_jax.app.embedding.source import IMAGES, TEXTS
from iwps_jax.refusal import Refusal, nearest, short

SIDE = 224
"""Pixels of the square that EfficientNet-Lite0 was trained on."""
IMAGES_AT_ONCE = {"cpu": 2}
TEXTS_AT_ONCE = 1024
"""So many have enough of like length: little is padded."""
THREADS = 2
"""On two CPU cores these are faster than one thread with more images at once."""
OTHER_IMAGES_AT_ONCE = 128
OWN_NAME = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


class Backbone(NamedTuple):
    """A row of the table.

    Attributes:
        name: in commands and files.
        kind: of the samples that it sees.
        about: in a clause.
        load: fetches the weights, if need be.
        side: of the middle square of an image that it sees; None for the whole image.
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
        def some_from(start):
            some = np.stack([np.asarray(i) for i in images[start : start + most]])
            padding = [(0, most - len(some)), (0, 0), (0, 0), (0, 0)]
            return np.asarray(features(np.pad(some, padding)))[: len(some)]

        with ThreadPoolExecutor(THREADS) as threads:
            return np.concatenate(
                [*threads.map(some_from, range(0, len(images), most))]
            )

    return Encoder(identity, encode)


def _minilm() -> Encoder:
    from iwps_jax.backbones import minilm

    path = minilm.find_weights()
    encoder = minilm.load(path)
    return Encoder(
        minilm.identity(path),
        lambda texts: minilm.encode(encoder, texts).features,
        TEXTS_AT_ONCE,
        TEXTS_AT_ONCE,
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
OTHERS = {
    "hf:NAME": hugging_face.ABOUT,
    "FOLDER": hugging_face.ABOUT_FOLDER,
    "MODULE:FUNCTION": OWN,
}
"""How backbones are named that are no rows of the table."""


def about_backbones() -> str:
    """The table, as `--backbone help` prints it."""
    rows = [(row.name, row.kind, row.about) for row in BACKBONES.values()]
    rows += [(name, "any", about) for name, about in OTHERS.items()]
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
    if name not in BACKBONES and hugging_face.names_model(name):
        about = hugging_face.ABOUT
        return Backbone(name, kind, about, lambda: hugging_face.load(name, kind))
    if ":" in name:
        return Backbone(name, kind, OWN, lambda: _own(name, kind))
    if name not in BACKBONES:
        raise Refusal(nearest(name, "backbone", (*BACKBONES, *OTHERS)))
    if BACKBONES[name].kind != kind:
        raise Refusal(
            f"--backbone {name} sees {BACKBONES[name].kind}, and these are {kind}."
        )
    return BACKBONES[name]


def _own(name: str, kind: str) -> Encoder:
    matched = OWN_NAME.fullmatch(name)
    if matched is None:
        raise Refusal(f"--backbone {name} must be MODULE:FUNCTION.")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(matched[1])
    except ModuleNotFoundError as error:
        if not f"{matched[1]}.".startswith(f"{error.name}."):
            raise
        raise Refusal(f"--backbone {name}: there is no module {matched[1]}.") from None
    encode = getattr(module, matched[2], None)
    if not callable(encode):
        raise Refusal(f"--backbone {name}: {matched[1]} has no function {matched[2]}.")

    identity = {"function": short(name), "module": _digest_of(module)}
    return Encoder(identity, checked(name, encode), OWN_AT_ONCE[kind])


def _digest_of(module) -> str | None:
    """The sha256 of a module's file; None if it has none."""
    path = getattr(module, "__file__", None)
    if path is None:
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
