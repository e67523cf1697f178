"""What the benchmark of segmentation measures, and at which sizes."""

import dataclasses
from typing import Annotated, Literal, get_args

from tyro import conf

from benchmarks import command
from benchmarks.command import Positive
from experiments import models
from experiments.segmentation.config import PRECISIONS
from experiments.segmentation.data import mask_folder
from iwps_jax.app.options import Flag
from iwps_jax.refusal import Refusal

Section = Literal["scoring", "training", "reading"]
SIDES = conf.arg(metavar="HEIGHT WIDTH")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 5
    only: tuple[Section, ...] = get_args(Section)
    compile_only: Flag = False
    """training steps"""
    precisions: tuple[str, ...] = PRECISIONS
    width: Positive = 8
    classes: Positive = 19
    pool: Positive = 16
    chunk_size: Positive = 4
    holdout_scenes: Positive = 10
    side: Positive = 64
    minibatch: Positive = 4
    window: Positive = 712
    files: Positive = 10
    batches: Positive = 4
    parts: tuple[Positive, ...] = (1, 2)
    threads: tuple[Positive, ...] = (1, 2, 4)
    scene: Annotated[tuple[Positive, Positive], SIDES] = (128, 256)
    file: Annotated[tuple[Positive, Positive], SIDES] = (1024, 2048)

    def __post_init__(self):
        """Refuses sizes that do not fit each other."""
        super().__post_init__()
        command.require_known("precisions", self.precisions, PRECISIONS)
        sides = {"scene": self.scene, "side": (self.side,), "window": (self.window,)}
        for name, of_it in sides.items():
            for side in of_it:
                if side % models.deeplab.OUTPUT_STRIDE:
                    raise Refusal(f"--{name} must be in multiples of 8, got {side}.")
        for parts in self.parts:
            if self.minibatch % parts:
                raise Refusal(
                    f"--parts must divide the minibatch of {self.minibatch}, got "
                    f"{parts}."
                )
        if self.files < mask_folder.EVERY:
            raise Refusal(
                f"--files must be at least {mask_folder.EVERY}, got {self.files}."
            )
        if self.pool <= self.chunk_size:
            raise Refusal(
                f"--pool must be above --chunk-size of {self.chunk_size}, got "
                f"{self.pool}."
            )
