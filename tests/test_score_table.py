"""`iwps score`: methods that need the whole pool or several draws, and research."""

from pathlib import Path

import jax
import numpy as np
import pytest
from test_score_methods import (
    CLASSES,
    FILES,
    HEAD,
    LOGITS,
    PROBLEM,
    SIZE,
    K,
    run,
    score,
)
from test_score_methods import here as here

import iwps_jax
from iwps_jax import methods, picking
from iwps_jax.__main__ import main
from iwps_jax.app.campaign import ask, folder
from iwps_jax.app.files.picks import read_picks

FEATURES = PROBLEM["features"]
DRAWN = LOGITS[:, None] + np.random.default_rng(0).normal(size=(SIZE, 5, 4))


@pytest.fixture
def drawn(here):
    """A file of the logits of five dropout masks."""
    np.save("draws.npy", DRAWN.astype(np.float32))


def rows_of(picks):
    return [int(pick.row) for pick in picks]


def test_k_center_covers_what_is_not_labeled(here):
    np.save("labeled.npy", np.arange(0, SIZE, 3))
    asked = ("--pool", "pool.npy", "--method", "coreset", "--labeled", "labeled.npy")
    picks = score(*asked)
    expected = iwps_jax.k_center_greedy(FEATURES, K, np.arange(SIZE) % 3 == 0)
    assert rows_of(picks) == expected.tolist()
    assert {pick.score for pick in picks} == {""}  # it gives no row a number


def test_badge_draws_by_the_seed_and_says_what_is_predicted(here):
    picks = score(*FILES[:4], "--method", "badge", "--seed", 3, "--explain")
    key = jax.random.fold_in(jax.random.key(3), 0)
    logits = FEATURES @ HEAD["kernel"] + HEAD["bias"]
    assert rows_of(picks) == iwps_jax.badge(key, FEATURES, logits, K).tolist()
    for pick in picks:
        assert pick.predicted == str(LOGITS[int(pick.row)].argmax())


def test_random_picks_beside_draws(drawn):
    picks = score("--logits", "draws.npy", "--method", "random,bald")
    alone = score("--pool", "pool.npy", "--method", "random")
    assert rows_of(picks[:K]) == rows_of(alone)


def test_a_training_set_without_a_holdout_recommends_herding(here, capfd):
    picks = score(*FILES[:4], "--training-set", "training.npz")
    assert {pick.method for pick in picks} == {"balanced_herding"}
    assert "counts each class as much" in capfd.readouterr().out


def test_the_rarity_states_the_aim(here):
    asked = (*FILES[:4], "--training-set", "training.npz", "--method")
    by_default = score(*asked, "balanced_herding,pool_herding")
    alike = score(*asked, "balanced_herding", "--rarity", 0)
    assert rows_of(alike) == rows_of(by_default[K:]) != rows_of(by_default[:K])


def test_draws_of_logits_are_scored(drawn):
    log_probs = jax.nn.log_softmax(np.float32(np.moveaxis(DRAWN, 1, 0)))
    picks = score("--logits", "draws.npy", "--method", "bald,mc_dropout")
    for number, score_fn in enumerate((iwps_jax.bald, iwps_jax.mc_dropout)):
        best = np.argsort(-np.asarray(score_fn(log_probs)), kind="stable")[:K]
        assert rows_of(picks[number * K :][:K]) == best.tolist()


def test_research_alternatives_pick_beside_the_methods_they_stand_for(here):
    names = "margin,margin_kmeans,iwps_weighted"
    asked = (*FILES, "--chunk-size", 64)
    picks = score(*asked, "--method", names)
    assert [pick.method for pick in picks] == [
        name for name in names.split(",") for _ in range(K)
    ]
    by_margin = {pick.row for pick in score(*asked, "--method", "margin", k=10 * K)}
    assert {pick.row for pick in picks[K : 2 * K]} < by_margin


def test_a_pool_alone_is_covered(drawn, capfd):
    assert run("--pool", "pool.npy", k=K) == 0
    assert "The method was max_herding, by default" in capfd.readouterr().out
    key = jax.random.fold_in(jax.random.key(0), 0)
    expected = iwps_jax.max_herding(key, FEATURES, K, np.zeros(SIZE, bool))
    assert rows_of(read_picks("picks.csv")) == expected.tolist()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--logits", "draws.npy", "--method", "margin"), "the axes [pool, classes]"),
        (
            ("--logits", "logits.npy", "--method", "bald"),
            "but logits.npy has 2 axes",
        ),
        ((*FILES, "--method", "bald"), "--method bald needs --logits."),
        (("--logits", "logits.npy", "--method", "badge"), "needs --pool and --head."),
        ((*FILES, "--method", "coreset", "--folder", "f"), "coreset does not scan the"),
        (
            ("--logits", "draws.npy"),
            "has 3 axes, which mc_dropout, variation_",
        ),
        ((*FILES, "--method", "badg"), "unknown method 'badg': did you mean 'badge'?"),
        (("--pool", "bad.npy", *FILES[2:4], "--method", "badge"), "bad.npy: "),
        (("--pool", "bad.npy", "--method", "coreset"), "row of the pool: 7."),
        (("--pool", "bad.npy", *FILES[2:4], "--method", "random"), "picked rows [7]."),
        ((*FILES, "--method", "badge", "--steps", 2), "--steps applies only to error_"),
        (
            ("--pool", "itertools:count", "--method", "coreset"),
            "--method coreset needs a pool with a length, got an iterator.",
        ),
    ],
)
def test_what_a_method_cannot_do_is_refused(drawn, capfd, arguments, sentence):
    bad = FEATURES.copy()
    bad[7] = np.nan
    np.save("bad.npy", bad)
    assert run(*arguments, k=SIZE if "random" in arguments else K) == 2
    *before, line = capfd.readouterr().err.strip().splitlines()
    assert sentence in line and all("scoring" in other for other in before)
    assert not Path("picks.csv").exists()


def test_a_pool_that_does_not_fit_is_refused_before_any_scan(here, capfd, monkeypatch):
    monkeypatch.setattr(picking, "free_memory", lambda device: 20_000)

    def no_scan(*_, **__):
        raise AssertionError

    monkeypatch.setattr("iwps_jax.app.commands.score.top_k_of_pool", no_scan)
    assert run(*FILES[:4], "--method", "margin,badge") == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith(
        "pool.npy: badge compares all rows with each other and needs"
    )
    assert "in memory, 38,400 bytes, but only 20,000 are free" in line


def test_help_tells_every_method_and_what_it_needs(capsys):
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    text = capsys.readouterr().out
    for row in methods.ROWS.values():
        assert f"\n    {row.name}" in text


# Campaigns


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("--method", "bald"), "--method bald needs logits of several dropout masks"),
        (("--method", "bagde"), "unknown method 'bagde': did you mean 'badge'?"),
        (("--method", "margin", "--steps", "4"), "--steps does not apply to margin."),
    ],
)
def test_campaigns_by_what_cannot_be_are_refused(here, capfd, asked, sentence):
    with pytest.raises(SystemExit) as ended:
        main(["init", "--pool", "pool.npy", "--holdout", "holdout.npz", *asked])
    assert ended.value.code == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert sentence in line


@pytest.mark.parametrize("method", ["coreset", "badge", "power_margin"])
def test_campaigns_pick_by_any_method_of_the_table(here, capsys, method):
    labels = LOGITS.argmax(1)
    lines = [f"{row},{CLASSES[labels[row]]}" for row in range(0, 40)]
    Path("labels.csv").write_text("\n".join(["id,label", *lines]) + "\n")
    command = ("--labels", "labels.csv", "--classes", ",".join(CLASSES), "--method")
    files = ("init", "--pool", "pool.npy", "--holdout", "holdout.npz")
    with pytest.raises(SystemExit) as ended:
        main([*files, *command, method])
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        main(["next", "--k", "6", "--out", "next.csv"])
    assert ended.value.code == 0, capsys.readouterr().err
    picks = read_picks("next.csv")
    rows = rows_of(picks)
    assert len({*rows}) == 6 and min(rows) >= 40
    assert {pick.score for pick in picks} == {""} or method == "power_margin"
    again = ask(folder.read("campaign"), 6)[1]
    assert not {*map(str, rows)} & {*again}
