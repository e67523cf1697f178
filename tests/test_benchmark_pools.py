"""The benchmarks of whole pools, on tiny ones: they run, agree, keep their numbers."""

import json
import sys

import jax
import pytest

from benchmarks import first_answer, large_pool, score_command, strong_scaling

# Commands set the number of devices unless they are in use: all tests use eight.
jax.devices()

TINY = ["--dim", "8", "--holdout-size", "5", "--k", "7"]


@pytest.mark.full
def test_a_pool_on_disk_is_scanned_as_one_in_memory(tmp_path, capsys):
    out = tmp_path / "numbers" / "pool.json"
    rows = ["--rows", "70000", "--memory-rows", "3000", "--folder", str(tmp_path)]
    large_pool.main([*TINY, *rows, "--out", str(out)])
    written = json.loads(out.read_text())
    assert "folder" not in written["settings"] and written["settings"]["rows"] == 70_000
    results = written["results"]
    assert results["picks_agree"] and results["largest_error_of_picked"] < 1e-6
    rates = results["samples_per_second_from_disk"]
    assert len(rates) == 1 and rates[0] > 0 and results["share"] > 0
    assert results["file_gigabytes"] == (70_000 * 8 * 2 + 128) / 1e9
    assert "at least 60%" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["numbers"]  # no pool is left


@pytest.mark.full
def test_devices_and_processes_pick_the_same(tmp_path, capsys):
    out = tmp_path / "scaling.json"
    strong_scaling.main([*TINY, "--rows", "3001", "--repeats", "2", "--out", str(out)])
    results = json.loads(out.read_text())["results"]
    assert list(results) == [
        "1 device",
        *(f"{count} devices" for count in (2, 4, 8)),
        "2 processes on the CPU",
    ]
    for result in results.values():
        assert result["same_picks"] and len(result["seconds"]) == 2
    assert "DIFFERENT" not in capsys.readouterr().out


@pytest.mark.full
def test_the_command_is_watched_while_it_scores(tmp_path, capsys):
    out = tmp_path / "numbers" / "command.json"
    score_command.main(["--smoke", "--folder", str(tmp_path), "--out", str(out)])
    written = json.loads(out.read_text())
    settings, results = written["settings"], written["results"]
    assert settings["rows"] == 150_000 and "folder" not in settings
    assert results["largest_error_of_picked"] < 1e-6
    assert results["file_gigabytes"] == (150_000 * 16 * 4 + 128) / 1e9
    assert results["rows_per_second"] == 150_000 / results["seconds"] > 0
    own, all_pages = results["anonymous_megabytes"], results["resident_megabytes"]
    if sys.platform == "linux":  # which alone tells
        assert 50 < own < all_pages < 5000  # JAX alone takes that much
    assert "rows/s, all of the command" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["numbers"]  # no pool is left


@pytest.mark.full
def test_the_first_command_and_the_next_are_timed(tmp_path, capsys):
    out = tmp_path / "first.json"
    first_answer.main(["--smoke", "--out", str(out)])
    seconds = json.loads(out.read_text())["cpu_seconds"]
    assert [*seconds] == [
        *("iwps --help", "the first command", "the next one", "one with --no-cache")
    ]
    assert 0 < seconds["iwps --help"][0] < seconds["the next one"][0]
