"""Batches with the texts or rows of their samples: what spreadsheets make of them."""

import csv
import json
from pathlib import Path

import numpy as np
from embed_runs import embedded
from embed_runs import folder as folder
from hypothesis import given, settings
from hypothesis import strategies as st
from some_campaigns import read_batch, run

from iwps_jax.app.campaign import folder as campaigns
from iwps_jax.app.campaign import labels_of, start
from iwps_jax.app.commands import batch_columns
from iwps_jax.app.commands.batch_files import COLUMNS
from iwps_jax.app.files.picks import Pick, read_answers

TEXTS = [
    "plain",
    "=HYPERLINK(1)",
    'two\nlines; «quoted» "too", and\ttabs\r\n',
    "نص بالعربية",
    "+49 170",
    "x" * 70_000,
    "'tis",
    "half \ud800 and \0",
]


def begin(*words):
    """A campaign on what `iwps embed` makes."""
    pool, ids, _ = embedded(*words)
    state = start(pool, pool[:2], np.array([0, 1]), classes=("cat", "dog"), ids=ids)
    paths = campaigns.Paths(Path("pool/pool.npy"), Path("pool/ids.txt"))
    campaigns.create("campaign", paths, state)
    return ids


def some_texts():
    lines = [{"n": f"n{i}", "body": text} for i, text in enumerate(TEXTS)]
    Path("t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ("t.jsonl", "--text", "body", "--id", "n", "--backbone", "own:letters")
    return begin(*words)


def batch_of(ids, rows):
    """What a batch of these rows looks like."""
    picks = [Pick(ids[row], str(row)) for row in rows]
    more = batch_columns.columns_of(Path("campaign"), len(ids), picks)
    Path("b.csv").write_text(batch_columns.text_of(picks, COLUMNS, more), "utf-8")
    return read_batch("b.csv")


def test_texts_stand_beside_the_labels(capsys):
    ids = some_texts()  # the last text has no row: half a pair is no text
    assert len(ids) == len(TEXTS) - 1
    capsys.readouterr()
    lines = batch_of(ids, [1, 0, 2, 3, 4, 5, 6])
    assert [*lines[0]] == [*COLUMNS, "text"] and capsys.readouterr().err == ""
    shown = [line["text"] for line in lines]
    assert shown[:2] == ["'=HYPERLINK(1)", "plain"]
    assert shown[2:5] == [TEXTS[2], TEXTS[3], "'+49 170"]
    assert len(shown[5]) == batch_columns.MOST_LETTERS and shown[5][-1] == "…"
    assert shown[6] == "'tis"
    answers = read_answers("b.csv")
    assert [answer.id for answer in answers] == [
        "n1",
        "n0",
        *(f"n{i}" for i in "23456"),
    ]
    assert all(answer.label == "" for answer in answers)


def test_rows_keep_their_columns_unless_these_mean_something_else(capsys):
    header = "id,label,ROW,sample_id,lead_time,text,original label,-x,Größe"
    lines = [f"p{i},old,{i},{i},1,t,{-i}.5,=2,é" for i in range(4)]
    Path("t.csv").write_text("\n".join([header, *lines]) + "\n")
    ids = begin("t.csv", "--table", "--id", "id")
    first, second = batch_of(ids, [2, 1])
    assert [*first][: len(COLUMNS)] == [*COLUMNS]
    assert [*first][len(COLUMNS) :] == [
        *("original label", "original ROW", "original sample_id"),
        *("original lead_time", "text", "original original label", "'-x", "Größe"),
    ]
    assert first["original label"] == "old" and first["label"] == ""
    # Numbers stay numbers.
    assert first["original original label"] == "-2.5" and first["'-x"] == "'=2"
    assert second["id"] == "p1" and second["Größe"] == "é"
    text = Path("b.csv").read_text("utf-8").replace("p2,2,,,,,", "p2,2,,,,dog,")
    Path("b.csv").write_text(text, "utf-8")
    first, second = read_answers("b.csv")
    assert (first.id, first.label, second.label) == ("p2", "dog", "")


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.text(), min_size=1, max_size=4),
    names=st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True),
)
def test_whatever_the_texts_are_answers_are_read(tmp_path_factory, texts, names):
    clean = [
        text.encode("utf-8", "replace").decode().replace("\0", "") for text in texts
    ]
    rows = [{name: text for name in names if name.isprintable()} for text in clean]
    more = batch_columns._columns_of_rows(rows)
    picks = [Pick(f"id {n}", str(n)) for n in range(len(rows))]
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(batch_columns.text_of(picks, COLUMNS, more).encode())
    assert [(a.id, a.label) for a in read_answers(path)] == [(p.id, "") for p in picks]
    with path.open(newline="", encoding="utf-8") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not any(cell[0] in "=+-@" for cell in cells if cell and not is_number(cell))


def is_number(cell):
    return batch_columns.NUMBER.fullmatch(cell) is not None


def test_a_source_that_is_gone_costs_the_texts_and_not_the_batch(capsys):
    ids = some_texts()
    Path("t.jsonl").unlink()
    capsys.readouterr()
    lines = batch_of(ids, [1, 0])
    assert [*lines[0]] == [*COLUMNS]
    error = capsys.readouterr().err
    assert "Warning: the batch has only the ids of its samples. " in error
    assert "t.jsonl" in error and error.count("\n") == 1
    place = f"put it back, or move it into the folder {Path.cwd()}. After that, iwps"
    assert place in error and "--images" not in error


def test_pools_of_photos_or_features_have_no_more_columns(folder):
    np.save("p.npy", np.eye(4, dtype=np.float32))
    state = start(np.eye(4), np.eye(4)[:2], np.array([0, 1]), classes=("cat", "dog"))
    campaigns.create("campaign", campaigns.Paths(Path("p.npy"), None), state)
    assert batch_columns.columns_of(Path("campaign"), 4, [Pick("1", "1")]) == {}


def test_a_batch_is_filled_in_and_read_back():
    ids = some_texts()
    assert run("next", "--k", 4, "--out", "monday.csv") == 0
    lines = read_batch("monday.csv")
    for line in lines:
        text = TEXTS[int(line["id"][1:])]
        assert line["text"] == batch_columns.cell_of(text)
        line["label"] = "cat"
    with open("monday.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*lines[0]])
        writer.writeheader()
        writer.writerows(lines)
    assert run("label", "monday.csv") == 0
    labels = labels_of(campaigns.read_record("campaign"))
    assert {ids[row] for row in labels} == {line["id"] for line in lines}
