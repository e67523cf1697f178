"""The benchmark of the batch selectors: a real run at a tiny size."""

import numpy as np
import pytest
from benchmark_runs import run

from benchmarks import batch_selection


@pytest.mark.full
def test_every_selector_is_compared_with_the_scores(tmp_path, capsys):
    sizes = ("--pool-size", 60, "--dim", 4, "--classes", 3, "--holdout-size", 5)
    options = ("--chunk-size", 16, "--k", 3, "--candidates", 2, "--repeats", 2)
    written = run(batch_selection, tmp_path, *sizes, *options)
    timings, ratios = written["timings"], written["ratios"]
    assert list(timings) == ["iwps_last_layer", *(row["what"] for row in ratios)]
    assert len(ratios) == 1 + len(batch_selection.IN_SPACE) + 2
    printed = capsys.readouterr().out
    for row in ratios:
        scoring, selector = timings["iwps_last_layer"], timings[row["what"]]
        assert scoring["samples"] == selector["samples"] == 60
        turns = np.array(scoring["seconds"]) / selector["seconds"]
        assert row["median"] == pytest.approx(np.median(turns))
        has_aim = row["aim"] == batch_selection.AIM
        assert row["met"] is ((row["median"] >= 1) if has_aim else None)
        assert row["what"] in printed
    assert sum(row["met"] is not None for row in ratios) == 5


def test_more_picks_than_rows_are_refused(capsys):
    with pytest.raises(SystemExit):
        batch_selection.main(["--pool-size", "5", "--k", "6"])
    assert "k must be at most 5, the pool, got 6" in capsys.readouterr().err
