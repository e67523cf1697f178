"""What do the batch selectors add to scoring a pool of a million?

    python -m benchmarks.batch_selection                   # minutes on 2 busy cores
    python -m benchmarks.batch_selection --out batch.json  # keeps the numbers

Every selector picks from the pool that `iwps_last_layer` has scored, by those scores;
scoring and selectors take turns in one run. The aim is that a batch costs less than its
scores.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

import iwps_jax
from benchmarks import command, measure
from benchmarks.command import Comparison, Positive
from benchmarks.large_pool import a_model
from iwps_jax import contrib
from iwps_jax.refusal import Refusal

SCORING = "iwps_last_layer"
PLAIN = "top_k"
IN_SPACE = (
    contrib.farthest_first,
    contrib.score_weighted,
    contrib.k_means_plus_plus,
    contrib.greedy_volume,
)
AIM = "takes less than the scores"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 3
    pool_size: Positive = 1_000_000
    dim: Positive = 256
    classes: Positive = 10
    holdout_size: Positive = 100
    labeled: Positive = 1000
    chunk_size: Positive = 1024
    k: Positive = 200
    candidates: tuple[Positive, ...] = (4, 10)
    """candidates a pick"""

    def __post_init__(self):
        """Refuses more picks than there are rows."""
        super().__post_init__()
        if self.k > self.pool_size:
            raise Refusal(
                f"k must be at most {self.pool_size}, the pool, got {self.k}."
            )


def row_name(select, candidates_per_pick: int) -> str:
    """How a selector is called in the tables."""
    return f"{select.__name__}, c = {candidates_per_pick}"


def make_programs(options: Options) -> dict[str, measure.Program]:
    """Scoring, and all selectors on what it gives; the pool's rows are the samples."""
    features = jax.random.normal(jax.random.key(0), (options.pool_size, options.dim))
    model = a_model(options.dim, options.classes, options.holdout_size)
    look_ahead = contrib.LookAhead(features, **model)
    scoring = measure.chunked(iwps_jax.iwps_last_layer, options.chunk_size)
    logits = features @ look_ahead.kernel + look_ahead.bias[None]
    scores, key = scoring(*look_ahead), jax.random.key(1)
    num_labeled = min(options.labeled, options.pool_size)
    evidence = iwps_jax.Evidence(
        features=features,
        kernel=look_ahead.kernel,
        bias=look_ahead.bias,
        holdout_features=look_ahead.holdout_features,
        labeled_features=features[:num_labeled],
        labels=jnp.arange(num_labeled) % options.classes,
    )

    def program(run, *arguments):
        return measure.Program(jax.jit(run), arguments, options.pool_size)

    programs = {
        SCORING: measure.Program(scoring, tuple(look_ahead), options.pool_size),
        PLAIN: program(lambda scores: iwps_jax.top_k(scores, options.k), scores),
    }
    for number in options.candidates:
        for select in IN_SPACE:

            def in_space(key, scores, features, logits, select=select, number=number):
                space = iwps_jax.gradient_space(features, logits)
                return select(key, scores, space, options.k, candidates_per_pick=number)

            programs[row_name(select, number)] = program(
                in_space, key, scores, features, logits
            )

        def rescored(key, scores, look_ahead, number=number):
            return contrib.rescored_iwps(
                key, scores, look_ahead, options.k, candidates_per_pick=number
            )

        programs[row_name(contrib.rescored_iwps, number)] = program(
            rescored, key, scores, look_ahead
        )

        def whole(key, scores, evidence, number=number):
            return iwps_jax.iwps_batch(
                key, scores, evidence, options.k, candidates_per_pick=number
            )

        programs[row_name(iwps_jax.iwps_batch, number)] = program(
            whole, key, scores, evidence
        )
    return programs


def comparisons(options: Options) -> list[Comparison]:
    """Every selector against the scoring, with the aim of all but the rescored."""
    found = [Comparison(PLAIN, SCORING)]
    for number in options.candidates:
        found += [
            Comparison(row_name(select, number), SCORING, AIM, 1) for select in IN_SPACE
        ]
        found.append(Comparison(row_name(contrib.rescored_iwps, number), SCORING))
        found.append(Comparison(row_name(iwps_jax.iwps_batch, number), SCORING, AIM, 1))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    options = command.parse(Options, "batch_selection", __doc__, arguments)
    timings = measure.in_turns(make_programs(options), options.repeats)
    title = f"{options.k} of {options.pool_size:,} x {options.dim}"
    command.show_timings(title, timings)
    ratios = command.compared(timings, comparisons(options))
    command.show_ratios(f"{title}, against their scores", ratios)
    command.finish(
        "batch_selection",
        options,
        {"timings": command.as_json(timings), "ratios": ratios},
    )


if __name__ == "__main__":
    main()
