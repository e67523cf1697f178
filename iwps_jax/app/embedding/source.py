"""What is embedded: samples in a fixed order."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import flaw_of, twins
from iwps_jax.refusal import short

IMAGES, TEXTS, ROWS = "images", "texts", "rows"


class Sample(NamedTuple):
    """One sample, or why there is none.

    Attributes:
        id: what names it, distinct within its source.
        value: an upright image in RGB, or a text; None if it has a flaw.
        flaw: why it cannot be used; empty if it can.
    """

    id: str
    value: Any = None
    flaw: str = ""


class Source(NamedTuple):
    """Samples in a fixed order.

    Attributes:
        kind: `IMAGES` or `TEXTS`.
        about: where each sample is, as `source.json` says it.
        digest: changes with the list of samples.
        size: how many there are, those with a flaw included.
        samples: `samples(start)`, from one of them on.
    """

    kind: str
    about: dict[str, Any]
    digest: str
    size: int
    samples: Callable[[int], Iterator[Sample]]


def digest_of(parts: Iterable[str]) -> str:
    """A sha256 of texts, in hexadecimal."""
    sha256 = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        sha256.update(len(data).to_bytes(8, "little") + data)
    return sha256.hexdigest()


def digest_of_file(path: Path, *parts: object) -> str:
    """What changes with a file's size and time, or with other parts."""
    stat = path.stat()
    return digest_of(map(str, (*parts, stat.st_size, stat.st_mtime_ns)))


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal: it stays when a file is moved."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flaw_of_id(name: str) -> str | None:
    r"""Why a text can be no id in a file with one a line; None if it can.

    Example:
        >>> [flaw_of_id(name) for name in ("a b", "a\nb")]
        [None, 'must not have a line break']
    """
    if len(name.splitlines()) > 1:
        return "must not have a line break"
    return flaw_of(name)


def require_distinct_ids(path: Path, ids: Sequence[str]) -> None:
    """Refuses two samples with one id; those without an id are passed over.

    Raises:
        FileError: with the places of the first two.
    """
    pair = twins(ids)
    if pair is not None:
        raise FileError(
            f"{path}: ids must be distinct, but the samples {pair[0]} and {pair[1]}, "
            f"from 0, both have {short(ids[pair[1]])}."
        )
