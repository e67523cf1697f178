"""The rounds of any study: plain functions over NumPy states, stopped anywhere.

The study here learns nothing: its model is the round it was fitted in, its score the
row, and what it measures follows from how many rows are labeled.
"""

import itertools
import shutil

import numpy as np
import pytest
from test_run import read, without_seconds

from experiments.engine import checkpoint, run_folder
from experiments.engine import rounds as rounds_module
from experiments.engine.progress import Progress
from experiments.engine.rounds import Rounds, RunError, run_rounds
from experiments.reporting.measures import MIOU
from iwps_jax import loop

METHODS, SEEDS, ROUNDS, PICKS, POOL = ("random", "iwps"), 2, 2, 3, 12
NUM_SAVES = len(METHODS) * (ROUNDS + 1)
CALLS = {
    "train": NUM_SAVES,
    "measure": NUM_SAVES,
    "acquire": len(METHODS) * ROUNDS,
    "describe": len(METHODS) * ROUNDS,
    "compile": len(METHODS),
    "before save": NUM_SAVES,
    "after save": NUM_SAVES,
    "append": 2 * NUM_SAVES,
    "write": 2 * len(METHODS),
}


class Killed(BaseException):
    """What stops a run here; nothing handles it."""


def first_state():
    return loop.LoopState(
        round=np.zeros(SEEDS, np.int32),
        labeled=np.arange(POOL) < np.array([[2], [2]]),
        acquired=np.full((SEEDS, ROUNDS * PICKS), -1, np.int32),
        train_state={"weights": np.full((SEEDS, 2), 0.1, np.float64)},
    )


def some_rounds(event=lambda name: None, num_nonfinite=0):
    """A study of host functions; `event` hears of every call."""

    def train(state):
        event("train")
        weights = state.train_state["weights"] * 1.1 + state.round[:, None]
        return state._replace(train_state={"weights": weights})

    def measure(state):
        event("measure")
        return [
            {"miou": float(w.sum()) / 10, "class_iou": [0.5, None]}
            for w in state.train_state["weights"]
        ]

    def acquire(method, state):
        event("acquire")
        order = -1 if method == "iwps" else 1
        picks = np.stack([np.flatnonzero(~m)[::order][:PICKS] for m in state.labeled])
        acquired, labeled = state.acquired.copy(), state.labeled.copy()
        for seed, rows in enumerate(picks):
            acquired[seed, state.round[seed] * PICKS :][:PICKS] = rows
            labeled[seed, rows] = True
        bad = np.array([0, num_nonfinite if method == "iwps" else 0])
        info = loop.RoundInfo(state.round, labeled.sum(1), picks, bad)
        return state._replace(
            round=state.round + 1, labeled=labeled, acquired=acquired
        ), info

    def describe(method, state, info):
        event("describe")
        return [
            (
                {"wrong_rate": float(weights[0]), "minority_rate": None},
                {"ids": rows.tolist(), "by": method},
            )
            for weights, rows in zip(
                state.train_state["weights"], info.picks, strict=True
            )
        ]

    return Rounds(
        seeds=range(SEEDS),
        first_state=first_state(),
        compile=lambda method, acquires: event("compile"),
        train=train,
        measure=measure,
        acquire=acquire,
        describe=describe,
    )


def run(out, rounds):
    progress = Progress(METHODS, ROUNDS, "made up", measure=MIOU)
    out.mkdir(exist_ok=True)
    run_rounds(out, METHODS, ROUNDS, rounds, progress)


def results(out):
    """Picks as bytes, metrics without the time they took, last states, steps kept."""
    states = {}
    for name in METHODS:
        with checkpoint.open_folder(run_folder.checkpoints(out, name)) as manager:
            steps = set(manager.all_steps())
            _, state, _ = checkpoint.restore_latest(manager, first_state())
        states[name] = steps, [np.asarray(leaf).tolist() for leaf in state[:3]]
        states[name] += (state.train_state["weights"].tolist(),)
    metrics = without_seconds(read(out, "metrics"))
    return (out / "picks.jsonl").read_bytes(), metrics, states


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "out"
    run(out, some_rounds())
    return out


def test_lines_hold_what_the_study_said_in_a_fixed_order(finished):
    metrics, picks = read(finished, "metrics"), read(finished, "picks")
    assert [(m["method"], m["round"], m["seed"]) for m in metrics] == list(
        itertools.product(METHODS, range(ROUNDS + 1), range(SEEDS))
    )
    for line in metrics:
        assert list(line) == [
            *("method", "seed", "round", "num_labeled", "miou", "class_iou"),
            *("wrong_rate", "minority_rate", "fit_seconds", "score_seconds"),
            *("test_seconds", "compile_seconds"),
        ]
        assert line["num_labeled"] == 2 + PICKS * line["round"]
        assert line["class_iou"] == [0.5, None]
        is_last = line["round"] == ROUNDS
        assert (
            (line["wrong_rate"] is None) == (line["score_seconds"] is None) == is_last
        )
    # The state that picked tells its rate: 0.1 * 1.1, and that * 1.1 + 1.
    rates = [m["wrong_rate"] for m in metrics if m["seed"] == 0][:ROUNDS]
    np.testing.assert_allclose(rates, [0.11, 0.121 + 1], rtol=1e-12)
    assert [list(line) for line in picks] == [
        ["method", "seed", "round", "ids", "by"]
    ] * (len(METHODS) * ROUNDS * SEEDS)
    assert [p["ids"] for p in picks if p["method"] == "iwps" and p["seed"] == 1] == [
        [11, 10, 9],
        [8, 7, 6],
    ]


def test_arrays_of_the_host_keep_their_precision_in_a_checkpoint(finished):
    """float64, which a device array would have rounded."""
    with checkpoint.open_folder(finished / "checkpoints" / "iwps") as manager:
        _, state, _ = checkpoint.restore_latest(manager, first_state())
    weights = 0.1
    for round_ in range(ROUNDS + 1):
        weights = weights * 1.1 + round_
    np.testing.assert_array_equal(
        state.train_state["weights"], np.full((2, 2), weights)
    )


@pytest.mark.parametrize("steps", [1, 2])
def test_damaged_checkpoints_change_no_pick(finished, tmp_path, steps):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    folder = run_folder.checkpoints(out, METHODS[-1])
    newest = sorted(folder.iterdir(), key=lambda path: int(path.name))[-steps:]
    for step in newest:
        files = [path for path in step.rglob("*") if path.is_file()]
        largest = max(files, key=lambda path: path.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 1
        largest.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged") as warned:
        run(out, some_rounds())
    named = sorted(str(warning.message).split()[1] for warning in warned)
    assert named == [step.name for step in newest]
    assert results(out) == results(finished)


class Bomb:
    """Stops a run at call `number` of its kind; counts them all without one."""

    def __init__(self, place=None, number=None):
        self.place, self.number, self.counts = place, number, dict.fromkeys(CALLS, 0)

    def __call__(self, name):
        self.counts[name] += 1
        if (name, self.counts[name]) == (self.place, self.number):
            raise Killed

    def install(self, patch):
        save, append, write = (
            checkpoint.save,
            run_folder.append_lines,
            run_folder.write_lines,
        )

        def bombed_save(*arguments):
            self("before save")
            save(*arguments)
            self("after save")

        def torn_append(path, new):
            new = list(new)
            try:
                self("append")
            except Killed:
                append(path, new)  # as far as a kill let it come
                path.write_bytes(path.read_bytes()[:-9])
                raise
            append(path, new)

        def bombed_write(*arguments):
            self("write")
            write(*arguments)

        patch.setattr(rounds_module.checkpoint, "save", bombed_save)
        patch.setattr(rounds_module.run_folder, "append_lines", torn_append)
        patch.setattr(rounds_module.run_folder, "write_lines", bombed_write)


def test_every_call_is_made_as_often_as_the_rounds_need_it(tmp_path, monkeypatch):
    bomb = Bomb()
    bomb.install(monkeypatch)
    run(tmp_path / "out", some_rounds(bomb))
    assert bomb.counts == CALLS


# All of the first method, and the first of the second, after a finished one. In full
# within the first method, and where the files are as they were at a call before.
AS_BEFORE = ("measure", "describe", "compile", "before save")
POINTS = [
    pytest.param(
        *(place, n),
        marks=pytest.mark.full if 1 < n <= most // 2 or place in AS_BEFORE else (),
    )
    for place, most in CALLS.items()
    for n in range(1, most // 2 + 2)
]


@pytest.fixture(scope="module")
def expected(finished):
    return results(finished)


@pytest.mark.parametrize(("place", "number"), POINTS)
def test_a_run_stopped_anywhere_goes_on_to_the_same_files(
    expected, tmp_path, monkeypatch, place, number
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        bomb = Bomb(place, number)
        bomb.install(patch)
        with pytest.raises(Killed):
            run(out, some_rounds(bomb))
    again = Bomb()
    run(out, some_rounds(again))
    assert results(out) == expected
    # What had been saved was not done again.
    saved = bomb.counts["before save"] - (place == "before save")
    assert again.counts["train"] == NUM_SAVES - saved


def test_a_finished_run_calls_nothing_of_the_study_again(finished):
    bomb = Bomb()
    before = results(finished)
    run(finished, some_rounds(bomb))
    assert not any(bomb.counts.values())
    assert results(finished) == before


def test_scores_that_are_not_finite_stop_the_run_before_anything_is_labeled(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RunError, match="iwps gave 4 scores .* in round 0; nothing"):
        run(out, some_rounds(num_nonfinite=4))
    assert {line["method"] for line in read(out, "metrics")} == {"random"}
    assert {path.name for path in (out / "checkpoints" / "iwps").iterdir()} == set()
