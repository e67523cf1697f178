"""`iwps embed` of texts; duplicates, resumption and refusals of all kinds."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from embed_runs import embedded, run
from embed_runs import folder as folder

from iwps_jax.app.embedding import duplicates, pool_folder

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
        (("",), "iwps embed needs a folder of images, or a file, got ''."),
        (("t.txt", "--out", ""), "--out must name a folder, got ''."),
        (("gone",), "gone does not exist."),
        (("https://x.org/a.zip",), "https://x.org/a.zip must be a file"),
        (("own.py",), "own.py must be a folder of images, or texts in one of .csv"),
        (("empty",), "empty must hold an image, got none."),
        (("empty", "--text", "a"), "--text applies to a file, and empty is a folder."),
        (
            ("t.csv", "--text", "c"),
            "t.csv must have a column c in line 1, the header, got a, b: ",
        ),
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
        (("t.csv", "--table", "--id", "b"), "0 and 1, from 0, both have same"),
        (
            ("t.csv", "--table", "--without", "a"),
            "none: a --without names it; b has one",
        ),
        (("t.txt", "--out", "full"), "--out must be a new or empty folder"),
        (("t.txt", "--out", "done"), "done holds a finished pool already"),
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


def test_two_commands_do_not_work_on_one_pool(folder, capsys):
    (folder / "t.txt").write_text("a\nbb\n")
    words = "t.txt", "--backbone", "own:letters"
    with pool_folder.unfinished_work(folder / "pool", {"samples": "others"}):
        before = {p: p.read_bytes() for p in (folder / "pool").rglob("*.json")}
        assert run(*words) == 2
        assert "pool is in use by another iwps embed" in capsys.readouterr().err
        assert {p: p.read_bytes() for p in before} == before
    assert embedded(*words)[1] == ["0", "1"]
    assert not (folder / "pool/.lock").exists()


def test_a_second_command_that_waited_for_the_lock_finds_a_finished_pool(
    folder, capsys, monkeypatch
):
    """Both found a new folder; the second got the lock when the first had ended."""
    (folder / "t.txt").write_text("a\nbb\n")
    words = "t.txt", "--backbone", "own:letters"
    features, _, _ = embedded(*words)
    plain, asked = pool_folder.holds_unfinished, []

    def looked_before(out):
        asked.append(out)
        return plain(out) if len(asked) > 1 else False

    monkeypatch.setattr(pool_folder, "holds_unfinished", looked_before)
    assert run(*words) == 2
    assert "holds a finished pool already" in capsys.readouterr().err
    np.testing.assert_array_equal(np.load("pool/pool.npy"), features)
    names = {p.name for p in (folder / "pool").iterdir()}
    assert names == {"pool.npy", "ids.txt", "source.json"}


def test_what_a_kill_left_beside_a_finished_pool_is_removed(
    folder, capsys, monkeypatch
):
    (folder / "t.txt").write_text("a\nbb\n")
    words = "t.txt", "--backbone", "own:letters"

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pool_folder.shutil, "rmtree", killed)
        assert run(*words) == 130
    assert (folder / "pool/source.json").exists()
    assert (folder / "pool/unfinished/about.json").exists()
    features = np.load("pool/pool.npy")
    assert run(*words) == 2
    assert "pool holds a finished pool already" in capsys.readouterr().err
    assert not (folder / "pool/unfinished").exists()
    np.testing.assert_array_equal(np.load("pool/pool.npy"), features)


def test_the_search_for_duplicates_shows_how_far_it_is(folder, capsys, monkeypatch):
    monkeypatch.setattr(duplicates, "ROWS_AT_ONCE", 2)
    told = []
    rows = np.random.default_rng(0).normal(size=(5, 3))
    duplicates.find(rows, told.append)
    assert told == [2, 2, 1]
    (folder / "t.txt").write_text("a\nbb\n")
    embedded("t.txt", "--backbone", "own:letters")
    assert "comparing" in capsys.readouterr().err


TITLED = "Report of May, with notes\n\nnumber,body\n1,a\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--text", "body"),
            "t.csv must have a column body in line 2, the header, got Report of May, "
            "with notes: --text and --id name columns; --table is for rows of "
            "measures; delete titles above the header.",
        ),
        (
            ("--table", "--id", "number"),
            "t.csv must have a column number, got Report of May, with notes",
        ),
    ],
)
def test_a_title_above_the_header_is_refused_with_the_remedy(
    folder, capsys, words, sentence
):
    (folder / "t.csv").write_text("\n" + TITLED)
    own = () if "--table" in words else ("--backbone", "own:letters")
    assert run("t.csv", *words, *own) == 2
    assert sentence in capsys.readouterr().err


def test_a_short_title_is_refused_with_the_remedy(folder, capsys):
    (folder / "t.csv").write_text("text\nnumber,body\n1,a\n")
    assert run("t.csv", "--backbone", "own:letters") == 2
    told = capsys.readouterr().err
    assert "t.csv: line 2 must have at most 1 field like the header in line 1" in told
    assert "delete titles above the header." in told
