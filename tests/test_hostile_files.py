"""Files made to mislead a reader: refused in a sentence, and in little memory."""

import io
import json
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from array_files import write_safetensors
from safetensors.numpy import save

from iwps_jax.app.files import arrays, json_file, readers, tables, unreadable
from iwps_jax.app.files.arrays import open_array, open_arrays
from iwps_jax.app.files.json_file import read_json
from iwps_jax.app.files.label_studio import read_exported
from iwps_jax.app.files.unreadable import FileError

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(read, name, content=None, *, most=50e6):
    """The sentence with which a file is refused, in little memory."""
    if content is not None:
        Path(name).write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(FileError) as caught:
            np.asarray(read(name))
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    told = " ".join(str(caught.value).split())
    assert name in told and told.endswith(".") and len(told) < 500
    return told


def headed(header, numbers=bytes(48), version=(1, 0), size=None):
    """An .npy file with any header."""
    text = header.encode()
    length = 2 if version == (1, 0) else 4
    size = len(text) if size is None else size
    start = b"\x93NUMPY" + bytes(version) + size.to_bytes(length, "little")
    return start + text + numbers


def described(shape="(4, 3)", descr="'<f4'", order="False", rest=""):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}{rest}}}"


NPY = {
    "negative lengths": headed(described("(-4, -3)")),
    "one negative length": headed(described("(-4, 3)")),
    "two that make a positive size": headed(described("(-2, -6)")),
    "no last brace": headed(described()[:-1]),
    "70 axes": headed(described(str((1,) * 70))),
    "a list of lengths": headed(described("[4, 3]")),
    "booleans": headed(described("(True, 3)")),
    "floats": headed(described("(4.0, 3)")),
    "a length of 5,000 digits": headed(described(f"({'9' * 5000}, 3)")),
    "a length of 2^70": headed(described(f"({2**70}, 3)")),
    "lengths that overflow": headed(described(f"({2**62}, {2**62})")),
    "none of 2^70": headed(described(f"(0, {2**70})")),
    "an order that is no boolean": headed(described(order="2")),
    "another key": headed(described(rest=", 'x': 1")),
    "a key missing": headed("{'descr': '<f4', 'shape': (4, 3)}"),
    "no dict": headed("[1, 2]"),
    "code": headed("__import__('os').system('touch x')"),
    "brackets in brackets": headed("(" * 1000),
    "minus signs": headed("-" * 9000 + "1"),
    "powers": headed(described("(9**9**9, 1)")),
    "unclosed text": headed("{'descr': '<f4"),
    "odd escapes": headed(described(descr=r"'\d\N{'")),
    "a null byte": headed(described() + "\0"),
    "10 MB of spaces": headed(described() + " " * 10**7, version=(2, 0)),
    "a header of 4 GB": headed(described(), version=(2, 0), size=2**32 - 1),
    "a header that is cut short": headed(described(), b"", size=500),
    "version 3": headed(described(), version=(3, 0)),
    "version 9": headed(described(), version=(9, 9)),
    "text of no letter": headed(described(f"({2**40},)", "'<U0'")),
    "text of 400 MB each": headed(described(descr="'<U99999999'")),
    "void": headed(described(descr="'|V0'")),
    "rows in rows": headed(described(descr="'(1000,)f4'")),
    "objects": headed(described(descr="'|O'")),
    "text of any length": headed(described(descr="'T'")),
    "long doubles": headed(described(descr="'<f16'")),
    "the other byte order": headed(described(descr="'>f4'")),
    "records": headed(described(descr="[('a', '<f4')]")),
    "records in records": headed(described(descr="[('a'," * 60 + "'<f4'" + ")]" * 60)),
    "magic alone": b"\x93NUMPY",
    "magic and version": b"\x93NUMPY\x01\x00",
    "half a length": b"\x93NUMPY\x01\x00\x01",
}


@pytest.mark.parametrize("wrong", NPY)
def test_headers_of_npy_are_refused(wrong):
    for read in (open_array, readers.read_pool):
        refused(read, "a.npy", NPY[wrong])
    assert not Path("x").exists()
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # and within an .npz
        refused(open_array, "a.npz", packed({"features": NPY[wrong]}, method))


def test_the_header_itself_is_read():
    Path("a.npy").write_bytes(headed(described(), ROWS.tobytes()))
    np.testing.assert_array_equal(open_array("a.npy")[:], ROWS)
    Path("b.npy").write_bytes(headed(described(), ROWS.tobytes(), version=(2, 0)))
    np.testing.assert_array_equal(open_array("b.npy")[:], ROWS)


# Members of .npz files


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def packed(members, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_changed_byte_of_a_member_is_noticed_or_changes_nothing(method):
    whole = packed({"features": npy(ROWS)}, method)
    wrong = 0
    for at in range(len(whole)):
        Path("a.npz").write_bytes(flipped(whole, at))
        try:
            found = np.asarray(open_array("a.npz"))
            np.testing.assert_array_equal(found, ROWS, strict=True)
        except FileError as error:
            wrong += 1
            assert "a.npz" in str(error)
    assert wrong > len(whole) / 2


def with_flag(content):
    """As of a member that is encrypted."""
    for start, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content = flipped(content, content.index(start) + at)
    return content


TWICE = packed({"features": npy(ROWS), "featureX": npy(ROWS + 1)})
SHORT = packed({"features": npy(ROWS)[:-4], "z": npy(ROWS + 1)})
NPZ = {
    "a bomb": packed({"features": npy(ROWS) + bytes(10**7)}, zipfile.ZIP_DEFLATED),
    "zeros behind": packed({"features": npy(ROWS) + bytes(99)}),
    "less than it says": packed({"features": npy(ROWS)[:-4]}, zipfile.ZIP_DEFLATED),
    "less than it says, before another": SHORT,
    "two of one name": TWICE.replace(b"featureX", b"features"),
    "bzip2": packed({"features": npy(ROWS)}, zipfile.ZIP_BZIP2),
    "lzma": packed({"features": npy(ROWS)}, zipfile.ZIP_LZMA),
    "encrypted": with_flag(packed({"features": npy(ROWS)})),
    "no member": packed({}),
    "no array": packed({"features": b"hello"}),
    "something before": b"hello" + packed({"features": npy(ROWS)}),
}


@pytest.mark.parametrize("wrong", NPZ)
def test_members_that_mislead_are_refused(wrong):
    refused(open_array, "a.npz", NPZ[wrong])
    refused(lambda name: open_arrays(name, ["features"])[0], "a.npz", NPZ[wrong])


def test_a_compressed_array_may_expand_to_a_stated_size(monkeypatch):
    zeros = np.zeros((1000, 1000), np.float32)
    np.savez_compressed("a.npz", features=zeros)
    np.testing.assert_array_equal(open_array("a.npz"), zeros)
    monkeypatch.setattr(arrays, "MOST_EXPANDED", zeros.nbytes - 1)
    told = refused(open_array, "a.npz")
    assert "a.npz expands to 4,000,000 bytes" in told and "to 3,999,999 at most" in told
    monkeypatch.setattr(arrays, "MOST_RATIO", 2000)
    np.testing.assert_array_equal(open_array("a.npz"), zeros)


def test_a_long_list_of_members_is_not_read(monkeypatch):
    monkeypatch.setattr(arrays, "MOST_LISTED", 2**14)
    Path("a.npz").write_bytes(archive_of(100))
    assert open_array("a.npz").tolist() == [7]
    assert "list of contents" in refused(open_array, "a.npz", archive_of(1000))


def archive_of(members):
    names = {f"array {number}": b"" for number in range(members)}
    return packed({"features": npy(np.array([7])), **names})


@pytest.mark.parametrize(
    "place", ["stored.npz", "packed.npz", "a.npy", "a.safetensors"]
)
def test_the_other_byte_order_is_refused_everywhere(place):
    swapped, other = ROWS.astype(">f4"), {"labels": np.arange(4)}
    if place == "a.safetensors":  # has no other order
        np.savez("a.npz", features=ROWS, labels=np.arange(4, dtype=">i8"))
        refused(readers.read_holdout, "a.npz")
        return
    if place == "a.npy":
        np.save(place, swapped)
    else:
        write = np.savez if place == "stored.npz" else np.savez_compressed
        write(place, features=swapped, **other)
        assert "byte order, got >f4" in refused(readers.read_holdout, place)
    assert "byteorder('='))." in refused(readers.read_pool, place)


# .safetensors


def safe(header, size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (
        (len(text) if size is None else size).to_bytes(8, "little")
        + text
        + ROWS.tobytes()
    )


def tensor(*offsets, shape=(4, 3), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


SAFETENSORS = {
    "overlapping": {"features": tensor(0, 48), "b": tensor(24, 48, shape=(6,))},
    "a hole": {"features": tensor(4, 48, shape=(11,))},
    "less than all": {"features": tensor(0, 44, shape=(11,))},
    "negative offsets": {"features": tensor(-48, 0)},
    "beyond the end": {"features": tensor(0, 96, shape=(8, 3))},
    "backwards": {"features": tensor(48, 0)},
    "another size": {"features": tensor(0, 48, shape=(4, 4))},
    "negative lengths": {"features": tensor(0, 48, shape=(-4, -3))},
    "lengths that overflow": {"features": tensor(0, 48, shape=(2**62, 2**62))},
    "floats": {"features": tensor(0, 48, shape=(4.0, 3))},
    "booleans": {"features": tensor(0, 48, shape=(True, 12))},
    "eight bits": {"features": tensor(0, 48, shape=(4, 12), dtype="F8_E4M3")},
    "no type": {"features": tensor(0, 48, dtype="f4")},
    "a list": [tensor(0, 48)],
    "no tensor": {},
    "70 axes": {"features": tensor(0, 48, shape=(4, 3, *(1,) * 68))},
    "many names": {
        f"{n:60}": tensor(n, n + 1, shape=(1,), dtype="U8") for n in range(48)
    },
}


@pytest.mark.parametrize("wrong", SAFETENSORS)
def test_headers_of_safetensors_are_refused(wrong):
    refused(open_array, "a.safetensors", safe(SAFETENSORS[wrong]))


@pytest.mark.parametrize("size", [0, 1, 2**40, 2**63, 2**64 - 1])
def test_lengths_of_headers_of_safetensors_are_refused(size):
    content = safe({"features": tensor(0, 48)}, size=size)
    refused(open_array, "a.safetensors", content)


def test_the_header_of_safetensors_itself_is_read():
    Path("a.safetensors").write_bytes(safe({"features": tensor(0, 48)}))
    np.testing.assert_array_equal(open_array("a.safetensors")[:], ROWS)
    Path("b.safetensors").write_bytes(save({"features": np.float64(3.0)[None]}))
    assert open_array("b.safetensors")[:].tolist() == [3.0]
    write_safetensors("c.safetensors", "F32", [], np.float32(2.0).tobytes())
    assert open_array("c.safetensors").shape == ()


# Text


def test_ids_that_are_no_text_are_refused_by_row():
    np.save("a.npy", np.array([b"a", b"\xc3\xbc", b"c\xff", b"d"]))
    assert "row 2 must be UTF-8 text" in refused(
        lambda p: readers.read_ids(p, 4), "a.npy"
    )
    np.save("e.npy", np.array([], "U3"))
    assert "4 rows of the pool, got 0" in refused(
        lambda p: readers.read_ids(p, 4), "e.npy"
    )
    for code in (0xD800, 0xDFFF, 0x110000, 2**32 - 1):
        np.save("b.npy", np.array([65, code], np.uint32).view("U1"))
        told = refused(lambda p: readers.read_ids(p, 2), "b.npy")
        assert "row 1 must be Unicode text" in told
    np.save("c.npy", np.array([b"a", b"\xc3\xbc"]))
    assert readers.read_ids("c.npy", 2).tolist() == ["a", "ü"]
    np.save("d.npy", np.array(["\U0010ffff", "\ud7ff", "\ue000"]))
    assert readers.read_ids("d.npy", 3).tolist() == ["\U0010ffff", "\ud7ff", "\ue000"]


@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "u8"])
def test_integers_may_be_ids(dtype):
    most = np.iinfo(dtype).max
    np.save("a.npy", np.array([most, 0, 7], dtype))
    assert readers.read_ids("a.npy", 3).tolist() == [str(most), "0", "7"]


@pytest.mark.parametrize("label", [-1, 2**31, 2**32, 2**63, -(2**63)])
def test_labels_beyond_32_bits_are_refused_by_row(label):
    labels = np.array([0, 1, label, 1], np.uint64 if label >= 2**63 else np.int64)
    np.savez("a.npz", features=ROWS, labels=labels)
    told = refused(readers.read_holdout, "a.npz")
    assert f"class numbers from 0, got {label} in row 2" in told


DIGITS = "9" * 5000
JSON = {
    "a number of 5,000 digits": (f"[{DIGITS}]", "a number has thousands of digits."),
    "one in a task": (f'[{{"sample_id": {DIGITS}}}]', "a number has thousands of"),
    "lists in lists": ("[" * 100_000, "lists are nested too deep."),
    "half a pair": (r'[{"sample_id": "\ud800", "choice": "a"}]', "half of a pair"),
    "no JSON": ("[\n,]", "Expecting value in line 2."),
}


@pytest.mark.parametrize("wrong", JSON)
def test_json_that_no_file_should_hold_is_refused(wrong):
    content, sentence = JSON[wrong]
    assert sentence in refused(read_exported, "a.json", content.encode())


def test_json_is_read_up_to_a_stated_size(monkeypatch):
    monkeypatch.setattr(json_file, "MOST_BYTES", 14)
    Path("a.json").write_text(r'["\ud83d\ude00"]')
    told = refused(read_json, "a.json")
    assert "a.json must be at most 14 bytes, got 16: divide it" in told
    monkeypatch.setattr(json_file, "MOST_BYTES", 16)
    assert read_json("a.json") == ["😀"]


# Paths


@pytest.mark.parametrize(
    "given",
    ["s3://bucket/x.npy", "https://a.b/c?d=e", "gs://b/x.npz", "file:///tmp/x.npy"],
)
def test_an_address_is_refused_as_it_was_given(given):
    for name in (given, Path(given)):
        with pytest.raises(FileError) as caught:
            unreadable.require_file(name)
        assert str(caught.value).startswith(f"{given} must be a file: download it, and")
    for name in ("C:/x.npy", "module:function", "a:/b", "s3/x:/y"):
        with pytest.raises(FileError, match="does not exist"):
            unreadable.require_file(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with a name")
def test_a_pipe_is_refused_and_not_waited_for():
    for name in ("a.npy", "a.npz", "a.csv", "a.txt"):
        os.mkfifo(name)
        assert "must be a file, got a pipe" in refused(unreadable.require_file, name)


def test_errors_of_the_system_name_the_file(monkeypatch):
    Path("a.txt").write_text("a\nb\n")

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(tables, "_encoding", fail)
    assert "a.txt cannot be read: Input/output error." == refused(
        lambda path: readers.read_ids(path, 2), "a.txt"
    )
    assert "Input/output" in refused(tables.read_text, "a.txt")
