"""Changes of files: of any bytes, of any text, and of the parts of a format."""

import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Edit = Callable[[np.random.Generator, bytes], bytes]

INTEGERS = (0, 1, 2, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63)
NUMBERS = [
    *(
        "-1",
        "0",
        "1",
        "2",
        "4",
        "16",
        "127",
        "255",
        "65536",
        "-0",
        "00",
        "1.0",
        "1e400",
    ),
    *("2147483647", "2147483648", "4294967296", str(2**63), str(2**64), "-" + "9" * 30),
    *("9" * 5000, "NaN", "Infinity", "1_000", "0x10", "٣", "True", "None", "null"),
]
TOKENS = [
    *("True", "False", "None", "null", "true", "NaN", "skip", "", "id", "label", "row"),
    *("shape", "descr", "fortran_order", "features", "labels", "data_offsets", "dtype"),
    *("<f4", ">f4", "<i8", "|O", "<U0", "<U9", "|S3", "|V8", "|b1", "F32", "BF16"),
    *("F16", "I64", "BOOL", "choice", "sample_id", "annotations", "result", "value"),
]
SCRAPS = [
    *(b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b'"', b","),
    *(b";", b"\t", b"'", b"{", b"}", b"[", b"]", b"(", b")", b":", b"\\", b"\\ud800"),
    *("\u2028".encode(), "é".encode(), "e\u0301".encode(), b"\xed\xa0\x80", b"PK\3\4"),
    *(
        b"[" * 20_000,
        b"(" * 3000,
        b"=1+1",
        b"a" * 140_000,
        b"\x93NUMPY\1\0",
        b"sep=;\n",
    ),
]


def one_of(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def span(rng, size: int, longest: int = 40) -> slice:
    start = int(rng.integers(size + 1))
    return slice(start, min(size, start + 1 + int(rng.integers(longest))))


# Bytes


def flip(rng, content):
    if not content:
        return content
    at = int(rng.integers(len(content)))
    changed = content[at] ^ (1 << int(rng.integers(8)))
    return content[:at] + bytes([changed]) + content[at + 1 :]


def truncate(rng, content):
    return content[: int(rng.integers(len(content) + 1))]


def insert(rng, content):
    at = int(rng.integers(len(content) + 1))
    new = rng.bytes(int(rng.integers(1, 9))) if rng.random() < 0.5 else None
    return content[:at] + (one_of(rng, SCRAPS) if new is None else new) + content[at:]


def delete(rng, content):
    part = span(rng, len(content))
    return content[: part.start] + content[part.stop :]


def duplicate(rng, content):
    part = span(rng, len(content), 200)
    times = int(one_of(rng, (1, 1, 2, 50)))
    return content[: part.stop] + content[part] * times + content[part.stop :]


def move(rng, content):
    part = span(rng, len(content))
    left = content[: part.start] + content[part.stop :]
    at = int(rng.integers(len(left) + 1))
    return left[:at] + content[part] + left[at:]


def integer(rng, content):
    """Some bytes as another integer of 1 to 8 bytes."""
    width = int(one_of(rng, (1, 2, 4, 8)))
    if len(content) < width:
        return content
    at = int(rng.integers(len(content) - width + 1))
    value = one_of(rng, INTEGERS) % (1 << 8 * width)
    new = value.to_bytes(width, one_of(rng, ("little", "big")))
    return content[:at] + new + content[at + width :]


BYTES: tuple[Edit, ...] = (
    *(flip, flip, truncate, insert, insert, delete, duplicate, move, integer),
)


# Text


def _replaced(rng, content, pattern, choices):
    found = list(re.finditer(pattern, content))
    if not found:
        return content
    match = one_of(rng, found)
    new = one_of(rng, choices)
    new = new if isinstance(new, bytes) else new.encode()
    return content[: match.start()] + new + content[match.end() :]


def number(rng, content):
    return _replaced(rng, content, rb"-?\d+(\.\d+)?", NUMBERS)


def token(rng, content):
    return _replaced(rng, content, rb"[A-Za-z_<|>]\w+", TOKENS)


def swap(rng, content):
    found = list(re.finditer(rb"[\w.<>|-]+", content))
    if len(found) < 2:
        return content
    numbers = sorted(rng.choice(len(found), 2, replace=False).tolist())
    first, second = (found[i] for i in numbers)
    between = content[first.end() : second.start()]
    before, after = content[: first.start()], content[second.end() :]
    return before + second[0] + between + first[0] + after


def line(rng, content):
    """A line repeated, left out, moved, emptied or ended in another way."""
    lines = content.split(b"\n")
    at, to = (int(rng.integers(len(lines))) for _ in range(2))
    kind = int(rng.integers(5))
    if kind == 0:
        lines.insert(to, lines[at])
    elif kind == 1:
        lines.pop(at)
    elif kind == 2:
        lines[at], lines[to] = lines[to], lines[at]
    elif kind == 3:
        lines[at] = one_of(rng, (b"", b",", b" ", b",,,,", b'""'))
    else:
        return one_of(rng, (b"\r\n", b"\r", b"\n\n")).join(lines)
    return b"\n".join(lines)


def encoding(rng, content):
    text = content.decode("utf-8", "replace")
    kind = one_of(rng, ("utf-16", "utf-16-le", "utf-8-sig", "latin-1", "utf-32"))
    return text.encode(kind, "replace")


def delimiter(rng, content):
    return content.replace(b",", one_of(rng, (b";", b"\t", b" ", b",,")))


TEXT: tuple[Edit, ...] = (number, number, token, swap, line, insert, delete, encoding)
TABLE: tuple[Edit, ...] = (*TEXT, line, line, delimiter)


def any_text(rng, content):
    return one_of(rng, (number, token, swap, insert, delete, truncate))(rng, content)


# .npy, .npz, .safetensors


def npy_header(rng, content):
    """Another text as its header, with the right length."""
    if content[:6] != b"\x93NUMPY" or len(content) < 12:
        return content
    size = int.from_bytes(content[8:10], "little")
    header = any_text(rng, content[10 : 10 + size])
    if len(header) >= 2**16:
        start = b"\x93NUMPY\2\0" + struct.pack("<I", len(header))
        return start + header + content[10 + size :]
    return content[:8] + struct.pack("<H", len(header)) + header + content[10 + size :]


def member(edit: Edit) -> Edit:
    """An edit of one member of a zip archive, with the right checksum."""

    def rewrite(rng, content):
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = [(i, archive.read(i)) for i in archive.infolist()]
        except Exception:
            return content  # an edit before has damaged it
        if not members:
            return content
        at = int(rng.integers(len(members)))
        file, kind = io.BytesIO(), int(rng.integers(12))
        method = one_of(rng, (0, 8, 8, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
            warnings.simplefilter("ignore")  # of two members with one name
            for number, (info, data) in enumerate(members):
                if number == at and kind == 0:
                    data += bytes(2**20)  # zeros, which take no room when compressed
                elif number == at and kind > 1:
                    data = edit(rng, data)
                if kind == 1:
                    info = zipfile.ZipInfo(one_of(rng, members)[0].filename)
                info.compress_type = method if kind < 3 else info.compress_type
                info.file_size = len(data)
                archive.writestr(info, data, info.compress_type)
        return file.getvalue()

    return rewrite


def safetensors_header(rng, content):
    size = int.from_bytes(content[:8], "little")
    header = one_of(rng, (any_text, tree))(rng, content[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


# JSON


def tree(rng, content):
    """Another value at one place of a JSON file."""
    try:
        root = [json.loads(content)]
    except (ValueError, RecursionError):
        return content
    places = []

    def walk(node):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            places.append((node, key))
            if isinstance(value, dict | list):
                walk(value)

    walk(root)
    node, key = one_of(rng, places)
    other, other_key = one_of(rng, places)
    odd = [None, True, [], {}, "", "x", -1, 1.5, 10**30, [[]], [{}], "skip", "\ud800"]
    node[key] = one_of(rng, [*odd, json.loads(json.dumps(other[other_key]))])
    if isinstance(node, dict) and rng.random() < 0.3:
        node[one_of(rng, TOKENS)] = node.pop(key)
    return json.dumps(root[0], ensure_ascii=bool(rng.integers(2))).encode(
        "utf-8", "surrogatepass"
    )


# Images


def png_chunk(rng, content):
    """Other bytes in one of the chunks of a PNG, with the right checksum."""
    if content[:4] != b"\x89PNG":
        return content
    chunks, at = [], 8
    while at + 12 <= len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return content
    number = int(rng.integers(len(chunks)))
    kind, data = chunks[number]
    chunks[number] = kind, one_of(rng, (flip, integer, delete, insert))(rng, data)
    return content[:8] + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
