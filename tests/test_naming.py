"""What rows and classes are called: one rule, whoever asks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iwps_jax.app import naming
from iwps_jax.app.campaign import labels_of, skipped_of, start, tell

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
