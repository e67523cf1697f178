"""Samples of a pool once more: where `source.json` says, and nowhere else."""

import json
from datetime import date
from pathlib import Path

import pytest
from embed_runs import embedded, save, some_photos
from embed_runs import folder as folder

from iwps_jax.app.embedding import samples
from iwps_jax.app.embedding.samples import open_samples
from iwps_jax.app.files.unreadable import FileError

POOL = Path("pool/pool.npy")
TEXTS = ["a rabbit", "", "هذا نص", 'two\nlines, «quoted» "too"', "=1+1"]
LINES = "own:letters"


def some_texts(suffix, ids=True):
    """Embeds the texts in a file; the arguments of its columns."""
    records = [{"n": f"n{i}", "body": text} for i, text in enumerate(TEXTS)]
    path = Path(f"texts.{suffix}")
    if suffix == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(records), path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    else:
        cells = ['"' + r["body"].replace('"', '""') + '"' for r in records]
        body = "".join(
            f"{r['n']},{cell}\n" for r, cell in zip(records, cells, strict=True)
        )
        path.write_text(f"n,body\n{body}")
    columns = ("--text", "body", *(("--id", "n") if ids else ()))
    embedded(path, *columns, "--backbone", LINES)


def read(rows):
    return samples.read(open_samples(POOL, 4), rows)


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_texts_come_back_whole_by_their_rows(suffix, ids):
    some_texts(suffix, ids)
    # The empty one has no row.
    assert read([3, 0, 1]) == [TEXTS[4], TEXTS[0], TEXTS[2]]
    assert read([2]) == [TEXTS[3]]


def test_lines_come_back():
    Path("t.txt").write_text("\ufeffone\n\n three \r\n")
    embedded("t.txt", "--backbone", LINES)
    assert samples.read(open_samples(POOL, 2), [1, 0]) == [" three ", "one"]


def test_rows_come_back_as_names_and_values_without_the_id():
    lines = [
        {"id": 7, "city": "Ulm", "size": 1.5, "more": {"a": ["é"]}},
        {"id": 9, "city": None, "size": 2, "text\0": "half \ud800"},
    ]
    Path("t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    embedded("t.jsonl", "--table", "--id", "id")
    second, first = samples.read(open_samples(POOL, 2), [1, 0])
    assert first == {"city": "Ulm", "size": "1.5", "more": '{"a": ["é"]}'}
    assert second == {"city": "", "size": "2", "text\ufffd": "half \ufffd"}


def test_values_of_parquet_are_texts():
    import pyarrow as pa
    from pyarrow import parquet

    rows = [{"day": date(2026, 1, d), "n": d, "b": b"\xff"} for d in (1, 2)]
    parquet.write_table(pa.Table.from_pylist(rows), "t.parquet")
    embedded("t.parquet", "--table")
    (row,) = samples.read(open_samples(POOL, 2), [1])
    assert row == {"day": "2026-01-02", "n": "2", "b": "b'\\xff'"}


def test_photos_are_paths_within_the_folder():
    some_photos()
    _, ids, _ = embedded("photos", "--backbone", "own:colors")
    found = samples.read(open_samples(POOL, 4), [2, 0])
    assert found == [Path("photos", ids[row]).absolute() for row in (2, 0)]


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "out.png"])
def test_nothing_outside_the_folder_is_read(folder, name):
    some_photos()
    embedded("photos", "--backbone", "own:colors")
    save("./secret.png", (1, 2, 3))
    (folder / "photos/out.png").symlink_to(folder / "secret.png")
    lines = Path("pool/ids.txt").read_text().splitlines()
    for wrong in (name, str(folder / "secret.png")):
        Path("pool/ids.txt").write_text("\n".join([wrong, *lines[1:]]) + "\n")
        with pytest.raises(FileError, match="leads out"):
            samples.read(open_samples(POOL, 4), [0])


def test_a_pool_of_features_alone_has_no_samples(folder):
    assert open_samples(folder / "pool.npy", 3) is None
    some_texts("csv")
    assert open_samples(Path("pool/other.npy"), 4) is None


def test_source_and_pool_may_move_together(folder):
    some_texts("csv")
    (folder / "moved").mkdir()
    for name in ("pool", "texts.csv"):
        (folder / name).rename(folder / "moved" / name)
    found = open_samples(folder / "moved" / POOL, 4)
    assert samples.read(found, [0]) == [TEXTS[0]]


def test_a_source_that_is_touched_is_the_same_and_one_that_is_edited_is_not():
    some_texts("csv")
    path = Path("texts.csv")
    path.touch()
    assert read([0]) == [TEXTS[0]]
    path.write_text(path.read_text().replace("rabbit", "hare"))
    with pytest.raises(FileError, match="texts.csv has changed since"):
        open_samples(POOL, 4)
    path.unlink()
    with pytest.raises(FileError, match="does not exist any more: put it back"):
        open_samples(POOL, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": 5}, "4 rows, got 5"),
        ({"format": 9}, "damaged"),
        ({"kind": "sounds"}, "where the samples are"),
        ({"source": []}, "damaged"),
        ({"source": {"file": 3}}, "where the samples are"),
        ({"source": {"file": "texts.csv"}}, "where the samples are"),
    ],
)
def test_damaged_entries_are_refused(change, words):
    some_texts("csv")
    path = Path("pool/source.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FileError, match=words):
        open_samples(POOL, 4)


def test_ids_that_the_source_does_not_have_are_refused():
    some_texts("csv")
    path = Path("pool/ids.txt")
    path.write_text(path.read_text().replace("n2", "gone"))
    assert read([0]) == [TEXTS[0]]
    with pytest.raises(FileError, match="texts.csv has no sample 'gone'"):
        read([1])
    path.write_text("n0\n")
    with pytest.raises(FileError, match="has no row 1"):
        read([0, 1])
