"""Damaged files of every format, the same ones each time: `python -m tests.fuzz`."""

from collections import Counter

import numpy as np
import pytest

from iwps_jax.refusal import Refusal
from tests.fuzz import __main__ as command
from tests.fuzz.judge import FAULTS, READ, REFUSED, Verdict, files_of, judge, same
from tests.fuzz.readers import READERS

FITTED = ("campaign",)  # to make one takes JAX a while


def test_damaged_files_are_refused_or_read_as_their_own_library_reads_them(tmp_path):
    names = [name for name in READERS if name not in FITTED]
    kinds = Counter()
    for number in range(210):
        reader = names[number % len(names)]
        verdict = judge(reader, 0, number, tmp_path / "x")
        assert verdict.kind in (REFUSED, READ), (reader, number, verdict)
        kinds[verdict.kind] += 1
    assert min(kinds[REFUSED], kinds[READ]) > 40


def test_an_input_is_the_same_everywhere():
    for reader in READERS:
        if reader not in FITTED:
            files, is_changed = files_of(reader, 3, 5)
            assert files_of(reader, 3, 5) == (files, is_changed)
    inputs = [files_of("npy", 3, number) for number in range(100)]
    assert len({str(files) for files, _ in inputs}) > 80
    assert 80 < sum(is_changed for _, is_changed in inputs) < 100


WRONG = {  # a reader with a fault, and the verdict on it
    "traceback": lambda path: 1 / 0,
    "different": lambda path: np.load(path) + 1,
}


@pytest.mark.parametrize("kind", WRONG)
def test_faults_are_found(monkeypatch, tmp_path, kind):
    row = READERS["pool"]._replace(read=WRONG[kind], own=np.load)
    monkeypatch.setitem(READERS, "pool", row)
    judged = [judge("pool", 0, number, tmp_path / "x").kind for number in range(30)]
    assert kind in judged


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("no.", "sentence"),
        ("pool.npy" + "x" * 1000, "sentence"),
        ("pool.npy needs more memory than is free.", "memory"),
        ("pool.npy is wrong.", "stricter"),
    ],
)
def test_faulty_refusals_are_found(monkeypatch, tmp_path, sentence, kind):
    def refuse(path):
        raise Refusal(sentence)

    monkeypatch.setitem(READERS, "pool", READERS["pool"]._replace(read=refuse))
    assert kind in {judge("pool", 0, n, tmp_path / "x").kind for n in range(60)}


@pytest.mark.parametrize(
    ("ours", "theirs", "are_same"),
    [
        (np.array([np.nan]), np.array([np.nan]), True),
        (np.float32([1]), np.float64([1]), False),
        ([np.arange(2), "a"], [np.arange(2), "a"], True),
        ([np.arange(2), "a"], [np.arange(3), "a"], False),
        ({"a": np.ones(1)}, {"b": np.ones(1)}, False),
    ],
)
def test_results_are_compared_with_their_types(ours, theirs, are_same):
    assert same(ours, theirs) == are_same


def test_the_command_counts_keeps_and_tells(monkeypatch, tmp_path, capsys):
    class Worker:
        def judge(self, reader, seed, number):
            kinds = {3: Verdict("hang"), 7: Verdict("different", "1 instead of 2")}
            return kinds.get(number, Verdict(REFUSED))

        def stop(self):
            pass

    monkeypatch.setattr(command, "Worker", Worker)
    arguments = ["--reader", "npy", "--faults", str(tmp_path)]
    assert command.main([*arguments, "--inputs", "9"]) == 1
    assert "2 faults" in capsys.readouterr().out
    kept = {
        path.parent.name: path.read_text() for path in tmp_path.glob("*/verdict.txt")
    }
    assert kept.keys() == {"npy-0-3", "npy-0-7"}
    assert kept["npy-0-7"].startswith(f"different: {FAULTS['different']}\n\n1 instead")
    files, _ = files_of("npy", 0, 3)
    assert (tmp_path / "npy-0-3" / "a.npy").read_bytes() == files["a.npy"]
    assert command.main([*arguments, "--inputs", "3"]) == 0
