"""Files of users: what is read, where it lies, and one sentence for what is not."""

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from array_files import write_safetensors
from safetensors.numpy import save_file

from iwps_jax.app.files import heads, picks, readers
from iwps_jax.app.files.arrays import open_array
from iwps_jax.app.files.file_array import FileArray
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.types import Head

FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)
LABELS = np.array([0, 1, 1, 0])
KERNEL, BIAS = np.eye(3, 2, dtype=np.float32), np.zeros(2, np.float32)
HUGE = 1e300 * KERNEL.astype(np.float64)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def anonymous_megabytes():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


# Arrays


SAVED = {
    "a.npy": lambda path, x: np.save(path, x),
    "fortran.npy": lambda path, x: np.save(path, np.asfortranarray(x)),
    "stored.npz": lambda path, x: np.savez(path, features=x, labels=LABELS),
    "compressed.npz": lambda path, x: np.savez_compressed(path, features=x, y=LABELS),
    "alone.npz": lambda path, x: np.savez(path, anything=np.asfortranarray(x)),
    "a.safetensors": lambda path, x: save_file({"features": x, "y": LABELS}, path),
    "größe ✓.npy": lambda path, x: np.save(path, x),
}


def test_suffixes_may_be_capitals():
    for name in ("a.npy", "stored.npz", "a.safetensors"):
        SAVED[name](name, FEATURES)
        upper = name[:-3] + name[-3:].upper()
        os.rename(name, upper)
        np.testing.assert_array_equal(open_array(upper), FEATURES)
    np.savez("head.npz", kernel=KERNEL, bias=BIAS)
    os.rename("head.npz", "HEAD.NPZ")
    np.testing.assert_array_equal(heads.read_head("HEAD.NPZ").kernel, KERNEL)
    Path("a.CSV").write_text("id\na\nb\n")
    Path("a.TXT").write_text("a\nb\n")
    for name in ("a.CSV", "a.TXT"):
        assert readers.read_ids(name, 2).tolist() == ["a", "b"]


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint32"])
def test_what_was_saved_is_read_where_it_lies(name, dtype):
    array = FEATURES.astype(dtype)
    SAVED[name](name, array)
    found = open_array(name)
    np.testing.assert_array_equal(np.asarray(found), array, strict=True)
    assert isinstance(found, FileArray) == (not name.endswith(".npz"))
    with pytest.raises((ValueError, TypeError)):  # nobody's file is changed
        found[0] = 0


def test_half_precision_of_other_frameworks_is_read():
    expected = FEATURES.astype(jnp.bfloat16)
    write_safetensors("a.safetensors", "BF16", [4, 3], expected.tobytes())
    found = readers.read_pool("a.safetensors")
    np.testing.assert_array_equal(np.float32(found[:]), FEATURES)


def test_every_member_is_found_behind_longer_ones():
    parts = {name * 9: np.full((length, 2), length) for length, name in enumerate("pq")}
    np.savez("a.npz", features=FEATURES, **parts)
    for name, part in {"features": FEATURES, **parts}.items():
        np.testing.assert_array_equal(open_array("a.npz", name), part)


@pytest.mark.parametrize("name", ["pool.npy", "pool.safetensors"])
def test_a_pool_of_a_terabyte_opens_without_memory(name):
    # Holes of a sparse file: a terabyte is claimed, a few blocks are there.
    shape, size = (10**9, 256), 4 * 10**9 * 256
    if name == "pool.safetensors":
        write_safetensors(name, "F32", list(shape), b"")
        text = Path(name).read_bytes()[8:].replace(b"[0, 0]", b"[0, %d]" % size)
        Path(name).write_bytes(len(text).to_bytes(8, "little") + text)
        os.truncate(name, 8 + len(text) + size)
    else:
        np.lib.format.open_memmap(name, "w+", np.float32, shape)
    before = anonymous_megabytes()
    pool = readers.read_pool(name)
    assert pool.shape == shape and pool[10**9 - 1].sum() == 0
    assert anonymous_megabytes() - before < 10


# Refusals: every reader, one sentence


def npy(array):
    return lambda path: np.save(path, array, allow_pickle=True)


def npz(**arrays):
    return lambda path: np.savez(path, **arrays)


def text(content):
    return lambda path: Path(path).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


def cut(save, share=0.9):
    def damage(path):
        save(path)
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: int(share * len(content))])

    return damage


def with_nan(array, row):
    array = np.array(array, float)
    array[row] = np.nan
    return array


READERS = {
    "pool": readers.read_pool,
    "head": heads.read_head,
    "holdout": readers.read_holdout,
    "ids": lambda path: readers.read_ids(path, 4),
    "classes": readers.read_classes,
    "picks": picks.read_picks,
    "answers": picks.read_answers,
}
STORED = npz(features=np.ones((100, 9)), labels=np.zeros(100, int))
SAFE = SAVED["a.safetensors"]
BAD = [  # reader, file, what is in it, what the sentence says
    *((name, "no.npz", None, "no.npz does not exist.") for name in READERS),
    *((name, "d.npz", Path.mkdir, "d.npz must be a file") for name in READERS),
    *((name, "e.npy", text(""), "e.npy must not be empty.") for name in READERS),
    ("pool", "a.csv", text("1,2"), "must end in .npy, .npz or .safetensors"),
    ("pool", "a.npy", text("not an array"), "must be an .npy file, but it is damaged"),
    ("pool", "a.npz", text("not an array"), "must be an .npz file, but it is damaged"),
    (
        "pool",
        "a.safetensors",
        text("not"),
        "must be a .safetensors file, but it is damaged",
    ),
    (
        "pool",
        "a.npy",
        cut(npy(FEATURES), 0.2),
        "must be an .npy file, but it is damaged",
    ),
    ("pool", "a.npy", cut(npy(FEATURES)), "ends at byte 176, but the file ends at 158"),
    ("pool", "a.npz", cut(STORED), "must be an .npz file, but it is damaged"),
    ("pool", "a.safetensors", cut(lambda p: SAFE(p, FEATURES)), "not fully covered"),
    ("pool", "a.npy", npy(np.array([[1, "a"]], object)), "pickled objects"),
    ("pool", "a.npz", npz(x=np.array([[1, "a"]], object)), "pickled objects"),
    (
        "pool",
        "a.npz",
        npz(x=FEATURES, y=LABELS),
        "called features, or only one array, g",
    ),
    ("pool", "a.npz", npz(x=FEATURES, y=LABELS), "got x, y."),
    ("pool", "a.npy", npy(FEATURES[0]), "must have 2 axes, got shape (3,)"),
    ("pool", "a.npy", npy(FEATURES[:0]), "must not be empty, got shape (0, 3)"),
    ("pool", "a.npy", npy(FEATURES > 0), "floating point or integers, got bool"),
    (
        "pool",
        "a.npy",
        npy(FEATURES.astype(complex)),
        "floating point or integers, got complex128",
    ),
    ("pool", "a.npy", npy(FEATURES.astype(str)), "floating point or integers, got <U"),
    ("pool", "a.npy", npy(FEATURES.astype(">f4")), "byte order, got >f4"),
    ("pool", "a.npy", npy(FEATURES.astype(jnp.bfloat16)), "how np.save stores bfl"),
    ("pool", "a.npy", npy(np.zeros(3, [("a", "f4")])), "plain numbers, got [('a'"),
    ("pool", "a.npy", npy(np.zeros(3, "M8[s]")), "plain numbers, got datetime64"),
    ("head", "a.npy", npy(KERNEL), "must be an .npz or .safetensors file with kernel"),
    ("head", "a.npz", npz(kernel=KERNEL), "called kernel and bias, got kernel."),
    ("head", "a.npz", npz(weight=KERNEL.T, bias=BIAS), "bias, got bias, weight."),
    ("head", "a.npz", npz(kernel=KERNEL.T, bias=BIAS), "save kernel.T"),
    ("head", "a.npz", npz(kernel=KERNEL, bias=np.zeros(4)), "match bias of 4 cl"),
    ("head", "a.npz", npz(kernel=KERNEL, bias=BIAS[None]), "1 axis [classes], got"),
    ("head", "a.npz", npz(kernel=BIAS, bias=BIAS), "kernel must have 2 axes"),
    ("head", "a.npz", npz(kernel=KERNEL[:, :1].T, bias=BIAS[:1]), "save kernel.T"),
    ("head", "a.npz", npz(kernel=with_nan(KERNEL, 2), bias=BIAS), "infinity in row 2."),
    ("head", "a.npz", npz(kernel=HUGE, bias=BIAS), "infinity in row 0."),
    ("head", "a.npz", npz(kernel=KERNEL, bias=with_nan(BIAS, 1)), "in entry 1."),
    ("holdout", "a.npz", npz(features=FEATURES), "features and labels, got features."),
    ("holdout", "a.npz", cut(STORED, 0.5), "must be an .npz file, but it is damaged"),
    ("holdout", "a.npz", npz(features=FEATURES, labels=LABELS * 1.0), "got float64."),
    ("holdout", "a.npz", npz(features=FEATURES, labels=-LABELS), "got -1 in row 1."),
    ("holdout", "a.npz", npz(features=FEATURES, labels=LABELS[:3]), "got 4 and 3."),
    ("holdout", "a.npz", npz(features=FEATURES, labels=FEATURES), "got shape"),
    ("holdout", "a.npz", npz(features=with_nan(FEATURES, 3), labels=LABELS), "row 3."),
    ("ids", "a.txt", text("a\nb\n\nd\n"), "line 3 must not be empty."),
    ("ids", "a.txt", text("a\nb\nc\nb\n"), "line 2 and line 4 both have b."),
    ("ids", "a.txt", text("a\nb\nc\n"), "each of the 4 rows of the pool, got 3."),
    ("ids", "a.txt", text("a\nb\nc\nd\ne\n"), "got 5; line 5 is one too many."),
    ("ids", "a.txt", text(b"a\nb\nc\n\xff"), "must be UTF-8 text, line 4 is not."),
    ("ids", "a.csv", text("name\na\n"), "one column id in its first line, got name."),
    ("ids", "a.csv", text("id,x\na,1\nb,1\na,1\nd,1\n"), "line 2 and line 4 both hav"),
    ("ids", "a.csv", text("id,x\na,1\nb,2,3\n"), "line 3 must have at most 2"),
    ("ids", "a.csv", text('id\n"a\n'), "is not CSV"),
    ("ids", "a.csv", text(b"id\na\n\xff\n"), "must be UTF-8 text, line 3 is not."),
    ("ids", "a.npy", npy(np.array([5, 6, 5, 7])), "row 0 and row 2 both have 5."),
    ("ids", "a.npy", npy(np.array([1.5, 2, 3, 4])), "strings or integers, got float64"),
    ("ids", "a.npy", npy(np.array(["a"], object)), "pickled objects"),
    ("ids", "a.txt", text("caf\u00e9\nb\ncafe\u0301\nd\n"), "line 1 and line 3 both"),
    ("ids", "a.txt", text("a\nb\0\nc\nd\n"), "line 2 must not have a NUL character."),
    ("ids", "a.npy", npy(np.array(["a", "b\udcff"])), "row 1 must be Unicode text"),
    ("ids", "a.npy", npy(np.array([b"a", b"b\xff"])), "must be UTF-8 text"),
    ("ids", "a.json", text("[]"), "must end in .txt, .csv or .npy"),
    ("classes", "a.txt", text("cat\n"), "at least 2 classes, got 1."),
    ("classes", "a.txt", text("cat\n\ndog\n"), "line 2 must not be empty."),
    ("classes", "a.txt", text("cat\ndog\ncat\n"), "line 1 and line 3 both have cat."),
    ("classes", "a.txt", text("e\u0301\nx\n\u00e9\n"), "line 1 and line 3 both have"),
    ("classes", "a.txt", text("cat\nskip\n"), "line 2 must not be skip"),
    ("classes", "a.txt", text("cat\nSkip\n"), "line 2 must not be Skip"),
    ("classes", "a.txt", text("cat\nUnsure\n"), "line 2 must not be Unsure"),
    ("classes", "cat,,dog", None, "name 2 must not be empty."),
    ("picks", "a.csv", text("id,score\n"), "at least one pick, got none."),
    ("picks", "a.csv", text("row,score\n1,2\n"), "got row, score."),
    ("picks", "a.csv", text("id,score\n,2\n"), "line 2 must have an id."),
    ("answers", "a.csv", text("id\na\n"), "one column label in its first line, got id"),
    ("answers", "a.csv", text("id,label\na,x\na,x\n"), "line 2 and line 3 both have a"),
    ("answers", "a.csv", text("id,label\n\u00e9,x\ne\u0301,x\n"), "line 2 and line 3"),
    ("answers", "a.csv", text("id,label\n,x\n"), "line 2 must have an id."),
]


@pytest.mark.parametrize(("reader", "name", "write", "sentence"), BAD)
def test_a_bad_file_is_refused_in_one_sentence(reader, name, write, sentence):
    path = Path(name)
    if write is not None:
        write(path)
    with pytest.raises(FileError) as caught:
        READERS[reader](path)
    told = str(caught.value)
    assert sentence in told
    assert (name in told or "the list of classes" in told) and "\n" not in told
    assert told.endswith(".")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="is root")
@pytest.mark.parametrize("reader", READERS)
def test_a_file_without_permission_is_refused(reader):
    Path("a.npz").write_bytes(b"x")
    os.chmod("a.npz", 0)
    with pytest.raises(FileError, match="a.npz cannot be read: Permission denied."):
        READERS[reader]("a.npz")


def test_features_and_labels_must_fit_the_head():
    head = Head(KERNEL, BIAS)
    readers.require_width("pool.npy", FEATURES, head)
    with pytest.raises(
        FileError, match=r"pool.npy must have 3 columns .* are these lo"
    ):
        readers.require_width("pool.npy", FEATURES[:, :2], head)
    readers.require_classes("h.npz", LABELS, 2)
    with pytest.raises(FileError, match=r"h.npz: labels must be in \[0, 1\).* row 1"):
        readers.require_classes("h.npz", LABELS, 1)


# What is taken


def test_heads_and_holdouts_come_as_the_scores_want_them():
    np.savez("head.npz", kernel=KERNEL.astype(np.float64), bias=np.zeros(2, int))
    save_file(
        {"features": FEATURES.astype(np.float16), "labels": LABELS.astype(np.uint8)},
        "holdout.safetensors",
    )
    head = heads.read_head("head.npz")
    holdout = readers.read_holdout("holdout.safetensors")
    np.testing.assert_array_equal(head.kernel, KERNEL, strict=True)
    np.testing.assert_array_equal(head.bias, BIAS, strict=True)
    np.testing.assert_array_equal(holdout.features, FEATURES, strict=True)
    np.testing.assert_array_equal(holdout.labels, np.int32(LABELS), strict=True)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.txt", text("a\nb c\nü\n4")),
        ("a.txt", text("\ufeffa\r\nb c\r\nü\r\n4\r\n")),
        ("a.txt", text("a\rb c\rü\r4\r")),
        ("a.csv", text('x,id\n1,a\n2,"b c"\n\n3, ü \n4,4\n')),
        ("a.npy", npy(np.array(["a", "b c", "ü", "4"]))),
    ],
)
def test_ids_are_text_of_any_source(name, write):
    write(name)
    assert readers.read_ids(name, 4).tolist() == ["a", "b c", "ü", "4"]


def test_one_long_id_costs_what_it_is_long():
    names = [*map(str, range(20_000)), "x" * 100_000]  # 8 GB, were all as wide
    Path("a.txt").write_text("\n".join(names))
    ids = readers.read_ids("a.txt", len(names))
    assert ids.tolist() == names and ids.nbytes < 2**20


def test_numbers_may_be_ids():
    np.save("a.npy", [30, 10, 20])
    assert readers.read_ids("a.npy", 3).tolist() == ["30", "10", "20"]


def test_classes_are_a_list_or_a_file():
    Path("classes.txt").write_text("cat, large\ndog\n")
    assert readers.read_classes("classes.txt") == ("cat, large", "dog")
    assert readers.read_classes("cat,dog") == ("cat", "dog")


def test_blank_lines_at_the_end_of_a_list_do_not_count():
    Path("a.txt").write_text("b\nc\n\n \n")
    assert readers.read_ids("a.txt", 2).tolist() == ["b", "c"]
    assert readers.read_classes("a.txt") == ("b", "c")
    assert readers.read_classes("cat,dog,") == ("cat", "dog")
    for text in ("cat,", ","):
        with pytest.raises(FileError, match="must name at least 2 classes"):
            readers.read_classes(text)
    with pytest.raises(FileError, match="name 1 must not be empty"):
        readers.read_classes(",cat")


def test_classes_that_look_alike_are_named(capsys):
    names = [
        "cat",
        "dog",
        "owl",
        "do\u200bg",
        "Cat",
        "owl\u00a0x",
        "owl x",
        "\u202eowl",
    ]
    Path("classes.txt").write_text("\n".join(names), "utf-8")
    assert readers.read_classes("classes.txt") == (*names,)
    assert capsys.readouterr().err == (
        "Warning: classes.txt has classes that look alike and yet are two: 'dog' and "
        r"'do\u200bg', 'cat' and 'Cat', 'owl\xa0x' and 'owl x', 'owl' and '\u202eowl'."
        "\n"
    )
    readers.read_classes(",".join("abcdefgABCDEFG"))
    assert capsys.readouterr().err.endswith("'e' and 'E', ....\n")
    readers.read_classes("eins,zwei")
    assert capsys.readouterr().err == ""


def test_picks_are_read_as_they_were_written():
    some = [
        picks.Pick("a,b", "3", "0.25", predicted='the "cat"', hurts="1 2", label=""),
        picks.Pick("ü", "1", "-1e-09", predicted="dog\nhouse"),
    ]
    columns = ("id", "row", "score", "predicted", "hurts", "label")
    picks.write_picks("picks.csv", some, columns)
    assert picks.read_picks("picks.csv") == some
    assert Path("picks.csv").read_text().startswith(",".join(columns) + "\n")


def test_a_list_of_ids_is_a_file_of_picks():
    Path("a.csv").write_text("id,other\nx,1\ny,2\n")
    assert picks.read_picks("a.csv") == [picks.Pick("x"), picks.Pick("y")]


def test_answers_are_found_in_any_file_with_their_columns():
    Path("a.csv").write_text("row,label,id,annotator\n7,cat,x,ann\n8,,y,\n9,skip,z,\n")
    assert picks.read_answers("a.csv") == [
        picks.Answer("x", "cat", 2, row="7", annotator="ann"),
        picks.Answer("y", "", 3, row="8"),
        picks.Answer("z", "skip", 4, row="9"),
    ]
