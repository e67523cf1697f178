"""DIRECT: its picks are those of a plain loop, with and without the batch's labels."""

import math

import jax
import numpy as np
import pytest
from some_lines import KINDS, LABELED, POOL, line_of, some_case

import iwps_jax
from iwps_jax.selection import line

K = 15
CLASSES = 3


def correct(signs, threshold):
    """Labeled c before the threshold and labeled others from it on."""
    return signs[:threshold].count(1) + signs[threshold:].count(-1)


def interval(signs):
    """Where the labeled c at the front end, and where the others at the back begin."""
    known = [(place, sign) for place, sign in enumerate(signs) if sign]
    begin, end = 0, len(signs) - 1
    for place, sign in known:
        if sign < 0:
            break
        begin = place
    for place, sign in reversed(known):
        if sign > 0:
            break
        end = place
    return begin, end


class Batch:
    """The picks so far, and what is known of the points."""

    def __init__(self, case, knows_answers):
        self.logits, self.labeled_logits, self.labels, self.answers, self.where = case
        self.known = {POOL + i: y for i, y in enumerate(self.labels) if y >= 0}
        self.knows_answers, self.picks = knows_answers, []

    def signs(self, line_, c):
        signs = {True: 1, False: -1}
        return [
            signs[self.known[point] == c] if point in self.known else 0
            for point in line_
        ]

    def is_open(self, point):
        return point < POOL and point not in self.picks

    def add(self, rows):
        self.picks += rows
        if self.knows_answers:
            self.known.update({row: self.answers[row] for row in rows})


def narrow(key, batch, line_, c, budget, parallel):
    begin, end = interval(batch.signs(line_, c))
    turn = 0
    while budget > 0:
        draws = line.random_draws(jax.random.fold_in(key, turn), POOL + LABELED)
        inside = [p for p in line_[begin : end + 1] if batch.is_open(p)]
        if not inside:
            break
        chosen = sorted(inside, key=lambda point: -draws[point])
        chosen = chosen[: min(budget, parallel)]
        batch.add(chosen)
        if batch.knows_answers and (rounds := budget // parallel) > 1:
            left = len(inside) - len(chosen)
            target = math.ceil(left / left ** (1 / rounds) - 1e-3) if left else 0
            signs, is_turn = batch.signs(line_, c), True
            while left > target and begin < end:
                low, high = correct(signs, begin), correct(signs, end)
                from_begin = low < high or (low == high and is_turn)
                is_turn ^= low == high
                left -= batch.is_open(line_[begin if from_begin else end])
                begin, end = begin + from_begin, end - (not from_begin)
        budget, turn = budget - len(chosen), turn + 1


def surround(batch, line_, c, budget):
    signs = batch.signs(line_, c)
    threshold = max(range(len(line_) + 1), key=lambda h: (correct(signs, h), -h))
    right, left, chosen = threshold, threshold - 1, []
    while len(chosen) < budget:
        for place in (left, right):
            if 0 <= place < len(line_) and batch.is_open(line_[place]):
                chosen.append(line_[place])
        left, right = left - 1, right + 1
    batch.add(chosen[:budget])


def brute_force(key, case, knows_answers, parallel):
    """The picks, and the number that the intervals gave."""
    batch = Batch(case, knows_answers)
    labels = [y for y in batch.labels if y >= 0]
    turns = sorted(range(CLASSES), key=lambda c: (labels.count(c), c))
    lines = [line_of(*case[:3], batch.where, c) for c in range(CLASSES)]
    half, drawn = K // 2, 0
    for turn, c in enumerate(turns):
        budget = half // CLASSES + (turn < half % CLASSES)
        narrow(jax.random.fold_in(key, c), batch, lines[c], c, budget, parallel)
    drawn = len(batch.picks)
    for turn, c in enumerate(turns):
        rest = K - drawn
        surround(batch, lines[c], c, rest // CLASSES + (turn < rest % CLASSES))
    return batch.picks, drawn


@pytest.mark.parametrize("kind", KINDS)
def test_every_pick_is_that_of_the_plain_loop(kind):
    numbers = []
    for seed in range(3):
        case = some_case(kind, seed)
        if kind == "few left":
            case = (*case[:4], np.arange(POOL) % 5 < 2)
        logits, labeled, labels, answers, where = case
        key = jax.random.key(seed)
        picks = iwps_jax.direct(key, logits, labeled, labels, K, where)
        key = jax.random.key(seed)
        expected, drawn = brute_force(key, case, False, K)
        assert picks.tolist() == expected and picks.dtype == np.int32
        assert len({*picks.tolist()}) == K and where[picks].all()
        numbers.append(drawn)
        picks = iwps_jax.direct_sequential(
            jax.random.key(seed), *case[:4], K, where, num_parallel=1
        )
        expected, _ = brute_force(jax.random.key(seed), case, True, 1)
        assert picks.tolist() == expected
        others = np.setdiff1d(np.arange(POOL), picks)
        answers[others] = (answers[others] + 1) % CLASSES
        again = iwps_jax.direct_sequential(
            jax.random.key(seed), *case[:4], K, where, num_parallel=1
        )
        assert again.tolist() == expected  # nobody looked at the other answers
    assert kind == "one class" or max(numbers) == K // 2


def test_so_many_rows_are_labeled_at_a_time():
    for seed in range(3):
        case = some_case("normal", seed)
        picks = iwps_jax.direct_sequential(
            jax.random.key(seed), *case[:4], K, case[4], num_parallel=2
        )
        assert picks.tolist() == brute_force(jax.random.key(seed), case, True, 2)[0]


def test_all_best_thresholds_lie_in_the_interval():
    for seed in range(50):
        signs = np.random.default_rng(seed).integers(-1, 2, 12).tolist()
        if 1 in signs and -1 in signs:
            begin, end = interval(signs)
            scores = [correct(signs, h) for h in range(13)]
            best = [h for h in range(13) if scores[h] == max(scores)]
            assert begin <= min(best) and max(best) <= end + (signs[end] >= 0)


def test_the_order_of_the_pool_does_not_matter_where_nothing_is_drawn():
    logits, labeled, labels, _, where = some_case("normal", 3)
    order = np.random.default_rng(0).permutation(POOL)
    one = iwps_jax.direct(jax.random.key(0), logits, labeled, labels, 1, where)
    other = iwps_jax.direct(
        jax.random.key(1), logits[order], labeled, labels, 1, where[order]
    )
    assert order[other].tolist() == one.tolist()


def test_many_keys_at_once_are_those_one_by_one():
    cases = [some_case("normal", seed) for seed in range(2)]
    logits, labeled, labels, _, where = (
        np.stack(part) for part in zip(*cases, strict=True)
    )

    def pick(key, logits, labeled, labels, where):
        return iwps_jax.direct(key, logits, labeled, labels, K, where)

    keys = jax.random.split(jax.random.key(2), 2)
    picks = jax.jit(jax.vmap(pick))(keys, logits, labeled, labels, where)
    keys = jax.random.split(jax.random.key(2), 2)
    for i in range(2):
        one = pick(keys[i], logits[i], labeled[i], labels[i], where[i])
        assert picks[i].tolist() == one.tolist()


def test_wrong_arguments_are_named(without_jaxtyping):
    logits, labeled, labels, answers, _ = some_case("normal", 0)
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="labeled_logits"):
        iwps_jax.direct(key, logits, labeled[:, :2], labels, K)
    args = jax.random.clone(key), logits, labeled, labels
    with pytest.raises(ValueError, match="answers"):
        iwps_jax.direct_sequential(*args, answers[:3], K)
    with pytest.raises(ValueError, match="num_parallel"):
        iwps_jax.direct_sequential(*args, answers, K, num_parallel=0)
