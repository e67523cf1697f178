"""Settings of a study, checked before anything runs."""

import dataclasses
from pathlib import Path

from experiments.datasets import DATASETS
from experiments.methods import METHODS
from experiments.names import nearest


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one study; the defaults are imbalanced MNIST."""

    methods: tuple[str, ...] = METHODS
    """Methods to compare, in this order."""
    seeds: int = 5
    """Number of repetitions (seeds 0, 1, ...), run side by side."""
    rounds: int = 6
    """Acquisitions; the model is fitted and tested once more after the last."""
    base_size: int = 20
    """Initially labeled samples of each majority class."""
    imbalance: int = 10
    """How many times rarer a minority class is; 1 is balanced."""
    acquire_size: int = 50
    """Samples labeled each round."""
    holdout_per_class: int = 5
    """Held-out samples of each class: validation set and IWPS holdout."""
    steps: int = 3
    """Look-ahead SGD steps T on each pseudo-label."""
    learning_rate: float = 1e-3
    """Look-ahead step length."""
    warm_start: bool = False
    """Continue training from the last round instead of from scratch."""
    dataset: str = "mnist"
    """mnist, fashion_mnist or digits."""
    data_dir: Path | None = None
    """Folder of prepared TFDS data or of the official IDX files."""
    out: Path = Path("runs/mnist_imbalanced")
    """Folder for results and checkpoints."""
    resume: bool = True
    """Continue an interrupted run in the same folder; otherwise start it anew."""

    def __post_init__(self):
        """Refuses settings that make no sense, with a sentence each."""
        if not self.methods:
            raise ValueError("methods must name at least one method, got none.")
        for method in self.methods:
            if method not in METHODS:
                raise ValueError(nearest(method, "method", METHODS))
        if len(set(self.methods)) != len(self.methods):
            raise ValueError(f"methods must not repeat, got {self.methods}.")
        if self.dataset not in DATASETS:
            raise ValueError(nearest(self.dataset, "dataset", DATASETS))
        for name in (
            "seeds",
            "rounds",
            "base_size",
            "imbalance",
            "acquire_size",
            "holdout_per_class",
            "steps",
        ):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1, got {getattr(self, name)}."
                )
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(
                f"learning_rate must be positive and finite, got {self.learning_rate}."
            )

    def settings(self) -> dict:
        """What determines the results, as JSON: no folders, no switches."""
        settings = dataclasses.asdict(self)
        for where_or_how in ("data_dir", "out", "resume"):
            del settings[where_or_how]
        settings["methods"] = list(self.methods)
        return settings


SMOKE = {
    "dataset": "digits",
    "seeds": 2,
    "rounds": 2,
    "out": Path("runs/smoke"),
}
"""Settings of `--smoke`: every method in under a minute, to see that all works."""
