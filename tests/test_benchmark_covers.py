"""The benchmark of covers: a real run at a tiny size."""

import pytest
from benchmark_runs import run

from benchmarks import covers


@pytest.mark.full
def test_a_cover_takes_fewer_passes_than_picks(tmp_path):
    sizes = ("--pool-sizes", 20_000, "--dim", 8, "--classes", 3, "--k", 20)
    few = ("--num-targets", 500)
    (row,) = run(covers, tmp_path, *sizes, *few)["results"]
    assert row["rows"] == 20_000 and row["k"] == 20
    assert 1 <= row["passes"] < 10 and len(row["cpu_seconds"]) == 1


def test_more_picks_than_rows_are_refused(capsys):
    with pytest.raises(SystemExit):
        covers.main(["--pool-sizes", "5", "--k", "6"])
    assert "k must be at most 5" in capsys.readouterr().err
