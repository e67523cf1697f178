"""What is damaged in a campaign's folder is named."""

import json
import shutil

import numpy as np
import pytest
from some_events import SIZE
from some_events import campaign as campaign
from some_events import seven_events as seven_events

from iwps_jax.app.campaign import folder, journal
from iwps_jax.app.campaign.records import record_of
from iwps_jax.app.files.unreadable import FileError


def break_json(path, **changes):
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | changes))


def without(path, name):
    told = json.loads(path.read_text())
    del told[name]
    path.write_text(json.dumps(told))


DROPPED = object()


def rewrite(path, number, **changes):
    """Another event, and a journal that fits it: as a faulty program would write."""
    root = json.loads((path / "campaign.json").read_text())["digest"]
    records = journal.read(path / "journal", root)
    for record in records:
        del record["chain"], record["number"]
    changed = records[number - 1] | changes
    records[number - 1] = {k: v for k, v in changed.items() if v is not DROPPED}
    shutil.rmtree(path / "journal")
    (path / "journal").mkdir()
    journal.begin(path / "journal", root)
    journal.append(path / "journal", root, 0, records)


def _flip_holdout_label(path):
    with np.load(path) as arrays:
        changed = dict(arrays)
    changed["holdout_labels"][0] = 1 - changed["holdout_labels"][0]
    np.savez(path, **changed)


def _drop_last_line(path):
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def _replace_in(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def _hand_out_again(path):
    state = folder.read_record(path)
    again = state._replace(events=(*state.events[:-1], state.events[0]))
    record = record_of(again.events[-1], state.task)
    rewrite(path, 7, **record)


DAMAGES = {
    "no campaign.json": (
        lambda p: (p / "campaign.json").unlink(),
        "is not a campaign: make one with iwps init",
    ),
    "half of campaign.json": (
        lambda p: (p / "campaign.json").write_text('{"version": 1, "po'),
        r"campaign\.json is damaged",
    ),
    "a list": (
        lambda p: (p / "campaign.json").write_text("[]"),
        "must hold an object",
    ),
    "another version": (
        lambda p: break_json(p / "campaign.json", version=99),
        "must have version 1 or 2, got 99",
    ),
    "half of task.npz": (
        lambda p: (p / "task.npz").write_bytes((p / "task.npz").read_bytes()[:200]),
        r"task\.npz is damaged",
    ),
    "other classes": (
        lambda p: break_json(p / "campaign.json", classes=["ü", "a"]),
        r"campaign\.json is damaged: it was changed",
    ),
    "another holdout label": (
        lambda p: _flip_holdout_label(p / "task.npz"),
        r"task\.npz is damaged: it was changed",
    ),
    "an event that is not there": (
        lambda p: (p / "journal/00000001.jsonl").unlink(),
        "event 1 is missing, and all to event 7: restore the folder",
    ),
    "a removed last event": (
        lambda p: _drop_last_line(p / "journal/00000001.jsonl"),
        "event 7 is missing, and all to event 7: restore the folder",
    ),
    "a flipped label": (
        lambda p: _replace_in(p / "journal/00000001.jsonl", b"[1,1,", b"[1,0,"),
        "event 2 is damaged: it was changed after it was written",
    ),
    "an event without rows": (
        lambda p: rewrite(p, 2, rows=[]),
        "event 2 is damaged: it has no rows",
    ),
    "an event of rows that are not": (
        lambda p: rewrite(p, 2, rows=[SIZE, 0, 1, 2], labels=[0, 0, 0, 0]),
        "rows that are not in the pool",
    ),
    "an event of classes that are not": (
        lambda p: rewrite(p, 2, labels=[2, 0, 0]),
        "classes that do not exist",
    ),
    "an event of other ids": (
        lambda p: rewrite(p, 2, ids=["sample 001", "sample 002", "sample 003"]),
        "its ids are not those of its rows",
    ),
    "an event without ids": (
        lambda p: rewrite(p, 2, ids=DROPPED),
        "event 2 is damaged: it has no ids",
    ),
    "an event of another kind": (
        lambda p: rewrite(p, 2, event="guessed"),
        "event 2 is damaged: there is no event 'guessed'",
    ),
    "a correction of nothing": (
        lambda p: rewrite(p, 2, event="corrected", previous=[0, 0, 0]),
        "event 2 is damaged: it corrects answers that there are not",
    ),
    "a campaign without classes": (
        lambda p: without(p / "campaign.json", "classes"),
        r"campaign\.json is damaged: it has no classes",
    ),
    "a batch a second time": (
        lambda p: _hand_out_again(p),
        "event 7 is damaged: it hands out a sample again",
    ),
    "lists in lists": (
        lambda p: (p / "campaign.json").write_text("[" * 100_000),
        r"campaign\.json is damaged",
    ),
    "an event of text": (
        lambda p: rewrite(p, 2, rows="abc"),
        "event 2 is damaged",
    ),
    "no pool": (
        lambda p: (p.parent / "pool.npy").unlink(),
        r"pool\.npy does not exist",
    ),
    "a pool of another size": (
        lambda p: np.save(p.parent / "pool.npy", np.ones((3, 3), np.float32)),
        r"of shape \[500, 3\], got \[3, 3\]",
    ),
    "a pool in another order": (
        lambda p: np.save(
            p.parent / "pool.npy", np.load(p.parent / "pool.npy")[::-1].copy()
        ),
        "row 0 has changed since",
    ),
    "other ids": (
        lambda p: (p.parent / "ids.txt").write_text(
            "\n".join(map(str, range(SIZE))) + "\n"
        ),
        "must hold the ids that the campaign began with",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(campaign, damage):
    path, _ = campaign
    break_it, sentence = DAMAGES[damage]
    break_it(path)
    with pytest.raises(FileError, match=sentence):
        folder.read_record(path)
