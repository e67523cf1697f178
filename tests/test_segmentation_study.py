"""Segmentation studies by their real commands: files, numbers, kills."""

import contextlib
import functools
import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scene_files import save, write_cityscapes
from scene_runs import (
    SMALL,
    folder_options,
    isolate,
    read,
    refusal,
    results,
    run_main,
    write_scenes,
)
from test_backbone import state_dict_file

from experiments import cityscapes, report
from experiments.engine import rounds
from experiments.segmentation import __main__ as folder_study
from experiments.segmentation import maps, training

FILES = {
    *("config.json", "splits.npz", "metrics.jsonl", "picks.jsonl", "checkpoints"),
    *("predictions", "summary.json", "curves.png", "class_iou.png", "selected.png"),
    "report.html",
}


@pytest.fixture(scope="module", autouse=True)
def isolated(tmp_path_factory):
    with (
        isolate(tmp_path_factory.mktemp("cache")),
        pytest.MonkeyPatch.context() as patch,
    ):
        # One program of the backbone for all scenes that are looked at.
        patch.setattr(maps, "_compiled", functools.cache(maps._compiled))
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def backbone_weights(tmp_path_factory):
    return state_dict_file(tmp_path_factory.mktemp("weights") / "lite0.pth", 0)


def assert_finished(out, methods, num_classes, seeds=2, num_rounds=2):
    assert {path.name for path in out.iterdir()} == FILES
    metrics, picks = read(out, "metrics.jsonl"), read(out, "picks.jsonl")
    assert len(metrics) == len(methods) * seeds * (num_rounds + 1)
    assert len(picks) == len(methods) * seeds * num_rounds
    splits = np.load(out / "splits.npz")
    for line in metrics:
        assert line["num_labeled"] == 3 + 2 * line["round"]
        assert 0 <= line["miou"] <= 1 and 0 <= line["pixel_accuracy"] <= 1
        known = [iou for iou in line["class_iou"] if iou is not None]
        assert len(line["class_iou"]) == num_classes
        assert line["miou"] == pytest.approx(np.mean(known), abs=1e-6)
    for method in methods:
        for seed in range(seeds):
            rows = [p for p in picks if (p["method"], p["seed"]) == (method, seed)]
            ids = [i for line in rows for i in line["ids"]]
            initial = splits["pool_ids"][seed][splits["labeled"][seed]]
            assert len(set(ids)) == 2 * num_rounds  # never the same twice
            assert not set(ids) & {*initial.tolist(), *splits["holdout_ids"][seed]}
            for line in rows:
                (of_round,) = [
                    m
                    for m in metrics
                    if (m["method"], m["seed"], m["round"])
                    == (method, seed, line["round"])
                ]
                shares = line["wrong"]
                assert min(shares) - 1e-6 <= of_round["wrong_rate"]
                assert of_round["wrong_rate"] <= max(shares) + 1e-6
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["methods"]) == set(methods)
    return metrics, picks


# Runs from beginning to end


@pytest.mark.full
def test_cityscapes_from_its_folders(tmp_path):
    """Crops, flips, two parts a minibatch, bfloat16; ids become 19 classes."""
    write_cityscapes(tmp_path / "city", per_city=5, shape=(40, 72))
    out, methods = tmp_path / "out", ("random", "iwps_app")
    printed = run_main(
        cityscapes.main,
        [
            *("--data-dir", str(tmp_path / "city"), "--weights", "none"),
            *(*SMALL, "--width", "2", "--crop-size", "32", "--minibatch-size", "4"),
            *("--parts", "2", "--precision", "bfloat16", "--seeds", "1"),
            *("--rounds", "1", "--out", str(out)),
            *("--methods", *methods),
        ],
    )
    assert "10 training and 5 test scenes" in printed and "report:" in printed
    metrics, _ = assert_finished(out, methods, 19, seeds=1, num_rounds=1)
    assert all(line["foreground_miou"] is None for line in metrics)
    config = json.loads((out / "config.json").read_text())
    assert (config["measure"], config["parts"]) == ("miou", 2)
    assert config["inputs"] == {"weights": "random"}
    before = (out / "report.html").read_bytes()
    with contextlib.redirect_stdout(io.StringIO()):
        report.main([str(out)])
    assert (out / "report.html").read_bytes() == before


def assert_predictions(out, methods, photos, num_rounds=2):
    """One map of classes for every pick of seed 0, of the size of its image."""
    names = sorted(path.stem for path in (photos / "images").iterdir())
    train = [name for i, name in enumerate(names) if i % 5 != 4]
    for method in methods:
        expected = {
            f"round{line['round']}_{i}.png": i
            for line in read(out, "picks.jsonl")
            if line["method"] == method and line["seed"] == 0
            for i in line["ids"]
        }
        assert len(expected) == 2 * num_rounds
        folder = out / "predictions" / method
        assert {path.name for path in folder.iterdir()} == set(expected)
        for file, i in expected.items():
            with Image.open(folder / file) as found:
                assert found.mode == "L"
                with Image.open(photos / "images" / f"{train[i]}.png") as image:
                    assert found.size == image.size
                assert np.asarray(found).max() < 3


METHODS = ("random", "iwps_app")


@pytest.fixture(scope="module")
def finished(photos, backbone_weights, tmp_path_factory):
    """A run with a frozen backbone that nobody interrupted."""
    out = tmp_path_factory.mktemp("finished") / "out"
    options = folder_options(photos, backbone_weights, out)
    options += ["--background", "red", "--methods", *METHODS]
    printed = run_main(folder_study.main, options)
    return out, options, printed


def test_a_folder_of_uneven_images(finished, photos):
    out, _, printed = finished
    metrics, picks = assert_finished(out, METHODS, 3)
    for line in metrics:
        foreground = [iou for iou in line["class_iou"][1:] if iou is not None]
        expected = pytest.approx(np.mean(foreground), abs=1e-6)
        assert line["foreground_miou"] == expected
    assert "every fifth scene by name is a test scene" in printed
    assert_predictions(out, METHODS, photos)
    config = json.loads((out / "config.json").read_text())
    assert config["measure"] == "foreground_miou" and config["background"] == 0
    # All methods begin with the same network.
    first = [
        {k: v for k, v in line.items() if k in ("seed", "miou", "class_iou")}
        for line in metrics
        if line["round"] == 0
    ]
    assert first[:2] == first[2:]
    assert first[0] != first[1]
    assert len({json.dumps(p["ids"]) for p in picks}) > len(METHODS)


def test_wrong_shares_are_those_of_the_predictions(finished, photos):
    """By hand from the maps of seed 0 and the masks, ignored pixels left out."""
    out, _, _ = finished
    names = sorted(path.stem for path in (photos / "images").iterdir())
    train = [name for i, name in enumerate(names) if i % 5 != 4]
    for line in read(out, "picks.jsonl"):
        if line["seed"]:
            continue
        for i, share in zip(line["ids"], line["wrong"], strict=True):
            name = f"round{line['round']}_{i}.png"
            with Image.open(out / "predictions" / line["method"] / name) as file:
                predicted = np.asarray(file)
            with Image.open(photos / "masks" / f"{train[i]}_mask.png") as file:
                mask = np.asarray(file)
            counts = mask != 255
            wrong = (predicted != mask)[counts].mean()
            assert share == pytest.approx(wrong, abs=1e-6)


def test_a_report_is_drawn_again_with_the_same_bytes(finished):
    out, _, _ = finished
    made = (
        "summary.json",
        "curves.png",
        "class_iou.png",
        "selected.png",
        "report.html",
    )
    before = {name: (out / name).read_bytes() for name in made}
    for name in made:
        (out / name).unlink()
    with contextlib.redirect_stdout(io.StringIO()):
        report.main([str(out)])
    assert {name: (out / name).read_bytes() for name in made} == before


# Kills


class Killed(BaseException):
    """What a test interrupts a run with."""


def interrupt(monkeypatch, module, name, call, step=None):
    """Raises at the given call of a function."""
    original, calls = getattr(module, name), []

    def bomb(*arguments, **options):
        calls.append(None)
        if len(calls) == call:
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(module, name, bomb)


KILLS = {
    "in a fit": (training, "mean_loss", 9),
    "after a checkpoint": (rounds.run_folder, "append_lines", 3),
}


@pytest.mark.parametrize(
    "where",
    [pytest.param(where, marks=pytest.mark.full) for where in KILLS],
)
def test_an_interrupted_run_ends_with_the_same_bits(
    finished, tmp_path, monkeypatch, where
):
    expected, options, _ = finished
    out = tmp_path / "out"
    options = [str(out) if o == str(expected) else o for o in options]
    with monkeypatch.context() as patch:
        interrupt(patch, *KILLS[where])
        with pytest.raises(Killed):
            run_main(folder_study.main, options)
    assert (out / "checkpoints").exists() and not (out / "summary.json").exists()
    run_main(folder_study.main, options)
    assert results(out) == results(expected)
    for path in sorted((expected / "predictions").rglob("*.png")):
        again = out / path.relative_to(expected)
        assert again.read_bytes() == path.read_bytes()
    assert not list(out.rglob("*tmp*"))


SABOTEUR = """
import os, signal, sys
import jax
jax.config.update("jax_num_cpu_devices", 8)
from experiments.segmentation import __main__ as study, training

fit, calls = training.mean_loss, []

def bomb(*arguments):
    calls.append(None)
    if len(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return fit(*arguments)

training.mean_loss = bomb
study.main(sys.argv[1:])
"""


@pytest.mark.full
def test_a_killed_run_ends_with_the_same_bits(finished, tmp_path):
    """SIGKILL in the midst of a fit of round 1; the files were made by a process."""
    expected, options, _ = finished
    out = tmp_path / "out"
    options = [str(out) if o == str(expected) else o for o in options]
    ended = subprocess.run(
        [sys.executable, "-c", SABOTEUR, *options],
        capture_output=True,
        text=True,
        cwd=Path(cityscapes.__file__).parents[1],
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
    assert [p.name for p in (out / "checkpoints" / "random").glob("[0-9]*")] == ["1"]
    run_main(folder_study.main, options)
    assert results(out) == results(expected)


# Another run in the same folder


@pytest.mark.parametrize("changes", [("--steps", "3"), ("--width", "5")])
def test_other_settings_in_the_same_folder_are_refused(finished, capsys, changes):
    out, options, _ = finished
    before = results(out)
    assert "holds a run with other settings" in refusal(
        capsys, folder_study.main, [*options, *changes]
    )
    assert results(out) == before


def test_other_data_are_refused_and_the_same_are_not_run_again(
    finished, photos, tmp_path, capsys, monkeypatch
):
    out, options, _ = finished
    before = results(out)
    shutil.copytree(photos, tmp_path / "photos")
    mask = tmp_path / "photos" / "masks" / "photo00_mask.png"
    with Image.open(mask) as file:
        changed = np.asarray(file).copy()
    changed[0, 0] = (changed[0, 0] + 1) % 3
    save(mask, changed)
    options = [o.replace(str(photos), str(tmp_path / "photos")) for o in options]
    said = refusal(capsys, folder_study.main, options)
    assert "holds a run with other settings (data_sha256" in said
    # The same data elsewhere go on; there is nothing left to do.
    shutil.rmtree(tmp_path / "photos")
    shutil.copytree(photos, tmp_path / "photos")
    monkeypatch.setattr(training, "fit", None)
    run_main(folder_study.main, options)
    assert results(out) == before
