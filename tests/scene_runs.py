"""Small segmentation runs: folders of photographs, options, what came out."""

import contextlib
import io
import json

import jax
import pytest
from scene_files import save
from some_segmenters import STRIDE, colored_scenes, small_segmenter

from experiments.segmentation.networks import Inputs, Recipe

SIZES = ((40, 56), (56, 40), (37, 51))
SECONDS = ("fit_seconds", "score_seconds", "test_seconds", "compile_seconds")
SMALL = (
    *("--seeds", "2", "--rounds", "2", "--initial-size", "3", "--acquire-size", "2"),
    *("--holdout-size", "3", "--max-epochs", "2", "--chunk-size", "2"),
    *("--steps", "2", "--num-threads", "2"),
)


@contextlib.contextmanager
def isolate(folder):
    """For `with`: own caches."""
    patch = pytest.MonkeyPatch()
    patch.setenv("IWPS_JAX_CACHE", str(folder))
    patch.setenv("TFDS_DATA_DIR", str(folder / "tfds"))
    patch.delenv("CITYSCAPES_DATASET", raising=False)
    try:
        yield
    finally:
        patch.undo()


def write_scenes(root, number=18, sizes=SIZES):
    """A folder of upright and lying images with masks of three classes."""
    for index, scene in enumerate(colored_scenes(number, sizes).scenes):
        save(root / "images" / f"photo{index:02}.png", scene.image)
        save(root / "masks" / f"photo{index:02}_mask.png", scene.mask)
    return root


def folder_options(root, weights, out, *more):
    return [
        *("--images", str(root / "images"), "--masks", str(root / "masks")),
        *("--classes", "red,green,blue", "--weights", str(weights), "--width", "4"),
        *SMALL,
        *("--out", str(out), *more),
    ]


def run_main(main, options):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        main(options)
    return output.getvalue()


def read(out, name):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def results(out):
    """Picks as bytes, metrics without the time they took."""
    metrics = [
        {key: value for key, value in line.items() if key not in SECONDS}
        for line in read(out, "metrics.jsonl")
    ]
    return (out / "picks.jsonl").read_bytes(), metrics


def refusal(capsys, main, options):
    """What a command that must end with exit code 2 says, without a run before it."""
    with pytest.raises(SystemExit) as exit_:
        main(options)
    assert exit_.value.code == 2
    said = capsys.readouterr()
    return " ".join((said.out + said.err).replace("│", " ").split())


def _small_inputs(scenes, options):
    segmenter = small_segmenter(dropout_rate=0.1)
    return Inputs(
        segmenter=segmenter,
        init=jax.jit(segmenter.init),
        train=scenes.train,
        test=scenes.test,
        is_decoding=True,
        is_augmented=True,
        max_side=options.max_side,
        side_multiple=STRIDE,
        feature_stride=None,
        identity="small",
    )


SMALL_RECIPE = Recipe(_small_inputs, 4, 0.3)
"""A network that compiles at once, in the place of another."""
