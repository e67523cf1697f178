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

from experiments.classification.methods import PoolView, competitor
from experiments.classification.methods import Setting as Sizes
from experiments.classification.networks import one_after_another
from experiments.classification.study import ONE_SEED, shares_in_pool
from experiments.engine.rounds import Rounds
from experiments.linear_heads import heads
from experiments.linear_heads.samples import Division, Samples
from experiments.linear_heads.settings import SHARED_HOLDOUT, Setting
from experiments.models import Network
from iwps_jax import loop, methods
from iwps_jax.atomic_write import write_atomically
from iwps_jax.scores.head import head_logits
from iwps_jax.types import Head

STEPS, LEARNING_RATE = 3, 1e-3
"""T and η of the look-ahead, the paper's."""
CHUNK_SIZE = 4096


class Heads(NamedTuple):
    """The heads of a round.

    Attributes:
        of_all: has learned all labels, and is tested.
        of_rest: has not learned the holdout set, which can judge it.
    """

    of_all: Head
    of_rest: Head


def linear_network() -> Network:
    """A network that is its last layer; its variables are a `Head`."""

    def apply(head, inputs):
        return head_logits(inputs, *head)

    def refuse(*arguments):
        raise NotImplementedError(
            "a linear head is not trained by steps, or with dropout."
        )

    return Network(
        init=refuse,
        apply=apply,
        apply_train=refuse,
        apply_dropout=refuse,
        features=lambda head, inputs: inputs,
        head=lambda head: head,
        dense_layers=None,
    )


def chooses_with_holdout(name: str) -> bool:
    """Whether a method cannot do without a holdout set."""
    return "holdout" in methods.row_of(name).needs


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
    train = _make_train(unit, setting, num_classes)
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
    programs: dict[str, Callable] = {}
    first_training = functools.cache(lambda: train(unit.first_state))

    def compile_(name, acquires):
        programs.clear()
        programs[name] = _acquire_of(unit, setting, num_classes, name)
        if acquires:
            programs[name] = (
                programs[name]
                .lower(unit.keys, unit.first_state, unit.view, unit.labels, unit.held)
                .compile()
            )

    def train_(state):
        # Nothing of a method comes before the first fit: it is done once for all.
        return first_training() if state is unit.first_state else train(state)

    def measure(state):
        if keep is not None:
            (name,) = programs
            _keep(keep / f"{name}-{int(state.round[0])}.npz", state, predict, unit)
        found = measure_all(
            state.train_state.of_all, jnp.asarray(shares, jnp.float32), *test
        )
        return [
            {
                name if name != "accuracy" else "test_accuracy": round(float(v), 6)
                for name, v in zip(found._fields, values, strict=True)
            }
            for values in np.stack([np.asarray(part) for part in found], axis=1)
        ]

    def acquire(name, state):
        return programs[name](unit.keys, state, unit.view, unit.labels, unit.held)

    def describe(name, state, info):
        return _describe(unit, minority, state, info)

    return Rounds(seeds, unit.first_state, compile_, train_, measure, acquire, describe)


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
        jnp.asarray(stacked.labeled), Heads(zeros, zeros)
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


def _make_train(unit, setting, num_classes) -> Callable:
    """`train(state) -> state`, with the penalty for the labels that each head has."""
    capacity = int(unit.first_state.labeled[0].sum())
    capacity += setting.rounds * setting.acquire_size
    num_held = int(unit.held[0].sum())

    def fit(penalty, view, labels, where):
        rows = jnp.flatnonzero(where, size=capacity, fill_value=0)
        return heads.fit(
            view.inputs[view.pool_ids[rows]],
            labels[rows],
            jnp.arange(capacity) < where.sum(),
            penalty,
            num_classes=num_classes,
            balanced=setting.balanced_loss,
        )

    of_all_seeds = jax.jit(jax.vmap(fit, (None, ONE_SEED, 0, 0)))

    def head(where, number):
        penalty = jnp.float32(unit.penalty_at(number))
        return of_all_seeds(penalty, unit.view, unit.labels, where)

    def train(state):
        number = int(state.labeled[0].sum())
        of_all = of_rest = head(state.labeled, number)
        if num_held:
            of_rest = head(state.labeled & ~unit.held, number - num_held)
        return state._replace(train_state=Heads(of_all, of_rest))

    return train


def _acquire_of(unit, setting, num_classes, name) -> Callable:
    """The second half of a round with a method, for all seeds."""
    row = methods.row_of(name)
    with_holdout = chooses_with_holdout(name)
    if setting.mode != SHARED_HOLDOUT and not with_holdout:
        row = row._replace(uses=tuple(use for use in row.uses if use != "holdout"))
    sizes = Sizes(
        network=linear_network(),
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
    method = competitor(sizes, row)

    def acquire(key, state, view, labels, held):
        known = state.labeled & ~held if with_holdout else state.labeled
        view = view._replace(known_labels=jnp.where(known, labels, -1))

        def score(key, heads_):
            head = heads_.of_rest if with_holdout else heads_.of_all
            return method.score(key, head, view)

        return loop.acquire(key, state, score=score, select=method.select)

    return jax.jit(one_after_another(acquire, (0, 0, ONE_SEED, 0, 0)))


def _describe(unit, minority, state, info) -> list[tuple[dict, dict]]:
    """What the lines of metrics and picks say of a round."""
    rows = np.asarray(info.picks)
    ids = np.take_along_axis(np.asarray(unit.view.pool_ids), rows, axis=1)
    true = np.take_along_axis(np.asarray(unit.labels), rows, axis=1)
    kernel, bias = map(np.asarray, state.train_state.of_all)
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
        probabilities=np.asarray(predict(state.train_state.of_all, unit.view)),
        labeled=np.asarray(state.labeled),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
