"""The benchmark of dropout masks: a real run at a tiny size."""

import pytest
from benchmark_runs import run

from benchmarks import dropout_masks


@pytest.mark.full
def test_masks_and_draws_are_compared_within_one_run(tmp_path):
    written = run(dropout_masks, tmp_path, "--rows", 20, "--dim", 8, "--repeats", 2)
    timings, ratios = written["timings"], written["ratios"]
    assert {row["what"] for row in ratios} < set(timings) and len(timings) == 5
    assert [row["met"] is None for row in ratios] == [False, True, True, True]
    assert timings[dropout_masks.HASH]["samples"] == 200
    assert timings[dropout_masks.DRAWS_HASH]["samples"] == 20
