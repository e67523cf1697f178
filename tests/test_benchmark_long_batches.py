"""The benchmark of long batches: a real run at a tiny size."""

import pytest
from benchmark_runs import run

from benchmarks import long_batches


@pytest.mark.full
def test_both_forms_pick_as_in_float64_and_memory_is_that_of_the_points(tmp_path):
    sizes = ("--candidates", 60, "--dim", 4, "--classes", 3, "--k", 20, "--last", 5)
    written = run(long_batches, tmp_path, *sizes, "--most", 1000, "--repeats", 2)
    assert written["picks_as_in_float64"] == {"dimensions": 20, "columns": 20}
    assert [row["met"] is None for row in written["ratios"]] == [True, False]
    columns = 4 * 1000 * 10_000 / 1e6
    by_dims, by_columns, whole = written["temporary_megabytes"].values()
    assert by_columns > columns > 4 * by_dims and whole < columns / 2


def test_more_picks_than_candidates_are_refused(capsys):
    with pytest.raises(SystemExit):
        long_batches.main(["--candidates", "5", "--k", "6", "--last", "1"])
    assert "5, the candidates, got 6" in capsys.readouterr().err
