r"""What does every score cost beside a bare forward pass, and against autodiff?

    python -m benchmarks.networks                     # 4 minutes, 2 CPU cores
    python -m benchmarks.networks --networks mlp      # 1 minute
    python -m benchmarks.networks --out FILE.json     # keeps the numbers
    python -m benchmarks.networks --mlp-pool 100_000 --resnet18-pool 10_000 \
        --resnet50-pool 2_000 --resnet-chunk 256 --resnet-candidates 8   # for a GPU

Networks: the experiments' MLP 784-256-256-10, ResNet-18 for 32x32 images of 10
classes, ResNet-50 for 224x224 images of 1,000. Weights are untrained and images
random: values change no time but that of the exact look-ahead of the last layer,
whose branch is faster while every |k δ| is at most one; the bound η T max |k| that is
printed guarantees it where it is at most one.

A score "with features" computes them in the same program, a chunk at a time: what it
takes beyond the forward pass is what it adds, to within the noise of two long runs,
several percent on a busy machine. The scores on features, logits or draws
alone take what was computed before, of a thousand rows or more. `holdout_gradient` is
needed once a round; its samples are those of the holdout. Where each candidate carries
all weights (`iwps`, autodiff, the kernel) few are timed.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from tyro import conf

import iwps_jax
from benchmarks import autodiff, command, measure, scores
from benchmarks.command import Comparison, Positive, Unmeasured
from benchmarks.measure import Program, Timing, chunked
from experiments import models
from experiments.models import Network
from iwps_jax.types import Variables

MAX_EXPONENTIALS = 200_000_000
# Fewer rows of arrays would be over before a program has begun.
LEAST_ROWS = 1024
# The look-aheads of all layers have more to hold: each in the chunks it is fastest in.
DENSE_CHUNK_SIZE, FULL_CHUNK_SIZE = 16, 8
FORWARD, WHOLE_NETWORK = "forward pass", "iwps"


Name = Literal["mlp", "resnet18", "resnet50"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 7
    networks: tuple[Name, ...] = get_args(Name)
    mlp_pool: Positive = 10_000
    resnet18_pool: Positive = 64
    resnet50_pool: Positive = 8
    holdout_size: Positive = 100
    mlp_chunk: Positive = 1024
    resnet_chunk: Positive = 16
    resnet_width: Positive = 64
    resnet_candidates: Annotated[Positive | None, conf.arg(metavar="N")] = None


class Subject(NamedTuple):
    """A network to measure beside.

    Attributes:
        network: the classifier.
        shape: [height, width, channels] of its images.
        pool_size: images scored.
        chunk_size: of them at once.
        candidates: how many are timed where each carries all weights; None or few.
        learning_rate: of the look-aheads, as in the experiments.
    """

    network: Network
    shape: tuple[int, int, int]
    pool_size: int
    chunk_size: int
    candidates: int | None
    learning_rate: float


def make_subject(name: str, options: Options) -> Subject:
    """The network of that name, with the sizes that the options give it."""
    if name == "mlp":
        network = models.mlp((28, 28, 1), 10, mean=33.0, std=79.0)
        candidates = max(1, options.mlp_pool // 20)
        return Subject(
            network, (28, 28, 1), options.mlp_pool, options.mlp_chunk, candidates, 1e-3
        )
    make, shape, classes, pool_size = {
        "resnet18": (models.resnet18, (32, 32, 3), 10, options.resnet18_pool),
        "resnet50": (models.resnet50, (224, 224, 3), 1000, options.resnet50_pool),
    }[name]
    network = make(shape, classes, mean=120.0, std=60.0, width=options.resnet_width)
    return Subject(
        network, shape, pool_size, options.resnet_chunk, options.resnet_candidates, 1e-4
    )


class Scored(NamedTuple):
    """A network with its weights, and what it is scored on.

    Attributes:
        variables: of the network.
        images: [pool, height, width, channels].
        holdout: [m, height, width, channels], no more than the pool.
        arrays: what the network makes of them; features are repeated up to
            `LEAST_ROWS` of the pool and `--holdout-size` of the holdout.
        gradient: of the holdout loss.
    """

    variables: Variables
    images: jax.Array
    holdout: jax.Array
    arrays: scores.Arrays
    gradient: dict


def prepare(subject: Subject, holdout_size: int) -> Scored:
    """Draws weights and images, and computes what the scores read."""
    network, pool_size = subject.network, subject.pool_size
    keys = jax.random.split(jax.random.key(0), 3)
    variables = initial_variables(network, keys[0])

    def draw(key, size):
        return jax.random.randint(key, (size, *subject.shape), 0, 256, jnp.uint8)

    images = draw(keys[1], pool_size)
    # Through the large networks a holdout of a hundred would take longer than the pool.
    holdout = draw(keys[2], min(holdout_size, pool_size))
    features_of = chunked(
        lambda chunk, variables: network.features(variables, chunk), subject.chunk_size
    )
    features, holdout_features = (
        features_of(part, variables) for part in (images, holdout)
    )
    kernel, bias = network.head(variables)
    num_rows = max(pool_size, LEAST_ROWS)
    made = scores.random_arrays(num_rows, len(bias), 1, holdout_size)
    arrays = made._replace(
        features=features[jnp.arange(num_rows) % pool_size],
        kernel=kernel,
        bias=bias,
        holdout_features=holdout_features[jnp.arange(holdout_size) % len(holdout)],
    )
    # Any direction in weight space takes the same time.
    return Scored(variables, images, holdout, arrays, gradient=variables.params)


def initial_variables(network, key):
    """Initial weights, normalization a little weaker: features like those of trained.

    With unit scales the features of an untrained residual network grow block by block.
    """
    rough = {"xla_backend_optimization_level": "0"}  # or it compiles half a minute
    variables = jax.jit(network.init, compiler_options=rough)(key)
    params = jax.tree.map_with_path(
        lambda path, leaf: 0.6 * leaf if path[-1].key == "scale" else leaf,
        variables.params,
    )
    return Variables(params, variables.statistics)


def on_network(subject: Subject, scored: Scored) -> dict[str, Program]:
    """The forward pass, the scores that follow it, and those of all parameters."""
    network, variables = subject.network, scored.variables
    images, arrays = scored.images, scored.arrays
    look_ahead = dict(steps=scores.STEPS, learning_rate=subject.learning_rate)
    judges = (arrays.holdout_features, arrays.holdout_labels)

    def of_pool(score_fn, *others):
        program = chunked(score_fn, subject.chunk_size)
        return Program(program, (images, variables, *others), len(images))

    def after_features(score_fn):
        return of_pool(
            lambda chunk, variables, *judges: score_fn(
                network.features(variables, chunk), *network.head(variables), *judges
            ),
            *judges,
        )

    def first_order(score_fn):
        return of_pool(
            lambda chunk, variables, gradient: score_fn(
                _with_statistics(network, variables), variables.params, chunk, gradient
            ),
            scored.gradient,
        )

    holdout_labels = arrays.holdout_labels[: len(scored.holdout)]
    programs = {
        FORWARD: of_pool(lambda chunk, variables: network.apply(variables, chunk)),
        "iwps_last_layer with features": after_features(
            partial(iwps_jax.iwps_last_layer, **look_ahead)
        ),
        "iwps_app_last_layer with features": after_features(
            iwps_jax.iwps_app_last_layer
        ),
        "iwps_app": first_order(iwps_jax.iwps_app),
        "holdout_gradient": Program(
            jax.jit(
                lambda variables, *holdout: iwps_jax.holdout_gradient(
                    _with_statistics(network, variables), variables.params, *holdout
                )
            ),
            (variables, scored.holdout, holdout_labels),
            len(scored.holdout),
        ),
    }
    if network.dense_layers:
        programs["iwps_app by vmapped grad"] = first_order(autodiff.iwps_app)
        programs.update(_on_layers(subject, scored, look_ahead))
    elif subject.candidates:
        exact = chunked(
            lambda chunk, variables, *holdout: iwps_jax.iwps(
                _with_statistics(network, variables),
                variables.params,
                chunk,
                *holdout,
                **look_ahead,
            ),
            FULL_CHUNK_SIZE,
        )
        some = images[: subject.candidates]
        others = (variables, scored.holdout, holdout_labels)
        programs[WHOLE_NETWORK] = Program(exact, (some, *others), len(some))
    return programs


def _with_statistics(network, variables):
    return lambda params, inputs: network.apply(
        Variables(params, variables.statistics), inputs
    )


def _on_layers(
    subject: Subject, scored: Scored, look_ahead: dict
) -> dict[str, Program]:
    """What a network of dense layers has besides, on normalized pixels."""
    layers, normalize = subject.network.dense_layers(scored.variables)
    pixels, holdout = normalize(scored.images), normalize(scored.holdout)
    labels = scored.arrays.holdout_labels[: len(holdout)]
    some = pixels[: subject.candidates]
    kernel_of = partial(iwps_jax.gradient_kernel, autodiff.dense)

    def on(inputs, chunk_size, score_fn, **options):
        program = chunked(
            lambda chunk, layers, *holdout: score_fn(
                layers, chunk, *holdout, **look_ahead
            ),
            chunk_size,
        )
        return Program(program, (inputs, layers, holdout, labels), len(inputs))

    features, *head_and_judges = scored.arrays[:5]
    return {
        "iwps_last_layer by vmapped grad": Program(
            chunked(
                lambda chunk, kernel, bias, *judges: autodiff.iwps(
                    autodiff.dense, [(kernel, bias)], chunk, *judges, **look_ahead
                ),
                subject.chunk_size,
            ),
            (features, *head_and_judges),
            len(features),
        ),
        "iwps_mlp": on(pixels, DENSE_CHUNK_SIZE, iwps_jax.iwps_mlp),
        WHOLE_NETWORK: on(
            some, FULL_CHUNK_SIZE, partial(iwps_jax.iwps, autodiff.dense)
        ),
        "iwps by vmapped grad": on(
            some, FULL_CHUNK_SIZE, partial(autodiff.iwps, autodiff.dense)
        ),
        "gradient_kernel with the holdout": Program(
            jax.jit(kernel_of),
            (layers, some, jnp.zeros(len(some), jnp.int32), holdout, labels),
            len(some),
        ),
    }


def comparisons(name: str, names: Sequence[str]) -> list[Comparison]:
    """Everything against the forward pass, then the library against autodiff."""
    after = "iwps_last_layer with features"
    aims = {
        ("mlp", after): ("adds at most 35 %", 1 / 1.35),
        ("mlp", "iwps_last_layer"): ("takes at most 35 %", 1 / 0.35),
        ("resnet18", after): ("adds at most 5 %", 1 / 1.05),
        ("resnet18", "iwps_last_layer"): ("takes at most 5 %", 1 / 0.05),
        ("mlp", "iwps_app"): ("at most 3x slower", 1 / 3),
        ("resnet18", "iwps_app"): ("at most 3x slower", 1 / 3),
    }
    by_autodiff = "iwps by vmapped grad"
    return [
        *(
            Comparison(what, FORWARD, *aims.get((name, what), ()))
            for what in names
            if what != FORWARD
        ),
        Comparison(
            "iwps_last_layer",
            "iwps_last_layer by vmapped grad",
            "at least 8x faster",
            8.0,
        ),
        Comparison("iwps_app", "iwps_app by vmapped grad", "faster", 1.0),
        Comparison("iwps_mlp", by_autodiff, "at least 5x faster", 5.0),
        Comparison("iwps_mlp", WHOLE_NETWORK, "faster", 1.0),
    ]


def measured(
    name: str, options: Options
) -> tuple[dict[str, Timing | Unmeasured], float]:
    """Times all that there is for a network; also the bound on |k δ|."""
    subject = make_subject(name, options)
    scored = prepare(subject, options.holdout_size)
    arrays = scored.arrays
    coupling = 1 + jnp.abs(arrays.features @ arrays.holdout_features.T).max()
    bound = float(subject.learning_rate * scores.STEPS * coupling)
    programs = on_network(subject, scored)
    for row in scores.rows(subject.learning_rate):
        programs[row.name] = scores.as_program(
            row,
            arrays,
            chunk_size=max(subject.chunk_size, options.mlp_chunk),
            max_exponentials=MAX_EXPONENTIALS,
        )
    timings = measure.in_turns(programs, options.repeats)
    if WHOLE_NETWORK not in timings:
        timings[WHOLE_NETWORK] = Unmeasured(
            "each candidate carries all weights: --resnet-candidates N times N of them"
        )
    return timings, bound


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    options = command.parse(Options, "networks", __doc__, arguments)
    timings, ratios, bounds = {}, {}, {}
    for name in options.networks:
        found, bounds[name] = measured(name, options)
        timings[name] = command.as_json(found)
        ratios[name] = command.compared(found, comparisons(name, list(found)))
        command.show_timings(f"{name}: {found[FORWARD].samples:,} images", found)
        command.show_ratios(f"{name}: speed ratios within this run", ratios[name])
        print(f"{name}: |k δ| is at most η T max |k| = {bounds[name]:.2g}")
    results = {"timings": timings, "ratios": ratios, "bounds": bounds}
    command.finish("networks", options, results, ("flax", "optax"))


if __name__ == "__main__":
    main()
