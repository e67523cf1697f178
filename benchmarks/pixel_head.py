r"""How many images a second do the scores of a pixel head take, and against autodiff?

    python -m benchmarks.pixel_head                     # 5 minutes, 2 CPU cores
    python -m benchmarks.pixel_head --settings digit_scenes
    python -m benchmarks.pixel_head --out FILE.json     # keeps the numbers

Settings: maps as of the digit scenes and of street scenes, random. All scores read
features that were computed before. The exact look-ahead is compared with the same
number by automatic differentiation, a `vmap` over images of T steps of `jax.grad` and a
difference of two losses, once on the same features and once from the images, through a
stand-in for a network: three 3x3 convolutions, the first of the stride of the maps.
What of those the compiler takes out of the loop over the steps, it does: only the head
learns. "with features" is the library's look-ahead after the same convolutions.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

import iwps_jax
from benchmarks import autodiff, command, measure
from benchmarks.command import Comparison, Positive
from benchmarks.measure import Program, Timing, chunked

LOOK_AHEAD = {"steps": 10, "learning_rate": 1e-2}
OURS, OURS_FROM_IMAGES = "iwps_pixel_head", "iwps_pixel_head with features"
AUTODIFF, AUTODIFF_FROM_IMAGES = "autodiff", "autodiff through the network"
COMPARISONS = [
    Comparison(OURS, AUTODIFF, "10x or more", 10),
    Comparison(OURS, AUTODIFF_FROM_IMAGES, "10x or more", 10),
    Comparison(OURS_FROM_IMAGES, AUTODIFF_FROM_IMAGES),
    Comparison("iwps_app_pixel_head", OURS),
]


class Setting(NamedTuple):
    """Sizes to measure at.

    Attributes:
        height: coarse pixels, those of the features.
        width: likewise.
        dimension: features of a pixel.
        num_classes: of the labels.
        factor: fine pixels a side of a coarse one.
        holdout_size: images.
        pool_size: images timed.
        chunk_size: of them at once.
    """

    height: int
    width: int
    dimension: int
    num_classes: int
    factor: int
    holdout_size: int
    pool_size: int
    chunk_size: int


SETTINGS = {
    "digit_scenes": Setting(32, 32, 48, 11, 2, 30, 64, 16),
    "street_scenes": Setting(64, 128, 256, 19, 8, 2, 2, 1),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 5
    settings: tuple[str, ...] = tuple(SETTINGS)
    divide_by: Positive = 1
    """smaller by this factor"""

    def __post_init__(self):
        """Refuses settings that do not exist."""
        super().__post_init__()
        command.require_known("settings", self.settings, tuple(SETTINGS))


def smaller(setting: Setting, divisor: int) -> Setting:
    """The same classes, enlargement and chunks at a fraction of the other sizes.

    Example:
        >>> smaller(SETTINGS["digit_scenes"], 8)[:3]
        (4, 4, 6)
    """
    names = ("height", "width", "dimension", "holdout_size", "pool_size")
    sizes = {name: max(1, getattr(setting, name) // divisor) for name in names}
    return setting._replace(**sizes)


def network(filters: list[jax.Array], images: jax.Array, factor: int) -> jax.Array:
    """The stand-in: [n, f h, f w, 3] -> [n, h, w, d]."""
    for i, kernel in enumerate(filters):
        stride = factor if i == 0 else 1
        images = jax.nn.relu(
            jax.lax.conv_general_dilated(
                images,
                kernel,
                (stride, stride),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        )
    return images


def programs(setting: Setting) -> dict[str, Program]:
    """All programs of a setting, on arrays of these sizes."""
    height, width, d, num_classes, factor, m, n, chunk_size = setting
    fine = (height * factor, width * factor)
    keys = iter(jax.random.split(jax.random.key(0), 8))
    images, holdout_images = (
        jax.random.normal(next(keys), (size, *fine, 3)) for size in (n, m)
    )
    filters = [
        jax.random.normal(next(keys), (3, 3, fan_in, d)) * (2 / (9 * fan_in)) ** 0.5
        for fan_in in (3, d, d)
    ]
    kernel = jax.random.normal(next(keys), (d, num_classes)) / d**0.5
    bias = jnp.zeros(num_classes)
    labels = jax.random.randint(next(keys), (m, *fine), 0, num_classes)
    where, counts = jnp.ones((n, *fine), bool), jnp.ones((m, *fine), bool)
    features_of = jax.jit(
        lambda images: jax.lax.map(
            lambda image: network(filters, image[None], factor)[0], images
        )
    )
    features, holdout_features = features_of(images), features_of(holdout_images)
    head, holdout = (kernel, bias), (holdout_features, labels, counts)
    gradient = iwps_jax.pixel_head_gradient(*holdout, *head)
    key = jax.random.key(1)

    def program(score_fn, *others, reads=features, size=n):
        run = chunked(lambda chunk, *others: score_fn(*chunk, *others), chunk_size)
        return Program(run, ((reads[:size], where[:size]), *others), size)

    exact = partial(iwps_jax.iwps_pixel_head, **LOOK_AHEAD)

    def exact_from_images(images, where, filters, head, holdout):
        return exact(network(filters, images, factor), where, *head, *holdout)

    def logits_of(head, features):
        return features @ head[0] + head[1][None, None]

    def on_features(features, where, head, holdout):
        return autodiff.iwps_of_images(
            logits_of, head, (features, where), holdout, **LOOK_AHEAD
        )

    def through_network(images, where, filters, head, holdout):
        def logits_fn(head, image):
            return logits_of(head, network(filters, image[None], factor)[0])

        return autodiff.iwps_of_images(
            logits_fn, head, (images, where), holdout, **LOOK_AHEAD
        )

    few = max(1, min(n, chunk_size))
    from_images = partial(program, reads=images, size=few)
    return {
        OURS: program(exact, *head, *holdout),
        AUTODIFF: program(on_features, head, holdout),
        OURS_FROM_IMAGES: from_images(exact_from_images, filters, head, holdout),
        AUTODIFF_FROM_IMAGES: from_images(
            through_network, filters, head, (holdout_images, labels, counts)
        ),
        "iwps_app_pixel_head": program(iwps_jax.iwps_app_pixel_head, *head, gradient),
        "entropy": program(partial(iwps_jax.pixel_scores, iwps_jax.entropy), *head),
        "mc_dropout": program(partial(iwps_jax.pixel_mc_dropout, key), *head),
        "bald": program(partial(iwps_jax.pixel_bald, key), *head),
    }


def measured(setting: Setting, repeats: int) -> dict[str, Timing]:
    """Times all programs of a setting in turns."""
    return measure.in_turns(programs(setting), repeats)


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    options = command.parse(Options, "pixel_head", __doc__, arguments)
    timings, ratios, sizes = {}, {}, {}
    for name in options.settings:
        setting = smaller(SETTINGS[name], options.divide_by)
        found = measured(setting, options.repeats)
        timings[name] = command.as_json(found)
        ratios[name] = command.compared(found, COMPARISONS)
        sizes[name] = setting._asdict()
        command.show_timings(name, found)
        command.show_ratios(f"{name}, ratios within this run", ratios[name])
    command.finish(
        "pixel_head",
        options,
        {"sizes": sizes, "timings": timings, "ratios": ratios},
    )


if __name__ == "__main__":
    main()
