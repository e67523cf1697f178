"""The benchmark against peers: one sentence without them; a real run at a tiny size."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import peers

TINY = ["--candidates", "12", "--pool-size", "40", "--holdout-size", "7", "--dim", "6"]
TINY += ["--pool", "450", "--k", "4", "--repeats", "2"]


@pytest.mark.parametrize("missing", ["torch", "skactiveml"])
def test_a_missing_peer_is_one_sentence(missing, monkeypatch, capsys):
    def import_module(name):
        if name == missing:
            raise ImportError(name)

    packages = SimpleNamespace(import_module=import_module)
    monkeypatch.setattr(peers, "importlib", packages)
    with pytest.raises(SystemExit) as exit_:
        peers.main(TINY)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert peers.PACKAGES[missing] in line
    assert "pip install -e '.[peers]'" in line


def test_what_measures_nothing_is_refused(capsys):
    with pytest.raises(SystemExit) as exit_:
        peers.main(["--repeats", "0"])
    assert exit_.value.code == 2
    assert "must be a positive integer, got '0'" in capsys.readouterr().err


def test_agreement_sees_a_wrong_score():
    scores = np.array([0.1, 0.4, 0.2, 0.3])
    assert peers.agreement(scores, scores)["rank_correlation"] == pytest.approx(1)
    assert peers.agreement(scores, scores)["largest_relative_error"] == 0
    assert peers.agreement(-scores, scores)["rank_correlation"] == pytest.approx(-1)
    assert peers.agreement(1.1 * scores, scores)[
        "median_relative_error"
    ] == pytest.approx(0.1)


def test_a_run_prints_and_writes_the_same_numbers(tmp_path, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("skactiveml")
    out = tmp_path / "new" / "peers.json"
    peers.main([*TINY, "--out", str(out)])
    written = json.loads(out.read_text())
    assert written["machine"]["torch"]
    look_ahead, selection = written["look_ahead"], written["selection"]
    for numbers in look_ahead["agreement"].values():
        assert numbers["rank_correlation"] > 0.999
        assert numbers["median_relative_error"] < 1e-4
    assert selection["agreement"]["core_set_same_picks"] == 4
    assert selection["agreement"]["badge_same_first_pick"]
    assert selection["agreement"]["badge_second_pick_rms_sigmas"] < 1.3
    assert selection["agreement"]["badge_picks_of_probability_zero"] == 0
    assert selection["agreement"]["peer_badge_largest_error_of_law_with_origin"] < 1e-6
    printed = capsys.readouterr().out
    for result in (look_ahead, selection):
        for row in result["ratios"]:
            assert row["lowest"] <= row["median"] <= row["highest"]
            least = (
                50 if result is selection else peers.LEAST[row["against"].split(",")[0]]
            )
            assert row["met"] is (row["median"] >= least)
            assert row["against"] in printed
        for timing in result["timings"].values():
            assert len(timing["seconds"]) == 2
