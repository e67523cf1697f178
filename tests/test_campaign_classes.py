"""Classes and settings that change while a campaign goes on."""

import numpy as np
import pytest
from some_campaigns import run

from iwps_jax.app.campaign import (
    add_class,
    ask,
    change_settings,
    folder,
    labels_of,
    merge_classes,
    open_classes,
    outlook,
    rename_class,
    retire_class,
    start,
    tell,
    unsure_of,
)
from iwps_jax.app.campaign.state import counts_as, holdout_of, last_answers, task_of
from iwps_jax.app.naming import AnswerError
from iwps_jax.refusal import Refusal

RNG = np.random.default_rng(0)
CENTERS = np.array([[0, 0], [9, 0], [0, 9], [9, 9]], np.float32)
TRUTH = np.arange(80) % 4
POOL = (CENTERS[TRUTH] + RNG.normal(size=(80, 2))).astype(np.float32)
NAMES = ("a", "b", "c")


@pytest.fixture
def begun():
    """Three classes, four rows of each labeled; the fourth kind has no class yet."""
    judged = np.flatnonzero(TRUTH < 3)[:12]
    state = start(POOL, POOL[judged], TRUTH[judged], classes=NAMES, method="margin")
    rows = np.flatnonzero(TRUTH < 3)[20:32]
    return tell(state, [*map(str, rows)], [NAMES[TRUTH[row]] for row in rows])


def round_trip(state, tmp_path):
    np.save(tmp_path / "pool.npy", POOL)
    folder.create(
        tmp_path / "campaign", folder.Paths(tmp_path / "pool.npy", None), state
    )
    return folder.read(tmp_path / "campaign")


def test_a_retired_class_that_is_added_again_has_its_labels_back(tmp_path):
    state = merge_classes(start(POOL, classes=NAMES, is_open=True), "b", "a")
    state = tell(state, ["0", "1"], ["a", "b"])
    retired = retire_class(state, "a")
    assert labels_of(retired) == {} and labels_of(state) == {0: 0, 1: 0}
    for name in ("b", "c"):  # merged, and there
        with pytest.raises(Refusal, match="that no class had"):
            add_class(retired, name)
    back = round_trip(add_class(retired, "a"), tmp_path)
    assert labels_of(back) == labels_of(state)
    assert counts_as(back).tolist() == [0, 0, 2] and open_classes(back) == ("a", "c")
    assert last_answers(back) == [(0, 0), (1, 1)]  # as they were given
    with pytest.raises(Refusal, match="that no class had"):
        add_class(back, "a")


def test_a_class_may_be_added_and_is_learned(begun, tmp_path):
    state = add_class(begun, "d")
    rows = np.flatnonzero(TRUTH == 3)[:4]
    state = tell(state, [*map(str, rows)], ["d"] * 4)
    assert set(labels_of(state).values()) == {0, 1, 2, 3}
    assert state.head.kernel.shape == (2, 4)
    found = round_trip(state, tmp_path)
    assert task_of(found).classes == (*NAMES, "d") and found.task.classes == NAMES
    assert labels_of(found) == labels_of(state)
    np.testing.assert_array_equal(found.head.kernel, state.head.kernel)
    asked, _ = ask(found, 20)
    assert 3 in asked.events[-1].predicted


def test_a_merged_class_counts_as_the_other(begun, tmp_path):
    state = round_trip(merge_classes(begun, "c", "a"), tmp_path)
    labels = labels_of(state)
    assert [*labels.values()].count(0) == 8 and 2 not in labels.values()
    assert set(holdout_of(state).labels.tolist()) == {0, 1}
    assert outlook(state).labels_per_class.tolist() == [8, 4, 0]
    row = str(np.flatnonzero(TRUTH == 2)[-1])
    assert labels_of(tell(state, [row], ["c"]))[int(row)] == 0
    again = merge_classes(add_class(state, "d"), "a", "b")
    assert counts_as(again).tolist() == [1, 1, 1, 3]


def test_a_retired_class_counts_no_more(begun, tmp_path):
    state = round_trip(retire_class(begun, "b"), tmp_path)
    assert set(labels_of(state).values()) == {0, 2}
    assert set(holdout_of(state).labels.tolist()) == {0, 2}
    row = str(np.flatnonzero(TRUTH == 1)[-1])
    with pytest.raises(AnswerError, match="must not be 'b', a retired class"):
        tell(state, [row], ["b"])
    labeled = {row for row, label in labels_of(begun).items() if label == 1}
    _, ids = ask(state, 80 - 12)  # what was answered is not asked for again
    assert labeled.isdisjoint(map(int, ids))


def test_a_renamed_class_keeps_its_labels(begun, tmp_path):
    state = round_trip(rename_class(begun, "b", "café"), tmp_path)
    assert labels_of(state) == labels_of(begun)
    assert task_of(state).classes == ("a", "café", "c")
    row = str(np.flatnonzero(TRUTH == 1)[-1])
    assert labels_of(tell(state, [row], ["café"]))[int(row)] == 1
    # Files of answers that were made before have the older name.
    assert labels_of(tell(state, [row], ["b"]))[int(row)] == 1


def test_settings_hold_for_the_next_batch(begun, tmp_path):
    state, _ = ask(begun, 2)
    state = change_settings(state, method="entropy", rarity=0.5)
    state = round_trip(state, tmp_path)
    state, _ = ask(state, 2)
    batches = [event.method for event in state.events if hasattr(event, "scores")]
    assert batches == ["margin", "entropy"]
    assert state.task.method == "margin" and task_of(state).method == "entropy"
    assert (state.task.rarity, task_of(state).rarity) == (1.0, 0.5)


REFUSED = {
    "a name that is there": (add_class, ("a",), "no class had, got 'a'"),
    "a name of before": (
        lambda s, n: add_class(rename_class(s, "c", "x"), n),
        ("c",),
        "no class had",
    ),
    "no text": (add_class, ("",), "a class must have a name"),
    "an answer": (add_class, ("Skip",), "is an answer"),
    "no class": (rename_class, ("x", "y"), "unknown class 'x'"),
    "into itself": (merge_classes, ("a", "a"), "into another one"),
    "an unknown target": (merge_classes, ("a", "z"), "unknown class 'z'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused(begun, case):
    change, names, sentence = REFUSED[case]
    with pytest.raises(Refusal, match=sentence):
        change(begun, *names)


def test_two_classes_must_be_left(begun):
    state = retire_class(begun, "a")
    with pytest.raises(Refusal, match="two or more classes"):
        merge_classes(state, "b", "c")
    with pytest.raises(Refusal, match="unknown class 'a'"):
        retire_class(state, "a")
    with pytest.raises(Refusal, match="unknown method 'magic'"):
        change_settings(state, method="magic")


def test_the_page_has_the_classes_of_now(begun, tmp_path, capsys):
    """Also for a batch that was handed out before the classes changed."""
    state, _ = ask(begun, 6)
    state = rename_class(add_class(retire_class(state, "b"), "fish"), "c", "café")
    row = str(np.flatnonzero(TRUTH == 3)[-1])
    state = tell(state, [row], ["fish"])
    round_trip(state, tmp_path)
    picks = state.events[1].rows.tolist()
    lines = "".join(f"{r},{r},{n}\n" for r, n in zip(picks, "abcabc", strict=True))
    (tmp_path / "old.csv").write_text(f"id,row,predicted\n{lines}")
    np.save(tmp_path / "images.npy", np.zeros((80, 4, 4), np.uint8))
    files = ("--images", tmp_path / "images.npy", "--campaign", tmp_path / "campaign")
    page = tmp_path / "page.html"
    assert run("show", tmp_path / "old.csv", *files, "--out", page) == 0
    html = page.read_text()
    assert '"classes": ["a", "caf' in html or '"classes":["a","caf' in html
    assert "fish" in html


def test_another_answer_is_a_correction_with_the_one_before(begun, tmp_path):
    first = [*labels_of(begun)][:3]
    names = [*map(str, first), "0"]
    state = tell(begun, names, ["b", "a", "unsure", "skip"], annotator="Ann")
    corrected, answered = state.events[-2:]
    known = labels_of(begun)
    is_changed = [known[first[0]] != 1, known[first[1]] != 0, True]
    expected = [row for row, changed in zip(first, is_changed, strict=True) if changed]
    assert corrected.rows.tolist() == expected
    assert corrected.previous.tolist() == [known[row] for row in expected]
    assert answered.previous is None and answered.rows.tolist()[-1] == 0
    assert unsure_of(state) == [first[2]]
    found = round_trip(state, tmp_path)
    assert [event.annotator for event in found.events] == ["", "Ann", "Ann"]
    assert found.events[-2].previous.tolist() == corrected.previous.tolist()


def test_annotators_are_checked(begun):
    with pytest.raises(Refusal, match="one name per id"):
        tell(begun, ["0", "1"], ["skip", "skip"], annotator=["x"])
    with pytest.raises(Refusal, match="an annotator's name must be Unicode"):
        tell(begun, ["0"], ["skip"], annotator="\udcff")


def test_each_answer_may_have_an_annotator_of_its_own(begun):
    state = tell(
        begun, ["0", "1", "4"], ["skip", "", "skip"], annotator=["x", "y", "z"]
    )
    new = state.events[len(begun.events) :]
    assert [(event.annotator, event.rows.tolist()) for event in new] == [
        ("x", [0]),
        ("z", [4]),
    ]
