"""`iwps embed` from the command line: photos, texts, what is skipped, what resumes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iwps_jax.__main__ import main
from iwps_jax.app.embedding import blocks, duplicates, pool_folder
from iwps_jax.app.embedding.photos import open_photos

OWN = '''
import numpy as np
calls = []

def colors(images):
    """Means of the channels, and the size."""
    calls.append(len(images))
    return np.array([[*np.asarray(i).mean((0, 1)), *i.size] for i in images])

def letters(texts):
    calls.append(len(texts))
    return np.array([[len(t), t.count("a"), t.count("b")] for t in texts], "f4")

def breaks(texts):
    import os
    if "stop" in texts and not os.path.exists("go"):
        raise KeyboardInterrupt
    return letters(texts)

def is_killed(texts):
    import os, signal
    if "kill" in texts and not os.path.exists("alive"):
        os.kill(os.getpid(), signal.SIGKILL)
    return letters(texts)

def ragged(texts):
    return np.zeros((1, 2))

def huge(texts):
    return np.full((len(texts), 2), 1e300)

def nothing(texts):
    return np.zeros((len(texts), 0))

def not_finite(texts):
    return np.full((len(texts), 2), np.nan)
'''
"""Backbones in place of networks."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(blocks, "SIZE", 4)
    yield tmp_path
    sys.modules.pop("own", None)


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(["embed", *map(str, words)])
    return end.value.code


def embedded(*words):
    assert run(*words) == 0
    ids = Path("pool/ids.txt").read_text("utf-8").splitlines()
    about = json.loads(Path("pool/source.json").read_text("utf-8"))
    return np.load("pool/pool.npy"), ids, about


def save(path, color, size=(6, 4), **options):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)


def some_photos():
    for number, color in enumerate([(250, 0, 0), (0, 250, 0), (0, 0, 250)]):
        save(f"photos/deep/er/{number}.png", color)
    save("photos/b.jpg", (9, 9, 9), (40, 20))


def test_photos_become_a_pool(folder, capsys):
    some_photos()
    features, ids, about = embedded("photos", "--backbone", "own:colors")
    assert ids == ["b.jpg", *(f"deep/er/{n}.png" for n in range(3))]
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[1], [250, 0, 0, 6, 4])
    assert about["kind"] == "images" and about["rows"] == 4
    assert about["source"] == {"folder": str(folder / "photos")}
    assert about["backbone"]["name"] == "own:colors"
    digest = hashlib.sha256(OWN.encode()).hexdigest()
    assert about["backbone"]["module"] == digest
    assert {p.name for p in (folder / "pool").iterdir()} == {
        *("pool.npy", "ids.txt", "source.json")
    }
    assert "4 rows of 5 features of images in pool" in capsys.readouterr().out


def test_what_is_no_image_is_skipped_with_its_reason(folder, capsys):
    some_photos()
    (folder / "secret.png").write_bytes((folder / "photos/b.jpg").read_bytes())
    (folder / "photos/a.png").write_bytes(b"no image")
    (folder / "photos/link.png").symlink_to(folder / "secret.png")
    (folder / "photos/notes.md").write_text("no image either")
    os.symlink(folder, folder / "photos/up")
    _, ids, about = embedded("photos", "--backbone", "own:colors")
    assert len(ids) == 4 and about["skipped"] == 2
    text = (folder / "pool/skipped.csv").read_text()
    assert "link.png,it is a link that leads out of the folder" in text
    assert "or damaged" in text and "notes.md" not in text
    assert "Samples that could not be used: 2; pool/skipped.csv" in (
        capsys.readouterr().out
    )


def test_a_photo_is_turned_upright_and_loses_its_transparency(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    save("photos/turned.jpg", (9, 9, 9), (40, 20), exif=exif)
    Image.new("RGBA", (6, 4), (0, 0, 0, 0)).save("photos/clear.png")
    Image.new("I;16", (6, 4), 700).save("photos/deep.png")
    Image.new("CMYK", (6, 4)).save("photos/print.jpg")
    samples = {s.id: s.value for s in open_photos(folder / "photos", None).samples(0)}
    assert samples["turned.jpg"].size == (20, 40)
    assert samples["clear.png"].getpixel((0, 0)) == (255, 255, 255)
    assert {image.mode for image in samples.values()} == {"RGB"}


TEXTS = ["a rabbit", "bb", "", "aab", "rabbit"]


def write_texts(suffix):
    lines = [{"number": f"n{i}", "body": t} for i, t in enumerate(TEXTS)]
    if suffix == "jsonl":
        text = "".join(json.dumps(line) + "\n" for line in lines)
    elif suffix == "txt":
        text = "".join(f"{t}\n" for t in TEXTS)
    elif suffix == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(lines), "texts.parquet")
        return
    else:
        comma = {"csv": ",", "tsv": "\t"}[suffix]
        text = f"number{comma}body\n"
        text += "".join(f"{line['number']}{comma}{line['body']}\n" for line in lines)
    with open(f"texts.{suffix}", "w") as file:
        file.write(text)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "txt", "parquet"])
def test_texts_become_a_pool(folder, suffix):
    write_texts(suffix)
    columns = [] if suffix == "txt" else ["--text", "body", "--id", "number"]
    words = f"texts.{suffix}", *columns, "--backbone", "own:letters"
    features, ids, about = embedded(*words)
    name = "" if suffix == "txt" else "n"
    assert ids == [f"{name}{n}" for n in (0, 1, 3, 4)]
    assert features.tolist() == [[8, 2, 2], [2, 0, 2], [3, 2, 1], [6, 1, 2]]
    assert about["kind"] == "texts"
    assert (folder / "pool/skipped.csv").read_text() == (
        f"id,reason\n{name}2,it is empty\n"
    )


def test_without_ids_the_rows_are_numbered_and_the_column_is_called_text(folder):
    (folder / "t.csv").write_text('text,x\n"a, b",1\n"two\nlines",2\n')
    _, ids, _ = embedded("t.csv", "--backbone", "own:letters")
    assert ids == ["0", "1"]


def test_near_duplicates_are_listed_and_dropped_on_request(folder, capsys):
    (folder / "t.txt").write_text("aab\nbbbb\naab\naab\n")
    features, ids, _ = embedded("t.txt", "--backbone", "own:letters")
    assert ids == ["0", "1", "2", "3"]
    listed = (folder / "pool/duplicates.csv").read_text()
    assert listed == "id,duplicate_of,cosine\n2,0,1.0000\n3,0,1.0000\n"
    assert "earlier one: 2, kept" in capsys.readouterr().out
    words = "t.txt", "--backbone", "own:letters", "--out", "less"
    assert run(*words, "--drop-duplicates") == 0
    assert (folder / "less/ids.txt").read_text() == "0\n1\n"
    np.testing.assert_array_equal(np.load("less/pool.npy"), features[:2])


def test_duplicates_are_those_of_the_plain_loop(monkeypatch):
    monkeypatch.setattr(duplicates, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(duplicates, "KEPT_AT_ONCE", 5)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 3))
    rows[::4] = rows[1] * rng.uniform(1, 2, size=(15, 1))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    kept, expected = [], []
    for row in range(60):
        cosines = [unit[row] @ unit[other] for other in kept]
        if cosines and max(cosines) > duplicates.COSINE:
            expected.append(row)
        else:
            kept.append(row)
    found = duplicates.find(rows)
    assert found.rows.tolist() == expected and len(expected) > 14
    assert set(found.originals.tolist()) <= set(kept)
    cosines = (unit[found.rows] * unit[found.originals]).sum(1)
    np.testing.assert_allclose(found.cosines, cosines, rtol=1e-5)


def test_an_interrupted_run_goes_on_with_the_first_block_that_is_missing(folder):
    texts = [f"{'ab'[n % 2]}{'c' * n}" for n in range(9)]
    stopping = [*texts, "stop", "a", "b"]
    (folder / "t.txt").write_text("\n".join(stopping))
    stat = (folder / "t.txt").stat()
    assert run("t.txt", "--backbone", "own:breaks") == 130
    assert sorted(p.name for p in (folder / "pool/unfinished").iterdir()) == [
        *("000000000.npz", "000000004.npz", "about.json")
    ]
    (folder / "t.txt").write_text("\n".join([*texts, "pots", "a", "b"]))
    os.utime("t.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    import own

    own.calls.clear()
    features, ids, _ = embedded("t.txt", "--backbone", "own:breaks")
    assert own.calls == [4] and len(ids) == 12
    assert features[:, 0].tolist() == [*map(len, [*texts, "stop", "a", "b"])]
    assert not (folder / "pool/unfinished").exists()


def test_a_killed_run_goes_on(folder):
    (folder / "t.txt").write_text("a\nbb\nccc\ndddd\nkill\nb\n")
    words = "t.txt", "--backbone", "own:is_killed"
    command = [sys.executable, "-m", "iwps_jax", "embed", *words]
    small = "from iwps_jax.app.embedding import blocks; blocks.SIZE = 4; "
    code = f"{small}from iwps_jax.__main__ import main; main({command[3:]!r})"
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert not (folder / "pool/source.json").exists()
    (folder / "alive").touch()
    features, ids, _ = embedded(*words)
    assert features[:, 0].tolist() == [1, 2, 3, 4, 4, 1] and len(ids) == 6


def test_unfinished_work_on_other_samples_is_refused(folder, capsys):
    (folder / "t.txt").write_text("a\nb\nc\nd\nstop\n")
    assert run("t.txt", "--backbone", "own:breaks") == 130
    (folder / "t.txt").write_text("a\nb\nc\nd\ne\nf\n")
    assert run("t.txt", "--backbone", "own:breaks") == 2
    assert "unfinished work on other samples" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "iwps embed needs a folder of images, or a file."),
        (("gone",), "gone does not exist."),
        (("https://x.org/a.zip",), "https://x.org/a.zip must be a file"),
        (("own.py",), "own.py must be a folder of images, or texts in one of .csv"),
        (("empty",), "empty must hold an image, got none."),
        (("empty", "--text", "a"), "--text applies to a file, and empty is a folder."),
        (("t.csv", "--text", "c"), "t.csv must have a column c, got a, b: --text and"),
        (("t.jsonl",), "t.jsonl: line 1 must have text, got a: --text and"),
        (("t.txt", "--id", "a"), "t.txt is a text in each line"),
        (("t.txt", "--backbone", "minilmm"), "did you mean 'minilm'"),
        (("t.txt", "--backbone", "efficientnet_lite0"), "sees images, and these are"),
        (("t.txt", "--backbone", "no_such:f"), "there is no module no_such."),
        (("t.txt", "--backbone", "own:f"), "own has no function f."),
        (("t.txt", "--backbone", ":f"), "--backbone :f must be MODULE:FUNCTION."),
        (("t.txt", "--backbone", "own:np"), "own has no function np."),
        (("t.txt", "--backbone", "own:huge"), "numbers that are finite in float32"),
        (("t.txt", "--backbone", "own:nothing"), "must return numbers [2, d] for 2"),
        (("t.txt", "--backbone", "own:ragged"), "must return numbers [2, d] for 2"),
        (
            ("t.txt", "--backbone", "own:not_finite"),
            "must return numbers that are finite in float32",
        ),
        (
            ("t.csv", "--text", "a", "--id", "b"),
            "0 and 1, from 0, both have same",
        ),
        (("blank.txt", "--backbone", "own:letters"), "0: it is empty."),
        (("t.csv", "--table", "--text", "a"), "--text applies to photos or texts"),
        (("t.csv", "--table", "--drop-duplicates"), "applies only to photos and"),
        (("t.csv", "--without", "a"), "--without applies only with --table."),
        (("t.txt", "--table"), "t.txt must be a table in one of .csv, .tsv"),
        (("t.csv", "--table", "--without", "c"), "must have a column c, got a, b"),
        (("t.csv", "--table", "--id", "b"), "ids must be distinct, got same 2 times"),
        (
            ("t.csv", "--table", "--without", "a"),
            "none: a --without names it; b has one",
        ),
        (("t.txt", "--out", "full"), "--out must be a new or empty folder"),
        (("t.txt", "--out", "done"), "done holds a pool already"),
    ],
)
def test_what_cannot_be_embedded_is_refused(folder, capsys, words, sentence):
    for name in ("empty", "full", "done"):
        (folder / name).mkdir()
    (folder / "full/thesis.tex").write_text("mine")
    (folder / "done/source.json").write_text("{}")
    (folder / "t.csv").write_text("a,b\nx,same\ny,same\n")
    (folder / "t.jsonl").write_text('{"a": "x"}\n')
    (folder / "t.txt").write_text("a\nb\n")
    (folder / "blank.txt").write_text("\n \n")
    assert run(*words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert sentence in line
    assert (folder / "full/thesis.tex").read_text() == "mine"


def test_help_lists_the_backbones(capsys):
    assert run("--backbone", "help") == 0
    out = capsys.readouterr().out
    assert "efficientnet_lite0  images" in out and "minilm" in out


TABLE = """number,size,when,color,note,none,same,label
7,1,2026-01-01,red,x1,,k,a
8,2,2026-01-02,blue,x2,,k,b
9,,2026-01-03T00:00,,x3,,k,a
10,4,,red,x4,,k,b
11,1e9,2026-01-05,=red,x5,,k,a
"""


def test_a_table_becomes_a_pool(folder, capsys):
    """By hand: medians 3 and 2026-01-03 of what is there, filled in before."""
    (folder / "t.csv").write_text(TABLE)
    words = "t.csv", "--table", "--id", "number", "--without", "label,note"
    features, ids, about = embedded(*words)
    assert ids == ["7", "8", "9", "10", "11"]
    kinds = {"size": "number", "when": "date", "color": "category"}
    assert about["kind"] == "rows" and about["source"]["columns"] == kinds
    # Quartiles of 1, 2, 3, 4, 1e9: 2 and 4.
    assert features[:, 0].tolist() == [-1, -0.5, 0, 0.5, 100]
    assert features[:, 1].tolist() == [0, 0, 1, 0, 0]
    assert features[:, 3].tolist() == [0, 0, 0, 1, 0]
    assert features[:, 4:].sum(1).tolist() == [1] * 5
    assert features[0, 4:].tolist() == features[3, 4:].tolist()
    out = capsys.readouterr().out
    assert "5 rows of 8 features in pool, from 3 columns: size (number)" in out
    assert "The column none does not count: is empty." in out
    assert "The column same does not count: has one value." in out


def test_a_column_that_may_be_the_class_is_named(folder, capsys):
    (folder / "t.csv").write_text("a,Label\n1,x\n2,y\n")
    embedded("t.csv", "--table")
    assert "--without Label" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_table_of_another_format_is_the_same(folder, suffix):
    (folder / "t.csv").write_text("a,b\n1,x\n2,y\n,x\n")
    records = [{"a": 1, "b": "x"}, {"a": 2.0, "b": "y"}, {"a": None, "b": "x"}]
    if suffix == "jsonl":
        text = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "u.jsonl").write_text(text)
    else:
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(records), "u.parquet")
    first, _, _ = embedded("t.csv", "--table")
    assert run(f"u.{suffix}", "--table", "--out", "other") == 0
    np.testing.assert_array_equal(np.load("other/pool.npy"), first)


def test_many_categories_share_a_column_and_free_texts_do_not_count(folder, capsys):
    lines = [f"{n},c{n % 60},{n % 7}" for n in range(300)]
    (folder / "t.csv").write_text(
        "\n".join(["note,city,day", *(f"t{line}" for line in lines), ""])
    )
    features, _, about = embedded("t.csv", "--table")
    assert about["source"]["columns"] == {"city": "category", "day": "number"}
    assert features.shape == (300, 51)
    assert "note does not count: has 300 different texts" in capsys.readouterr().out


def test_a_refusal_deletes_nothing(folder, capsys):
    """Folders of other people that happen to have our names in them."""
    (folder / "t.txt").write_text("a\nb\n")
    for out, name in (("one", "source.json"), ("two", "pool.npy")):
        (folder / out / "unfinished").mkdir(parents=True)
        (folder / out / "unfinished/thesis.txt").write_text("mine")
        (folder / out / name).write_text("mine")
        before = sorted((folder / out).rglob("*"))
        assert run("t.txt", "--backbone", "own:letters", "--out", out) == 2
        assert sorted((folder / out).rglob("*")) == before
        assert (folder / out / name).read_text() == "mine"


@pytest.mark.parametrize("kept", ["pool.npy", "ids.txt", "source.json"])
@pytest.mark.parametrize("words", [("t.txt",), ("t.csv", "--table")])
def test_interrupted_while_it_writes_it_goes_on(folder, monkeypatch, words, kept):
    (folder / "t.txt").write_text("a\nbb\nccc\n")
    (folder / "t.csv").write_text("a,b\n1,x\n2,y\n")
    own = () if "--table" in words else ("--backbone", "own:letters")
    assert run(*words, *own, "--out", "whole") == 0
    plain = pool_folder.sync_folder, pool_folder.write_atomically

    def interrupted(path, content=None):
        if content is not None:
            plain[1](path, content)
        if (folder / "part" / kept).exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pool_folder, "write_atomically", interrupted)
        patch.setattr(pool_folder, "sync_folder", interrupted)
        assert run(*words, *own, "--out", "part") == 130
    if kept != "source.json":
        assert run(*words, *own, "--out", "part") == 0
    for name in ("pool.npy", "ids.txt", "source.json"):
        assert (folder / "part" / name).read_bytes() == (
            (folder / "whole" / name).read_bytes()
        )


def test_names_that_are_no_text_and_pipes_are_skipped(folder):
    some_photos()
    broken = os.fsencode(folder / "photos/a") + b"\xff.png"
    Path(os.fsdecode(broken)).write_bytes(b"")
    os.mkfifo(folder / "photos/pipe.png")
    _, ids, about = embedded("photos", "--backbone", "own:colors")
    assert len(ids) == 4 and about["skipped"] == 2
    listed = (folder / "pool/skipped.csv").read_text("utf-8")
    assert 'a\\udcff.png,"its name must be Unicode' in listed
    assert "pipe.png,it is no file" in listed


def test_links_inside_the_folder_add_no_rows(folder):
    some_photos()
    (folder / "photos/a.jpg").symlink_to("b.jpg")
    (folder / "photos/aa").symlink_to("deep")
    (folder / "photos/blob").write_bytes((folder / "photos/b.jpg").read_bytes())
    (folder / "photos/c.jpg").symlink_to("blob")
    _, ids, _ = embedded("photos", "--backbone", "own:colors")
    assert ids == ["b.jpg", "c.jpg", *(f"deep/er/{n}.png" for n in range(3))]
    listed = (folder / "pool/skipped.csv").read_text()
    assert listed == "id,reason\na.jpg,it is a link to b.jpg\n"


def test_another_target_of_a_link_is_another_photo(folder, monkeypatch):
    some_photos()
    (folder / "photos/blob").write_bytes((folder / "photos/b.jpg").read_bytes())
    (folder / "photos/a.jpg").symlink_to("blob")
    before = open_photos(folder / "photos", None).digest
    (folder / "photos/blob").write_bytes(b"other")
    assert open_photos(folder / "photos", None).digest != before


def test_after_a_run_without_a_usable_sample_nothing_blocks_the_next(folder):
    (folder / "photos").mkdir()
    (folder / "photos/a.png").write_bytes(b"no image")
    assert run("photos", "--backbone", "own:colors") == 2
    save("photos/b.png", (9, 9, 9))
    assert embedded("photos", "--backbone", "own:colors")[1] == ["b.png"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('text\nhello\n\n""\nlast\n', ["0", "2"]),
        ("x,text\n1,a\n,\n2,b\n", ["0", "2"]),
        ('"a, b, c";text\n1;x\n', ["0"]),
        ("text,,\nx,,\n", ["0"]),
        ("\ufefftext\r\nx\r\n", ["0"]),
    ],
)
def test_rows_keep_their_numbers(folder, text, ids):
    (folder / "t.csv").write_text(text, encoding="utf-8", newline="")
    assert embedded("t.csv", "--backbone", "own:letters")[1] == ids


def test_a_column_of_numbers_with_few_other_cells_says_which(folder, capsys):
    lines = [f"{n},{n}" for n in range(30)]
    (folder / "t.csv").write_text("\n".join(['x,"y, z"', *lines, "inf,30", ""]))
    _, _, about = embedded("t.csv", "--table")
    assert about["source"]["columns"] == {"y, z": "number"}
    assert "has a number in 30 of 31 cells, but also 'inf'" in capsys.readouterr().out
    assert run("t.csv", "--table", "--without", ' "y, z", x') == 2


def test_an_error_in_the_module_itself_is_not_hidden(folder, capsys):
    (folder / "t.txt").write_text("a\n")
    (folder / "broken_module.py").write_text("import os\nos.nosuch\n")
    assert run("t.txt", "--backbone", "broken_module:f") == 1
    assert "nosuch" in capsys.readouterr().err


def test_a_damaged_block_is_named(folder, capsys):
    (folder / "t.txt").write_text("a\nb\nc\nd\nstop\n")
    assert run("t.txt", "--backbone", "own:breaks") == 130
    (folder / "pool/unfinished/000000000.npz").write_bytes(b"")
    (folder / "go").touch()
    assert run("t.txt", "--backbone", "own:breaks") == 2
    assert "000000000.npz must be a block of features" in capsys.readouterr().err
