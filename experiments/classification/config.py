"""Settings of a study, checked before anything runs."""

import dataclasses
from pathlib import Path

from experiments.classification.batch_variants import BATCH_VARIANTS
from experiments.classification.methods import METHODS
from experiments.classification.networks import RECIPES
from experiments.classification.splits import DISTRIBUTIONS
from experiments.classification.variants import VARIANTS, judges_per_class
from experiments.data.datasets import DATASETS, KINDS
from experiments.engine.command_line import ConfigError
from experiments.engine.run_folder import UNSAID
from iwps_jax.methods import ROWS
from iwps_jax.refusal import nearest

TEST_SETS = ("official", "pool")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one study; the defaults are imbalanced MNIST."""

    methods: tuple[str, ...] = METHODS
    """Methods to compare, in this order; those of the ablations count too."""
    seeds: int = 5
    """Number of repetitions."""
    first_seed: int = 0
    """Seed of the first repetition; the others follow it."""
    rounds: int = 6
    """Acquisitions; the model is fitted and tested once more after the last."""
    base_size: int = 20
    """Initially labeled samples of each majority class."""
    imbalance: int = 10
    """How many times rarer a minority class is; 1: balanced, 20: other defaults."""
    distribution: str = "minority"
    """minority, long_tailed (the last class rarer by the imbalance) or natural."""
    acquire_size: int = 50
    """Samples labeled each round."""
    holdout_per_class: int = 5
    """Held-out samples of each class: validation set and IWPS holdout."""
    pool_per_class: int | None = None
    """Samples of a majority class at most, labeled ones included; all by default."""
    steps: int = 3
    """Look-ahead SGD steps T on each pseudo-label."""
    learning_rate: float | None = None
    """Look-ahead step length; by default the network's: 1e-3, ResNet-18 1e-4."""
    warm_start: bool = False
    """Continue training from the last round instead of from scratch."""
    max_steps: int = 2000
    """Training steps of a round at most, in fives; it mostly stops before."""
    network: str = "mlp"
    """mlp, resnet18 or efficientnet_lite0 (frozen, with an MLP on its features); of
    texts minilm or minilm_linear, of tables table_mlp or table_linear."""
    dataset: str = "mnist"
    """mnist, kmnist, fashion_mnist, svhn, cifar10 or digits; texts and tables:
    docs/formats.md."""
    test_sets: tuple[str, ...] = ("official",)
    """official; pool: also weighted to the classes of the pool."""
    data_dir: Path | None = None
    """Folder of prepared TFDS data or of the official files."""
    out: Path = Path("runs/mnist_imbalanced")
    """Folder for results and checkpoints."""
    resume: bool = True
    """Continue an interrupted run in the same folder; otherwise start it anew."""

    def __post_init__(self):
        """Refuses settings that make no sense, with a sentence each."""
        if not self.methods:
            raise ConfigError("methods must name at least one method, got none.")
        for what, names, valid in (
            ("method", self.methods, (*ROWS, *VARIANTS, *BATCH_VARIANTS)),
            ("dataset", (self.dataset,), DATASETS),
            ("network", (self.network,), tuple(RECIPES)),
            ("distribution", (self.distribution,), tuple(DISTRIBUTIONS)),
            ("test set", self.test_sets, TEST_SETS),
        ):
            for name in names:
                if name not in valid:
                    raise ConfigError(nearest(name, what, valid))
        if len(set(self.methods)) != len(self.methods):
            raise ConfigError(f"methods must not repeat, got {self.methods}.")
        if self.test_sets not in (TEST_SETS[:1], TEST_SETS):
            raise ConfigError(
                f"test_sets must be official or official pool, got {self.test_sets}."
            )
        kind, reads = KINDS[self.dataset], RECIPES[self.network].reads
        if kind != reads:
            fitting = [name for name in RECIPES if RECIPES[name].reads == kind]
            raise ConfigError(
                f"network {self.network} reads {reads}, but {self.dataset} is of "
                f"{kind}; choose {' or '.join(fitting)}."
            )
        if self.distribution == "natural" and self.imbalance != 1:
            raise ConfigError(
                "imbalance must be 1 with the natural distribution, which makes no "
                f"class rarer, got {self.imbalance}."
            )
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
                raise ConfigError(
                    f"{name} must be at least 1, got {getattr(self, name)}."
                )
        if self.first_seed < 0:
            raise ConfigError(f"first_seed must be at least 0, got {self.first_seed}.")
        if self.pool_per_class is not None and self.pool_per_class < self.base_size:
            raise ConfigError(
                f"pool_per_class must be at least base_size, {self.base_size}, got "
                f"{self.pool_per_class}."
            )
        if self.max_steps < 5:
            raise ConfigError(f"max_steps must be at least 5, got {self.max_steps}.")
        for method in self.methods:
            if judges_per_class(method) > self.holdout_per_class:
                raise ConfigError(
                    f"holdout_per_class must be at least {judges_per_class(method)} "
                    f"for {method}, got {self.holdout_per_class}."
                )
        if not 0 < self.look_ahead_rate < float("inf"):
            raise ConfigError(
                f"learning_rate must be positive and finite, got {self.learning_rate}."
            )

    @property
    def look_ahead_rate(self) -> float:
        """The look-ahead's step length η, the network's own unless set."""
        if self.learning_rate is None:
            return RECIPES[self.network].learning_rate
        return self.learning_rate

    def settings(self) -> dict:
        """What determines the results, as JSON: no folders, no switches."""
        settings = dataclasses.asdict(self)
        for where_or_how in ("data_dir", "out", "resume"):
            del settings[where_or_how]
        for name in ("methods", "test_sets"):
            settings[name] = list(settings[name])
        settings["learning_rate"] = self.look_ahead_rate
        for name, unsaid in UNSAID.items():
            if settings[name] == unsaid:
                del settings[name]
        return settings


SMOKE = {
    "dataset": "digits",
    "seeds": 2,
    "rounds": 2,
    "base_size": 20,
    "acquire_size": 50,
}
"""Settings of `--smoke`, to see that all works."""
