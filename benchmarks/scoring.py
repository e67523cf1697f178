"""What does a score cost against autodiff, and against a bare forward pass?

    python -m benchmarks.scoring                     # two minutes on 2 CPU cores
    python -m benchmarks.scoring --out scoring.json  # keeps the numbers

All rows are timed in turns within one run and compared as ratios, since absolute
times on a shared machine drift. The network is the experiments' MLP 784-256-256-10,
the pool random pixels: values do not matter to the time.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from rich.console import Console
from rich.table import Table

import iwps_jax
from iwps_jax import models
from iwps_jax.types import Variables

STEPS, LEARNING_RATE = 3, 1e-3
CHUNK_SIZE = 1024
# The look-aheads of all layers have more to hold: each in the chunks it is fastest in.
DENSE_CHUNK_SIZE, VMAPPED_CHUNK_SIZE = 16, 8
VMAPPED_SHARE = 20  # the slow ones are timed on one candidate in so many


def look_ahead_by_autodiff(logits_fn, params, inputs, holdout_inputs, holdout_labels):
    """IWPS as one would write it: `vmap` of `grad` in a `scan`."""

    def loss(params, inputs, label):
        return optax.softmax_cross_entropy_with_integer_labels(
            logits_fn(params, inputs), label
        ).mean()

    loss_now = loss(params, holdout_inputs, holdout_labels)

    def score(candidate):
        label = logits_fn(params, candidate).argmax()

        def step(moved, _):
            gradient = jax.grad(loss)(moved, candidate, label)
            moved = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, moved, gradient)
            return moved, None

        moved, _ = jax.lax.scan(step, params, length=STEPS)
        return loss(moved, holdout_inputs, holdout_labels) - loss_now

    return jax.vmap(score)(inputs)


def dense(layers, inputs):
    """The logits of (kernel, bias) layers with ReLUs between them."""
    for kernel, bias in layers[:-1]:
        inputs = jax.nn.relu(inputs @ kernel + bias)
    kernel, bias = layers[-1]
    return inputs @ kernel + bias


def first_order_by_gradients(apply_fn, params, inputs, gradient):
    """IWPS-app as one would write it: `vmap` of `grad`, then the dot product."""

    def score(image):
        label = apply_fn(params, image[None])[0].argmax()
        own = jax.grad(
            lambda p: optax.softmax_cross_entropy_with_integer_labels(
                apply_fn(p, image[None])[0], label
            )
        )(params)
        return -sum(
            jnp.vdot(a, b)
            for a, b in zip(
                jax.tree.leaves(own), jax.tree.leaves(gradient), strict=True
            )
        )

    return jax.vmap(score)(inputs)


def chunked(score_fn: Callable, chunk_size: int = CHUNK_SIZE) -> Callable:
    """The score over a pool, jitted, a chunk at a time."""
    return jax.jit(
        lambda pool: iwps_jax.score_in_chunks(score_fn, pool, chunk_size=chunk_size)
    )


def contestants(pool_size: int, holdout_size: int) -> dict[str, tuple]:
    """Name -> (program, its argument), in the order of the table."""
    network = models.mlp((28, 28, 1), 10, mean=33.0, std=79.0)
    keys = jax.random.split(jax.random.key(0), 4)
    variables = network.init(keys[0])
    params = variables.params
    images = jax.random.randint(keys[1], (pool_size, 28, 28, 1), 0, 256, jnp.uint8)
    holdout = jax.random.randint(keys[2], (holdout_size, 28, 28, 1), 0, 256, jnp.uint8)
    labels = jax.random.randint(keys[3], (holdout_size,), 0, 10)
    features = jax.jit(network.features)(variables, images)
    head = network.head(variables)
    judged_by = (*head, network.features(variables, holdout), labels)
    layers, normalize = network.dense_layers(variables)
    pixels, holdout_pixels = normalize(images), normalize(holdout)

    def apply(params, inputs):
        return network.apply(Variables(params, {}), inputs)

    gradient = iwps_jax.holdout_gradient(apply, params, holdout, labels)
    some_pixels = pixels[: max(1, pool_size // VMAPPED_SHARE)]

    def on_head(score_fn):
        return chunked(lambda chunk: score_fn(chunk, *judged_by)), features

    def on_network(score_fn):
        return chunked(score_fn), images

    def on_pixels(score_fn):
        score = partial(score_fn, holdout_inputs=holdout_pixels, holdout_labels=labels)
        program = chunked(lambda chunk: score(inputs=chunk), VMAPPED_CHUNK_SIZE)
        return program, some_pixels

    look_ahead = dict(steps=STEPS, learning_rate=LEARNING_RATE)
    return {
        "forward pass": on_network(partial(apply, params)),
        "iwps_app": on_network(
            lambda chunk: iwps_jax.iwps_app(apply, params, chunk, gradient)
        ),
        "iwps_app by vmapped grad": on_network(
            lambda chunk: first_order_by_gradients(apply, params, chunk, gradient)
        ),
        "iwps_app_last_layer": on_head(iwps_jax.iwps_app_last_layer),
        "iwps_last_layer": on_head(partial(iwps_jax.iwps_last_layer, **look_ahead)),
        "iwps_last_layer by vmapped grad": on_head(
            lambda chunk, kernel, bias, *judges: look_ahead_by_autodiff(
                dense, [(kernel, bias)], chunk, *judges
            )
        ),
        "iwps_mlp": (
            chunked(
                lambda chunk: iwps_jax.iwps_mlp(
                    layers, chunk, holdout_pixels, labels, **look_ahead
                ),
                DENSE_CHUNK_SIZE,
            ),
            pixels,
        ),
        "iwps": on_pixels(partial(iwps_jax.iwps, dense, layers, **look_ahead)),
        "iwps by vmapped grad": on_pixels(
            partial(look_ahead_by_autodiff, dense, layers)
        ),
    }


COMPARISONS = (
    ("iwps_last_layer", "iwps_last_layer by vmapped grad", "at least 8x faster", 8.0),
    ("iwps_app", "iwps_app by vmapped grad", "faster", 1.0),
    ("iwps_app", "forward pass", "at most 3x slower", 1 / 3),
    ("iwps_last_layer", "forward pass", "for information", None),
    ("iwps_mlp", "iwps", "at least 5x faster", 5.0),
    ("iwps_mlp", "iwps by vmapped grad", "faster", 1.0),
    ("iwps_mlp", "forward pass", "for information", None),
)
"""What, against what, the aim in words, and the least speed ratio that meets it."""


def measure(programs: dict[str, tuple], repeats: int) -> dict[str, dict]:
    """Compiles each program, then times them in turns; seconds by name."""
    compiled, results = {}, {}
    for name, (program, pool) in programs.items():
        start = time.perf_counter()
        compiled[name] = program.lower(pool).compile()
        results[name] = {
            "compile_seconds": time.perf_counter() - start,
            "temporary_megabytes": (
                compiled[name].memory_analysis().temp_size_in_bytes / 1e6
            ),
            "samples": len(pool),
            "seconds": [],
        }
        jax.block_until_ready(compiled[name](pool))
    for _ in range(repeats):
        for name, (_, pool) in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(compiled[name](pool))
            results[name]["seconds"].append(time.perf_counter() - start)
    return results


def compare(results: dict[str, dict]) -> list[dict]:
    """Ratios of median times within the run, with their spread over the turns."""
    rows = []
    for fast, slow, aim, least in COMPARISONS:
        pairs = zip(results[slow]["seconds"], results[fast]["seconds"], strict=True)
        share = results[fast]["samples"] / results[slow]["samples"]
        ratios = sorted(share * slower / faster for slower, faster in pairs)
        ratio = statistics.median(ratios)
        rows.append(
            {
                "what": fast,
                "against": slow,
                "speed_ratio": ratio,
                "lowest": ratios[0],
                "highest": ratios[-1],
                "aim": aim,
                "met": None if least is None else ratio >= least,
            }
        )
    return rows


def machine() -> dict:
    """What the numbers depend on: device, cores, versions."""
    return {
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jax.lib.__version__,
    }


def print_tables(results: dict, comparisons: list[dict], pool_size: int) -> None:
    """Prints throughputs and ratios."""
    console = Console(width=100)
    table = Table("program", title=f"pool of {pool_size:,}, median of the turns")
    for column in ("samples/s", "µs a sample", "temporary MB", "compile s"):
        table.add_column(column, justify="right")
    for name, result in results.items():
        seconds = statistics.median(result["seconds"])
        table.add_row(
            name,
            f"{result['samples'] / seconds:,.0f}",
            f"{1e6 * seconds / result['samples']:.2f}",
            f"{result['temporary_megabytes']:.1f}",
            f"{result['compile_seconds']:.1f}",
        )
    console.print(table)
    table = Table("what", "against", title="speed ratios within this run")
    for column in ("ratio", "lowest", "highest"):
        table.add_column(column, justify="right")
    table.add_column("aim")
    for row in comparisons:
        verdict = {True: " (met)", False: " (MISSED)", None: ""}[row["met"]]
        table.add_row(
            row["what"],
            row["against"],
            *(f"{row[key]:.2f}x" for key in ("speed_ratio", "lowest", "highest")),
            row["aim"] + verdict,
        )
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--pool-size", type=int, default=10_000)
    parser.add_argument("--holdout-size", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    results = measure(
        contestants(options.pool_size, options.holdout_size), options.repeats
    )
    comparisons = compare(results)
    print_tables(results, comparisons, options.pool_size)
    if options.out:
        settings = {
            **vars(options),
            "out": None,
            "chunk_size": CHUNK_SIZE,
            "dense_chunk_size": DENSE_CHUNK_SIZE,
            "vmapped_chunk_size": VMAPPED_CHUNK_SIZE,
        }
        numbers = {
            "settings": {k: v for k, v in settings.items() if v is not None},
            "machine": machine(),
            "results": results,
            "comparisons": comparisons,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
