"""IWPS-batch and balanced herding by their parts, to see which of them carry a gain.

    select(key, scores, features, model, k, where) -> rows [k]

as a row of the table of methods holds it, once the parts are given.
"""

from typing import NamedTuple

import jax.numpy as jnp

from iwps_jax.selection import cover, herding
from iwps_jax.selection.balanced_herding import (
    NUM_TARGETS,
    class_shares,
    mean_distance,
)
from iwps_jax.selection.candidates import relative
from iwps_jax.selection.drop_query import drop_query
from iwps_jax.selection.forms import CANDIDATES_PER_PICK
from iwps_jax.selection.greedy import greedy
from iwps_jax.selection.highest import top_rows
from iwps_jax.selection.information import Candidates, Targets, pick_in_turn
from iwps_jax.selection.iwps_batch import (
    LEAST_VARIANCE,
    NUM_DRAWN,
    PRIOR,
    Evidence,
    label_variance,
    rarity_of,
    targets_of,
    unit_scale,
    whitening,
)


class BatchParts(NamedTuple):
    """The parts of `iwps_jax.iwps_batch`; by default as it is.

    Attributes:
        rarity: whether rows of rare classes are preferred; the targets drawn from the
            pool are balanced in either case.
        gain: "off", by score and rarity alone; of the best "candidates"; or of "all".
        targets: "holdout", "pool" or "both".
        prior: λ.
        num_drawn: targets drawn from the pool.
        least_variance: v_min.
        candidates_per_pick: so many times k candidates.
    """

    rarity: bool = True
    gain: str = "candidates"
    targets: str = "both"
    prior: float = PRIOR
    num_drawn: int = NUM_DRAWN
    least_variance: float = LEAST_VARIANCE
    candidates_per_pick: int = CANDIDATES_PER_PICK


def pick_batch(chosen: BatchParts, key, scores, features, model, k, where):
    """IWPS-batch of these parts."""
    head, labeled = model.head, model.labeled
    is_class = labeled.labels[:, None] == jnp.arange(len(head.bias))[None]
    counts = is_class.sum(0).astype(jnp.float32)
    usefulness = relative(jnp.where(where, scores, 0))
    order = jnp.where(usefulness > 0, usefulness, jnp.minimum(scores, 0))
    if chosen.rarity:
        rarity = rarity_of(features, head, counts)
        order = jnp.where(usefulness > 0, usefulness * rarity, order)
    number = min(chosen.candidates_per_pick * k, len(scores))
    number = len(scores) if chosen.gain == "all" else number
    candidates = top_rows(order, where, k=number)
    probs, variance = label_variance(features[candidates], head)
    if not chosen.rarity:  # one class, of which all rows are
        probs, counts = jnp.ones((len(candidates), 1)), jnp.zeros(1)
    if chosen.gain == "off":
        picks = _by_rarity_alone(
            k, usefulness[candidates], probs, where[candidates], counts
        )
    else:
        targets, whiten = _targets(chosen, key, features, model, where)
        picks = pick_in_turn(
            k,
            where[candidates],
            Candidates(
                usefulness[candidates], whiten(features[candidates]), probs, variance
            ),
            targets,
            counts,
        )
    return candidates[picks]


def _targets(chosen, key, features, model, where):
    """The targets of one kind or both, and the map that whitens."""
    if model.holdout is None:
        # It decides λ alone, where only the pool's rows are targets.
        holdout = features
    else:
        holdout = model.holdout.features
    evidence = Evidence(features, *model.head, holdout, *model.labeled)
    targets, weights = targets_of(
        key, evidence, where, model.head, num_drawn=chosen.num_drawn
    )
    whiten = whitening(
        evidence,
        model.head,
        prior=chosen.prior,
        least_variance=chosen.least_variance,
    )
    number = len(holdout)
    taken = {
        "holdout": slice(number),
        "pool": slice(number, None),
        "both": slice(None),
    }[chosen.targets]
    targets, weights = whiten(targets[taken]), weights[taken]
    targets = targets * unit_scale(jnp.abs(targets).max())
    return Targets(targets, weights), whiten


def _by_rarity_alone(k, usefulness, probs, eligible, counts):
    def gain(i, counts, eligible):
        return usefulness * (probs @ (1 / (1 + counts)))

    def update(i, counts, row):
        return counts + probs[row]

    return greedy(k, counts, eligible, gain=gain, update=update, best=jnp.argmax)


class HerdingParts(NamedTuple):
    """The parts of `iwps_jax.selection.balanced_herding`; by default as it is.

    Attributes:
        power: of the uncertainty U in the weights of the targets; 0 without it.
        rarity: γ.
        bandwidth: "mean" or "least" distance of labeled rows to the nearest other, or
            `herding.median_bandwidth` of the targets.
        width: the bandwidth is so many times as large.
        num_targets: at most so many.
    """

    power: float = 1.0
    rarity: float = 1.0
    bandwidth: str = "mean"
    width: float = 1.0
    num_targets: int = NUM_TARGETS


def herd(chosen: HerdingParts, key, logits, features, model, k, where):
    """Balanced herding of these parts."""
    unsure = herding.uncertainty(logits, jnp.float32(1))
    shares = class_shares(logits, where, chosen.rarity)
    weights = unsure**chosen.power * shares
    targets = cover.draw_by_priority(key, features, weights, where, chosen.num_targets)
    median = herding.median_bandwidth(features, targets)
    found = {
        "mean": lambda: mean_distance(features, ~where, targets.place),
        "least": lambda: herding.least_distance(features, ~where, targets.place),
        "median": lambda: median,
    }[chosen.bandwidth]()
    found = jnp.where((found > 0) & jnp.isfinite(found), found, median)
    return herding.herd(features, ~where, targets, chosen.width * found, k)[0]


def nearest_to_centers(key, scores, features, model, k, where):
    """The row nearest to each of k centers of the rows, by k-means."""
    return drop_query(key, jnp.ones(len(features)), features, k, where)
