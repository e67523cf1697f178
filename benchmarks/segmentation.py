r"""How fast is DeepLabv3 with ResNet-50 trained, scored, and fed with scenes?

    python -m benchmarks.segmentation                     # 5 minutes of a CPU core
    python -m benchmarks.segmentation --only reading      # half a minute of it
    python -m benchmarks.segmentation --out FILE.json     # keeps the numbers
    python -m benchmarks.segmentation --width 64 --scene 1024 2048 --pool 64 \
        --chunk-size 8 --side 712 --minibatch 24 --parts 1 2 4 8 --files 100 \
        --threads 1 4 8 16                                # for a GPU

The defaults are small enough for a CPU; the last line has the study's sizes. Beside so
narrow a network a score weighs more than beside the whole one: ratios are of the sizes
that they were measured at.

Scoring: what `experiments.segmentation` runs over its pool, from scenes in the host's
memory to a number or a vector each, beside the bare features of the same batches. The
scores that ask holdout scenes read these once a round, which a pool of thousands
hardly feels and a small one does: such a row is the time of the whole pool less that
of its first batch alone, both of which have rows of their own.

Training: the step of the study, in every precision and cut into several numbers of
parts. Memory is the compiler's account; on a GPU the JSON also has the most that the
device held so far, after each program. Steps are tried in the order of the memory
that they need, so that each is the first of its size; one that does not fit says so.
`--compile-only` stops at the account, which may be of sizes that fit no memory here.

Reading: PNG files of photographic size made here, decoded, cut and flipped by threads.
They stay in the system's cache, so no disk is measured. "step fed" trains the fastest
step from the files as the study does; its ratio to the same step from memory is the
share of the time that the device is kept busy. On a CPU both share the cores. The time
of all cores that a scene takes is counted besides: it tells how many threads a faster
step needs, whatever else runs on this machine.

Weights are untrained and images random, which change no time but that of IWPS: it is
faster while no logit of a holdout scene moves by more than 0.75.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import command
from benchmarks import segmentation_scores as scores
from benchmarks import segmentation_steps as steps
from benchmarks.command import Comparison, Unmeasured
from benchmarks.segmentation_sizes import Options
from benchmarks.segmentation_steps import Step


def comparisons(
    section: str, names: Sequence[str], options: Options
) -> list[Comparison]:
    """What the programs of a section are set beside."""
    if section == "scoring":
        return scores.comparisons(names)
    if section == "training":
        return [Comparison(name, names[0]) for name in names[1:]]
    return steps.comparisons_of_reading(options)


def show_plans(made: Mapping[str, Step | Unmeasured]) -> None:
    """Prints what the compiler says of each step."""
    table = Table("step", title="planned, not run", title_justify="left")
    for column in ("MB", "temporary", "compile s"):
        table.add_column(column, justify="right")
    for name, step in made.items():
        if isinstance(step, Unmeasured):
            table.add_row(name, step.not_measured)
            continue
        plan = step.plan
        numbers = plan.memory_megabytes, plan.temporary_megabytes, plan.compile_seconds
        table.add_row(name, *map(command.digits, numbers))
    Console(width=120).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    options = command.parse(Options, "segmentation", __doc__, arguments)
    timings, peaks, plans, work = {}, {}, {}, {}
    learner, step = steps.Learner(options), None
    if "scoring" in options.only and not options.compile_only:
        timings["scoring"], peaks["scoring"] = scores.scoring(options)
    if "training" in options.only or options.compile_only:
        made = steps.compile_steps(options)
        plans = {
            name: s._asdict() if isinstance(s, Unmeasured) else s.plan._asdict()
            for name, s in made.items()
        }
        if options.compile_only:
            show_plans(made)
        else:
            found = steps.time_steps(made, learner, options)
            timings["training"], peaks["training"] = found
            step = steps.fastest(made, timings["training"])
    if "reading" in options.only and not options.compile_only:
        with tempfile.TemporaryDirectory() as folder:
            source = steps.write_files(Path(folder), options)
            found = steps.reading(source, step, learner, options)
            timings["reading"], work = found
    ratios = {}
    for section, found in timings.items():
        pairs = comparisons(section, list(found), options)
        ratios[section] = command.compared(found, pairs)
        command.show_timings(section, found)
        title = f"{section}: speed ratios within this run"
        command.show_ratios(title, ratios[section])
    for name, seconds in work.items():
        print(f"{name}: {seconds:.2g} s of a core's time a scene")
    command.finish(
        "segmentation",
        options,
        {
            "plans": plans,
            "timings": {name: command.as_json(of) for name, of in timings.items()},
            "ratios": ratios,
            "core_seconds_a_scene": work,
            "device_peak_megabytes_so_far": peaks,
        },
        ("flax", "optax", "grain", "pillow"),
    )


if __name__ == "__main__":
    main()
