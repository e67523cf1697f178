"""What do the masks of MC-Dropout and BALD cost beside the products that they mask?

    python -m benchmarks.dropout_masks                      # a minute on 2 busy cores
    python -m benchmarks.dropout_masks --out FILE.json      # keeps the numbers

A draw of one dense layer: every row of every draw has a mask of its own, from its own
key. The hash of `iwps_jax.masks` takes turns with `jax.random.bernoulli`, the form
before it, and with the product alone. Below it, the draws of the studies' network on
images, with both. Seconds are those of the process, on all cores.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

import iwps_jax
from benchmarks import command, measure
from benchmarks.command import Comparison, Positive
from benchmarks.measure import Program, Timing
from experiments import models
from experiments.classification.methods import NUM_DRAWS, read_rows
from iwps_jax import masks

RATE = 0.2
HASH, BERNOULLI, PRODUCT = "masks by hash", "masks by bernoulli", "the product alone"
DRAWS_HASH, DRAWS_BERNOULLI = "draws of the network, hash", "draws, bernoulli"
AIM = "a tenth of the product it masks"
SHAPE = (28, 28, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 7
    rows: Positive = 1000
    """in each of ten draws"""
    dim: Positive = 256


def make_programs(options: Options) -> dict[str, Program]:
    """Masks of all rows and draws, the product that they mask, and whole draws."""
    number = options.rows * NUM_DRAWS
    samples = iwps_jax.sample_keys(jax.random.key(0), jnp.arange(number))
    keys = jax.random.key_data(samples)
    units = jax.random.normal(jax.random.key(1), (number, options.dim))
    kernel = jax.random.normal(jax.random.key(2), (options.dim, options.dim))

    def masks_by(kept: Callable) -> Callable:
        def make(keys):
            return jax.vmap(kept)(jax.vmap(jax.random.wrap_key_data)(keys))

        return jax.jit(make)

    def by_hash(key):
        return masks.kept(key, 1 - RATE, (1, options.dim))

    def by_bernoulli(key):
        return jax.random.bernoulli(key, 1 - RATE, (1, options.dim))

    network = models.mlp(
        SHAPE, 10, mean=0.0, std=255.0, hidden_sizes=(options.dim, options.dim)
    )
    # In training the same network draws its masks by `bernoulli`.
    before = network._replace(
        apply_dropout=lambda key, variables, inputs: network.apply_train(
            key, variables, inputs
        )[0]
    )
    variables = network.init(jax.random.key(3))
    images = jax.random.randint(
        jax.random.key(4), (options.rows, *SHAPE), 0, 256, jnp.uint8
    )

    def draws_of(network) -> Callable:
        def make(variables, images, keys):
            keys = jax.vmap(jax.random.wrap_key_data)(keys)
            return read_rows(network, ["draws"], variables, images, None, keys).draws

        return jax.jit(make)

    arguments = variables, images, keys[: options.rows]
    product = jax.jit(lambda units, kernel: jnp.matmul(units, kernel))
    return {
        PRODUCT: Program(product, (units, kernel), number),
        HASH: Program(masks_by(by_hash), (keys,), number),
        BERNOULLI: Program(masks_by(by_bernoulli), (keys,), number),
        DRAWS_HASH: Program(draws_of(network), arguments, options.rows),
        DRAWS_BERNOULLI: Program(draws_of(before), arguments, options.rows),
    }


def in_turns(programs: dict[str, Program], repeats: int) -> dict[str, Timing]:
    """As `measure.in_turns`, in seconds of the process."""
    ready = {name: measure.compiled(program) for name, program in programs.items()}
    for name, program in programs.items():
        jax.block_until_ready(ready[name][0](*program.arguments))
    for _ in range(repeats):
        for name, program in programs.items():
            run, timing = ready[name]
            start = time.process_time()
            jax.block_until_ready(run(*program.arguments))
            timing.seconds.append(time.process_time() - start)
    return {name: timing for name, (_, timing) in ready.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    options = command.parse(Options, "dropout_masks", __doc__, arguments)
    timings = in_turns(make_programs(options), options.repeats)
    title = f"{NUM_DRAWS} draws of {options.rows:,} rows x {options.dim}"
    command.show_timings(title, timings)
    ratios = command.compared(
        timings,
        [
            Comparison(HASH, PRODUCT, AIM, 10),
            Comparison(BERNOULLI, PRODUCT),
            Comparison(HASH, BERNOULLI),
            Comparison(DRAWS_HASH, DRAWS_BERNOULLI),
        ],
    )
    command.show_ratios(f"{title}, seconds of the process", ratios)
    results = {"timings": command.as_json(timings), "ratios": ratios}
    command.finish("dropout_masks", options, results, ("flax",))


if __name__ == "__main__":
    main()
