"""What a campaign's commands cannot take: a sentence, status 2, nothing changed."""

import dataclasses
import json
import os
import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from bad_files import FILES, INIT, NEW, OF_INIT, answers, nothing, write
from some_campaigns import (
    CLASSES,
    files_of,
    read_batch,
    run,
    some_digits,
    write_digits,
)

from iwps_jax.__main__ import COMMANDS as COMMANDS_OF_IWPS
from iwps_jax.app.campaign import folder
from iwps_jax.app.commands import batch_files


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


TASKS = ("--label-studio", "t.json")

TABLE = {
    **OF_INIT,
    # next
    "no campaign": (("next", "--k", 5, *NEW), nothing, "new is not a campaign"),
    "none asked for": (("next", "--k", 0), nothing, "k must be in [1, 654]"),
    "k that is no number": (
        ("next", "--k", "many"),
        nothing,
        "Error parsing --k: ",
    ),
    "a file in the way": (
        ("next", "--k", 5, "--out", "batch.csv"),
        nothing,
        "batch.csv must be a new file: the old one may hold answers",
    ),
    "a folder that is not": (
        ("next", "--k", 5, "--out", "no/b.csv"),
        nothing,
        "no/b.csv must be in a folder that exists",
    ),
    "tasks without images": (
        ("next", "--k", 5, "--label-studio", "t.json"),
        nothing,
        "must be given together",
    ),
    "images without an id": (
        ("next", "--k", 5, "--label-studio", "t.json", "--image-url", "a.png"),
        nothing,
        "must contain {id}",
    ),
    "one file for both": (
        ("next", "--k", 5, "--out", "t.json", *TASKS, "--image-url", "{id}"),
        nothing,
        "--out and --label-studio must differ, both are t.json",
    ),
    # label
    "no answers": (("label", "bad.csv"), nothing, "bad.csv does not exist"),
    "an empty file": (
        ("label", "bad.csv"),
        write("bad.csv", ""),
        "bad.csv must not be empty",
    ),
    "all empty": (("label", "batch.csv"), nothing, "batch.csv must have an answer"),
    "one bad of many": (
        ("label", "bad.csv"),
        answers((0, CLASSES[0]), (1, "skip"), (2, "digit")),
        "bad.csv: line 4: the label of '2' must be digit 0",
    ),
    "a row that is not": (
        ("label", "bad.csv"),
        answers((0, CLASSES[0]), ("684", CLASSES[0])),
        "bad.csv: line 3: every id must be in the pool, got '684'",
    ),
    "a row of another pool": (
        ("label", "bad.csv"),
        write("bad.csv", f"row,id,label\n3,3,{CLASSES[0]}\n5,4,{CLASSES[0]}\n"),
        "bad.csv: line 3: '4' must be row 4 as in the campaign, got 5",
    ),
    "an answer twice": (
        ("label", "bad.csv"),
        answers((5, CLASSES[0]), (6, CLASSES[0]), (5, CLASSES[1])),
        "bad.csv: ids must be distinct, but line 2 and line 4 both have 5",
    ),
    "none asked for, after good answers": (
        ("label", "initial.csv", "--next", 0, "--overwrite-labels"),
        nothing,
        "k must be in [1, 654]",
    ),
    "a batch that is there, after good answers": (
        ("label", "initial.csv", "--next", 5, "--out", "batch.csv"),
        nothing,
        "batch.csv must be a new file: the old one may hold answers",
    ),
    "a folder that is not, after good answers": (
        ("label", "initial.csv", "--next", 5, "--out", "no/b.csv"),
        nothing,
        "no/b.csv must be in a folder that exists",
    ),
    "tasks without images, after good answers": (
        ("label", "initial.csv", "--next", 5, "--label-studio", "t.json"),
        nothing,
        "--label-studio and --image-url must be given together",
    ),
    "images without an id, after good answers": (
        ("label", "initial.csv", "--next", 5, *TASKS, "--image-url", "a.png"),
        nothing,
        "must contain {id}",
    ),
    "a place for no batch": (
        ("label", "initial.csv", "--out", "b.csv"),
        nothing,
        "--out, --label-studio and --image-url need --next",
    ),
    "half of a JSON": (
        ("label", "bad.json"),
        write("bad.json", '[{"da'),
        "bad.json must be JSON: Unterminated string starting at in line 1",
    ),
    "JSON that is no export": (
        ("label", "bad.json"),
        write("bad.json", "{}"),
        "bad.json must hold a list of tasks",
    ),
    "a task without an id": (
        ("label", "bad.json"),
        export({"data": {}}),
        "bad.json: task 1 cannot be read: its data has no sample_id",
    ),
    "annotators disagree": (
        ("label", "bad.json"),
        export(annotated("1", CLASSES[0]), annotated("2", CLASSES[1], CLASSES[2])),
        "bad.json: task 2 cannot be read: its annotations disagree: digit 1, digit 2",
    ),
    "two choices": (
        ("label", "bad.json"),
        export({"sample_id": "1", "choice": {"choices": CLASSES[:2]}}),
        "bad.json: task 1 cannot be read: an annotation must have one choice, got 2",
    ),
    "two tasks that disagree": (
        ("label", "bad.json"),
        export(annotated("1", CLASSES[0]), annotated("1", CLASSES[1])),
        "bad.json: sample 1 must have one answer",
    ),
    "a class of another project": (
        ("label", "bad.json"),
        export(annotated("1", CLASSES[0]), annotated("2", "zebra")),
        "bad.json: task 2: the label of '2' must be digit 0",
    ),
    # status and show
    "no status": (("status", *NEW), nothing, "new is not a campaign"),
    "status into a folder": (
        ("status", "--json", "campaign"),
        nothing,
        "campaign must be a file that can be replaced, is a folder",
    ),
    "no picks": (("show", "no.csv", "--images", "."), nothing, "no.csv does not exist"),
    "no images": (
        ("show", "batch.csv", "--images", "no", "--classes", "a,b"),
        nothing,
        "no does not exist",
    ),
    "an image that is not": (
        ("show", "batch.csv", "--images", ".", "--campaign", "campaign"),
        nothing,
        ". must hold an image for '249', got none",
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
    if not error.startswith("╭"):  # else by tyro, which draws a box around it
        assert "\n" not in error and error[0] != " "
    assert files_of(here) == before
    assert not Path("new").exists()


COMMANDS = [
    (*INIT, *FILES),
    ("next", "--k", 5),
    ("label", "initial.csv", "--overwrite-labels"),
    ("label", "initial.csv", "--next", 5, "--overwrite-labels"),
    ("status", "--json", "now.json"),
    ("predict", "--out", "new.csv"),
    ("export", "--out", "new.npz"),
]


@pytest.mark.parametrize(
    ("call", "command"),
    [*(("fsync", command) for command in COMMANDS), ("open", COMMANDS[0])],
    ids=lambda given: given if isinstance(given, str) else f"{given[0]}-{len(given)}",
)
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


@pytest.mark.parametrize(
    "command",
    [
        ("score", "--logits", "pool.npy", "--k", 2, "--out", "pool.npy"),
        ("score", "--logits", "pool.npy", "--k", 2, "--out", "link.npy"),
        ("check", "--pool", "pool.npy", "--json", "pool.npy"),
        ("check", "--labels", "initial.csv", "--json", "./initial.csv"),
        ("show", "batch.csv", "--images", "pool.npy", "--out", "batch.csv"),
        ("status", "--json", "campaign/campaign.json"),
        ("status", "--head", "campaign/task.npz"),
        ("status", "--json", "campaign/now.json"),
        ("status", "--json", "pool.npy"),
        ("next", "--k", 5, "--out", "campaign/mine.csv"),
        ("show", "batch.csv", "--images", "photos", "--out", "photos/a.png"),
        ("score", "--logits", "pool.npy", "--k", 2, "--out", "campaign/campaign.json"),
        ("check", "--pool", "pool.npy", "--json", "campaign/journal/tip.json"),
        ("status", "--json", "now.json", "--head", "now.json"),
        ("predict", "--out", "pool.npy"),
        ("export", "--out", "campaign/task.npz"),
    ],
)
def test_an_output_does_not_replace_an_input(here, capfd, command):
    Path("link.npy").symlink_to("pool.npy")
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(b"a photo")
    before = files_of(here)
    assert run(*command) == 2
    assert re.search("must (not|differ)", capfd.readouterr().err)
    assert files_of(here) == before


def test_every_command_declares_what_it_writes():
    """Any other option with a path is an input, which no output may replace."""
    for name in COMMANDS_OF_IWPS:
        options = import_module(f"iwps_jax.app.commands.{name}").Options
        fields = {field.name for field in dataclasses.fields(options)}
        assert {*options.writes} <= fields
        writing = {"out", "label_studio", "json"}
        writing |= {"head", "judged_head"} if name == "status" else set()
        assert fields & writing == {*options.writes}


def test_a_batch_whose_file_cannot_be_written_stays_in_the_campaign(
    here, monkeypatch, capfd
):
    def full(path, _):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(batch_files, "create_atomically", full)
        assert run("next", "--k", 5, "--out", "mine.csv") == 2
    said = capfd.readouterr().err
    assert said.startswith("mine.csv: No space left on device. The campaign keeps")
    lost = folder.read_record("campaign").events[-1].rows.tolist()
    assert len(lost) == 5 and not Path("mine.csv").exists()
    assert run("next", "--unanswered", "--out", "mine.csv") == 0
    assert [int(row["row"]) for row in read_batch("mine.csv")][-5:] == lost


def test_other_outputs_are_replaced(here):
    for _ in range(2):
        assert run("status", "--json", "now.json", "--head", "head.npz") == 0
        assert run("check", "--pool", "pool.npy", "--json", "now.json") == 0


def test_two_commands_do_not_meet(here, capfd):
    before = files_of(here)
    with folder.locked("campaign", wait=0):
        for command in (("next", "--k", 5), ("label", "initial.csv")):
            assert run(*command, "--wait", 0.1) == 2
            assert "campaign is in use by process" in capfd.readouterr().err
    assert files_of(here) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="is root")
@pytest.mark.parametrize("name", ["pool.npy", "initial.csv", "campaign/campaign.json"])
def test_files_that_may_not_be_read_are_named(here, capfd, name):
    Path(name).chmod(0)
    assert run("label", "initial.csv") == 2
    assert name in capfd.readouterr().err
