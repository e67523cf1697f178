"""Two files of a benchmark: what became worse, what cannot be compared."""

import json

import pytest
from benchmark_runs import timing

from benchmarks import compare

MACHINE = {"device": "cpu", "platform": "cpu", "cores": 2, "jax": "1"}


def numbers_file(tmp_path, name, *, seconds=1.0, ratio=4.0, megabytes=8.0, **changed):
    content = {
        "benchmark": "made_up",
        "settings": {"pool_size": 9, "repeats": 3, "out": name},
        "machine": MACHINE,
        "timings": {
            "case": {
                "row": timing(10, seconds, 9.0, 0.1, megabytes=megabytes)._asdict()
            },
            "too large": {"not_measured": "needs 9 gigabytes"},
        },
        "ratios": [
            {"what": "a", "against": "b", "median": ratio, "lowest": 1, "highest": 9}
        ],
    }
    path = tmp_path / name
    path.write_text(json.dumps({**content, **changed}))
    return str(path)


@pytest.mark.parametrize(
    ("change", "regressions"),
    [
        ({}, 0),
        ({"seconds": 1.2}, 0),
        ({"seconds": 1.4}, 1),
        ({"seconds": 0.5, "ratio": 8.0, "megabytes": 2.0}, 0),
        ({"ratio": 3.0}, 1),
        ({"megabytes": 11.0}, 1),
        ({"seconds": 2.0, "ratio": 2.0, "megabytes": 20.0}, 3),
    ],
)
def test_what_became_worse_is_counted(tmp_path, capsys, change, regressions):
    files = numbers_file(tmp_path, "old"), numbers_file(tmp_path, "new", **change)
    if regressions:
        with pytest.raises(SystemExit) as exit_:
            compare.main(files)
        assert exit_.value.code == 1
    else:
        compare.main(files)
    printed = capsys.readouterr().out
    assert f"{regressions} of 3 numbers" in printed
    assert printed.count("REGRESSION") == regressions
    compare.main([*files, "--tolerance", "3"])
    if not {"ratio", "megabytes"} & change.keys():
        compare.main([*files, "--no-rates"])


def test_rates_of_two_machines_are_shown_and_not_judged(tmp_path, capsys):
    old = numbers_file(tmp_path, "old")
    other = {"machine": {**MACHINE, "cores": 1, "jax": "2"}}
    compare.main([old, numbers_file(tmp_path, "new", seconds=5.0, **other)])
    printed = capsys.readouterr().out
    assert "cores was 2, is 1." in printed and "jax was 1, is 2." in printed
    assert "samples/s are not judged" in printed
    newer = {"machine": {**MACHINE, "jax": "2"}}
    with pytest.raises(SystemExit):
        compare.main([old, numbers_file(tmp_path, "new", seconds=5.0, **newer)])


def test_rows_of_one_file_are_named(tmp_path, capsys):
    old = numbers_file(tmp_path, "old")
    fewer = {"timings": {"case": {"new row": timing(1, 1.0)._asdict()}}}
    compare.main([old, numbers_file(tmp_path, "new", **fewer)])
    printed = capsys.readouterr().out
    assert "only in the old file: timings: case: row" in printed
    assert "only in the new file: timings: case: new row" in printed


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "cannot be read"),
        ("[]", "must have settings and machine"),
        ({"benchmark": "b"}, "from one benchmark, got made_up and b"),
        ({"settings": {"pool_size": 8}}, "the same settings, got pool_size 9 and 8"),
        ({"timings": {}, "ratios": []}, "must share a row"),
        (None, "cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, capsys, content, sentence):
    old, new = numbers_file(tmp_path, "old"), tmp_path / "new"
    if isinstance(content, dict):
        numbers_file(tmp_path, "new", **content)
    elif content is not None:
        new.write_text(content)
    with pytest.raises(SystemExit) as exit_:
        compare.main([old, str(new)])
    assert exit_.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert sentence in error and error.count("error:") == 1
