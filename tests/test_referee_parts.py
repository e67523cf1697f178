"""Methods by their parts: with their own parts they are themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import iwps_jax
from experiments.linear_heads import competitors, groups, parts
from experiments.linear_heads.competitors import named
from experiments.linear_heads.settings import FIRST_BATCHES, SETTINGS, WITH_PARTS
from iwps_jax import balanced_herding
from iwps_jax.method import Model
from iwps_jax.scores.head import head_logits
from iwps_jax.selection.iwps_batch import Evidence, iwps_batch
from iwps_jax.types import Head, Holdout

ROWS, DIM, CLASSES = 60, 5, 4
RNG = np.random.default_rng(0)
FEATURES = jnp.asarray(RNG.normal(size=(ROWS, DIM)), jnp.float32)
HEAD = Head(
    jnp.asarray(RNG.normal(size=(DIM, CLASSES)), jnp.float32), jnp.zeros(CLASSES)
)
LABELS = jnp.where(jnp.arange(ROWS) < 12, jnp.arange(ROWS) % CLASSES, -1)
WHERE = LABELS < 0
HOLDOUT = Holdout(FEATURES[:8] + 0.1, jnp.arange(8) % CLASSES)
MODEL = Model(head=HEAD, holdout=HOLDOUT, labeled=Holdout(FEATURES, LABELS))


def a_key():
    return jax.random.key(3)


SCORES = jnp.asarray(RNG.normal(size=ROWS), jnp.float32)


def picks(chosen, k=9, model=MODEL):
    return parts.pick_batch(chosen, a_key(), SCORES, FEATURES, model, k, WHERE).tolist()


@pytest.mark.parametrize("k", [pytest.param(2, marks=pytest.mark.full), 9])
def test_all_parts_of_iwps_batch_are_iwps_batch(k):
    evidence = Evidence(FEATURES, *HEAD, HOLDOUT.features, *MODEL.labeled)
    want = iwps_batch(a_key(), SCORES, evidence, k, where=WHERE)
    assert picks(parts.BatchParts(), k) == want.tolist()


def test_all_parts_of_balanced_herding_are_balanced_herding():
    logits = head_logits(FEATURES, *HEAD)
    want = balanced_herding(a_key(), FEATURES, logits, 9, ~WHERE)
    got = parts.herd(parts.HerdingParts(), a_key(), logits, FEATURES, MODEL, 9, WHERE)
    assert got.tolist() == want.tolist()


def test_without_rarity_and_gain_the_highest_scores_are_picked():
    got = picks(parts.BatchParts(rarity=False, gain="off"))
    assert got == iwps_jax.top_k(SCORES, 9, WHERE).tolist()


def test_without_gain_a_class_that_was_picked_counts_less():
    """The plain loop: score times rarity, counts that grow with the picks."""
    probs = np.asarray(jax.nn.softmax(head_logits(FEATURES, *HEAD)))
    counts, want = np.full(CLASSES, 3.0), []
    scores = np.maximum(np.where(WHERE, SCORES, 0), 0)
    for _ in range(9):
        gains = scores * (probs @ (1 / (1 + counts)))
        gains[want] = -1
        want.append(int(gains.argmax()))
        counts = counts + probs[want[-1]]
    assert picks(parts.BatchParts(gain="off")) == want


@pytest.mark.parametrize("targets", ["holdout", "pool"])
def test_only_the_targets_named_count(targets):
    """The other targets may lie anywhere."""
    chosen = parts.BatchParts(targets=targets, prior=1e-9)
    far = {"pool": HOLDOUT._replace(features=FEATURES[20:28])}
    moved = MODEL._replace(holdout=far.get(targets, HOLDOUT))
    chosen_drawn = chosen._replace(num_drawn=300 if targets == "pool" else 3)
    assert picks(chosen) == picks(chosen_drawn, model=moved)


def test_who_asks_the_holdout_set():
    """All parts of IWPS-batch alike: a part must not come with other labels."""
    assert len(competitors.ABLATION) == 4 * 2 * (1 + 2 * 3)
    assert all(one.asks_holdout for one in competitors.ABLATION.values())
    for name in ("iwps_cross_fitted", "iwps_batch_no_holdout", "gain"):
        assert not named(name).asks_holdout


def test_groups_name_settings_and_methods_that_exist():
    assert len(groups.OF_PARTS) == len(WITH_PARTS) == 8
    assert all(not setting.start for setting in FIRST_BATCHES)
    assert {s.dataset for s in FIRST_BATCHES} == {s.dataset for s in SETTINGS}
    for group in groups.GROUPS.values():
        assert all(named(name) for name in group.methods)
