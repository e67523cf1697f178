"""`iwps embed --table`: kinds of columns, scales, what does not count."""

import json

import numpy as np
import pytest
from embed_runs import embedded, run
from embed_runs import folder as folder

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


def test_few_whole_numbers_that_may_be_the_classes_are_named(folder, capsys):
    """But neither halves, nor eleven values, nor a column that is named already."""
    lines = [
        f"{n / 7},{n % 3},{n % 2},{n % 2 == 0},{n % 2 / 2},{n % 11}" for n in range(51)
    ]
    header = "x,kind,y,is it,half,eleven"
    (folder / "t.csv").write_text("\n".join([header, *lines]))
    embedded("t.csv", "--table", "--without", "x")
    said = capsys.readouterr().out
    remedy = ": if it is the label, delete pool and rerun with --without"
    assert f"\nkind has only the values 0, 1, 2{remedy} x,kind.\n" in said
    assert f"\nis it has only the values False, True{remedy} 'x,is it'.\n" in said
    assert said.count("rerun with") == 3 and "If y is the class" in said
    (folder / "u.csv").write_text("\n".join([header, *lines[:50]]))
    assert run("u.csv", "--table", "--out", "few") == 0
    assert "has only" not in capsys.readouterr().out


def test_many_columns_of_few_numbers_have_one_note(folder, capsys):
    names = [f"c{n}" for n in range(5)]
    lines = [",".join([str(row % 2)] * 5) for row in range(51)]
    (folder / "t.csv").write_text("\n".join([",".join(names), *lines]))
    embedded("t.csv", "--table")
    said = capsys.readouterr().out
    assert said.count("has only the values 0, 1") == 3
    assert "at most 10 whole numbers as values: c3, c4." in said


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


def test_a_column_of_numbers_with_few_other_cells_says_which(folder, capsys):
    lines = [f"{n},{n}" for n in range(30)]
    (folder / "t.csv").write_text("\n".join(['x,"y, z"', *lines, "inf,30", ""]))
    _, _, about = embedded("t.csv", "--table")
    assert about["source"]["columns"] == {"y, z": "number"}
    assert "has a number in 30 of 31 cells, but also 'inf'" in capsys.readouterr().out
    assert run("t.csv", "--table", "--without", ' "y, z", x') == 2


def test_times_of_nanoseconds_are_dates(folder):
    import pyarrow as pa
    from pyarrow import parquet

    moments = np.array(["2026-01-01", "2026-01-02", "2026-01-04"], "datetime64[ns]")
    fine = pa.array(moments + np.timedelta64(1, "ns"))
    columns = {
        "when": fine,
        "zoned": fine.cast(pa.timestamp("ns", "UTC")),
        "took": pa.array(np.array([1, 2001, 3], "timedelta64[ns]")),
        "clock": pa.array([1, 2001, 3001], pa.time64("ns")),
    }
    parquet.write_table(pa.table(columns), "t.parquet")
    features, _, about = embedded("t.parquet", "--table")
    kinds = about["source"]["columns"]
    assert (kinds["when"], kinds["zoned"]) == ("date", "date")
    expected = [-2 / 3, 0, 4 / 3]  # the quartiles are 1.5 days apart
    np.testing.assert_allclose(features[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(features[:, 1], expected, rtol=1e-6)
