"""The benchmark of the selectors: a real run at a tiny size."""

import json

import pytest

from benchmarks import selection


@pytest.mark.full
def test_a_run_prints_and_writes_the_same_numbers(tmp_path, capsys):
    out = tmp_path / "new" / "selection.json"
    options = ["--pool-sizes", "300", "--dim", "8", "--k", "5", "--repeats", "2"]
    options += ["--lazy-pool", "400", "--lazy-k", "9", "--peer-pool", "200"]
    selection.main([*options, "--out", str(out)])
    written = json.loads(out.read_text())
    assert written["settings"]["pool_sizes"] == [300]
    assert written["constants"]["labeled_share"] == 0.01
    assert set(written["results"]) == {"300"}
    printed = capsys.readouterr().out
    for name, result in written["lazy"].items():
        assert name in printed
        for other, ratio in result["ratios"].items():
            assert 0 < ratio["lowest"] <= ratio["median"] <= ratio["highest"]
            assert len(result["cpu_seconds"][other]) == 2
    assert written["lazy"]["k-center, normal"]["passes"] <= 9
    for results in written["results"].values():
        assert list(results) == [case.name for case in selection.CASES] + [
            selection.FLOOR
        ]
        for name, result in results.items():
            assert len(result["seconds"]) == 2
            assert min(result["seconds"]) > 0
            assert result["samples"] == 5
            share = result["share_of_bandwidth"]
            assert 0 < share["lowest"] <= share["median"] <= share["highest"]
            assert name in printed
            assert f"{result['temporary_megabytes']:.1f}" in printed
        assert results[selection.FLOOR]["share_of_bandwidth"]["median"] == 1
    assert written["machine"]["platform"] == "cpu"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--repeats", "0"], "must be a positive integer, got '0'"),
        (["--pool-sizes", "100", "--k", "100"], "k must be at most 99"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, sentence, capsys):
    with pytest.raises(SystemExit) as exit_:
        selection.main(options)
    assert exit_.value.code == 2
    assert sentence in capsys.readouterr().err
