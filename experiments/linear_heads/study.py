"""A unit of the study: one setting, all methods, some seeds, side by side.

What fits and tests is compiled once for all methods, what scores and selects once a
method; all programs are mapped over the seeds.
"""

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.classification.methods import PoolView
from experiments.classification.methods import Setting as Sizes
from experiments.classification.networks import one_after_another
from experiments.classification.study import ONE_SEED, shares_in_pool
from experiments.engine.rounds import Rounds
from experiments.linear_heads import competitors, heads
from experiments.linear_heads.samples import Division, Samples
from experiments.linear_heads.settings import EQUAL_LABELS, SHARED_HOLDOUT, Setting
from experiments.models import Network
from iwps_jax import loop
from iwps_jax.atomic_write import write_atomically
from iwps_jax.scores.head import head_logits
from iwps_jax.types import Head

STEPS, LEARNING_RATE = 3, 1e-3
"""T and η of the look-ahead, the paper's."""
CHUNK_SIZE = 4096


def linear_network(num_features: int, num_classes: int) -> Network:
    """A network that is its last layer; its variables are a `Head`.

    It has no hidden unit: with dropout it is what it is without.
    """

    def apply(head, inputs):
        return head_logits(inputs, *head)

    return Network(
        init=lambda key: Head(
            jnp.zeros((num_features, num_classes)), jnp.zeros(num_classes)
        ),
        apply=apply,
        apply_train=lambda key, head, inputs: (apply(head, inputs), {}),
        apply_dropout=lambda key, head, inputs: apply(head, inputs),
        features=lambda head, inputs: inputs,
        head=lambda head: head,
        dense_layers=None,
    )


class Unit(NamedTuple):
    """Arrays and programs of a unit; arrays lead with the seed axis.

    Attributes:
        keys: one a seed.
        view: what methods may look at before the first round.
        labels: [seed, pool] classes of the rows.
        held: [seed, pool] rows that are the holdout set.
        first_state: of the loop.
        penalty_at: the penalty for a number of labels.
    """

    keys: jax.Array
    view: PoolView
    labels: jax.Array
    held: jax.Array
    first_state: loop.LoopState
    penalty_at: Callable[[int], float]


def as_rounds(
    samples: Samples,
    setting: Setting,
    divisions: Sequence[Division],
    seeds: Sequence[int],
    penalty_at: Callable[[int], float],
    keep: Path | None = None,
) -> Rounds:
    """A unit as the functions of its rounds.

    Args:
        samples: the dataset.
        setting: of the unit.
        divisions: one a seed.
        seeds: they make the keys.
        penalty_at: the penalty of the heads for a number of labels.
        keep: folder for the predictions on the pool, one file a method and round.
    """
    unit = _make(samples, setting, divisions, seeds, penalty_at)
    num_classes = len(samples.class_names)
    network = linear_network(samples.train.shape[1], num_classes)
    fit = _make_fit(unit, setting, num_classes)
    shares = shares_in_pool(
        np.asarray(unit.labels), np.asarray(samples.test_labels), num_classes
    )
    test = jnp.asarray(samples.test), jnp.asarray(samples.test_labels)
    measure_all = jax.jit(
        jax.vmap(
            functools.partial(heads.measure, num_classes=num_classes),
            (0, 0, None, None),
        )
    )
    predict = jax.jit(
        one_after_another(
            lambda head, view: heads.probabilities(head, view.inputs[view.pool_ids]),
            (0, ONE_SEED),
        )
    )
    minority = np.stack([division.is_minority for division in divisions])
    programs: dict[str, Callable] = {}  # of the method under way alone
    first_head = functools.cache(lambda: fit(unit.first_state.labeled))

    def compile_(name, acquires):
        programs.clear()
        program = _acquire_of(unit, setting, network, num_classes, name)
        if acquires:
            state = unit.first_state
            rest = unit.view, unit.labels, unit.held
            program = program.lower(
                unit.keys, state, state.train_state, *rest
            ).compile()
        programs[name] = program

    def train(state):
        # Nothing of a method comes before the first fit: it is done once for all.
        is_first = state is unit.first_state
        return state._replace(
            train_state=first_head() if is_first else fit(state.labeled)
        )

    def measure(state):
        if keep is not None:
            (name,) = programs
            _keep(keep / f"{name}-{int(state.round[0])}.npz", state, predict, unit)
        found = measure_all(state.train_state, jnp.asarray(shares, jnp.float32), *test)
        return [
            {
                name if name != "accuracy" else "test_accuracy": round(float(v), 6)
                for name, v in zip(found._fields, values, strict=True)
            }
            for values in np.stack([np.asarray(part) for part in found], axis=1)
        ]

    def acquire(name, state):
        judged = state.train_state
        if competitors.named(name).asks_holdout and setting.mode == EQUAL_LABELS:
            judged = fit(state.labeled & ~unit.held)
        rest = unit.view, unit.labels, unit.held
        return programs[name](unit.keys, state, judged, *rest)

    def describe(name, state, info):
        return _describe(unit, minority, state, info)

    return Rounds(seeds, unit.first_state, compile_, train, measure, acquire, describe)


def _make(samples, setting, divisions, seeds, penalty_at) -> Unit:
    stacked = Division(*map(np.stack, zip(*divisions, strict=True)))
    labels = samples.train_labels[stacked.pool_ids]
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    num_features, num_classes = samples.train.shape[1], len(samples.class_names)
    zeros = Head(
        jnp.zeros((len(seeds), num_features, num_classes)),
        jnp.zeros((len(seeds), num_classes)),
    )
    budget = setting.rounds * setting.acquire_size
    first_state = jax.vmap(functools.partial(loop.init, budget=budget))(
        jnp.asarray(stacked.labeled), zeros
    )
    view = PoolView(
        inputs=jnp.asarray(samples.train),
        pool_ids=jnp.asarray(stacked.pool_ids),
        known_labels=jnp.asarray(labels * 0 - 1),
        holdout_ids=jnp.asarray(stacked.holdout_ids),
        holdout_labels=jnp.asarray(samples.train_labels[stacked.holdout_ids]),
    )
    return Unit(
        keys,
        view,
        jnp.asarray(labels),
        jnp.asarray(stacked.held),
        first_state,
        penalty_at,
    )


def _make_fit(unit, setting, num_classes) -> Callable:
    """`fit(where) -> heads` of [seed, pool] rows, with the penalty for their number."""
    capacity = int(unit.first_state.labeled[0].sum())
    capacity += setting.rounds * setting.acquire_size

    def fit_one(penalty, view, labels, where):
        rows = jnp.flatnonzero(where, size=capacity, fill_value=0)
        return heads.fit(
            view.inputs[view.pool_ids[rows]],
            labels[rows],
            jnp.arange(capacity) < where.sum(),
            penalty,
            num_classes=num_classes,
            balanced=setting.balanced_loss,
        )

    of_all_seeds = jax.jit(jax.vmap(fit_one, (None, ONE_SEED, 0, 0)))

    def fit(where):
        penalty = jnp.float32(unit.penalty_at(int(where[0].sum())))
        return of_all_seeds(penalty, unit.view, unit.labels, where)

    return fit


def _acquire_of(unit, setting, network, num_classes, name) -> Callable:
    """The second half of a round with a method, for all seeds.

    `acquire(key, state, judged, view, labels, held)`, with the head that a method
    chooses by: one that the holdout set can judge, if the method asks it.
    """
    competitor = competitors.named(name)
    row, with_holdout = competitor.row, competitor.asks_holdout
    if setting.mode != SHARED_HOLDOUT and not with_holdout:
        row = row._replace(uses=tuple(use for use in row.uses if use != "holdout"))
    sizes = Sizes(
        network=network,
        num_classes=num_classes,
        num_initial=int(unit.first_state.labeled[0].sum()),
        most_labeled=int(unit.first_state.labeled[0].sum())
        + setting.rounds * setting.acquire_size,
        holdout_per_class=setting.holdout_per_class,
        acquire_size=setting.acquire_size,
        steps=STEPS,
        learning_rate=LEARNING_RATE,
        chunk_size=CHUNK_SIZE,
    )
    method = competitor.make(sizes, row)

    def acquire(key, state, judged, view, labels, held):
        known = state.labeled & ~held if with_holdout else state.labeled
        view = view._replace(known_labels=jnp.where(known, labels, -1))

        def score(key, delivered):
            del delivered
            return method.score(key, judged, view)

        return loop.acquire(key, state, score=score, select=method.select)

    return jax.jit(one_after_another(acquire, (0, 0, 0, ONE_SEED, 0, 0)))


def _describe(unit, minority, state, info) -> list[tuple[dict, dict]]:
    """What the lines of metrics and picks say of a round."""
    rows = np.asarray(info.picks)
    ids = np.take_along_axis(np.asarray(unit.view.pool_ids), rows, axis=1)
    true = np.take_along_axis(np.asarray(unit.labels), rows, axis=1)
    kernel, bias = map(np.asarray, state.train_state)
    features = np.asarray(unit.view.inputs)[ids]
    predicted = (features @ kernel + bias[:, None]).argmax(-1)
    is_minority = np.take_along_axis(minority, true, axis=1)
    return [
        (
            {
                "wrong_rate": round(float((predicted[at] != true[at]).mean()), 6),
                "minority_rate": round(float(is_minority[at].mean()), 6),
            },
            {
                "ids": ids[at].tolist(),
                "predicted": predicted[at].tolist(),
                "true": true[at].tolist(),
            },
        )
        for at in range(len(rows))
    ]


def _keep(path, state, predict, unit) -> None:
    """Writes the predictions on the pool and who is labeled, of all seeds."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        probabilities=np.asarray(predict(state.train_state, unit.view)),
        labeled=np.asarray(state.labeled),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
