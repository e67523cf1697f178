"""An append-only journal: numbered records, each with a digest that chains to the last.

    00000001.jsonl    the first records, a JSON object a line
    00000512.jsonl    the records from number 512 on; and so forth
    tip.json          number and chain of the last record

A line ends with its chain: the SHA-256 of the chain before and of the bytes of the line
before `,"chain":`. The first chain is that of the root, which the caller gives. So no
record can be changed, removed or moved without a trace, except at the end: there the
tip shows how many records there were. A record is on the disk before `append` returns,
and nothing replaces it. An incomplete last line belongs to a writer that was killed
before it reported success: readers ignore it, and the next writer removes it.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from iwps_jax.app.files.unreadable import FileError, short
from iwps_jax.atomic_write import naming_file, sync_folder, write_atomically
from iwps_jax.wording import plural

try:
    import fcntl
except ImportError:  # Windows, where the lock of the campaign must do
    fcntl = None  # type: ignore[assignment]

SEGMENT_BYTES = 2**22
"""A segment that is longer is not continued: tools that copy changed files copy little,
and few files serve many records."""
TIP = "tip.json"
SUFFIX = ".jsonl"
SEGMENT = re.compile(r"\d{8}\.jsonl")
CHAIN = b',"chain":"'
HEX = 64  # digits of a SHA-256
END = len(CHAIN) + HEX + len(b'"}')
TIP_FIELDS = ("events", "chain", "segment", "bytes")
Record = dict[str, Any]


class Tail(NamedTuple):
    """Where the next record goes.

    Attributes:
        number: of the last record, or 0.
        chain: chain of the last record, or the root.
        segment: name of the last segment; empty if there is none.
        size: bytes of its complete lines.
    """

    number: int
    chain: str
    segment: str
    size: int


def read(folder: Path, root: str) -> list[Record]:
    """All records, verified.

    Raises:
        FileError: if one is damaged, was changed or is missing; names the first.
    """
    tip = _tip(folder)  # first: a writer may continue while the records are read
    tail = Tail(0, root, "", 0)
    records: list[Record] = []
    names = _names(folder)
    for name in names:
        if name != f"{tail.number + 1:08}{SUFFIX}":
            raise FileError(f"{folder}: event {tail.number + 1} is missing.")
        content = (folder / name).read_bytes()
        if name == names[-1]:
            content = _complete(content)
        found, tail = _verified(folder, content, tail._replace(segment=name, size=0))
        records += found
    if tip is not None:
        _require_all(folder, tip, tail.number)
        if tip.number and records[tip.number - 1]["chain"] != tip.chain:
            raise FileError(f"{folder / TIP} is of another campaign, or was changed.")
        _require_place(folder, root, tail.number)
    return records


def append(folder: Path, root: str, known: int, contents: Sequence[Record]) -> None:
    """Appends records, all or none; they are on the disk afterwards.

    Args:
        folder: of the journal.
        root: the chain before the first record.
        known: how many records the caller has seen.
        contents: the records, without their numbers.

    Raises:
        FileError: if there are other records than the caller has seen.
        OSError: if they cannot be written; the journal is as before then.
    """
    with _alone(folder):
        tail = _tail(folder, root)
        if tail.number != known:
            raise FileError(
                f"another command has changed {folder.parent} meanwhile: try again."
            )
        lines = b""
        chain = tail.chain
        for number, content in enumerate(contents, start=known + 1):
            line, chain = _line({"number": number} | content, chain)
            lines += line
        segment, size = tail.segment, tail.size
        if segment and size >= SEGMENT_BYTES:
            _cut(folder / segment, size)  # half a line, before another begins
        if not segment or size >= SEGMENT_BYTES:
            segment, size = f"{known + 1:08}{SUFFIX}", 0
        _write(folder / segment, size, lines)
        with suppress(OSError):  # the records are there; a tip may lag behind them
            _write_tip(
                folder, Tail(known + len(contents), chain, segment, size + len(lines))
            )


def begin(folder: Path, root: str) -> None:
    """Makes an empty journal in an existing, empty folder."""
    _write_tip(folder, Tail(0, root, "", 0))


def _line(content, chain) -> tuple[bytes, str]:
    text = json.dumps(
        content, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    body = text[:-1].encode()
    chain = _chain(chain, body)
    return body + CHAIN + chain.encode() + b'"}\n', chain


def _chain(before: str, body: bytes) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()


# Reading


def _names(folder) -> list[str]:
    """The segments in order; other programs leave copies beside them."""
    try:
        return sorted(filter(SEGMENT.fullmatch, os.listdir(folder)))
    except FileNotFoundError:
        raise FileError(f"{folder} is missing: restore it from a copy.") from None


def _complete(content: bytes) -> bytes:
    """Without the half line of a writer that was killed."""
    return content[: content.rfind(b"\n") + 1]


def _verified(folder, content, tail) -> tuple[list[Record], Tail]:
    """The records of some lines that follow `tail`, and the tail after them."""
    records = []
    count, chain, segment, size = tail
    path = folder / segment
    lines = content.split(b"\n")
    if lines.pop():
        raise FileError(f"{path}: its last line has no end.")
    for line in lines:
        count += 1
        place = f"{path}: event {count}"
        body, written = line[:-END], line[-HEX - 2 : -2]
        if line[-END : -HEX - 2] != CHAIN or line[-2:] != b'"}':
            raise FileError(f"{place} is damaged: its line does not end in its chain.")
        chain = _chain(chain, body)
        if written != chain.encode():
            raise FileError(
                f"{place} is damaged: it was changed after it was written, or an event "
                "before it is missing."
            )
        record = json.loads(line)  # as it was written, or the chain would differ
        if record["number"] != count:
            raise FileError(f"{place} is damaged: its number is {record['number']}.")
        records.append(record)
        size += len(line) + 1
    return records, Tail(count, chain, segment, size)


def _tip(folder) -> Tail | None:
    """The end of the journal when a command last ended; None if nobody knows."""
    try:
        found = json.loads((folder / TIP).read_bytes())
        tip = Tail(*(found[name] for name in TIP_FIELDS))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = short(f"{type(error).__name__} {error}")
        raise FileError(f"{folder / TIP} is damaged: {reason}.") from error
    are_counts = all(type(n) is int and 0 <= n < 2**60 for n in (tip.number, tip.size))
    if (
        not are_counts
        or not isinstance(tip.chain, str)
        or not isinstance(tip.segment, str)
    ):
        raise FileError(f"{folder / TIP} is damaged: it has no such counts.")
    return tip


def _require_all(folder, tip, count):
    if tip.number > count:
        raise FileError(
            f"{folder}: event {count + 1} is missing, and all to event {tip.number}: "
            "restore the folder from a copy, or delete "
            f"{folder / TIP} to continue without them."
        )


def _require_place(folder, root, number):
    """Refuses a tip by which a writer would not find the end of the journal."""
    try:
        if _tail(folder, root).number >= number:  # another command may go on meanwhile
            return
    except FileError:
        pass
    raise FileError(
        f"{folder / TIP} does not fit the events, which are whole: delete it to "
        "continue."
    )


def _tail(folder, root) -> Tail:
    """The place of the next record; reads only the lines written after the tip."""
    tip, names = _tip(folder), _names(folder)
    if tip is None or tip.segment not in names[-1:]:  # or a writer was killed
        tip, tail = tip or Tail(0, root, "", 0), Tail(0, root, "", 0)
    else:
        tail = tip
        names = names[-1:]
    for name in names:
        begun = tail.size if name == tail.segment else 0
        with (folder / name).open("rb") as file:
            if file.seek(0, os.SEEK_END) < begun:
                raise FileError(
                    f"{folder / name} is truncated: "
                    f"{plural(begun, 'byte is known', 'bytes are known')}."
                )
            file.seek(begun)
            content = _complete(file.read())
        _, tail = _verified(folder, content, tail._replace(segment=name, size=begun))
    _require_all(folder, tip, tail.number)
    return tail


# Writing


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other writers of this journal out, also where a lock file was deleted."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _cut(path: Path, size: int) -> None:
    """Removes what follows the complete lines of a segment."""
    if path.stat().st_size > size:
        os.truncate(path, size)


def _write(path: Path, size: int, lines: bytes) -> None:
    """Writes lines at `size`, in place of half a line; all or none of them."""
    is_new = not path.exists()
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0)
    flags |= os.O_CREAT | os.O_EXCL if is_new else 0
    handle = os.open(path, flags, shared_mode(path.parent))
    try:
        if is_new:
            share(path)
            sync_folder(path.parent)
        with naming_file(path):
            os.ftruncate(handle, size)
            os.lseek(handle, size, os.SEEK_SET)
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
    except BaseException:
        os.ftruncate(handle, size)
        raise
    finally:
        os.close(handle)


def _write_tip(folder, tail):
    told = dict(zip(TIP_FIELDS, tail, strict=True))
    write_atomically(folder / TIP, json.dumps(told) + "\n")


def share(path: Path) -> None:
    """Lets those who may write to the folder write to a new file in it, too."""
    with suppress(OSError):  # another account owns it, and has done so
        os.chmod(path, shared_mode(path.parent))
        if hasattr(os, "chown"):
            os.chown(path, -1, os.stat(path.parent).st_gid)


def shared_mode(folder: Path) -> int:
    """The mode of a new file: who may write to the folder may write to the file."""
    return 0o644 | os.stat(folder).st_mode & 0o022
