import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import iwps_jax
from experiments import models
from experiments.classification import training
from experiments.engine import checkpoint
from iwps_jax import loop

POOL, TAKE = 8, 2
SCORES = np.array([0.1, 0.9, 0.5, 0.7, 0.9, 0.2, 0.3, 0.8], np.float32)
RANKED = [1, 4, 7, 3, 2, 6, 5, 0]  # ties to the lower row
NOTHING = jnp.zeros(POOL, bool)


def remember(key, train_state, labeled):
    """A fit whose train state is exactly what it was told."""
    del key, train_state
    return labeled


def fixed_scores(key, train_state):
    del key, train_state
    return jnp.asarray(SCORES)


def best(key, scores, where):
    del key
    return iwps_jax.top_k(scores, TAKE, where)


TOY = {"fit": remember, "score": fixed_scores, "select": best}


def run(key, state, rounds, verbs=TOY, step=loop.step):
    infos = []
    for _ in range(rounds):
        state, info = step(key, state, **verbs)
        infos.append(info)
    return state, infos


def assert_equal(tree, expected):
    """Same structure, types and bits."""
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    for leaf, other in zip(
        jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True
    ):
        assert leaf.dtype == other.dtype
        np.testing.assert_array_equal(leaf, other)


# What a round does


def test_a_round_labels_the_best_rows_for_the_next_one(key):
    labeled = NOTHING.at[jnp.array([1, 3])].set(True)
    state = loop.init(labeled, None, budget=6)
    left = [row for row in RANKED if row not in (1, 3)]
    for round_ in range(3):
        before = state
        state, info = loop.step(key, state, **TOY)
        taken = left[: TAKE * round_]
        picks = left[TAKE * round_ : TAKE * (round_ + 1)]
        assert info.picks.tolist() == picks
        assert info.round == round_ and info.num_labeled == 2 + TAKE * round_
        assert info.num_nonfinite == 0
        # Fitted to what was labeled before, not to the picks.
        np.testing.assert_array_equal(state.train_state, before.labeled)
        assert set(np.flatnonzero(state.labeled)) == {1, 3, *taken, *picks}
        record = taken + picks + [-1] * (6 - len(taken) - len(picks))
        assert state.acquired.tolist() == record
        assert state.round == round_ + 1


def test_state_keeps_its_shapes_and_types(key):
    first = loop.init(NOTHING, NOTHING, budget=4)
    last, _ = run(key, first, 2)
    assert first.round.dtype == jnp.int32 and first.acquired.dtype == jnp.int32
    assert first.labeled.dtype == bool and first.acquired.tolist() == [-1] * 4
    assert jax.tree.map(jnp.shape, last) == jax.tree.map(jnp.shape, first)
    assert [x.dtype for x in last] == [x.dtype for x in first]


def test_a_round_changes_no_state_in_place(key):
    labeled = np.zeros(POOL, bool)
    state = loop.init(labeled, None, budget=4)
    labeled[:] = True
    assert not state.labeled.any()
    loop.step(key, state, **TOY)
    assert state.round == 0 and not state.labeled.any()


@pytest.mark.parametrize("budget", [2, 3])
def test_picks_beyond_the_budget_leave_the_record_alone(key, budget):
    state, _ = run(key, loop.init(NOTHING, None, budget=budget), 2)
    assert state.acquired.tolist() == RANKED[:budget]
    assert set(np.flatnonzero(state.labeled)) == set(RANKED[:4])


def test_train_then_acquire_is_a_step(key):
    state = loop.init(NOTHING, NOTHING, budget=4)
    for _ in range(2):
        trained = loop.train(key, state, fit=noisy_fit)
        assert_equal(
            trained._replace(train_state=None), state._replace(train_state=None)
        )
        halves = loop.acquire(key, trained, score=noisy_score, select=best)
        whole = loop.step(key, state, fit=noisy_fit, score=noisy_score, select=best)
        assert_equal(halves, whole)
        state, _ = whole


def noisy_fit(key, train_state, labeled):
    return train_state | (labeled & jax.random.bernoulli(key, 0.9, labeled.shape))


def noisy_score(key, train_state):
    return jax.random.uniform(key, train_state.shape) - train_state


NOISY = {"fit": noisy_fit, "score": noisy_score, "select": best}


@pytest.mark.parametrize(
    "scores, number",
    [
        (SCORES, 0),
        (np.where(SCORES > 0.6, np.nan, SCORES), 4),
        ((np.array([np.inf, -np.inf, np.nan, 1]), np.array([[np.nan] * 3])), 6),
        (np.arange(POOL), 0),
        ({"labeled too": np.full(POOL, -np.inf)}, POOL),
    ],
)
def test_nonfinite_scores_are_counted(key, scores, number):
    scores = jax.tree.map(jnp.asarray, scores)
    state = loop.init(NOTHING.at[0].set(True), None, budget=2)
    _, info = loop.step(
        key,
        state,
        fit=remember,
        score=lambda key, train_state: scores,
        select=lambda key, scores, where: jnp.array([3, 4]),
    )
    assert info.num_nonfinite == number


SELECTORS = {
    "top_k": lambda key, embedding, where: iwps_jax.top_k(embedding[:, 0], 3, where),
    "k_center_greedy": lambda key, embedding, where: iwps_jax.k_center_greedy(
        embedding, 3, ~where
    ),
    "badge": lambda key, embedding, where: iwps_jax.badge(
        key, embedding, embedding, 3, where
    ),
}


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("scale", [0.0, 1.0], ids=["all equal", "random"])
def test_every_row_is_acquired_once_until_none_is_left(key, name, scale):
    rng = np.random.default_rng(0)
    embedding = jnp.asarray(scale * rng.normal(size=(12, 2)), jnp.float32)
    state = loop.init(jnp.arange(12) % 4 == 0, None, budget=9)
    verbs = {"fit": remember, "score": lambda key, train_state: embedding}
    state, infos = run(key, state, 3, verbs | {"select": SELECTORS[name]})
    picks = np.concatenate([info.picks for info in infos])
    assert sorted(picks) == [row for row in range(12) if row % 4]
    np.testing.assert_array_equal(state.acquired, picks)
    assert state.labeled.all()


# Keys


def spying_verbs(seen):
    def spy(name, key):
        seen.append((name, tuple(np.asarray(jax.random.key_data(key)).tolist())))

    def fit(key, train_state, labeled):
        spy("fit", key)

    def score(key, train_state):
        spy("score", key)
        return jnp.asarray(SCORES)

    def select(key, scores, where):
        spy("select", key)
        return best(key, scores, where)

    return {"fit": fit, "score": score, "select": select}


def test_every_consumer_of_every_round_has_its_own_key():
    seen = {}
    for seed in range(2):
        seen[seed] = []
        state = loop.init(NOTHING, None, budget=6)
        run(jax.random.key(seed), state, 3, spying_verbs(seen[seed]))
        assert [name for name, _ in seen[seed]] == ["fit", "score", "select"] * 3
    assert len({value for _, value in seen[0] + seen[1]}) == 18
    assert jax.random.key_data(jax.random.key(0)).tolist() not in seen[0]


def test_the_same_key_and_state_give_the_same_keys(key):
    first, again, resumed = [], [], []
    state = loop.init(NOTHING, None, budget=6)
    middle, _ = run(key, state, 1, spying_verbs(first))
    run(key, middle, 2, spying_verbs(first))
    run(key, state, 3, spying_verbs(again))
    state = state._replace(round=jnp.asarray(1, jnp.int32))  # nothing else matters
    run(key, state, 2, spying_verbs(resumed))
    assert first == again and first[3:] == resumed


# Static shapes


def test_three_rounds_are_traced_once(key):
    traces = []
    step = jax.jit(
        lambda key, state: loop.step(
            key,
            state,
            fit=lambda *args: (traces.append("fit"), noisy_fit(*args))[1],
            score=lambda *args: (traces.append("score"), noisy_score(*args))[1],
            select=lambda *args: (traces.append("select"), best(*args))[1],
        )
    )
    state = loop.init(NOTHING, NOTHING, budget=6)
    eager, eager_infos = run(key, state, 3, NOISY)
    for info in eager_infos:
        state, jitted_info = step(key, state)
        assert_equal(jitted_info, info)
    assert_equal(state, eager)
    assert traces == ["fit", "score", "select"]


def test_seeds_side_by_side_are_the_seeds_one_by_one():
    keys = jax.vmap(jax.random.key)(jnp.arange(4))
    labeled = jax.vmap(lambda key: jax.random.bernoulli(key, 0.2, (POOL,)))(
        jax.vmap(jax.random.key)(jnp.arange(4, 8))
    )
    labeled = labeled & (jnp.arange(POOL) < 2)[None]  # at least six rows are left

    def start(labeled):
        return loop.init(labeled, labeled, budget=6)

    @jax.jit
    @jax.vmap
    def step(key, state):
        return loop.step(key, state, **NOISY)

    states, infos = jax.vmap(start)(labeled), []
    for _ in range(3):
        states, info = step(keys, states)
        infos.append(info)
    assert len({tuple(row) for row in states.acquired.tolist()}) == 4
    for seed in range(4):
        state, alone = run(keys[seed], start(labeled[seed]), 3, NOISY)
        assert_equal(jax.tree.map(lambda leaf, i=seed: leaf[i], states), state)
        for info, expected in zip(infos, alone, strict=True):
            assert_equal(jax.tree.map(lambda leaf, i=seed: leaf[i], info), expected)


# A real network, interrupted


def network_verbs():
    rng = np.random.default_rng(0)
    labels = jnp.asarray(rng.integers(0, 2, 40), jnp.int32)
    noise = rng.integers(0, 100, (40, 4, 4, 1))
    images = jnp.asarray(noise + 120 * np.asarray(labels)[:, None, None, None])
    images = images.astype(jnp.uint8)
    net = models.mlp((4, 4, 1), 2, mean=102.0, std=76.5, hidden_sizes=(8,))

    def fit(key, train_state, labeled):
        return training.fit(
            key,
            train_state.variables,
            images[:30],
            labels[:30],
            labeled,
            images[30:],
            labels[30:],
            apply_fn=net.apply,
            apply_train_fn=net.apply_train,
            optimizer=optax.sgd(0.1, momentum=0.9),
            minibatch_size=4,
            steps_per_evaluation=3,
            patience=2,
            max_evaluations=6,
        )

    def score(key, train_state):
        logits = net.apply_dropout(key, train_state.variables, images[:30])
        return iwps_jax.entropy(logits)

    def select(key, scores, where):
        return iwps_jax.top_k(scores, 3, where)

    untrained = training.TrainState(
        net.init(jax.random.key(9)), jnp.zeros(()), jnp.zeros((), jnp.int32)
    )
    state = loop.init(jnp.arange(30) < 4, untrained, budget=12)
    return state, {"fit": fit, "score": score, "select": select}


def test_four_rounds_are_two_and_a_checkpoint_and_two(key, tmp_path):
    first, verbs = network_verbs()
    step = jax.jit(lambda key, state: loop.step(key, state, **verbs))
    whole, infos = run(key, first, 4, {}, step)

    state, early = run(key, first, 2, {}, step)
    with checkpoint.open_folder(tmp_path) as manager:
        checkpoint.save(manager, 2, state, {"key": jax.random.key_data(key).tolist()})
    del state
    with checkpoint.open_folder(tmp_path) as manager:
        saved, state, record = checkpoint.restore_latest(manager, first)
    saved_key = jax.random.wrap_key_data(jnp.array(record["key"], jnp.uint32))
    resumed, late = run(saved_key, state, 2, {}, step)

    assert saved == 2
    assert_equal(resumed, whole)
    assert_equal(early + late, infos)
    assert (np.asarray(whole.acquired) >= 4).all()  # it did acquire new rows


# Refusals


@pytest.mark.parametrize(
    "labeled, budget, error, sentence",
    [
        (NOTHING, 0, ValueError, "budget must be at least 1, got 0"),
        (NOTHING, -3, ValueError, "budget must be at least 1, got -3"),
        (NOTHING, POOL + 1, ValueError, "number of unlabeled rows, 8, got 9"),
        (NOTHING.at[2].set(True), POOL, ValueError, "unlabeled rows, 7, got 8"),
        (~NOTHING, 1, ValueError, "unlabeled rows, 0, got 1"),
        (NOTHING, 1.5, TypeError, "budget must be an integer, got float"),
        (NOTHING.astype(int), 1, TypeError, "labeled must be boolean, got int32"),
        (NOTHING[None], 1, ValueError, r"labeled must have 1 axes \[pool\]"),
        ([True, False], 1, TypeError, "labeled must be an array, got list"),
    ],
)
def test_init_refuses(without_jaxtyping, labeled, budget, error, sentence):
    with pytest.raises(error, match=sentence):
        loop.init(labeled, None, budget=budget)


def test_init_takes_the_whole_pool_and_numpy_and_works_traced():
    expected = loop.init(NOTHING, None, budget=POOL)
    assert_equal(loop.init(np.zeros(POOL, bool), None, budget=POOL), expected)
    traced = jax.jit(lambda labeled: loop.init(labeled, None, budget=POOL))
    assert_equal(traced(NOTHING), expected)
