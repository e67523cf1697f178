"""IWPS-batch against every baseline: datasets by imbalances by acquire sizes.

    python -m experiments.iwps_batch_study             # all settings, one after another
    python -m experiments.iwps_batch_study --datasets mnist --imbalances 1 10
    python -m experiments.iwps_batch_study --report    # tables, verdict and picture
    python -m experiments.iwps_batch_study --smoke     # a minute, on digits
    python -m experiments.iwps_batch_study --summary experiments/results/beyond.json

Every setting is a run of its own, in the folder <dataset>-<imbalance>-<acquire size>
below --out, and is resumed like any other: the same command goes on where it stopped.
Processes may share --out as long as no two of them run one setting at a time. --report
reads all run folders below --out at any depth, so that methods or seeds that were run
later may lie in folders of their own; it says what is missing. --summary prints the
report of a JSON file that --report wrote, such as the committed ones.

THE RULE, written before the final seeds were run. What IWPS-batch is was chosen on
seeds 100 to 104; the final seeds are 1000 to 1009. The number is the mean test
accuracy over the rounds, ours less the other's, paired over the seeds of a setting.
Baselines are all other methods of the main study, plain IWPS among them.

  1. At least as good: in no setting and against no baseline does the 95 % interval of
     the paired t-test lie below zero. It is not corrected: of 216 comparisons about
     five would do so by chance were all methods alike.
  2. Better: against each of IWPS, BADGE and Margin, IWPS-batch is significantly better
     in more than half of the settings, by the paired t-test after Holm's correction for
     all baselines of the setting.

Settings that break a part are named. Tests over all pairs of a setting and a seed stand
beside it; they count pairs of one seed, which share initial set and rare classes across
acquire sizes, as more independent than they are.

MC-Dropout, BALD and Err-Reduction take five to fifty times as long to score as the
others; they run where 50 labels are bought a round, in nine of the 27 settings.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments import grid
from experiments.classification.config import SMOKE, Config
from experiments.classification.methods import METHODS
from experiments.classification.run import run
from experiments.engine import command_line, run_folder
from experiments.engine.command_line import ConfigError
from experiments.engine.progress import Progress
from experiments.reporting import iwps_batch_tables
from experiments.reporting.difference_plots import differences_png
from experiments.reporting.iwps_batch_study import read_cells, summarize
from experiments.reporting.records import find_run_folders
from experiments.reporting.summary import as_json
from experiments.reporting.tables import print_table
from iwps_jax.atomic_write import write_atomically
from iwps_jax.refusal import Refusal, nearest

OURS = "iwps_batch"
BASELINES = tuple(method for method in METHODS if method != OURS)
RIVALS = ("iwps", "badge", "margin")
NETWORKS = {
    "mnist": "mlp",
    "fashion_mnist": "mlp",
    "cifar10": "efficientnet_lite0",
    "digits": "mlp",
}
DATASETS = ("mnist", "fashion_mnist", "cifar10")
IMBALANCES = (1, 10, 20)
ACQUIRE_SIZES = (10, 50, 200)
COSTLY = ("mc_dropout", "bald", "error_reduction")
COSTLY_AT = 50  # labels a round
FEW_ROUNDS_FROM = 200  # labels a round from which four rounds are enough


@dataclasses.dataclass(frozen=True)
class Options:
    """Which settings, methods and seeds; unset is the whole study."""

    methods: tuple[str, ...] = METHODS
    """Methods to compare; variants count too. The costly only at 50 labels a round."""
    datasets: tuple[str, ...] = DATASETS
    """mnist, fashion_mnist, cifar10 or digits."""
    imbalances: tuple[int, ...] = IMBALANCES
    """How many times rarer a minority class is; 1 is balanced."""
    acquire_sizes: tuple[int, ...] = ACQUIRE_SIZES
    """Samples labeled each round."""
    seeds: int = 10
    """Number of repetitions of every setting."""
    first_seed: int = 1000
    """Seed of the first repetition; the others follow it."""
    rounds: int | None = None
    """Acquisitions; 6, with 200 labels a round 4."""
    max_steps: int = 2000
    """Training steps of a round at most, in fives."""
    pool_per_class: int = 2000
    """Samples of a majority class at most."""
    data_dir: Path | None = None
    """Folder of prepared TFDS data or of the official files."""
    out: Path | None = None
    """Folder of the study; runs/beyond by default."""
    resume: bool = True
    """Continue interrupted runs; otherwise start all of them anew."""
    ours: str = OURS
    """The method that the report compares with all others."""
    report: bool = False
    """Run nothing: report on all run folders below --out."""
    summary: Path | None = None
    """Run nothing: print the report of this beyond.json; --out also writes it."""
    smoke: bool = False
    """Try it on digits: two settings, 3 seeds, 2 rounds; then the report."""


SMALL = Options(
    datasets=("digits",),
    imbalances=(1, 10),
    acquire_sizes=(10,),
    seeds=3,
    first_seed=0,
    rounds=SMOKE["rounds"],
    out=Path("runs/smoke/beyond"),
)


def settings(options: Options) -> dict[str, Config]:
    """The settings of every run by the name of its folder.

    Raises:
        ConfigError: if they make no sense.

    Example:
        >>> few = Options(datasets=("mnist",), imbalances=(1, 20), acquire_sizes=(200,))
        >>> {name: config.rounds for name, config in settings(few).items()}
        {'mnist-1-200': 4, 'mnist-20-200': 4}
    """
    for name in ("datasets", "imbalances", "acquire_sizes"):
        if not getattr(options, name):
            raise ConfigError(f"{name} must name at least one, got none.")
    for dataset in options.datasets:
        if dataset not in NETWORKS:
            raise ConfigError(nearest(dataset, "dataset", tuple(NETWORKS)))
    out = options.out or Path("runs/beyond")
    return {
        f"{dataset}-{imbalance}-{acquire_size}": _setting(
            options, out, dataset, imbalance, acquire_size
        )
        for dataset in options.datasets
        for imbalance in options.imbalances
        for acquire_size in options.acquire_sizes
    }


def _setting(
    options: Options, out: Path, dataset: str, imbalance: int, acquire_size: int
) -> Config:
    config = Config(
        methods=tuple(
            method
            for method in options.methods
            if method not in COSTLY or acquire_size == COSTLY_AT
        ),
        seeds=options.seeds,
        first_seed=options.first_seed,
        rounds=options.rounds or (4 if acquire_size >= FEW_ROUNDS_FROM else 6),
        # With classes 1/20 as frequent every one of them still has two labels.
        base_size=40 if imbalance >= 20 else 20,
        imbalance=imbalance,
        acquire_size=acquire_size,
        pool_per_class=options.pool_per_class,
        max_steps=options.max_steps,
        network=NETWORKS[dataset],
        dataset=dataset,
        data_dir=options.data_dir,
        out=out / f"{dataset}-{imbalance}-{acquire_size}",
        resume=options.resume,
    )
    return grid.tenth_of_initial(config) if imbalance >= 20 else config


def run_all(configs: dict[str, Config]) -> None:
    """Runs or resumes every setting, one after another."""
    for number, (name, config) in enumerate(configs.items(), 1):
        progress = Progress(config.methods, config.rounds, name)
        progress.say(f"setting {number} of {len(configs)}: {name}")
        print_table(run(config, progress))


def write_report(
    out: Path, ours: str, planned: Mapping[str, Sequence[str]], seeds: Sequence[int]
) -> dict:
    """Writes `beyond.json`, `beyond.md` and `beyond.png` into the study's folder.

    Args:
        out: folder with run folders below it.
        ours: the method that is compared with all others.
        planned: the methods of every setting of the study, by its name.
        seeds: those of every method there; without them the verdict is preliminary.

    Returns:
        What `beyond.json` holds.

    Raises:
        FolderError: if there is nothing to report or the runs do not fit together.
    """
    try:
        cells, notes = read_cells(find_run_folders([out]))
    except (Refusal, OSError) as error:
        raise run_folder.FolderError(str(error)) from error
    summary = summarize(
        *(cells, ours, BASELINES),
        rivals=RIVALS,
        planned=planned,
        seeds=seeds,
        notes=notes,
    )
    write_atomically(out / "beyond.json", as_json(summary))
    draw(out, summary)
    return summary


def draw(out: Path, summary: dict) -> None:
    """Writes `beyond.md` and `beyond.png` into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    markdown = iwps_batch_tables.to_markdown(summary)
    write_atomically(out / "beyond.md", markdown.encode())
    if summary["compared"]:
        write_atomically(out / "beyond.png", differences_png(summary))


def read_summary(path: Path) -> dict:
    """Reads what --report wrote.

    Raises:
        FolderError: if the file cannot be read or is not such a file.
    """
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise run_folder.FolderError(f"{path} cannot be read: {error}") from error
    if not isinstance(summary, dict) or not {"ours", "compared"} <= summary.keys():
        raise run_folder.FolderError(f"{path} must be a beyond.json of this study.")
    return summary


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs or reports on the study with the options of the command line."""
    arguments = command_line.program_arguments(arguments)
    options = command_line.parse(
        Options,
        "iwps_batch_study",
        __doc__,
        arguments,
        SMALL if "--smoke" in arguments else Options(),
    )
    with command_line.refusals_in_one_sentence():
        if options.summary:
            summary = read_summary(options.summary)
            print(iwps_batch_tables.to_markdown(summary), end="")
            if options.out:
                draw(options.out, summary)
            return
        configs = settings(options)
        out = next(iter(configs.values())).out.parent
        if not options.report:
            run_all(configs)
        if options.report or options.smoke:
            planned = {name: config.methods for name, config in configs.items()}
            seeds = range(options.first_seed, options.first_seed + options.seeds)
            summary = write_report(out, options.ours, planned, seeds)
            print(iwps_batch_tables.verdict_in_words(summary))
            print(f"report: {out}/beyond.md, beyond.json, beyond.png")
        else:
            again = "python -m experiments.iwps_batch_study --report --out"
            print(f"{again} {out}  # for the report")


if __name__ == "__main__":
    main()
