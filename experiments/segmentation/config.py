"""Settings of a segmentation study, checked before anything runs."""

import dataclasses
import os
from pathlib import Path

from experiments.engine.command_line import ConfigError
from experiments.segmentation.data.datasets import DATASETS
from experiments.segmentation.methods import METHODS, RATE_VARIANTS, REDUCTIONS
from experiments.segmentation.networks import RECIPES, Options
from iwps_jax.methods import ROWS
from iwps_jax.refusal import nearest

WITH_PIXELS = tuple(name for name, row in ROWS.items() if row.pixels is not None)
PRECISIONS = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one study; the defaults are digit scenes, for a CPU."""

    methods: tuple[str, ...] = METHODS
    """Methods to compare, in this order; iwps_rate_0.1 and its kin count too."""
    seeds: int = 3
    """Number of repetitions (seeds 0, 1, ...)."""
    rounds: int = 5
    """Acquisitions; the model is fitted and tested once more after the last."""
    initial_size: int = 100
    """Initially labeled scenes, drawn at random."""
    acquire_size: int = 40
    """Scenes labeled each round."""
    holdout_size: int = 60
    """Held-out scenes, drawn at random: validation set and IWPS holdout."""
    holdout_images: int | None = None
    """How many of them judge for IWPS, drawn anew each round; all by default."""
    app_holdout_images: int | None = 10
    """The same for IWPS-app."""
    steps: int = 10
    """Look-ahead SGD steps T on each scene under its own predictions."""
    learning_rate: float = 1e-2
    """Look-ahead step length."""
    reduction: str = "mean"
    """From pixels to a scene, for uncertainties: mean, highest, region or classes."""
    warm_start: bool = True
    """Continue training from the last round instead of from scratch."""
    network: str = "efficientnet_lite0"
    """efficientnet_lite0 (frozen, a small DeepLabv3 on its maps) or
    deeplabv3_resnet50."""
    weights: str | None = None
    """A file of ImageNet weights (.safetensors or .pth); by default the published ones
    are fetched. For deeplabv3_resnet50 also "none", for random ones."""
    width: int | None = None
    """Channels of the head (48), or of ResNet-50's first stage (64)."""
    precision: str = "float32"
    """float32 or bfloat16, of the convolutions of deeplabv3_resnet50."""
    max_side: int | None = 2048
    """Scenes with a longer side are scaled down to this."""
    crop_size: int = 712
    """Side of the windows that deeplabv3_resnet50 is trained on; a multiple of 8."""
    minibatch_size: int | None = None
    """Scenes of a training step; by default 4, for deeplabv3_resnet50 24."""
    parts: int = 1
    """Parts that a minibatch is cut into where memory is short; their gradients are
    summed."""
    training_rate: float | None = None
    """Training step length at first; by default 0.1, for deeplabv3_resnet50 1e-2."""
    max_epochs: int = 50
    """Epochs of a round at most; it mostly stops before."""
    patience: int = 5
    """Epochs without a lower validation loss before training stops."""
    chunk_size: int = 8
    """Scenes scored or tested at once."""
    num_threads: int = min(os.cpu_count() or 2, 16)
    """Threads that read and decode scenes; they change no result."""
    dataset: str = "digit_scenes"
    """digit_scenes, cityscapes, or folder (see --images)."""
    data_dir: Path | None = None
    """Folder of Cityscapes' official or zip files; for digit_scenes that of MNIST."""
    images: Path | None = None
    """A folder of your own images; the data set is "folder" then."""
    masks: Path | None = None
    """The folder of their PNG masks."""
    classes: str | None = None
    """Number of classes, their names with commas between, or a file of one a line."""
    ignore: tuple[int, ...] = ()
    """Values of the masks that mean no class; 255 by default."""
    background: str | None = None
    """The class of your folder that is left out of the main mIoU, if any."""
    test_images: Path | None = None
    """A folder of test images; without it every fifth of yours is a test image."""
    test_masks: Path | None = None
    """Their masks."""
    out: Path = Path("runs/segmentation")
    """Folder for results and checkpoints."""
    resume: bool = True
    """Continue an interrupted run in the same folder; otherwise start it anew."""

    def __post_init__(self):
        """Refuses settings that make no sense, with a sentence each."""
        if not self.methods:
            raise ConfigError("methods must name at least one method, got none.")
        for what, names, valid in (
            ("method", self.methods, (*WITH_PIXELS, *RATE_VARIANTS)),
            ("data set", (self.dataset,), DATASETS),
            ("network", (self.network,), tuple(RECIPES)),
            ("reduction", (self.reduction,), REDUCTIONS),
            ("precision", (self.precision,), PRECISIONS),
        ):
            for name in names:
                if name not in valid:
                    raise ConfigError(nearest(name, what, valid))
        if len(set(self.methods)) != len(self.methods):
            raise ConfigError(f"methods must not repeat, got {self.methods}.")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in (int, int | None) and value is not None and value < 1:
                raise ConfigError(f"{field.name} must be at least 1, got {value}.")
        for name in ("learning_rate", "training_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name} must be positive and finite, got {value}.")
        if self.crop_size % 8:
            raise ConfigError(
                f"crop_size must be a multiple of 8, got {self.crop_size}."
            )
        if self.minibatch % self.parts:
            raise ConfigError(
                f"parts must divide the minibatch of {self.minibatch} scenes, got "
                f"{self.parts}."
            )
        if (self.images is None) != (self.dataset != "folder"):
            raise ConfigError(
                "a folder of your own is --dataset folder with --images, --masks and "
                "--classes."
            )

    @property
    def minibatch(self) -> int:
        """Scenes of a training step, the network's own unless set."""
        return self.minibatch_size or RECIPES[self.network].minibatch_size

    @property
    def rate(self) -> float:
        """η_0 of the training, the network's own unless set."""
        return self.training_rate or RECIPES[self.network].training_rate

    def network_options(self) -> Options:
        """What the user chose of the network."""
        return Options(self.width, self.precision, self.weights, self.max_side)

    def scenes(self) -> dict:
        """What `datasets.load` is to be called with, as JSON."""
        given = {
            name: getattr(self, name)
            for name in (
                *("data_dir", "images", "masks", "classes", "background"),
                *("test_images", "test_masks"),
            )
        }
        paths = {
            name: str(value.absolute()) if isinstance(value, Path) else value
            for name, value in given.items()
        }
        ignore = list(self.ignore) or None
        return {"name": self.dataset, **paths, "ignore": ignore}

    def settings(self) -> dict:
        """What determines the results, as JSON: no folders, no switches."""
        settings = dataclasses.asdict(self)
        for where_or_how in (
            *("data_dir", "images", "masks", "test_images", "test_masks", "classes"),
            *("ignore", "background", "out", "resume", "num_threads", "weights"),
        ):
            del settings[where_or_how]
        settings["methods"] = list(self.methods)
        settings["minibatch_size"] = self.minibatch
        settings["training_rate"] = self.rate
        return settings


SMOKE = {
    "seeds": 2,
    "rounds": 2,
    "initial_size": 40,
    "acquire_size": 20,
    "holdout_size": 20,
    "max_epochs": 4,
}
"""Settings of `--smoke`, to see that all works."""
