"""Classes that grow with the answers, and `iwps classes`."""

import csv
import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest

from iwps_jax.__main__ import main
from iwps_jax.app.campaign import folder, labels_of, learn, open_classes
from iwps_jax.app.commands import holdout_files, init, new_classes
from iwps_jax.app.files.picks import read_answers
from iwps_jax.app.naming import close_to

NAMES = ("zero", "one", "two", "three")


def run(*arguments):
    """The exit status of a command."""
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments)])
    return end.value.code


def written(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "label"), *rows])
    return path


def clouds():
    """The classes of a pool of four clouds, which it writes."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(64) % len(NAMES))
    pool = 3 * np.eye(len(NAMES))[labels] + rng.normal(size=(64, len(NAMES)))
    np.save("pool.npy", pool.astype(np.float32))
    return labels


@pytest.fixture
def truth(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return clouds()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with a campaign and its dozen labels."""
    path = tmp_path_factory.mktemp("kept")
    with chdir(path):
        labels = clouds()
        rows = [(row, NAMES[labels[row]]) for row in range(12)]
        assert run("init", "--pool", "pool.npy") == 0
        assert run("label", written("first.csv", rows)) == 2  # nobody asked for them
        assert run("label", "first.csv", "--overwrite-labels") == 0
    return path


@pytest.fixture
def begun(kept, truth, capsys):
    """The present folder is a copy of it."""
    shutil.copytree(kept, ".", dirs_exist_ok=True)
    capsys.readouterr()
    return truth


def known():
    return open_classes(folder.read_record("campaign"))


def test_answers_name_new_classes(begun, capsys):
    seen = [NAMES[label] for label in begun[:12]]
    assert known() == tuple(dict.fromkeys(seen))
    assert run("classes") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(known())
    assert lines[1].split() == [str(seen.count(seen[0])), seen[0]]


def test_a_campaign_with_given_classes_refuses_others_with_the_remedy(truth, capsys):
    assert run("init", "--pool", "pool.npy", "--classes", "cat,dog") == 0
    path = written("a.csv", [(0, "cat"), (1, "owl")])
    given = ("label", path, "--overwrite-labels")
    assert run(*given) == 2
    said = capsys.readouterr().err
    assert "line 3" in said and "iwps classes --add" in said
    assert run("classes", "--add", "owl") == 0
    assert run(*given) == 0 and known() == ("cat", "dog", "owl")


@pytest.mark.parametrize("name", ["Zero", "zreo", "zeros", "zerо", "skp", "nan"])
def test_a_name_close_to_a_class_is_refused_where_nobody_can_be_asked(
    begun, capsys, name
):
    path = written("a.csv", [(20, "zero"), (21, name)])
    before = known()
    assert run("label", path, "--overwrite-labels") == 2
    assert "--new-classes" in capsys.readouterr().err
    assert known() == before
    assert run("label", path, "--overwrite-labels", "--new-classes") == 0
    assert known() == (*before, name)


@pytest.mark.parametrize("reply", ["", "n", "q"])
def test_on_a_terminal_one_is_asked(begun, capsys, monkeypatch, reply):
    monkeypatch.setattr(new_classes, "is_terminal", lambda: True)
    asked = []
    monkeypatch.setattr("builtins.input", lambda text: [reply, asked.append(text)][0])
    path = written("a.csv", [(20, "zero"), (21, "zreo"), (22, "zreo")])
    before = known()
    status = run("label", path, "--overwrite-labels")
    assert len(asked) == 1 and "'zreo'" in asked[0] and "'zero'" in asked[0]
    assert status == (2 if reply == "q" else 0)
    labels = labels_of(folder.read_record("campaign"))
    if reply == "":
        assert known() == before and labels[21] == labels[20]
    elif reply == "n":
        assert known() == (*before, "zreo") and labels[21] == len(before)
    else:
        assert known() == before and 21 not in labels


def test_free_text_is_not_taken_for_classes(begun, capsys):
    rows = [(row, f"a remark about number {row * 37}") for row in range(30, 60)]
    assert run("label", written("a.csv", rows), "--overwrite-labels") == 2
    assert "30 new names in 30 answers" in capsys.readouterr().err


def test_one_command_changes_several_classes_or_none(begun, capsys):
    before = known()
    first, second, third, *_ = before
    both = ("--rename", first, "nought", "--merge", second, third)
    assert run("classes", "--add", first, *both) == 2
    assert known() == before
    assert run("classes", "--add", "ten", "--add", "eleven", *both) == 0
    gone = {first, second}
    assert {*known()} == {*before} - gone | {"ten", "eleven", "nought"}
    assert run("classes", "--retire", "nought") == 0 and "nought" not in known()
    assert run("check", "--campaign", "campaign") == 0


def test_no_head_is_fitted_unless_answers_are_taken(begun, monkeypatch):
    fitted = []
    monkeypatch.setattr(learn, "_fitted", fitted.append)
    first, second, *_ = known()
    assert run("classes", "--add", "ten", "--merge", first, second) == 0
    assert run("label", "first.csv") == 2 and not fitted  # nothing new
    path = written("a.csv", [(20, "eleven"), (21, "twenty")])
    assert run("label", path, "--overwrite-labels", "--new-classes") == 0
    assert len(fitted) == 1


def test_the_last_class_of_an_open_campaign_may_go(truth, capsys):
    assert run("init", "--pool", "pool.npy") == 0
    assert run("classes", "--add", "one two", "--add", "three") == 0
    assert run("classes", "--merge", "three", "one two") == 0
    assert "now count as one two. No command undoes this" in capsys.readouterr().out
    assert run("classes", "--retire", "one two") == 0 and known() == ()
    assert "classes --add 'one two' brings them back." in capsys.readouterr().out
    assert run("next", "--k", "5") == 0
    assert run("classes", "--add", "one two") == 0 and known() == ("one two",)


def test_two_names_are_close_if_one_edit_makes_them_one():
    assert close_to("katze", ["Hund", "Katze"]) == "Katze"
    assert close_to("ca", ["cat"]) is None  # too short to tell
    assert close_to("class 12", ["class 1", "class 2", "class 11"]) is None
    assert close_to("hound", ["sound", "house"]) == "sound"
    assert close_to("abcd", ["badc"]) is None
    assert close_to("type b", ["type a"]) is None
    assert close_to("tpye a", ["type a"]) == "type a"
    assert close_to("newyork", ["new york"]) == "new york"


@pytest.mark.parametrize("labels", [False, True])
def test_labels_that_exist_name_the_classes(truth, labels, capsys):
    given = ["--labels", written("old.csv", [(0, "b"), (1, "10"), (2, "9"), (3, "a")])]
    assert run("init", "--pool", "pool.npy", *given * labels) == 0
    assert known() == (("9", "10", "a", "b") if labels else ())


def test_labels_that_exist_are_checked_like_answers(truth, capsys, monkeypatch):
    path = Path(written("old.csv", [(0, "cat"), (1, "Cat"), (2, "cat")]))
    given = ("init", "--pool", "pool.npy", "--labels", path)
    assert run(*given) == 2 and not Path("campaign").exists()
    said = capsys.readouterr().err
    assert "'Cat' ('cat'?). Correct the file; --new-classes takes all names" in said
    assert run(*given, "--classes", "cat,Cat", "--new-classes") == 2
    taken = init.Options(pool=Path("pool.npy"), labels=path, new_classes=True)
    told = read_answers(path)
    assert holdout_files._names_in(taken, path, told) == (("Cat", "cat"), told)
    monkeypatch.setattr(new_classes, "is_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda text: "")
    assert run(*given) == 0 and known() == ("cat",)
    assert labels_of(folder.read_record("campaign")) == {0: 0, 1: 0, 2: 0}


def test_an_older_name_of_a_class_is_understood(begun):
    first, *_ = known()
    assert run("classes", "--rename", first, "nought") == 0
    path = written("a.csv", [(20, first), (21, "nought")])
    assert run("label", path, "--overwrite-labels") == 0
    labels = labels_of(folder.read_record("campaign"))
    assert labels[20] == labels[21] == 0 and first not in known()


def test_a_number_in_another_form_is_asked_about(truth, capsys):
    assert run("init", "--pool", "pool.npy") == 0
    path = written("a.csv", [(0, "1"), (1, "1.0"), (2, "2")])
    assert run("label", path, "--overwrite-labels") == 2
    assert "'1.0' ('1'?)" in capsys.readouterr().err


def test_a_lost_batch_is_named(begun, capsys):
    assert run("next", "--k", "5", "--out", "lost.csv") == 0
    assert run("label", "first.csv") == 2
    said = capsys.readouterr().err
    assert "5 samples wait: iwps next --unanswered writes them again." in said
