"""A campaign that version 0.6.0 made goes on: the same labels, scaling and picks."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from some_campaigns import files_of, run

from iwps_jax.app.campaign import (
    folder,
    format_1,
    journal,
    labels_of,
    skipped_of,
    unanswered_of,
)
from iwps_jax.app.files.unreadable import FileError

MADE = Path(__file__).parent / "campaign_0_6_0"


@pytest.fixture
def week(tmp_path, monkeypatch):
    """Its files in a folder of their own, which is the current one."""
    shutil.copytree(MADE, tmp_path / "week")
    monkeypatch.chdir(tmp_path / "week")
    return tmp_path / "week"


def test_it_is_read_and_not_changed_by_reading(week):
    before = files_of(week)
    state = folder.read_record("campaign")
    assert state.task.method == "iwps" and state.task.classes[2] == "zwei für"
    assert len(labels_of(state)) == 8 and len(skipped_of(state)) == 1
    assert len(unanswered_of(state)) == 6
    assert run("status") == 0
    assert files_of(week) == before


def test_the_first_write_upgrades_it_and_the_picks_are_those_of_0_6_0(week):
    events = files_of(week / "campaign/events")
    before = folder.read_record("campaign")
    assert run("next", "--k", 5, "--out", "next.csv") == 0
    with open("next.csv") as its, open("expected.csv") as expected:
        picks, of_0_6_0 = list(csv.DictReader(its)), list(csv.DictReader(expected))
    assert [pick["id"] for pick in picks] == [pick["id"] for pick in of_0_6_0]
    np.testing.assert_allclose(
        [float(pick["score"]) for pick in picks],
        [float(pick["score"]) for pick in of_0_6_0],
        rtol=1e-3,
        atol=1e-7,
    )
    about = json.loads(Path("campaign/campaign.json").read_text())
    assert about["version"] == 2 and about["upgraded_from"] == 1
    after = folder.read_record("campaign")
    assert len(after.events) == len(before.events) + 1
    assert after.task.scaling.factor == before.task.scaling.factor
    assert labels_of(after) == labels_of(before)
    kept = files_of(week / "campaign/events")
    assert kept.pop("campaign.json") == (MADE / "campaign/campaign.json").read_bytes()
    assert kept == events


def test_the_times_of_events_stay(week):
    first = json.loads(Path("campaign/events/000001.json").read_text())["time"]
    assert run("next", "--unanswered", "--out", "again.csv") == 0
    root = json.loads(Path("campaign/campaign.json").read_text())["digest"]
    records = journal.read(Path("campaign/journal"), root)
    assert records[0]["time"] == first
    kinds = [record["event"] for record in records]
    assert kinds == ["answered", "handed_out", "answered", "handed_out", "reissued"]


def test_an_upgrade_that_was_killed_begins_again(week):
    """The journal was there, and the settings still those of format 1."""
    (week / "campaign/journal").mkdir()
    (week / "campaign/journal/00000001.jsonl").write_text("half of it")
    assert len(labels_of(folder.read_record("campaign"))) == 8
    assert run("next", "--unanswered", "--out", "again.csv") == 0
    assert len(folder.read_record("campaign").events) == 5


def test_answers_that_correct_others_become_corrections(week):
    told = json.loads(Path("campaign/events/000003.json").read_text())
    first = json.loads(Path("campaign/events/000001.json").read_text())
    row, id_ = first["rows"][0], first["ids"][0]
    told |= {"rows": [row, *told["rows"]], "ids": [id_, *told["ids"]]}
    told["labels"] = [(first["labels"][0] + 1) % 3, *told["labels"]]
    Path("campaign/events/000003.json").write_text(json.dumps(told))
    state = folder.read_record("campaign")
    corrected, answered = state.events[2:4]
    assert corrected.rows.tolist() == [row]
    assert corrected.previous.tolist() == first["labels"][:1]
    assert answered.previous is None and len(answered.rows) == 5
    assert labels_of(state)[row] == told["labels"][0]


DAMAGES = {
    "an event that is not there": (None, r"000002\.json is missing"),
    "an empty event": ("", r"000002\.json is damaged"),
    "an event of text": ('{"event": "ask", "rows": "abc"}', r"000002\.json is damaged"),
    "no object": ("[]", "must hold an object"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(week, damage):
    text, sentence = DAMAGES[damage]
    path = Path("campaign") / format_1.EVENTS / "000002.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(FileError, match=sentence):
        folder.read_record("campaign")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("pool", 3), ("ids", []), ("pool_probes", [1]), ("classes", ["a", "a"])),
        *(("steps", None), ("learning_rate", []), ("seed", "x"), ("pool_shape", [1])),
    ],
)
def test_settings_that_no_command_writes_are_named(week, name, value):
    path = Path("campaign/campaign.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(FileError, match=f"no command writes such a {name}"):
        folder.read_record("campaign")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("holdout_features", None), ("holdout_labels", np.array([9] * 30))),
        *(("holdout_rows", np.array([70])), ("mean", np.zeros(3))),
        *(("factor", np.array(0.0)), ("factor", np.array("x"))),
    ],
)
def test_arrays_that_do_not_fit_are_named(week, name, value):
    with np.load("campaign/task.npz") as arrays:
        changed = dict(arrays) | {name: value}
    np.savez("campaign/task.npz", **{k: v for k, v in changed.items() if v is not None})
    with pytest.raises(FileError, match=r"task\.npz is damaged: .*" + name):
        folder.read_record("campaign")


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (1, {"holdout_loss": float("inf")}),
        (1, {"num_labeled": "4"}),
        (2, {"scores": [float("inf")] * 6}),
    ],
)
def test_numbers_of_no_head_are_named(week, number, changes):
    path = Path(f"campaign/events/{number:06}.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(FileError, match=f"event {number} is damaged"):
        folder.read_record("campaign")


def test_a_batch_a_second_time_is_named(week):
    shutil.copy("campaign/events/000002.json", "campaign/events/000005.json")
    with pytest.raises(FileError, match="event 5 is damaged: it hands out a sample"):
        folder.read_record("campaign")
