"""The benchmark of covers: a real run at a tiny size."""

import pytest
from benchmark_runs import run

from benchmarks import covers


@pytest.mark.full
def test_a_cover_takes_fewer_passes_than_picks(tmp_path):
    sizes = ("--pool-sizes", 600, "--dim", 8, "--classes", 3, "--k", 20)
    (row,) = run(covers, tmp_path, *sizes)["results"]
    assert row["rows"] == 600 and row["k"] == 20
    assert 0.5 < row["passes"] <= 20 and len(row["cpu_seconds"]) == 1


def test_more_picks_than_rows_are_refused(capsys):
    with pytest.raises(SystemExit):
        covers.main(["--pool-sizes", "5", "--k", "6"])
    assert "k must be at most 5" in capsys.readouterr().err
