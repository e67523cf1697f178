"""The append-only journal: killed anywhere, changed anywhere, written by several."""

import json
import os

import pytest

from iwps_jax.app.campaign import journal
from iwps_jax.app.files.unreadable import FileError

ROOT = "r" * 64


def contents(first, last):
    return [{"event": "é" * (n % 3), "n": n} for n in range(first, last + 1)]


@pytest.fixture
def five(tmp_path):
    """A journal of five records in a folder of its own."""
    folder = tmp_path / "journal"
    folder.mkdir()
    journal.begin(folder, ROOT)
    journal.append(folder, ROOT, 0, contents(1, 2))
    journal.append(folder, ROOT, 2, contents(3, 5))
    return folder


def numbers(folder):
    return [record["n"] for record in journal.read(folder, ROOT)]


def segment(folder):
    return folder / "00000001.jsonl"


def test_records_come_back_in_order_with_their_numbers(five):
    found = journal.read(five, ROOT)
    assert [record["number"] for record in found] == [1, 2, 3, 4, 5]
    assert [record["event"] for record in found] == ["é", "éé", "", "é", "éé"]
    assert len({record["chain"] for record in found}) == 5


def test_every_byte_counts(five):
    """A bit that flips anywhere is noticed, and the first bad event is named."""
    content = segment(five).read_bytes()
    ends = [i for i, byte in enumerate(content) if byte == ord("\n")]
    for place in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        segment(five).write_bytes(flipped)
        event = sum(end < place for end in ends) + 1
        with pytest.raises(FileError, match=rf"event {event} (is damaged|is missing)"):
            journal.read(five, ROOT)


def test_any_first_bytes_are_an_earlier_state(five):
    """Without the tip, which says that there was more."""
    content = segment(five).read_bytes()
    with_tip = (five / "tip.json").read_bytes()
    for size in range(0, len(content), 7):
        segment(five).write_bytes(content[:size])
        (five / "tip.json").write_bytes(with_tip)
        left = content[:size].count(b"\n")
        with pytest.raises(FileError, match=f"event {left + 1} is missing"):
            journal.read(five, ROOT)
        (five / "tip.json").unlink()
        assert numbers(five) == list(range(1, left + 1))
        journal.append(five, ROOT, left, contents(left + 1, left + 1))
        assert numbers(five) == list(range(1, left + 2))


def test_a_tip_may_lag_behind(five):
    """A writer was killed between the records and the tip."""
    tip = (five / "tip.json").read_bytes()
    journal.append(five, ROOT, 5, contents(6, 6))
    (five / "tip.json").write_bytes(tip)
    assert numbers(five) == [1, 2, 3, 4, 5, 6]
    journal.append(five, ROOT, 6, contents(7, 7))
    assert numbers(five) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("swap", [(0, 1), (1, 3)])
def test_events_that_change_places_are_noticed(five, swap):
    lines = segment(five).read_bytes().splitlines(keepends=True)
    first, second = swap
    lines[first], lines[second] = lines[second], lines[first]
    segment(five).write_bytes(b"".join(lines))
    with pytest.raises(FileError, match=f"event {first + 1} is damaged"):
        journal.read(five, ROOT)


def test_another_root_is_another_journal(five):
    with pytest.raises(FileError, match="event 1 is damaged"):
        journal.read(five, "s" * 64)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"events": "x"}', "[" * 10_000])
def test_a_damaged_tip_is_named(five, text):
    (five / "tip.json").write_text(text)
    with pytest.raises(FileError, match=r"tip\.json is damaged"):
        journal.read(five, ROOT)


def test_a_tip_of_another_journal_is_named(five):
    tip = json.loads((five / "tip.json").read_text())
    (five / "tip.json").write_text(json.dumps(tip | {"chain": "0" * 64}))
    with pytest.raises(FileError, match=r"tip\.json is of another campaign"):
        journal.read(five, ROOT)


def test_only_who_has_seen_all_may_write(five):
    before = segment(five).read_bytes()
    for known in (4, 6, 0):
        with pytest.raises(FileError, match="another command has changed"):
            journal.append(five, ROOT, known, contents(9, 9))
    assert segment(five).read_bytes() == before


def test_segments_hold_all_records_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 400)
    journal.begin(tmp_path, ROOT)
    for known in range(20):
        journal.append(tmp_path, ROOT, known, contents(known + 1, known + 1))
    assert numbers(tmp_path) == list(range(1, 21))
    names = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert 4 <= len(names) <= 10 and names[0] == "00000001.jsonl"
    (tmp_path / names[1]).unlink()
    lost = int(names[1].split(".")[0])
    with pytest.raises(FileError, match=f"event {lost} is missing"):
        journal.read(tmp_path, ROOT)


def test_half_a_line_in_a_full_segment_is_removed(five, monkeypatch):
    with segment(five).open("ab") as file:
        file.write(b'{"number":6,"ev')  # of a writer that was killed
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 100)
    assert numbers(five) == [1, 2, 3, 4, 5]
    journal.append(five, ROOT, 5, contents(6, 6))
    assert numbers(five) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "change", [{"bytes": 5}, {"events": 0}, {"bytes": 10**6}, {"events": 1}]
)
def test_a_tip_that_does_not_fit_is_named_before_anyone_writes(five, change):
    tip = json.loads((five / "tip.json").read_text())
    first = json.loads(segment(five).read_text().splitlines()[0])["chain"]
    chain = {0: ROOT, 1: first}.get(change.get("events"), tip["chain"])
    (five / "tip.json").write_text(json.dumps(tip | change | {"chain": chain}))
    with pytest.raises(FileError, match=r"tip\.json does not fit .* delete it"):
        journal.read(five, ROOT)


def test_copies_of_other_programs_are_no_segments(five):
    for name in ("00000001 (copy).jsonl", "._00000001.jsonl", "00000001.jsonl~"):
        (five / name).write_text("something else")
    assert numbers(five) == [1, 2, 3, 4, 5]


def test_a_segment_that_was_only_begun_is_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1)
    journal.begin(tmp_path, ROOT)
    journal.append(tmp_path, ROOT, 0, contents(1, 1))
    (tmp_path / "00000002.jsonl").write_bytes(b'{"number":2,"ev')  # and was killed
    assert numbers(tmp_path) == [1]
    journal.append(tmp_path, ROOT, 1, contents(2, 2))
    assert numbers(tmp_path) == [1, 2]


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["write", "fsync"])
def test_what_cannot_be_written_leaves_nothing(five, monkeypatch, name, error):
    before = segment(five).read_bytes()

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        with pytest.raises(type(error)):
            journal.append(five, ROOT, 5, contents(6, 8))
    assert segment(five).read_bytes() == before
    journal.append(five, ROOT, 5, contents(6, 6))
    assert numbers(five) == [1, 2, 3, 4, 5, 6]
