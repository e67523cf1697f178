"""What a campaign's commands cannot take: a sentence, status 2, nothing changed."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from some_campaigns import (
    CLASSES,
    files_of,
    run,
    some_digits,
    write_answers,
    write_digits,
)

from iwps_jax.campaign import folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A campaign with a batch on its way, and files to begin another."""
    path = tmp_path_factory.mktemp("begun")
    before = Path.cwd()
    os.chdir(path)
    try:
        write_digits(path, some_digits(0))
        assert run("init", *FILES, "--method", "random") == 0
        assert run("next", "--k", 5, "--out", "batch.csv") == 0
    finally:
        os.chdir(before)
    return path


@pytest.fixture
def here(begun, tmp_path, monkeypatch):
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


POOL, HOLDOUT = ("--pool", "pool.npy"), ("--holdout", "holdout.npz")
LABELS, NAMES = ("--labels", "initial.csv"), ("--classes", "classes.txt")
FILES = (*POOL, *HOLDOUT, *LABELS, *NAMES)
NEW = ("--campaign", "new")
INIT = ("init", *NEW)


def write(name, text):
    return lambda: Path(name).write_text(text, encoding="utf-8")


def save(name, array):
    return lambda: np.save(name, array)


def save_holdout(**arrays):
    some = {"features": np.ones((4, 64), np.float32), "labels": np.arange(4)}
    return lambda: np.savez("bad.npz", **{**some, **arrays})


def save_half(name, source):
    return lambda: Path(name).write_bytes(Path(source).read_bytes()[:3000])


def answers(*lines):
    return lambda: write_answers("bad.csv", lines)


def export(*tasks):
    return write("bad.json", json.dumps(tasks))


def annotated(name, *choices):
    results = [
        {"type": "choices", "value": {"choices": [choice]}} for choice in choices
    ]
    return {
        "data": {"sample_id": name},
        "annotations": [{"result": [result]} for result in results],
    }


def nothing():
    """For what is wrong without a file."""


BAD_POOL = (*INIT, "--pool", "bad.npy", *HOLDOUT, *NAMES)
BAD_HOLDOUT = (*INIT, *POOL, "--holdout", "bad.npz", *NAMES)
BAD_LABELS = (*INIT, *POOL, *HOLDOUT, *NAMES, "--labels", "bad.csv")
BAD_IDS = (*INIT, *POOL, *HOLDOUT, *NAMES, "--ids", "bad.txt")
BAD_CLASSES = (*INIT, *POOL, *HOLDOUT, "--classes", "bad.txt")
HOLDOUT_OF_POOL = (*INIT, *POOL, *NAMES, "--holdout", "bad.csv")
NAN = np.where(np.arange(684)[:, None] == 0, np.nan, np.ones((684, 64), "f4"))

TASKS = ("--label-studio", "t.json")

TABLE = {
    # init: the pool
    "no pool": (BAD_POOL, nothing, "bad.npy does not exist"),
    "an empty pool file": (BAD_POOL, write("bad.npy", ""), "bad.npy"),
    "a text as a pool": (BAD_POOL, write("bad.npy", "id,label\n"), "bad.npy"),
    "half a pool": (BAD_POOL, save_half("bad.npy", "pool.npy"), "bad.npy"),
    "a pool of objects": (BAD_POOL, save("bad.npy", np.array([{}])), "bad.npy"),
    "a pool of text": (BAD_POOL, save("bad.npy", np.array([["a"]])), "bad.npy"),
    "a vector as a pool": (BAD_POOL, save("bad.npy", np.ones(9)), "bad.npy"),
    "no rows": (BAD_POOL, save("bad.npy", np.ones((0, 64), "f4")), "bad.npy"),
    "another width": (BAD_POOL, save("bad.npy", np.eye(5)), "holdout.npz"),
    "NaN in the pool": (BAD_POOL, save("bad.npy", NAN), "row 0"),
    "equal rows": (BAD_POOL, save("bad.npy", np.ones((9, 64))), "from row to row"),
    "a folder as a pool": (BAD_POOL, lambda: Path("bad.npy").mkdir(), "bad.npy"),
    # init: the holdout set
    "no holdout": (BAD_HOLDOUT, nothing, "bad.npz does not exist"),
    "no labels in it": (
        BAD_HOLDOUT,
        lambda: np.savez("bad.npz", features=np.ones((4, 64))),
        "labels",
    ),
    "label 10 of 10": (BAD_HOLDOUT, save_holdout(labels=np.arange(7, 11)), "bad.npz"),
    "a negative label": (BAD_HOLDOUT, save_holdout(labels=np.arange(-1, 3)), "row 0"),
    "labels that are no integers": (
        BAD_HOLDOUT,
        save_holdout(labels=np.arange(4.0)),
        "must be integers",
    ),
    "fewer labels": (BAD_HOLDOUT, save_holdout(labels=np.arange(3)), "one length"),
    "one-hot labels": (BAD_HOLDOUT, save_holdout(labels=np.eye(4, dtype=int)), "axis"),
    "NaN in it": (BAD_HOLDOUT, save_holdout(features=NAN[:4]), "row 0"),
    "a holdout that is no zip": (BAD_HOLDOUT, write("bad.npz", "PK"), "bad.npz"),
    "a holdout sample that is not": (HOLDOUT_OF_POOL, answers((9999, 0)), "line 2"),
    "one without a class": (HOLDOUT_OF_POOL, answers((3, "")), "'3' has none"),
    "holdout and labels overlap": (
        (*INIT, *POOL, *NAMES, "--holdout", "bad.csv", "--labels", "bad.csv"),
        answers((3, CLASSES[0])),
        "is a holdout sample",
    ),
    # init: labels, ids, classes, options
    "an unknown id": (BAD_LABELS, answers((0, CLASSES[0]), (684, "")), "line 3"),
    "an unknown class": (BAD_LABELS, answers((0, "digit 11")), "line 2"),
    "an id twice": (BAD_LABELS, answers((7, CLASSES[0]), (7, CLASSES[0])), "line 3"),
    "no column label": (BAD_LABELS, write("bad.csv", "id,class\n1,2\n"), "label"),
    "a short line": (BAD_LABELS, write("bad.csv", "id,label\n1\n"), "line 2"),
    "latin-1": (
        BAD_LABELS,
        lambda: Path("bad.csv").write_bytes("id,label\n1,ü\n".encode("latin-1")),
        "UTF-8",
    ),
    "too few ids": (BAD_IDS, write("bad.txt", "a\nb\n"), "bad.txt"),
    "equal ids": (BAD_IDS, write("bad.txt", "a\n" * 684), "line 2"),
    "one class": (BAD_CLASSES, write("bad.txt", "cat\n"), "2 classes"),
    "classes called the same": (BAD_CLASSES, write("bad.txt", "a\na\n"), "line 2"),
    "a class called skip": (BAD_CLASSES, write("bad.txt", "a\nskip\n"), "skip"),
    "classes that nobody orders": (
        (*INIT, *POOL, *HOLDOUT, *LABELS),
        nothing,
        "--classes must be given",
    ),
    "a folder in use": (
        ("init", *FILES, "--campaign", "campaign"),
        nothing,
        "campaign must not be there yet",
    ),
    "no steps": ((*INIT, *FILES, "--steps", "0"), nothing, "steps must be"),
    "another method": ((*INIT, *FILES, "--method", "bald"), nothing, "bald"),
    # next
    "no campaign": (("next", "--k", 5, *NEW), nothing, "new is not a campaign"),
    "none asked for": (("next", "--k", 0), nothing, "k must be in [1, 654]"),
    "k that is no number": (("next", "--k", "many"), nothing, "many"),
    "a file in the way": (
        ("next", "--k", 5, "--out", "batch.csv"),
        nothing,
        "batch.csv must not be there yet: it may hold answers",
    ),
    "a folder that is not": (("next", "--k", 5, "--out", "no/b.csv"), nothing, "no"),
    "tasks without images": (
        ("next", "--k", 5, "--label-studio", "t.json"),
        nothing,
        "must be given together",
    ),
    "images without an id": (
        ("next", "--k", 5, "--label-studio", "t.json", "--image-url", "a.png"),
        nothing,
        "must have {id} in it",
    ),
    "one file for both": (
        ("next", "--k", 5, "--out", "t.json", *TASKS, "--image-url", "{id}"),
        nothing,
        "--out and --label-studio must differ, both are t.json",
    ),
    # label
    "no answers": (("label", "bad.csv"), nothing, "bad.csv does not exist"),
    "an empty file": (("label", "bad.csv"), write("bad.csv", ""), "bad.csv"),
    "all empty": (("label", "batch.csv"), nothing, "must have an answer"),
    "one bad of many": (
        ("label", "bad.csv"),
        answers((0, CLASSES[0]), (1, "skip"), (2, "digit")),
        "line 4: the label of '2' must be digit 0",
    ),
    "a row that is not": (
        ("label", "bad.csv"),
        answers((0, CLASSES[0]), ("684", CLASSES[0])),
        "line 3: ids must be of the pool, got '684'",
    ),
    "an answer twice": (
        ("label", "bad.csv"),
        answers((5, CLASSES[0]), (6, CLASSES[0]), (5, CLASSES[1])),
        "line 4",
    ),
    "none asked for, after good answers": (
        ("label", "initial.csv", "--next", 0),
        nothing,
        "k must be in [1, 654]",
    ),
    "a batch that is there, after good answers": (
        ("label", "initial.csv", "--next", 5, "--out", "batch.csv"),
        nothing,
        "batch.csv must not be there yet: it may hold answers",
    ),
    "a folder that is not, after good answers": (
        ("label", "initial.csv", "--next", 5, "--out", "no/b.csv"),
        nothing,
        "no/b.csv must be in a folder that is there",
    ),
    "tasks without images, after good answers": (
        ("label", "initial.csv", "--next", 5, "--label-studio", "t.json"),
        nothing,
        "--label-studio and --image-url must be given together",
    ),
    "images without an id, after good answers": (
        ("label", "initial.csv", "--next", 5, *TASKS, "--image-url", "a.png"),
        nothing,
        "must have {id} in it",
    ),
    "a place for no batch": (
        ("label", "initial.csv", "--out", "b.csv"),
        nothing,
        "--out, --label-studio and --image-url need --next",
    ),
    "half of a JSON": (("label", "bad.json"), write("bad.json", '[{"da'), "line 1"),
    "JSON that is no export": (("label", "bad.json"), write("bad.json", "{}"), "list"),
    "a task without an id": (("label", "bad.json"), export({"data": {}}), "task 1"),
    "annotators disagree": (
        ("label", "bad.json"),
        export(annotated("1", CLASSES[0]), annotated("2", CLASSES[1], CLASSES[2])),
        "task 2 cannot be read: its annotations disagree: digit 1, digit 2",
    ),
    "two choices": (
        ("label", "bad.json"),
        export({"sample_id": "1", "choice": {"choices": CLASSES[:2]}}),
        "task 1",
    ),
    "one sample in two tasks": (
        ("label", "bad.json"),
        export(annotated("1", CLASSES[0]), annotated("1", CLASSES[0])),
        "sample 1 must have one answer",
    ),
    "a class of another project": (
        ("label", "bad.json"),
        export(annotated("1", "zebra")),
        "got 'zebra'",
    ),
    # status and show
    "no status": (("status", *NEW), nothing, "new is not a campaign"),
    "status into a folder": (("status", "--json", "campaign"), nothing, "campaign"),
    "no picks": (("show", "no.csv", "--images", "."), nothing, "no.csv does not exist"),
    "no images": (("show", "batch.csv", "--images", "no"), nothing, "no"),
    "an image that is not": (
        ("show", "batch.csv", "--images", ".", "--campaign", "campaign"),
        nothing,
        "image",
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_a_refusal_is_a_sentence_and_changes_nothing(here, capfd, case):
    command, prepare, said = TABLE[case]
    prepare()
    before = files_of(here)
    assert run(*command) == 2
    error = capfd.readouterr().err.strip()
    assert said in error
    if not error.startswith("usage:"):  # else by argparse, which shows the usage first
        assert "\n" not in error and error[0] != " "
    assert files_of(here) == before
    assert not Path("new").exists()


COMMANDS = [
    (*INIT, *FILES),
    ("next", "--k", 5),
    ("label", "initial.csv"),
    ("label", "initial.csv", "--next", 5),
    ("status", "--json", "now.json"),
]


@pytest.mark.parametrize(
    "command", COMMANDS, ids=lambda command: f"{command[0]}-{len(command)}"
)
@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_a_full_disk_changes_nothing(here, monkeypatch, capfd, command, call):
    """Wherever it shows; `open` stands for a folder that may not be written."""
    before = files_of(here)
    real = os.open

    def fail(path, *rest, **options):
        is_read = call == "open" and not (rest[0] & os.O_CREAT)
        if is_read or str(path).endswith("lock"):
            return real(path, *rest, **options)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        assert run(*command) == 2
    assert "No space left on device" in capfd.readouterr().err
    assert files_of(here) == before
    folder.read_record("campaign")


def test_two_commands_do_not_meet(here, capfd):
    before = files_of(here)
    with folder.locked("campaign", wait=0):
        for command in (("next", "--k", 5), ("label", "initial.csv")):
            assert run(*command, "--wait", 0.1) == 2
            assert "campaign is in use by another command" in capfd.readouterr().err
    assert files_of(here) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="is root")
@pytest.mark.parametrize("name", ["pool.npy", "initial.csv", "campaign/campaign.json"])
def test_files_that_may_not_be_read_are_named(here, capfd, name):
    Path(name).chmod(0)
    assert run("label", "initial.csv") == 2
    assert name in capfd.readouterr().err
