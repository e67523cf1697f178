"""The folder of a run: whose it is, who is refused, and what is never touched."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from experiments.classification.config import Config
from experiments.classification.splits import make_split
from experiments.data.datasets import Dataset
from experiments.engine import run_folder
from experiments.engine.run_folder import FolderError
from iwps_jax.atomic_write import UNFINISHED

SETTINGS = Config(dataset="digits").settings()
OTHER = {
    "methods": ["iwps"],
    "seeds": 4,
    "first_seed": 7,
    "rounds": 5,
    "base_size": 21,
    "imbalance": 9,
    "acquire_size": 51,
    "holdout_per_class": 6,
    "pool_per_class": 100,
    "steps": 2,
    "learning_rate": 2e-3,
    "warm_start": True,
    "max_steps": 1000,
    "network": "resnet18",
    "dataset": "mnist",
}
"""Another value for every setting."""
OWN_FILES = (
    "config.json",
    "splits.npz",
    "metrics.jsonl",
    "picks.jsonl",
    "summary.json",
    "curves.png",
    "class_iou.png",
    "selected.png",
    "report.html",
    "checkpoints/iwps/3/state",
)
LEFT_BY_A_KILL = ("metrics.jsonl.tmp", "picks.jsonl.tmp", "config.json.tmp")


def some_data(sha256="0" * 64):
    labels = np.repeat(np.arange(3), 20).astype(np.int32)
    images = np.zeros((60, 2, 2, 1), np.uint8)
    return Dataset(
        "digits", images, labels, images, labels, ("a", "b", "c"), "made up.", sha256
    )


def some_splits():
    return [
        make_split(
            some_data().train_labels,
            seed,
            base_size=4,
            imbalance=2,
            holdout_per_class=3,
        )
        for seed in range(2)
    ]


def prepare(out, settings=SETTINGS, data=None, *, resume=True):
    return run_folder.prepare(
        out,
        settings,
        data or some_data(),
        some_splits(),
        resume=resume,
        found_at={"data_dir": None},
    )


def write(out, *names, content="mine"):
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(content)


def contents(out):
    """Every file below a folder with its bytes."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


# A folder and its own settings.


def test_a_new_folder_says_what_was_asked_of_which_data(tmp_path):
    out = tmp_path / "not" / "there"
    assert prepare(out) == []
    config = json.loads((out / "config.json").read_text())
    assert {name: config[name] for name in SETTINGS} == SETTINGS
    assert config["data_source"] == "made up."
    assert config["data_sha256"] == "0" * 64
    assert {"jax", "jaxlib", "flax", "optax", "numpy"} <= set(config["versions"])
    assert all(config["versions"].values())


def test_the_splits_are_stored_one_row_a_seed(tmp_path):
    prepare(tmp_path)
    with np.load(tmp_path / "splits.npz") as stored:
        for seed, split in enumerate(some_splits()):
            for name in split._fields:
                np.testing.assert_array_equal(stored[name][seed], getattr(split, name))


def test_settings_hold_whatever_determines_the_results():
    moved = Config(
        dataset="digits", out=Path("elsewhere"), data_dir=Path("x"), resume=False
    )
    assert moved.settings() == SETTINGS
    assert json.loads(json.dumps(SETTINGS)) == SETTINGS


def test_the_same_settings_continue_and_change_nothing(tmp_path):
    prepare(tmp_path)
    write(tmp_path, *OWN_FILES[2:], "notes.txt")
    before = contents(tmp_path)
    assert prepare(tmp_path) == []
    assert contents(tmp_path) == before


def test_every_setting_has_another_value_here():
    assert set(OTHER) == set(SETTINGS)


@pytest.mark.parametrize("name", OTHER)
def test_another_setting_is_refused_by_name_and_nothing_changes(tmp_path, name):
    prepare(tmp_path)
    write(tmp_path, *OWN_FILES[2:])
    before = contents(tmp_path)
    with pytest.raises(FolderError) as refusal:
        prepare(tmp_path, {**SETTINGS, name: OTHER[name]})
    message = str(refusal.value)
    assert (
        f"other settings ({name}: {SETTINGS[name]!r} there, {OTHER[name]!r} now"
        in message
    )
    assert str(tmp_path) in message
    assert contents(tmp_path) == before


def test_a_run_of_a_version_with_fewer_settings_continues_as_it_was(tmp_path):
    prepare(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["first_seed"], config["pool_per_class"]
    path.write_text(json.dumps(config))
    assert prepare(tmp_path) == []
    for name, before in (("first_seed", 0), ("pool_per_class", None)):
        refusal = rf"other settings \({name}: {before} there, {OTHER[name]} now"
        with pytest.raises(FolderError, match=refusal):
            prepare(tmp_path, {**SETTINGS, name: OTHER[name]})


def test_other_data_are_refused_by_name(tmp_path):
    prepare(tmp_path)
    with pytest.raises(FolderError, match="settings \\(data_sha256: '000"):
        prepare(tmp_path, data=some_data("1" * 64))


def test_the_same_data_from_elsewhere_are_accepted(tmp_path):
    prepare(tmp_path)
    assert prepare(tmp_path, data=some_data()._replace(source="elsewhere.")) == []


@pytest.mark.parametrize("name", ["device", "versions"])
def test_another_machine_or_package_is_a_warning(tmp_path, name):
    prepare(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, name: "unheard of"}))
    (warning,) = prepare(tmp_path)
    assert f"{name} unheard of" in warning


# Folders that are not the run's.


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("name", ["thesis.tex", "summary.json", "checkpoints/a/1/b"])
def test_a_foreign_folder_is_refused_and_untouched(tmp_path, name, resume):
    write(tmp_path, name)
    before = contents(tmp_path)
    with pytest.raises(FolderError, match="no config.json"):
        prepare(tmp_path, resume=resume)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("config", ['{"name": "my web site"}', "[]", "not JSON"])
def test_a_foreign_config_is_refused_and_untouched(tmp_path, config, resume):
    write(tmp_path, "config.json", content=config)
    write(tmp_path, "checkpoints/weeks_of_training", "curves.png")
    before = contents(tmp_path)
    with pytest.raises(FolderError, match="config.json|another methods"):
        prepare(tmp_path, resume=resume)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("config", ["", '{"seeds": ', "\x00", "[]", "null", "3", '"a"'])
def test_a_damaged_config_is_named(tmp_path, config):
    write(tmp_path, "config.json", content=config)
    with pytest.raises(FolderError, match="config.json"):
        prepare(tmp_path)


def test_a_config_that_is_not_text_is_named(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FolderError, match="config.json"):
        prepare(tmp_path)


@pytest.mark.parametrize("below", ["", "below"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, below, resume):
    write(tmp_path, "file")
    with pytest.raises(FolderError, match="file"):
        prepare(tmp_path / "file" / below, resume=resume)
    assert contents(tmp_path) == {"file": b"mine"}


def test_what_a_start_left_that_was_killed_at_once_is_no_obstacle(tmp_path):
    write(tmp_path, "splits.npz", "splits.npz.tmp", "config.json.tmp")
    assert prepare(tmp_path) == []
    with np.load(tmp_path / "splits.npz") as stored:
        assert len(stored["pool_ids"]) == 2


def test_splits_that_are_missing_are_written_again(tmp_path):
    prepare(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "splits.npz").unlink()
    assert prepare(tmp_path) == []
    assert contents(tmp_path).keys() == before.keys()


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(FolderError, match="cannot be written to"):
        with run_folder.locked(tmp_path / "out"):
            pass


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    elsewhere = tmp_path / "site-packages" / "experiments" / "__init__.py"
    monkeypatch.setattr(run_folder.experiments, "__file__", str(elsewhere))
    prepare(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "commit" not in config["versions"]


# Starting anew.


def test_starting_anew_removes_what_a_kill_left_half_written(tmp_path):
    prepare(tmp_path)
    write(tmp_path, f".0123456789abcdef{UNFINISHED}")
    assert prepare(tmp_path, resume=False) == []
    assert set(contents(tmp_path)) == {"config.json", "splits.npz"}


def test_starting_anew_removes_the_run_and_takes_other_settings(tmp_path):
    prepare(tmp_path)
    write(tmp_path, *OWN_FILES[2:])
    assert prepare(tmp_path, {**SETTINGS, **OTHER}, resume=False) == []
    assert set(contents(tmp_path)) == {"config.json", "splits.npz"}
    assert json.loads((tmp_path / "config.json").read_text())["seeds"] == 4


def test_starting_anew_where_nothing_is_simply_starts(tmp_path):
    assert prepare(tmp_path / "new", resume=False) == []
    assert set(contents(tmp_path / "new")) == {"config.json", "splits.npz"}


def test_starting_anew_keeps_what_is_not_the_runs(tmp_path):
    prepare(tmp_path)
    write(tmp_path, *OWN_FILES[2:], "notes.txt", "figures/talk.pdf")
    assert prepare(tmp_path, resume=False) == []
    after = contents(tmp_path)
    assert set(after) == {"config.json", "splits.npz", "notes.txt", "figures/talk.pdf"}
    assert after["notes.txt"] == after["figures/talk.pdf"] == b"mine"


@pytest.mark.parametrize("is_of_pixels", [True, False])
def test_maps_of_predictions_are_removed_where_a_run_writes_some(
    tmp_path, is_of_pixels
):
    prepare(
        tmp_path, {**SETTINGS, "task": "segmentation"} if is_of_pixels else SETTINGS
    )
    write(tmp_path, "predictions/iwps/round0_3.png", "predictions.txt")
    assert prepare(tmp_path, resume=False) == []
    kept = set(contents(tmp_path)) - {"config.json", "splits.npz", "predictions.txt"}
    assert kept == (set() if is_of_pixels else {"predictions/iwps/round0_3.png"})


def test_data_and_splits_may_be_of_any_type_that_tells_what_is_stored(tmp_path):
    class Ids(NamedTuple):
        pool_ids: np.ndarray
        holdout_ids: np.ndarray

    class Scenes(NamedTuple):
        source: str
        sha256: str

    splits = [Ids(np.arange(3) + seed, np.array([9, 8])) for seed in range(2)]
    data = Scenes("drawn.", "1" * 64)
    settings = {"methods": ["iwps"], "task": "segmentation"}
    found_at = {"scenes": {"name": "digit_scenes"}}
    options = {"resume": True, "found_at": found_at}
    assert run_folder.prepare(tmp_path, settings, data, splits, **options) == []
    with np.load(tmp_path / "splits.npz") as stored:
        assert set(stored) == {"pool_ids", "holdout_ids"}
        np.testing.assert_array_equal(stored["pool_ids"], [[0, 1, 2], [1, 2, 3]])
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["task"], config["data_source"]) == ("segmentation", "drawn.")


@pytest.mark.parametrize("name", LEFT_BY_A_KILL)
def test_starting_anew_after_a_kill_while_writing(tmp_path, name):
    prepare(tmp_path)
    write(tmp_path, *OWN_FILES[2:], name)
    assert prepare(tmp_path, resume=False) == []


@pytest.mark.parametrize("survivors", [0, 1, 3, 5])
def test_starting_anew_can_itself_be_cut_off(tmp_path, monkeypatch, survivors):
    """However far the removal came, the same command finishes it."""
    prepare(tmp_path)
    write(tmp_path, *OWN_FILES[2:])
    unlink, calls = Path.unlink, []

    def cut_off(path, **options):
        calls.append(path)
        if len(calls) > survivors:
            raise KeyboardInterrupt
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", cut_off)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path, resume=False)
    assert prepare(tmp_path, resume=False) == []
    assert set(contents(tmp_path)) == {"config.json", "splits.npz"}


# Lines.


def test_lines_are_replaced_and_added(tmp_path):
    path = tmp_path / "lines.jsonl"
    run_folder.write_lines(path, [{"a": 0.1 + 0.2}, {"a": None}])
    run_folder.append_lines(path, [{"b": [1, 2]}])
    run_folder.append_lines(path, [])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"a": 0.1 + 0.2}, {"a": None}, {"b": [1, 2]}]
    run_folder.write_lines(path, [])
    assert path.read_bytes() == b""


def test_lines_are_replaced_at_once_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "lines.jsonl"
    run_folder.write_lines(path, [{"a": 1}])

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run_folder.write_lines(path, [{"a": 2}])
    assert json.loads(path.read_text()) == {"a": 1}


def test_two_processes_do_not_share_a_folder(tmp_path):
    out = tmp_path / "out"
    with run_folder.locked(out):
        with pytest.raises(run_folder.FolderError, match="another process"):
            with run_folder.locked(out):
                pass
        (out / "splits.npz").touch()
    with run_folder.locked(out):  # free again
        pass
