"""The benchmark of methods that compare rows, at a size of seconds."""

import json

import numpy as np
import pytest

from benchmarks import batch_methods
from iwps_jax import methods


def test_every_method_of_the_table_that_compares_rows_is_measured():
    some = {"coreset", "badge", "iwps_batch"}
    assert some <= {*batch_methods.TABLE}
    for name in batch_methods.TABLE:
        assert methods.ROWS[name].selects_by_features


def test_a_method_is_given_what_its_row_names():
    _, model = batch_methods.make_problem(50, 4, 3)
    known = batch_methods.known_to(methods.BADGE, model)
    assert known.head is not None
    assert known.holdout is None and known.labeled is None
    known = batch_methods.known_to(methods.CORESET, model)
    np.testing.assert_array_equal(known.labeled.labels, model.labeled.labels)


def test_both_calls_and_the_memory_are_kept(monkeypatch, tmp_path, capsys):
    # In this process: another one would only import everything again.
    monkeypatch.setattr(
        batch_methods, "measure_method", lambda *given: batch_methods._measured(*given)
    )
    out = tmp_path / "numbers.json"
    sizes = "--pool-size 60 --dim 4 --classes 3 --k 5 --peer-pool 40".split()
    batch_methods.main(["--methods", "coreset", *sizes, "--out", str(out)])
    found = json.loads(out.read_text())["results"]
    coreset = found["3 classes"]["coreset"]
    assert coreset["first_call"]["cpu_seconds"] > 0
    assert len(coreset["later_calls"]) == 1
    assert found["peers"]["coreset"].keys() == {"ours", "scikit-activeml"}
    # The same command goes on where it stopped.
    monkeypatch.delattr(batch_methods, "measure_method")
    monkeypatch.delattr(batch_methods, "compare_peers")
    batch_methods.main(["--methods", "coreset", *sizes, "--out", str(out)])
    assert json.loads(out.read_text())["results"] == found
    assert "60 x 4, 3 classes" in capsys.readouterr().out


def test_a_method_that_refuses_is_named_with_its_reason(monkeypatch):
    def refuse(*_):
        raise ValueError("classes must be fewer.")

    # The first pick loads libraries, by another method.
    monkeypatch.setattr(batch_methods, "_clocked", refuse)
    found = batch_methods._measured("badge", 40, 4, 3, 5, 1)
    assert found == {"not_measured": "classes must be fewer."}


def test_an_unknown_method_is_refused(capsys):
    with pytest.raises(SystemExit):
        batch_methods.main(["--methods", "entropy"])
    assert "entropy" in capsys.readouterr().err
