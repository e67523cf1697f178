"""`iwps score`: every method, ids and class names, and the reasons of its picks."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from array_files import write_safetensors

import iwps_jax
from iwps_jax import explanations, methods
from iwps_jax.__main__ import main
from iwps_jax.app.files.picks import read_picks
from iwps_jax.method import Model
from iwps_jax.picking import bind_score, draw_rows
from iwps_jax.types import Head, Holdout

SIZE, K = 240, 12
PROBLEM = reference.head_problem(7, SIZE, 8, 4, 15, 2.0)
HEAD = {name: PROBLEM[name] for name in ("kernel", "bias")}
LOGITS = reference.forward([tuple(HEAD.values())], PROBLEM["features"])
CLASSES = ("cat", "dog", "great tit", "owl")
FILES = ("--pool", "pool.npy", "--head", "head.npz", "--holdout", "holdout.npz")
TRAINING = reference.head_problem(8, 30, 8, 4, 9, 2.0)
ONE_STEP = ("--steps", 1, "--learning-rate", 0.5)
ALL = "iwps,iwps_app,entropy,margin,least_confidence"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with features, logits, head and holdout set."""
    monkeypatch.chdir(tmp_path)
    np.save("pool.npy", PROBLEM["features"])
    np.save("logits.npy", np.float32(LOGITS))
    np.savez("head.npz", **HEAD)
    np.savez(
        "holdout.npz",
        features=PROBLEM["holdout_features"],
        labels=PROBLEM["holdout_labels"],
    )
    np.savez(
        "training.npz",
        features=TRAINING["holdout_features"],
        labels=TRAINING["holdout_labels"],
    )
    Path("ids.txt").write_text("".join(f"img/{row:03}.png\n" for row in range(SIZE)))
    return tmp_path


def run(*arguments, k=K):
    with pytest.raises(SystemExit) as caught:
        main(["score", *map(str, arguments), "--k", str(k)])
    return caught.value.code


def score(*arguments, k=K):
    """The picks of a run that succeeds."""
    assert run(*arguments, k=k) == 0
    return read_picks("picks.csv")


def expected_scores():
    layers = [(PROBLEM["kernel"], PROBLEM["bias"])]
    judged = PROBLEM["features"], PROBLEM["holdout_features"], PROBLEM["holdout_labels"]
    return {
        "iwps": reference.look_ahead_changes(layers, *judged).mean(axis=1),
        "iwps_app": reference.iwps_app(layers, *judged),
        "entropy": reference.entropy(LOGITS),
        "margin": reference.margin(LOGITS),
        "least_confidence": reference.least_confidence(LOGITS),
    }


def test_every_method_of_several_picks_its_best(here):
    picks = score(*FILES, "--method", ALL, "--ids", "ids.txt", "--folder", "scan")
    assert [pick.method for pick in picks] == [
        m for m in ALL.split(",") for _ in range(K)
    ]
    for method, scores in expected_scores().items():
        mine = [pick for pick in picks if pick.method == method]
        rows = [int(pick.row) for pick in mine]
        assert rows == np.argsort(-scores)[:K].tolist()
        found = [float(pick.score) for pick in mine]
        np.testing.assert_allclose(found, scores[rows], rtol=1e-4)
        assert [pick.id for pick in mine] == [f"img/{row:03}.png" for row in rows]
        assert json.loads(Path("scan", method, "scan.json").read_text())["k"] == K


def test_a_head_too_large_for_bait_is_refused(here, capfd):
    np.savez("large.npz", kernel=np.zeros((8, 501), np.float32), bias=np.zeros(501))
    assert run(*FILES[:2], "--head", "large.npz", "--method", "bait") == 2
    assert "at most 4,000 weights, got 4,008" in capfd.readouterr().err


def test_a_labeled_row_that_is_a_training_sample_too_counts_once(here):
    """As where a round's labels joined the training set."""
    features, labels = PROBLEM["features"][:20], np.arange(20) % 4
    np.savez("joined.npz", features=features, labels=labels)
    np.save("labeled.npy", np.arange(20))
    asked = (*FILES, "--method", "bait", "--labeled", "labeled.npy")
    once = [pick.row for pick in score(*asked)]
    assert [pick.row for pick in score(*asked, "--training-set", "joined.npz")] == once


@pytest.mark.parametrize("labeled", [0, 100])
def test_a_whole_batch_is_picked_among_the_best_by_iwps(here, labeled):
    """Beside another method, and never a labeled row."""
    np.save("labeled.npy", np.arange(labeled))
    asked = ("--method", "margin,iwps_batch", "--training-set", "training.npz")
    more = ("--labeled", "labeled.npy", "--seed", 3, *ONE_STEP, "--explain")
    picks = score(*FILES, *asked, *more)[K:]
    scores = np.asarray(iwps_jax.iwps_last_layer(**PROBLEM, steps=1, learning_rate=0.5))
    best = np.asarray(iwps_jax.top_k(scores, 10 * K, np.arange(SIZE) >= labeled))
    evidence = iwps_jax.Evidence(
        PROBLEM["features"][best],
        *HEAD.values(),
        PROBLEM["holdout_features"],
        TRAINING["holdout_features"],
        TRAINING["holdout_labels"],
        PROBLEM["features"][draw_rows(3, 0, np.arange(SIZE) >= labeled, 300)],
    )
    picked = iwps_jax.iwps_batch(jax.random.key(0), scores[best], evidence, K)
    rows = best[np.asarray(picked)]
    assert [int(pick.row) for pick in picks] == rows.tolist()
    found = [float(pick.score) for pick in picks]
    np.testing.assert_allclose(found, scores[rows], rtol=1e-5)
    assert {pick.method for pick in picks} == {"iwps_batch"}
    layers = [(PROBLEM["kernel"], PROBLEM["bias"])]
    judged = PROBLEM["holdout_features"], PROBLEM["holdout_labels"]
    changes = reference.look_ahead_changes(
        layers, PROBLEM["features"], *judged, steps=1, learning_rate=0.5
    )
    assert_hurts(picks, changes, 1e-4)


def test_as_many_as_there_are_are_all_picked(here):
    asked = (*FILES, "--method", "iwps_batch", "--training-set", "training.npz")
    picks = score(*asked, k=SIZE)
    assert sorted(int(pick.row) for pick in picks) == list(range(SIZE))


TOGETHER = ("--method", "iwps_batch")
TRAINED = (*FILES, *TOGETHER, "--training-set")


@pytest.mark.parametrize(
    ("arguments", "k", "sentence"),
    [
        ((*FILES, *TOGETHER), K, "--method iwps_batch needs --training-set."),
        (
            (*FILES[:2], *TOGETHER),
            K,
            "iwps_batch needs --head and --holdout and --training-set.",
        ),
        (
            (*FILES, "--training-set", "training.npz", "--method", "iwps"),
            K,
            "--training-set applies only to balanced_margin, coreset, ",
        ),
        ((*TRAINED, "no.npz"), K, "no.npz does not exist."),
        ((*TRAINED, "head.npz"), K, "features and labels, got"),
        ((*TRAINED, "narrow.npz"), K, "narrow.npz must have 8 columns"),
        ((*TRAINED, "more.npz"), K, "more.npz: labels must be in [0, 4) for"),
        (
            (*TRAINED, "holdout.npz"),
            K,
            "sample 0 is a copy of its row 0; copies in all: 15.",
        ),
        ((*TRAINED, "training.npz"), 0, "--k must be at least 1, got 0."),
        (
            (*TRAINED, "training.npz"),
            SIZE + 1,
            "at most the 240 that may be picked, the rows of",
        ),
        (
            ("--pool", "itertools:count", *FILES[2:], *TRAINED[6:], "training.npz"),
            K,
            "--method iwps_batch needs a pool with a length, got an iterator.",
        ),
    ],
)
def test_a_whole_batch_without_what_it_needs_is_refused(
    here, capfd, arguments, k, sentence
):
    np.savez("narrow.npz", features=np.zeros((9, 5)), labels=np.zeros(9, int))
    np.savez("more.npz", features=np.zeros((9, 8)), labels=np.arange(9) % 7)
    assert run(*arguments, k=k) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and sentence in lines[0]
    assert not Path("picks.csv").exists()


def test_logits_score_as_the_features_they_are_of(here):
    names = "entropy,margin,least_confidence"
    of_features = score(*FILES[:4], "--method", names)
    of_logits = score("--logits", "logits.npy", "--method", names)
    assert [pick.row for pick in of_logits] == [pick.row for pick in of_features]


def random_scores(seed, rows):
    return bind_score(methods.RANDOM, Model(seed=seed))((rows, None))


def test_random_is_of_the_seed_and_the_row_alone(here):
    asked = ("--pool", "pool.npy", "--method", "random")
    first = [pick.row for pick in score(*asked)]
    assert [pick.row for pick in score(*asked, "--chunk-size", 16)] == first
    other = [pick.row for pick in score(*asked, "--seed", 1)]
    assert len({*first, *other}) > K
    rows = jnp.arange(SIZE)
    values = np.asarray(random_scores(1, rows))
    assert other == [str(row) for row in np.argsort(-values)[:K]]


def test_random_draws_are_uniform_over_the_rows():
    values = np.concatenate(
        [random_scores(seed, jnp.arange(1000)) for seed in range(4)]
    )
    assert reference.stats.kstest(values, "uniform").pvalue > 0.01


def test_steps_and_rate_are_those_of_the_look_ahead(here):
    picks = score(*FILES, *ONE_STEP)
    layers = [(PROBLEM["kernel"], PROBLEM["bias"])]
    judged = PROBLEM["features"], PROBLEM["holdout_features"], PROBLEM["holdout_labels"]
    changes = reference.look_ahead_changes(layers, *judged, steps=1, learning_rate=0.5)
    scores = changes.mean(axis=1)
    assert [int(pick.row) for pick in picks] == np.argsort(-scores)[:K].tolist()


@pytest.mark.parametrize("kind", ["int8.npy", "f64.npz", "bf16.safetensors"])
def test_a_pool_of_any_number_type_is_scored(here, kind):
    features = {
        "int8.npy": np.round(4 * PROBLEM["features"]).astype(np.int8),
        "f64.npz": PROBLEM["features"].astype(np.float64),
        "bf16.safetensors": PROBLEM["features"].astype(jnp.bfloat16),
    }[kind]
    if kind.endswith(".npy"):
        np.save(kind, features)
    elif kind.endswith(".npz"):
        np.savez(kind, features=features)
    else:
        write_safetensors(kind, "BF16", features.shape, features.tobytes())
    picks = score(*FILES, "--pool", kind, "--method", "margin")
    logits = np.float32(features) @ PROBLEM["kernel"] + PROBLEM["bias"]
    expected = np.argsort(-reference.margin(logits))[:K]
    assert [int(pick.row) for pick in picks] == expected.tolist()


# Labeled rows


def test_labeled_rows_are_named_by_number_or_id(here):
    asked = (*FILES, "--method", "margin", "--ids", "ids.txt")
    best = score(*asked)
    np.save("labeled.npy", [int(pick.row) for pick in best[:5]])
    lines = [f"{pick.id},cat" for pick in best[:4]] + [f"{best[4].id},skip"]
    lines.append(f"{best[5].id},")  # not answered yet
    Path("answers.csv").write_text("\n".join(["id,label", *lines]))
    Path("listed.csv").write_text("\n".join(["id", *(pick.id for pick in best[:5])]))
    for labeled in ("labeled.npy", "answers.csv", "listed.csv"):
        assert score(*asked, "--labeled", labeled)[: K - 5] == best[5:]
    rows = "\n".join(["id", *(pick.row for pick in best[:5])])
    Path("rows.csv").write_text(rows)
    without_ids = score(*FILES, "--method", "margin", "--labeled", "rows.csv")
    assert [pick.row for pick in without_ids][: K - 5] == [p.row for p in best[5:]]


# Reasons


def assert_hurts(picks, changes, rtol):
    """Who is hurt most, by the oracle's changes [pool, holdout]."""
    for pick in picks:
        of_pick = changes[int(pick.row)]
        expected = [m for m in np.argsort(-of_pick)[:3] if of_pick[m] > 0]
        assert [int(row) for row in pick.hurts.split()] == expected
        found = [float(by) for by in pick.hurts_by.split()]
        np.testing.assert_allclose(found, of_pick[expected], rtol=rtol)


def test_picks_are_explained_by_whom_they_hurt(here):
    asked = ("--method", "iwps,margin,iwps_app", "--explain", "--classes")
    picks = score(*FILES, *asked, ",".join(CLASSES))
    probs = reference.softmax(LOGITS)
    for pick in picks:
        row = int(pick.row)
        assert pick.predicted == CLASSES[probs[row].argmax()]
        assert float(pick.confidence) == pytest.approx(probs[row].max(), rel=1e-5)
    layers = [(PROBLEM["kernel"], PROBLEM["bias"])]
    judged = PROBLEM["holdout_features"], PROBLEM["holdout_labels"]
    changes = reference.look_ahead_changes(layers, PROBLEM["features"], *judged)
    assert_hurts(picks[: 2 * K], changes, 1e-4)
    kernel = reference.gradient_kernel(layers, PROBLEM["features"], None, *judged)
    assert_hurts(picks[2 * K :], -kernel, 1e-4)


def test_without_a_holdout_nobody_is_hurt(here):
    asked = ("--method", "margin", "--explain")
    for files in (FILES[:4], ("--logits", "logits.npy")):
        for pick in score(*files, *asked):
            assert pick.predicted == str(LOGITS[int(pick.row)].argmax())
            assert pick.hurts == pick.hurts_by == ""


def test_a_helpful_prediction_hurts_nobody():
    """Changes that are not positive are left out, all of them if need be."""
    features = np.eye(2, dtype=np.float32)
    head = Head(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    holdout = Holdout(np.eye(2, dtype=np.float32)[:1], np.zeros(1, np.int32))
    why = explanations.explain(features, model=Model(head=head, holdout=holdout))
    assert why.hurts.shape == (2, 1)
    assert why.hurts_by[0, 0] < 0 < why.hurts_by[1, 0]


@pytest.mark.parametrize(
    ("asked", "more"),
    [
        (("--pool", "pool.npy", "--method", "random"), ""),
        (("--logits", "logits.npy", "--method", "margin"), ",predicted,confidence"),
        ((*FILES, "--method", "random"), ",predicted,confidence"),
        ((*FILES, "--explain"), ",predicted,confidence,hurts,hurts_by"),
        (("--pool", "pools:parts", *FILES[2:4], "--method", "margin"), ""),
    ],
)
def test_columns_are_those_that_can_be_had(here, monkeypatch, asked, more):
    monkeypatch.syspath_prepend(here)
    Path("pools.py").write_text(
        "import numpy as np\ndef parts():\n    yield np.load('pool.npy')\n"
    )
    for pick in score(*asked):
        if more:
            assert pick.predicted == str(LOGITS[int(pick.row)].argmax())
    assert Path("picks.csv").read_text().splitlines()[0] == "method,id,row,score" + more


def test_scores_are_written_with_no_more_digits_than_they_have(here):
    rows = np.arange(SIZE)
    values = np.asarray(random_scores(0, rows))
    for pick in score("--pool", "pool.npy", "--method", "random", k=SIZE):
        assert np.float32(pick.score) == values[int(pick.row)]
        assert len(pick.score) <= len("1.2345678e-10")


BOTH = Model(
    head=Head(PROBLEM["kernel"], PROBLEM["bias"]),
    holdout=Holdout(PROBLEM["holdout_features"], PROBLEM["holdout_labels"]),
    labeled=Holdout(TRAINING["holdout_features"], TRAINING["holdout_labels"]),
)


@pytest.mark.parametrize(
    "row", [r for r in methods.ROWS.values() if r.score], ids=lambda row: row.name
)
def test_scores_are_compiled_once_for_all_models_of_a_shape(row):
    """As `top_k_of_pool` needs it: arrays are arguments, nothing else changes."""
    score_fn = bind_score(row, BOTH)
    leaves = jax.tree.leaves((score_fn.args, score_fn.keywords))
    arrays = [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]
    sees_head = bool({"features", "logits"} & {*row.reads})
    numbers = "numbers" in row.reads  # with the number of the batch
    assert len(arrays) == 2 * sees_head + 2 * ("holdout" in row.needs) + numbers


def test_unknown_methods_and_missing_models_are_refused():
    with pytest.raises(ValueError, match="method must be one of random, .* got blad"):
        methods.row_of("blad")
    with pytest.raises(ValueError, match="iwps_app needs a head and a holdout set"):
        bind_score(methods.IWPS_APP, Model())
