"""The reader of PyTorch's files: right views, and no code but its own."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from torch_bytes import (
    MAGIC_NUMBER,
    ORDERED_DICT,
    STORAGES,
    Call,
    Global,
    Persistent,
    Tensor,
    archive_bytes,
    contiguous_bytes,
    file_bytes,
    pickled,
    state_dict_bytes,
    tensor,
)

from iwps_jax.backbones import torch_file
from iwps_jax.backbones.torch_file import TorchFileError, load_state_dict


@pytest.fixture
def read(tmp_path):
    """Reads bytes as a file."""

    def read_bytes(data):
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        return load_state_dict(path)

    return read_bytes


def numbers(*shape, dtype="<f4"):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


both_formats = pytest.mark.parametrize("as_archive", [False, True])


@both_formats
@pytest.mark.parametrize("dtype", STORAGES)
def test_contiguous_tensors(read, dtype, as_archive):
    stored = {
        "kernel": numbers(4, 3, 2, 2, dtype=dtype),
        "bias": numbers(4, dtype=dtype),
        "count": numbers(dtype=dtype),
    }
    found = read(contiguous_bytes(stored, as_archive=as_archive))
    assert list(found) == list(stored)
    for name, array in stored.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@both_formats
def test_permuted_tensor(read, as_archive):
    """Kernels [out, in, row, column] that lie in memory as [row, column, in, out]."""
    expected = numbers(5, 4, 3, 2)
    in_memory = np.ascontiguousarray(expected.transpose(2, 3, 1, 0)).ravel()
    view = Tensor("7", 0, (5, 4, 3, 2), (1, 5, 40, 20))
    data = state_dict_bytes({"kernel": view}, {"7": in_memory}, as_archive=as_archive)
    found = read(data)["kernel"]
    np.testing.assert_array_equal(found, expected)
    assert found.flags.c_contiguous


def test_two_tensors_of_one_storage_are_independent(read):
    views = {
        "rows": Tensor("1", 2, (2, 3), (3, 1)),
        "columns": Tensor("1", 2, (3, 2), (1, 3)),
        "repeated": Tensor("1", 9, (4,), (0,)),
        "none": Tensor("1", 0, (0, 3), (3, 1)),
    }
    found = read(state_dict_bytes(views, {"1": numbers(10)}))
    rows = np.array([[2, 3, 4], [5, 6, 7]], np.float32)
    np.testing.assert_array_equal(found["rows"], rows)
    np.testing.assert_array_equal(found["columns"], rows.T)
    np.testing.assert_array_equal(found["repeated"], [9, 9, 9, 9])
    assert found["none"].shape == (0, 3)
    found["rows"][:] = 0
    np.testing.assert_array_equal(found["columns"], rows.T)


def test_parameters_and_plain_dicts(read):
    storages = {"1": numbers(3)}
    inner = tensor(Tensor("1", 0, (3,), (1,)), storages)
    rebuild = Global("torch._utils", "_rebuild_parameter")
    parameter = Call(rebuild, (inner, True, Call(ORDERED_DICT, ())))
    found = read(file_bytes({"bias": parameter}, storages))
    np.testing.assert_array_equal(found["bias"], [0, 1, 2])


@both_formats
def test_every_truncation_is_noticed(read, as_archive):
    stored = {"a": numbers(2, 2), "b": numbers(3, dtype="<i8")}
    data = contiguous_bytes(stored, as_archive=as_archive)
    for size in range(0, len(data), 7 if as_archive else 1):
        with pytest.raises(TorchFileError, match=r"weights\.pth must"):
            read(data[:size])


@pytest.mark.parametrize(
    ("offset", "size", "strides"),
    [
        (1, (2, 5), (5, 1)),
        (0, (3, 5), (5, 1)),
        (0, (2, 5), (6, 1)),
        (-1, (1,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (-2,), (1,)),
        (0, (2**40, 2**40), (0, 0)),
        (0, (5,), (2**60,)),  # 64-bit sums wrap: NumPy lets it pass, and crashes
        (2**62, (1,), (1,)),
        (0, (True,), (1,)),
        (0, 3, 1),
    ],
)
@both_formats
def test_views_outside_of_their_storage(read, offset, size, strides, as_archive):
    view = Tensor("1", offset, size, strides)
    with pytest.raises(TorchFileError):
        data = state_dict_bytes({"a": view}, {"1": numbers(10)}, as_archive=as_archive)
        read(data)


# Small files that ask for much


@both_formats
def test_a_view_does_not_repeat_a_number_without_end(read, as_archive):
    view = Tensor("1", 0, (2**14, 2**13), (0, 0))
    few = {"a": view._replace(size=(50, 50))}
    stored = {"1": numbers(1)}
    assert read(state_dict_bytes(few, stored, as_archive=as_archive))["a"].sum() == 0
    data = state_dict_bytes({"a": view}, stored, as_archive=as_archive)
    with pytest.raises(TorchFileError, match=r"at most 268,.* got 536,870,912"):
        read(data)


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, (content, method) in members.items():
            archive.writestr(f"weights/{name.replace('_', '.')}", content, method)
    return buffer.getvalue()


def test_an_archive_does_not_expand_without_end(read, monkeypatch):
    monkeypatch.setattr(torch_file, "MOST_REPEATED", 2**20)
    bomb = zipped(data_pkl=(pickled({}), 0), byteorder=(b" " * 2**20, 8))
    assert len(bomb) < 2000
    assert read(zipped(data_pkl=(pickled({}), 8))) == {}
    with pytest.raises(TorchFileError, match="little-endian"):
        read(bomb)
    with pytest.raises(TorchFileError, match="at most 1,05.* bytes"):
        read(
            zipped(data_pkl=(pickled({}), 0), x=(bytes(2**20), 8), y=(bytes(2**20), 8))
        )
    monkeypatch.undo()
    with pytest.raises(TorchFileError, match="in 2,097,152 bytes, got 2,097,158"):
        read(zipped(data_pkl=(pickled({}) + bytes(2**21), 8)))
    with pytest.raises(TorchFileError, match="zip's deflation"):
        read(zipped(data_pkl=(pickled({}), zipfile.ZIP_BZIP2)))
    with pytest.raises(TorchFileError, match="at most 100,000 storages"):
        read(zipped(data_pkl=(b"PK\x01\x02" * 100_001, 0)))


PICKLES = {  # what they ask for
    "a place of its memory far away": b"}r\xff\xff\xff\x7f.",
    "a text of 4 GB": b"X\xf0\xff\xff\xffa.",
    "bytes of 2^60": b"\x8e" + (2**60).to_bytes(8, "little") + b"a.",
    "a frame of 2^60": b"\x95" + (2**60).to_bytes(8, "little") + b"}.",
    "a number of 5,000 digits": b"I" + b"9" * 5000 + b"\n.",
    "lists in lists": b"]" * 200_000 + b"a" * 199_999 + b".",
}


HEADER = pickled(MAGIC_NUMBER) + pickled(1001) + pickled({"little_endian": True})


def test_pickles_end_before_they_fill_the_memory(read):
    few = b"\x8f" * 9 + b"}." + pickled([])
    assert read(HEADER + b"\x80\x04" + few) == {}
    with pytest.raises(TorchFileError, match="broke off"):
        read(HEADER + b"\x80\x04" + b"N0" * 2**20 + few)


@pytest.mark.parametrize("asked", PICKLES)
def test_a_pickle_gets_no_memory_that_it_only_asks_for(read, asked):
    tracemalloc.start()
    try:
        with pytest.raises(TorchFileError, match="must "):
            read(HEADER + b"\x80\x04" + PICKLES[asked])
        assert tracemalloc.get_traced_memory()[1] < 5e8
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["O", "V8", "M8[s]", 7])
def test_a_storage_has_a_type_of_pytorch(read, dtype):
    pid = ("storage", dtype, "1", "cpu", 1, None)
    arguments = (0, (1,), (1,), False, Call(ORDERED_DICT, ()))
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    data = file_bytes({"a": Call(rebuild, (Persistent(pid), *arguments))}, {})
    data += struct.pack("<q", 1) + bytes(8)
    with pytest.raises(TorchFileError, match="must "):
        read(data)


def test_storages_of_an_archive_have_their_whole_length(read):
    storages = {"1": numbers(10)}
    obj = {"a": tensor(Tensor("1", 0, (3,), (1,)), storages, of_archive=True)}
    for size in (9, 11):
        data = archive_bytes(obj, {"1": numbers(size)})
        with pytest.raises(TorchFileError, match="all of storage 1, and no more"):
            read(data)
    with pytest.raises(TorchFileError, match="data/1"):
        read(archive_bytes(obj, {"2": numbers(10)}))


MALICIOUS = [
    ("posix", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("torch", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("collections", "OrderedDict.fromkeys"),
    ("iwps_jax.backbones.torch_file", "load_state_dict"),
]


@pytest.mark.parametrize(("module", "name"), MALICIOUS)
def test_other_names_are_refused(read, tmp_path, module, name):
    marker = tmp_path / "executed"
    call = Call(Global(module, name), (f"touch {marker}",))
    for data in (
        file_bytes({"a": call}, {}),
        archive_bytes({"a": call}, {}),
        pickled(call),
    ):
        with pytest.raises(TorchFileError, match=f"refused to load {module}.{name}"):
            read(data)
    assert not marker.exists()


def test_attributes_set_by_one_file_do_not_reach_the_next(read):
    """BUILD may set attributes of whatever a pickle has been given."""
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    state = ({}, {"__defaults__": (1, 2, 3, 4)})
    data = pickled(rebuild)[:-1] + pickled(state)[2:-1] + b"b."
    with pytest.raises(TorchFileError):
        read(data)
    good = {"a": numbers(2)}
    np.testing.assert_array_equal(read(contiguous_bytes(good))["a"], good["a"])


def test_other_files_are_named(read, tmp_path):
    with pytest.raises(TorchFileError, match="broke off"):
        read(b"PK\x03\x04 and so on")
    with pytest.raises(TorchFileError, match="little-endian"):
        read(archive_bytes({}, {}, byteorder=b"big"))
    with pytest.raises(TorchFileError, match="got int as 'epoch'"):
        read(archive_bytes({"epoch": 3}, {}))
    with pytest.raises(TorchFileError, match="magic number"):
        read(pickled(1) + pickled(1001) + pickled({}))
    with pytest.raises(TorchFileError, match="little-endian"):
        read(file_bytes({}, {}, little_endian=False))
    with pytest.raises(TorchFileError, match="must hold a state dict, got list"):
        read(file_bytes([1], {}))
    with pytest.raises(TorchFileError, match="got int as 'epoch'"):
        read(file_bytes({"epoch": 3}, {}))
    with pytest.raises(TorchFileError, match="broke off"):
        read(b"<html>log in first</html>")
    with pytest.raises(FileNotFoundError):
        load_state_dict(tmp_path / "absent.pth")
