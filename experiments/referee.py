"""All methods with equal labels: linear heads on frozen features, many seeds.

    python -m experiments.referee --list              # the units, by name
    python -m experiments.referee UNIT ...            # runs some; resumed by unit
    python -m experiments.referee --penalties mnist   # chooses the penalties
    python -m experiments.referee --report            # the tables
    python -m experiments.referee --smoke             # two units, on 144 wines

A unit is one setting with all methods and ten seeds. Its results are one JSON file in
--results, which is committed; its run folder, with the predictions on the pool after
every round, lies in --out.
"""

import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tyro import conf

from experiments.engine import command_line
from experiments.engine.command_line import ConfigError
from experiments.linear_heads import penalties, unit
from experiments.linear_heads.competitors import GAINS, SCORES, TARGETS, named
from experiments.linear_heads.groups import (
    CONSTANTS_OF,
    FIRST_COLUMNS,
    GROUPS,
    METHODS,
    OURS,
    RULE,
)
from experiments.linear_heads.samples import Samples, load
from experiments.linear_heads.settings import (
    EQUAL_LABELS,
    NO_HOLDOUT,
    Setting,
)
from experiments.reporting import referee_tables
from experiments.reporting.comparisons import is_ours
from experiments.reporting.referee import Results, read_units
from experiments.reporting.referee_parts import (
    factorial_table,
    factors_table,
    first_batch_table,
    variants_table,
)
from iwps_jax import methods
from iwps_jax.atomic_write import write_atomically
from iwps_jax.refusal import nearest


def constants_tables(all_results: Sequence[Results]) -> str:
    """The variants of each method whose constants vary, against the method."""
    return "".join(
        variants_table(all_results, base, names) for base, names in CONSTANTS_OF.items()
    )


OTHER_TABLES = (
    (
        "batch_parts",
        "IWPS-batch by its parts",
        partial(
            factorial_table,
            base=methods.IWPS_BATCH.name,
            factors=(tuple(SCORES), ("rare", "even"), GAINS, TARGETS),
        ),
    ),
    (
        "herding_parts",
        "Balanced herding by its parts",
        partial(variants_table, base=OURS),
    ),
    (
        "constants",
        "Constants halved and doubled",
        constants_tables,
    ),
    (
        "first_batch",
        "The first batch, with nothing labeled",
        partial(first_batch_table, base=methods.RANDOM.name, columns=FIRST_COLUMNS),
    ),
)
"""The tables of the other groups: folder, heading, and the function that makes it."""
PENALTY_FOLDER = "penalty_"
RESULTS = Path("experiments/results/referee")
BLOCK = 10
"""Seeds of a unit."""
FIRST_PENALTY_SEED = 90


@dataclasses.dataclass(frozen=True)
class Options:
    """Which units, and where their files lie."""

    units: conf.Positional[tuple[str, ...]] = ()
    """Names of units, as --list prints them."""
    group: Literal[
        "methods", "batch_parts", "herding_parts", "constants", "first_batch"
    ] = "methods"
    """Which units: the study, parts of two methods, their constants, first batches."""
    methods: Annotated[tuple[str, ...] | None, conf.arg(metavar="[STR [STR ...]]")] = (
        None
    )
    """Methods to compare; those of the group by default."""
    first_seed: int = 0
    """First seed of the ten; below 100 to choose, from 1000 on to judge."""
    seeds: int = BLOCK
    """Number of seeds."""
    data_dir: Path | None = None
    """Folder of prepared TFDS data or of the official files."""
    results: Path = RESULTS
    """Folder for the files of results."""
    out: Path = Path("runs/referee")
    """Folder for the run folders."""
    predictions: bool = True
    """Keep the predictions on the pool."""
    penalties: tuple[str, ...] = ()
    """Run nothing: choose the penalties of these datasets."""
    report: bool = False
    """Run nothing: write the tables of all files of results as referee.md there."""
    ours: str = OURS
    """The method that the tables compare with all others."""
    list: bool = False
    """Run nothing: print the units."""
    penalty_factor: float = 1.0
    """Multiplies the penalties of all heads, but those of cross-fitting, which have
    their own: to show how the results depend on them."""
    smoke: bool = False
    """Try it on 144 wines: two units, 2 seeds, 2 rounds."""

    def __post_init__(self):
        """Refuses penalties that make no head."""
        if not 0 < self.penalty_factor < float("inf"):
            raise ConfigError(
                f"penalty_factor must be positive, got {self.penalty_factor}."
            )


SMALL = (
    Setting("wine", "minority", 2, 2, 3, 2, 30, 2, EQUAL_LABELS),
    Setting("wine", "natural", 1, 0, 3, 2, 30, 0, NO_HOLDOUT),
)


def plan(options: Options) -> list[Setting]:
    """The settings of the units that were named, or those of a trial.

    Raises:
        ConfigError: if a name is not that of a unit, or none was named.
    """
    for name in methods_of(options):
        if "draws" in named(name).row.needs:
            raise ConfigError(f"{name} needs dropout, and a linear head drops no unit.")
    if options.smoke:
        return list(SMALL)
    by_name = {setting.name: setting for setting in GROUPS[options.group].settings}
    for name in options.units:
        if name not in by_name:
            raise ConfigError(nearest(name, "unit", tuple(by_name)))
    if not options.units:
        raise ConfigError("name at least one unit; --list prints them.")
    return [by_name[name] for name in options.units]


def methods_of(options: Options) -> tuple[str, ...]:
    """The methods to compare."""
    return options.methods or GROUPS[options.group].methods


def folder_of(options: Options, folder: Path) -> Path:
    """Where the files of a group lie in a folder: those of the study in itself."""
    if options.penalty_factor != 1:
        folder = folder / penalty_folder(options.penalty_factor)
    return folder if options.group == "methods" else folder / options.group


def penalty_folder(factor: float) -> str:
    """Where units with other penalties lie.

    Example:
        >>> penalty_folder(0.1)
        'penalty_0.1'
    """
    return f"{PENALTY_FOLDER}{factor:g}"


def taking_part(names: Sequence[str], setting: Setting, num_weights: int) -> list[str]:
    """The methods that can take part in a setting, with heads of so many weights."""

    def can(name):
        competitor = named(name)
        most = competitor.row.most_weights
        if setting.mode == NO_HOLDOUT and competitor.asks_holdout:
            return False
        if setting.start == 0 and not competitor.starts_cold:
            return False
        return most is None or num_weights <= most

    return [name for name in names if can(name)]


def choose_penalties(samples: Samples, name: str, folder: Path) -> list[dict]:
    """Chooses the penalties of a dataset and writes their file."""
    chosen = penalties.choose(samples, FIRST_PENALTY_SEED)
    content = {"dataset": name, "data_sha256": samples.sha256, "chosen": chosen}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        folder / f"penalties-{name}.json", json.dumps(content, indent=1).encode()
    )
    return chosen


def penalties_of(samples: Samples, name: str, options: Options) -> list[dict]:
    """The penalties of a dataset, from their file or chosen now, times the factor."""
    path = options.results / f"penalties-{name}.json"
    if path.exists():
        chosen = json.loads(path.read_text(encoding="utf-8"))["chosen"]
    else:
        chosen = choose_penalties(samples, name, options.results)
    factor = options.penalty_factor
    return [{**row, "penalty": factor * row["penalty"]} for row in chosen]


def run_all(settings: Sequence[Setting], options: Options) -> None:
    """Runs or resumes units, one after another."""
    loaded: dict[str, Samples] = {}
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for setting in settings:
        if setting.dataset not in loaded:
            loaded = {setting.dataset: load(setting.dataset, options.data_dir)}
        samples = loaded[setting.dataset]
        name = f"{setting.name}-seeds_{seeds[0]}"
        results = unit.run(
            samples,
            setting,
            taking_part(
                methods_of(options),
                setting,
                samples.train.shape[1] * len(samples.class_names),
            ),
            seeds,
            penalties_of(samples, setting.dataset, options),
            folder_of(options, options.out) / name,
            keep=options.predictions,
        )
        path = folder_of(options, options.results) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(results).encode())
        print(f"results: {path}")


def write_report(folder: Path, ours: str) -> list[Path]:
    """Writes the tables and the picture of all files of results; returns their files.

    Raises:
        ConfigError: if there are no files of results of the study.
        Refusal: if ours is no method.
    """
    all_results = read_units(folder)
    named(ours)
    if not all_results:
        raise ConfigError(f"{folder} holds no files of results of the study.")
    rivals = [method for method in METHODS if not is_ours(method)]
    text = referee_tables.to_markdown(all_results, ours, rivals, RULE)
    for name, heading, make in OTHER_TABLES:
        if results := read_units(folder / name):
            text += f"## {heading}\n\n{make(results)}"
    others = {
        float(path.name.removeprefix(PENALTY_FOLDER)): read_units(path)
        for path in sorted(folder.glob(f"{PENALTY_FOLDER}*"))
    }
    if others:
        text += "## Other penalties\n\n"
        text += factors_table(all_results, others, methods.RANDOM.name)
    written = {folder / "referee.md": text.encode()}
    if picture := referee_tables.picture(all_results, ours, rivals):
        written[folder / "referee.png"] = picture
    for path, content in written.items():
        write_atomically(path, content)
    return list(written)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs units with the options of the command line."""
    arguments = command_line.program_arguments(arguments)
    options = command_line.parse(Options, "referee", __doc__, arguments)
    if options.smoke:
        options = dataclasses.replace(
            options,
            seeds=min(options.seeds, 2),
            results=Path("runs/smoke/referee/results"),
            out=Path("runs/smoke/referee"),
        )
    with command_line.refusals_in_one_sentence():
        if options.list:
            settings = GROUPS[options.group].settings
            print(*(setting.name for setting in settings), sep="\n")
        elif options.report:
            print("written:", *write_report(options.results, options.ours))
        elif options.penalties:
            for name in options.penalties:
                samples = load(name, options.data_dir)
                for row in choose_penalties(samples, name, options.results):
                    print(f"{name}: {row['labels']} labels, {row['penalty']:.1e}")
        else:
            run_all(plan(options), options)


if __name__ == "__main__":
    main()
