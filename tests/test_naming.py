"""What rows and classes are called: one rule, whoever asks."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iwps_jax.app import naming
from iwps_jax.app.campaign import labels_of, skipped_of, start, tell
from iwps_jax.app.commands.answers import note_answers
from iwps_jax.app.commands.show_cards import Known, _rows
from iwps_jax.app.files.picks import Answer
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.gallery.contents import Contents

NUMBERS = np.array([str(row) for row in range(60)], np.dtypes.StringDType())
NAMES = np.array(["7", "07", "größe", "", "a,b"], np.dtypes.StringDType())


@given(st.text(alphabet="0179٣²-+ _e.", max_size=25))
def test_numbers_are_those_that_are_written_as_themselves(text):
    try:
        expected = int(text) if text == str(int(text)) and int(text) >= 0 else None
    except ValueError:
        expected = None
    if expected is not None and expected >= 10**naming.DIGITS:
        expected = None
    assert naming.number_of(text) == expected


def test_a_number_of_many_digits_is_none():
    assert naming.number_of("9" * 9999) is None  # Python itself reads 4300


@pytest.mark.parametrize("ids", [None, NAMES])
def test_rows_are_found_by_what_they_are_called(ids):
    rows = np.array([4, 0, 2])
    called = naming.ids_of(ids, rows)
    assert all(type(name) is str for name in called)
    np.testing.assert_array_equal(naming.rows_of(ids, 5, called), rows)
    assert naming.rows_of(ids, 5, []).shape == (0,)
    with pytest.raises(naming.AnswerError, match="in the pool, got '٣'") as caught:
        naming.rows_of(ids, 5, ["7" if ids is not None else "1", "٣", "x"])
    assert caught.value.id == "٣"


def test_an_id_is_no_number_where_rows_have_names():
    np.testing.assert_array_equal(naming.rows_of(NAMES, 5, ["07", "7"]), [1, 0])
    with pytest.raises(naming.AnswerError, match="got '0'"):
        naming.rows_of(NAMES, 5, ["0"])


@pytest.mark.parametrize("ids", [None, NUMBERS])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(("55.000", "55"), ("5.5E+01", "55"), ("55.5", None), ("60.0", None)),
        *(("1e999", None), ("x.0", None)),
    ],
)
def test_a_row_that_became_a_decimal_number_is_guessed(ids, name, meant):
    guess = f"; it may be '{meant}', which a spreadsheet" if meant else r"\.$"
    with pytest.raises(naming.AnswerError, match=re.escape(f"got '{name}'") + guess):
        naming.rows_of(ids, 60, ["3", name])


@pytest.mark.parametrize("ids", [None, NUMBERS])
def test_a_whole_number_with_a_point_is_that_number(ids):
    assert naming.rows_of(ids, 60, ["3", "55.0", "7.00"]).tolist() == [3, 55, 7]
    for twice in (["55", "55.0"], ["55.0", "55.00"]):
        with pytest.raises(naming.AnswerError, match="ids must be distinct"):
            naming.rows_of(ids, 60, twice)


def test_a_batch_of_a_spreadsheet_is_taken():
    answers = [Answer("2.0", "cat", 2, row="2.0"), Answer("1", "cat", 3, row="1.00")]
    state = start(np.eye(4), classes=("cat", "dog"))
    assert labels_of(note_answers(state, Path("b.csv"), answers)) == {1: 0, 2: 0}
    known = Known(Contents(4, lambda places, side: []), np.eye(4))
    assert _rows(known, {"2.0": "2.0", "1": "1.0"}) == [2, 1]
    wrong = [Answer("2.0", "cat", 2, row="3.0")]
    with pytest.raises(FileError, match="'2.0' must be row 2 as in the campaign"):
        note_answers(state, Path("b.csv"), wrong)


def test_an_id_of_that_very_text_is_no_other():
    ids = np.array(["55", "55.0"])
    assert naming.rows_of(ids, 2, ["55.0"]).tolist() == [1]
    assert naming.rows_of(ids, 2, ["55.0", "55"]).tolist() == [1, 0]


def test_a_long_name_is_quoted_in_part():
    long = "9" * 5000
    for wanted in ([long], [long, long]):
        with pytest.raises(naming.AnswerError) as caught:
            naming.rows_of(None, 5, wanted)
        assert len(str(caught.value)) < 300 and caught.value.id == long
    with pytest.raises(naming.AnswerError) as caught:
        naming.classes_of(("cat", "dog"), [long], [long])
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        *(("Dog", "dog"), ("dgo", "dog"), ("d\u200bog", "dog"), ("skp", "skip")),
        *(
            ("cafe", "Caf\u00e9"),
            ("  CAF\u00c9", "Caf\u00e9"),
            ("bird", None),
            ("x", None),
        ),
    ],
)
def test_the_nearest_class_is_suggested(label, meant):
    end = f": did you mean '{meant}'?" if meant else "."
    with pytest.raises(naming.AnswerError) as caught:
        naming.classes_of(("cat", "dog", "Caf\u00e9"), ["a"], [label])
    assert str(caught.value).endswith(f"skip or unsure, got {label!r}{end}")


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize("mine", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("theirs", [COMPOSED, DECOMPOSED])
def test_two_spellings_of_unicode_are_one_name(mine, theirs):
    ids = np.array(["cafe", mine], np.dtypes.StringDType())
    assert naming.rows_of(ids, 2, [theirs]).tolist() == [1]
    assert naming.ids_of(ids, np.array([1])) == [mine]
    assert naming.classes_of(("cafe", mine), ["x"], [theirs]) == [1]
    with pytest.raises(naming.AnswerError, match="distinct, got 'caf.+' 2 times"):
        naming.rows_of(ids, 2, [mine, "cafe", COMPOSED if mine != COMPOSED else mine])


def test_two_classes_of_an_old_campaign_stay_two():
    classes = (DECOMPOSED, COMPOSED)
    assert naming.classes_of(classes, ["x", "y"], classes) == [0, 1]


@given(st.text("a-é\0\t\r \u00a0\u2028\ud800\udfff", max_size=4))
def test_what_has_no_flaw_survives_stripping_and_encoding(text):
    if naming.flaw_of(text) is None:
        assert text.strip() == text != "" and "\0" not in text
        assert text.encode().decode() == text


@given(st.lists(st.text("aAé \u200b\u00a0\ufeff\u202e", max_size=3), unique=True))
def test_lookalikes_are_one_to_the_eye(names):
    def seen(name):
        kept = (" " if letter == "\u00a0" else letter for letter in name)
        kept = "".join(kept).translate(dict.fromkeys(map(ord, "\u200b\ufeff\u202e")))
        return " ".join(kept.lower().split())

    groups = len({seen(name) for name in names})
    pairs = naming.lookalikes(names)
    assert len(pairs) == len(names) - groups
    assert all(seen(one) == seen(other) for one, other in pairs)


def test_text_is_a_name_and_an_int_a_number():
    labels = ["1", "0", 1, np.int64(0), "SKIP", "Skip", "Unsure", "", None]
    found = naming.classes_of(("1", "0"), "abcdefghi", labels)
    assert found == [0, 1, 1, 0, -1, -1, -2, None, None]
    for label in ("2", "00", " 0", 2, -1, 1.0, np.nan, True):
        with pytest.raises(
            naming.AnswerError, match="of 'b' must be 1, 0, skip or unsure"
        ):
            naming.classes_of(("1", "0"), "ab", ["1", label])


def test_who_cannot_decide_names_no_class():
    assert naming.is_unsure("UNSURE") and not naming.is_class("unsure")
    assert not naming.is_unsure("unsure?") and naming.is_class("unsure?")
    # A campaign that had such a class before keeps it.
    assert naming.classes_of(("unsure", "b"), "xy", ["unsure", "UNSURE"]) == [0, -2]


POOL = np.arange(12.0, dtype=np.float32).reshape(6, 2)


def test_a_campaign_takes_and_gives_the_same_names():
    names = ["x" * 2000, *"bcdef"]
    state = start(POOL, POOL[:2], np.array([0, 1]), classes=("1", "0"), ids=names)
    assert state.task.ids.tolist() == names and state.task.ids.nbytes < 1000
    state = tell(state, names[:3], ["0", 1, "SKIP"])
    assert labels_of(state) == {0: 1, 1: 1} and skipped_of(state) == [2]


@pytest.mark.parametrize("flawed", ["", " a", "a\n", "a\0b", "a\udcff"])
def test_a_campaign_refuses_names_that_no_file_would_keep(flawed):
    labels = np.array([0, 1])
    with pytest.raises(ValueError, match="ids: row 2 must"):
        start(POOL, POOL[:2], labels, classes=("a", "b"), ids=[*"xy", flawed, *"zuv"])
    with pytest.raises(ValueError, match="class"):
        start(POOL, POOL[:2], labels, classes=("a", flawed))
    with pytest.raises(ValueError, match="6 distinct names"):
        start(POOL, POOL[:2], labels, classes=("a", "b"), ids=["é", "e\u0301", *"zuvw"])


def test_rows_that_nobody_can_learn_from_can_only_be_skipped():
    """Even while there is no head, else there never would be one."""
    pool = np.concatenate([POOL] * 4000).astype(np.float64)
    pool[3] = 0, np.nan  # not among those that `start` looks at
    pool[5] = 1e300, 0
    state = start(pool, POOL[:2], np.array([0, 1]), classes=("a", "b"))
    for row in ("3", "5"):
        with pytest.raises(
            naming.AnswerError, match=rf"'{row}' \(row {row}\) are not"
        ) as e:
            tell(state, ["0", row], ["a", "a"])
        assert e.value.id == row
    state = tell(state, ["0", "1", "3", "5"], ["a", "a", "skip", None])
    assert labels_of(state) == {0: 0, 1: 0} and skipped_of(state) == [3]
