"""PyTorch's two file formats, written opcode by opcode from their descriptions."""

import io
import struct
import zipfile
from typing import NamedTuple

import numpy as np

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


class Global(NamedTuple):
    module: str
    name: str


class Call(NamedTuple):
    function: Global
    arguments: tuple
    entries: dict | None = None
    state: object = None


class Persistent(NamedTuple):
    pid: tuple


class Tensor(NamedTuple):
    """A view of a storage, counted in elements."""

    storage: str
    offset: int
    size: tuple
    strides: tuple


def opcodes(value):
    if value is None:
        return b"N"
    if value is True or value is False:
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, Global):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Persistent):
        return opcodes(value.pid) + b"Q"
    if isinstance(value, Call):
        made = opcodes(value.function) + opcodes(value.arguments) + b"R"
        made += items(value.entries) if value.entries else b""
        return made + (opcodes(value.state) + b"b" if value.state else b"")
    if isinstance(value, tuple):
        return b"(" + b"".join(map(opcodes, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(opcodes, value)) + b"e"
    if isinstance(value, dict):
        return b"}" + items(value)
    raise TypeError(value)


def items(entries):
    return b"(" + b"".join(opcodes(k) + opcodes(v) for k, v in entries.items()) + b"u"


def pickled(value):
    return b"\x80\x02" + opcodes(value) + b"."


STORAGES = {
    "<f8": "DoubleStorage",
    "<f4": "FloatStorage",
    "<f2": "HalfStorage",
    "<i8": "LongStorage",
    "|u1": "ByteStorage",
    "|b1": "BoolStorage",
}
ORDERED_DICT = Global("collections", "OrderedDict")


def tensor(view, storages, *, of_archive=False):
    array = storages[view.storage]
    storage_type = Global("torch", STORAGES[array.dtype.str])
    pid = ("storage", storage_type, view.storage, "cpu", array.size)
    pid = pid if of_archive else (*pid, None)
    arguments = (view.offset, view.size, view.strides, False, Call(ORDERED_DICT, ()))
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, (Persistent(pid), *arguments))


def file_bytes(obj, storages, *, little_endian=True):
    """The file with any object and the storages, 1-D arrays by key."""
    facts = {"protocol_version": 1001, "little_endian": little_endian}
    parts = [pickled(part) for part in (MAGIC_NUMBER, 1001, facts, obj)]
    parts.append(pickled(sorted(storages)))
    for key in sorted(storages):
        parts.append(struct.pack("<q", storages[key].size) + storages[key].tobytes())
    return b"".join(parts)


def archive_bytes(obj, storages, *, byteorder=b"little"):
    """The newer file, a zip archive, with any object and the storages."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("weights/data.pkl", pickled(obj))
        archive.writestr("weights/byteorder", byteorder)
        for key, array in storages.items():
            archive.writestr(f"weights/data/{key}", array.tobytes())
        archive.writestr("weights/version", b"3\n")
    return buffer.getvalue()


def state_dict_bytes(views, storages, *, as_archive=False):
    """The file with a state dict of views."""
    entries = {
        name: tensor(view, storages, of_archive=as_archive)
        for name, view in views.items()
    }
    metadata = {"_metadata": {"": {"version": 1}}}
    write = archive_bytes if as_archive else file_bytes
    return write(Call(ORDERED_DICT, (), entries, metadata), storages)


def contiguous_bytes(state_dict, *, as_archive=False):
    """The file with these arrays, each in a storage of its own."""
    views, storages = {}, {}
    for number, (name, array) in enumerate(state_dict.items()):
        key = str(1000 + number)
        storages[key] = array.ravel()
        strides = tuple(int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim))
        views[name] = Tensor(key, 0, array.shape, strides)
    return state_dict_bytes(views, storages, as_archive=as_archive)
