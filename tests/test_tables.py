"""Tables as spreadsheets and other labeling tools leave them."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_campaigns import run

from iwps_jax.app import naming
from iwps_jax.app.campaign import folder, labels_of
from iwps_jax.app.commands.inputs import rows_of_ids
from iwps_jax.app.files.picks import Pick, read_answers, read_picks, write_picks
from iwps_jax.app.files.readers import read_ids
from iwps_jax.app.files.unreadable import FileError

LINES = "id,label\n1,cat\n2,\n3,dog\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)


def answers_in(content):
    Path("a.csv").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    return [(answer.id, answer.label) for answer in read_answers("a.csv")]


SAVED = {
    "empty cells at the end left out": "id,label\n1,cat\n2\n3,dog\n",
    "more empty cells": "id,label\n1,cat,,\n2,,,,\n3,dog, \n",
    "rows of empty cells": "id,label\n,\n1,cat\n\n,,,\n2,\n ,\n3,dog\n,\n",
    "a title": "Batch of Monday\n\n" + LINES,
    "a padded title": '"Batch 3, Monday",\n,\n' + LINES,
    "a title with commas": "Batch 3, of Monday, blurred ones\n" + LINES,
    "a title with a comma": "Batch of Monday, blurred\r\n\r\n" + LINES,
    "a title with a comma over tabs": "Batch 3, cats\n" + LINES.replace(",", "\t"),
    "a separator": "sep=;\r\n" + LINES.replace(",", ";").replace("\n", "\r\n"),
    "a quoted separator": '"sep=;"\n' + LINES.replace(",", ";"),
    "a separator of its own": "sep=|\n" + LINES.replace(",", "|"),
    "blank lines above": "\n\n\n" + LINES,
    "semicolons": LINES.replace(",", ";"),
    "tabs": LINES.replace(",", "\t"),
    "carriage returns": LINES.replace("\n", "\r"),
    "both": LINES.replace("\n", "\r\n"),
    "a byte order mark": b"\xef\xbb\xbf" + LINES.encode(),
    "two byte order marks": b"\xef\xbb\xbf" * 2 + LINES.encode(),
    "two marks and quotes": b"\xef\xbb\xbf" * 2 + b'"id","label"\n1,cat\n2\n3,dog\n',
    "UTF-16": LINES.replace(",", "\t").encode("utf-16"),
    "big-endian UTF-16": b"\xfe\xff" + LINES.encode("utf-16-be"),
    "other case": LINES.replace("id,label", " ID , Label "),
    "a column without a name": "id,label,\n1,cat,blurred\n2,,\n3,dog\n",
    "a header of two lines": 'id,"note\n(free)",label\n1,,cat\n2\n3,"a\nb",dog\n',
    "everything quoted": '"id","label"\n"1","cat"\n"2",""\n"3","dog"\n',
    "no line break at the end": LINES[:-1],
}


@pytest.mark.parametrize("saved", SAVED)
def test_half_filled_batches_are_read_as_spreadsheets_save_them(saved):
    expected = [("1", "cat"), ("2", ""), ("3", "dog")]
    assert answers_in(SAVED[saved]) == expected


REFUSED = {
    "a field too many": (
        "Title\n\nid,label\n1,cat\n2,dog,x\n",
        "line 5 must have at m",
    ),
    "a field too many below a note": (
        'id,label\n1,"a\nb"\n2,dog,x\n',
        "line 4 must have at most 2 fields like the header, got 3.",
    ),
    "records above the header": (
        "1,cat\nid,label\n2,dog\n",
        "column id and label in it",
    ),
    "records with spaces above the header": (
        "1, cat\nid, label\n2, dog\n",
        "column id and label in it",
    ),
    "two records with spaces above the header": (
        "1, cat\n2, dog\nid,label\n3,dog\n",
        "column id and label in it",
    ),
    "a quoted record above the header": (
        '"a, b",cat\nid,label\n2,dog\n',
        "column id and label in it",
    ),
    "a workbook": (
        b"PK\3\4\x14\0\6\0\x08\0\0\0!\0mimetypeapplication/vnd.oasis",
        "must be text, but it is a spreadsheet or an archive: save it as CSV.",
    ),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "save it as CSV."),
    "Label Studio without our ids": (
        "annotation_id,annotator,choice,created_at,id,image,lead_time\n3,1,cat,,7,,2\n",
        "an export of Label Studio, as its columns annotation_id, annotator, choice, "
        "created_at, id, image, lead_time show, so that its ids are those of Label "
        "Studio: export as JSON, or call the column of your own ids sample_id.",
    ),
    "Label Studio with another control": (
        "animal,annotation_id,id,lead_time,sample_id\ncat,3,7,2,55\n",
        "an export of Label Studio and must have one column choice, for the control of "
        "the answers, got animal, annotation_id, id, lead_time, sample_id: rename its "
        "column, or export as JSON.",
    ),
    "a header far below": ("\n" * 30 + LINES, "must have one column id and label"),
    "no table at all": ("x" * 9999 + ",y" * 99 + "\n", "x" * 40 + ", y, y"),
    "a NUL": (LINES + "4,c\0t\n", "line 5 must be text, but it has a NUL"),
    "UTF-16 without a mark": (LINES.encode("utf-16-le"), "line 1 must be text"),
    "half a character": (LINES.encode() + b"4,\xed\xa0\x80\n", "UTF-8 text, line 5 is"),
    "half a character of UTF-16": (
        LINES.encode("utf-16") + "4,\ud800\n".encode("utf-16-le", "surrogatepass"),
        "line 5 is not",
    ),
    "a field without an end": (
        LINES + f'4,"{"x" * 131_073}',
        "line 5 is not CSV: field larger than field limit",
    ),
    "an open quote": (LINES + '4,"cat\n', "is not CSV"),
    "JSON lines": ('{"id": 1, "label": ["cat"]}\n', "it looks like JSON"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused_in_one_sentence(case):
    csv.field_size_limit(2**17)  # a table that was embedded raises it
    content, sentence = REFUSED[case]
    with pytest.raises(FileError) as caught:
        answers_in(content)
    told = str(caught.value)
    assert told.startswith("a.csv") and sentence in told and "\n" not in told
    assert len(told) < 310


def test_ids_above_a_line_that_looks_like_a_header_are_not_lost():
    Path("a.csv").write_text("a\nid\nb\n")
    with pytest.raises(FileError, match="one column id in its first line, got a"):
        read_picks("a.csv")


# Spreadsheets that calculate

LETTERS = st.one_of(
    st.sampled_from("=+-@'\t\r\n\",; |0aé\uff1d"),
    st.integers(1, 0x10FFFF).map(chr),
)


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


NAMES = st.text(LETTERS, min_size=1, max_size=8).filter(
    lambda text: naming.flaw_of(text) is None and not is_number(text)
)


def saved_by_a_spreadsheet(path):
    """Opens a table, calculates as a spreadsheet does, and saves it as one does."""
    text = path.read_bytes().decode()
    rows = [*csv.reader(io.StringIO(text, newline=""))]
    for row in rows:
        for column, cell in enumerate(row):
            if cell.startswith(tuple("=+-@\t\r\n")):
                assert is_number(cell), f"{cell!r} would be executed"
            if is_number(cell):
                row[column] = f"{float(cell):.6g}"
        while row and not row[-1]:
            row.pop()
    saved = io.StringIO(newline="")
    csv.writer(saved, delimiter=";", lineterminator="\r\n").writerows(rows)
    path.write_bytes(b"\xef\xbb\xbf" + saved.getvalue().encode())


@given(st.lists(st.tuples(NAMES, NAMES, st.just("") | NAMES), min_size=1, max_size=5))
def test_texts_come_back_from_a_spreadsheet_and_none_is_executed(names):
    picks = [
        Pick(
            id_, str(row), "-0.125", predicted=predicted, confidence="0.5", label=label
        )
        for row, (id_, predicted, label) in enumerate(names)
    ]
    path = Path("p.csv")
    write_picks(path, picks, ("id", "row", "score", "predicted", "confidence", "label"))
    assert read_picks(path) == picks  # byte for byte
    saved_by_a_spreadsheet(path)
    assert read_picks(path) == picks


def test_a_guard_is_taken_away_once_and_only_where_it_guards():
    names = ["=1+1", "+1", "-1", "@x", "'=1", "''=1", "'", "'tis", "''", "a\rb", "c\nd"]
    write_picks("p.csv", [Pick(name) for name in names], ("id",))
    content = Path("p.csv").read_bytes().decode()
    assert content.startswith("id\n'=1+1\n'+1\n'-1\n'@x\n''=1\n'''=1\n'\n'tis\n''\n")
    assert [pick.id for pick in read_picks("p.csv")] == names
    assert read_ids("p.csv", len(names)).tolist() == names
    # A bare cell in a table of one's own is taken as it is.
    assert answers_in("id,label\n=1+1,cat\n") == [("=1+1", "cat")]


def test_an_id_that_became_a_number_is_not_taken_for_another():
    ids = np.array(["00123", "1E5", "12345678901234567890"], np.dtypes.StringDType())
    for became, was in (("123", "00123"), ("100000", "1E5"), ("1.23457E+19", "123456")):
        with pytest.raises(naming.AnswerError, match=f"may be '{was}.*a spreadsheet"):
            naming.rows_of(ids, 3, [became])
    with pytest.raises(naming.AnswerError, match=r"got '124'\.$"):
        naming.rows_of(ids, 3, ["124"])


def test_a_campaign_has_its_answers_back_from_a_spreadsheet():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    features = np.float32(rng.normal(size=(40, 3)) + 4 * np.eye(2, 3)[labels])
    odd = ["=1+1", "+1", "-1", "@x", "'=1", "caf\u00e9", "a\rb", "c\nd", '"q"', "a;b,c"]
    np.save("ids.npy", np.array([*odd, *(f"n{row}" for row in range(10))]))
    np.save("pool.npy", features[:20])
    np.savez("holdout.npz", features=features[20:], labels=labels[20:])
    Path("classes.txt").write_text("=cat\ncafe\u0301\n", "utf-8")
    files = ("--pool", "pool.npy", "--holdout", "holdout.npz", "--ids", "ids.npy")
    files += ("--classes", "classes.txt", "--method", "random")
    assert run("init", *files) == run("next", "--k", 20, "--out", "batch.csv") == 0
    picks = read_picks("batch.csv")
    assert {pick.id for pick in picks} > {*odd}
    answered = [
        pick._replace(label=("=cat", "caf\u00e9")[int(pick.row) % 2]) for pick in picks
    ]
    write_picks("batch.csv", answered, ("id", "row", "score", "predicted", "label"))
    saved_by_a_spreadsheet(Path("batch.csv"))
    assert run("label", "batch.csv") == 0
    state = folder.read_record("campaign")
    assert labels_of(state) == dict(enumerate(labels[:20].tolist()))


# Other tools


def test_the_column_sample_id_says_the_id():
    assert answers_in("id,data,label,sample_id\n1,120.png,4,120\n") == [("120", "4")]
    exported = (
        "annotation_id,annotator,choice,created_at,id,image,lead_time,sample_id,"
        "updated_at,was_cancelled\n"
        '3,ann@example.org,"cat, large",2024,17,x.jpg,4.2,a/1.jpg,2024,False\n'
        "4,ann@example.org,cat,2024,18,y.jpg,4.2,a/2.jpg,2024,True\n"
    )
    assert answers_in(exported) == [("a/1.jpg", "cat, large"), ("a/2.jpg", "skip")]
    assert read_answers("a.csv")[0].annotator == "ann@example.org"
    assert rows_of_ids(
        Path("a.csv"), np.array(["a/2.jpg", "x", "a/1.jpg"]), 3
    ).tolist() == [2, 0]


FOREIGN = {
    "id,data,label": "doccano",
    "ID;Text;Label": "doccano",
    "id,data,label,Comments": "doccano",
    "annotation_id,annotator,choice,created_at,id,image,lead_time": "Label Studio",
    "id,row,label,choice,annotator,annotation_id,updated_at": "Label Studio",
    "ID,DataRow ID,Labeled Data,Label": "Labelbox",
}


@pytest.mark.parametrize("header", FOREIGN)
def test_other_tools_numbers_are_not_taken_for_ids(header):
    Path("a.csv").write_text(f"{header}\n1,0,cat\n")
    ids = np.array(["0", "1"])
    for read in (
        read_picks,
        lambda path: read_ids(path, 1),
        lambda path: rows_of_ids(Path(path), ids, 2),
    ):
        with pytest.raises(FileError, match=f"a.csv is an export of {FOREIGN[header]}"):
            read("a.csv")


@pytest.mark.parametrize(
    "header",
    [
        "id,label,text",  # a column of the user's own
        "id,label,data",
        "id,text,label,row",
        "method,id,row,score,predicted,confidence,hurts,hurts_by,label",
        "id,label,annotator,created_at",
        "id,label,choice",
    ],
)
def test_own_columns_beside_the_answers_are_no_other_tools(header):
    values = {"id": "7", "label": "cat"}
    line = ",".join(values.get(name, "") for name in header.split(","))
    assert answers_in(f"{header}\n{line}\n") == [("7", "cat")]


def test_a_second_mark_of_byte_order_is_no_part_of_the_first_id(tmp_path):
    """Elsewhere it is a character like others."""
    path = tmp_path / "ids.txt"
    path.write_text("\ufeff\ufeffa\n\ufeffb\n", encoding="utf-8")
    assert read_ids(path, 2).tolist() == ["a", "\ufeffb"]


def test_a_row_of_empty_cells_among_ids_is_no_row_less(tmp_path):
    """The place of an id is its row of the pool: nothing may move up."""
    path = tmp_path / "ids.csv"
    path.write_text("id,other\na,0\n,\nc,2\n,\n,\n")
    with pytest.raises(FileError, match="line 3 must not be empty"):
        read_ids(path, 3)
    path.write_text("id,other\na,0\nb,1\n,2\n")
    with pytest.raises(FileError, match="line 4 must not be empty"):
        read_ids(path, 2)
    path.write_text("id,other\na,0\nb,\nc,2\n,\n,\n")
    assert read_ids(path, 3).tolist() == ["a", "b", "c"]
