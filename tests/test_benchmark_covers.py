"""The benchmark of covers: a real run at a tiny size."""

import jax
import numpy as np
import pytest
from benchmark_runs import run
from scipy.spatial.distance import cdist

from benchmarks import covers
from benchmarks.batch_methods import make_problem
from iwps_jax.scores.head import head_logits


@pytest.mark.full
def test_a_cover_takes_fewer_passes_than_picks(tmp_path):
    sizes = ("--pool-sizes", 20_000, "--dim", 8, "--classes", 3, "--k", 20)
    numbers = ("--num-targets", 500, 20_000)
    few, all_ = run(covers, tmp_path, *sizes, *numbers)["results"]
    assert few["rows"] == 20_000 and few["k"] == 20 and few["targets"] == 500
    assert 1 <= few["passes"] < 10 and len(few["cpu_seconds"]) == 1
    assert 0.8 < few["share"] <= 1 == all_["share"]


@pytest.mark.full
def test_the_gain_in_cover_is_that_of_its_definition():
    pool, model = make_problem(50, 4, 3)
    labeled = np.asarray(model.labeled.features)
    picks = np.array([7, 3])
    with jax.numpy_rank_promotion("allow"):
        logits = np.asarray(head_logits(pool, *model.head), float)
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    second, first = np.sort(probs, 1)[:, -2:].T
    weights = (1 - (first - second)) * (probs / (1 + probs.sum(0))).sum(1)

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def cover_of(rows):
        return np.exp(-(cdist(unit(pool), unit(rows)) ** 2) / width**2).max(1)

    apart = cdist(unit(labeled), unit(labeled))
    width = np.where(apart > 0, apart, np.inf).min(1).mean()
    both = np.concatenate([labeled, pool[picks]])
    expected = (weights * (cover_of(both) - cover_of(labeled))).sum()
    found = covers.gain_in_cover(pool, labeled, model.head, picks)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_more_picks_than_rows_are_refused(capsys):
    with pytest.raises(SystemExit):
        covers.main(["--pool-sizes", "5", "--k", "6"])
    assert "k must be at most 5" in capsys.readouterr().err
