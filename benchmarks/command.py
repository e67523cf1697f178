"""What the benchmarks share besides the clock: command line, tables, and JSON."""

import dataclasses
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import jax
from rich.console import Console
from rich.table import Table
from tyro.constructors import PrimitiveConstructorSpec

from benchmarks import measure
from benchmarks.measure import Program, Timing
from experiments.engine.command_line import output_folder, refusals_in_one_sentence
from iwps_jax import command_line
from iwps_jax.refusal import Refusal, nearest


class Comparison(NamedTuple):
    """Two programs of one run to compare.

    Attributes:
        what: the program that should be the faster one, or cost little more.
        against: the other one.
        aim: in words.
        least: the least speed ratio, samples a second of `what` by those of
            `against`, that meets the aim; None where there is none.
    """

    what: str
    against: str
    aim: str = "for information"
    least: float | None = None


class Unmeasured(NamedTuple):
    """A row that does not fit, in place of its `Timing`.

    Attributes:
        not_measured: the reason.
    """

    not_measured: str


Kind = TypeVar("Kind", bound="Options")


def parse(
    kind: type[Kind], benchmark: str, about: str | None, arguments: Sequence[str] | None
) -> Kind:
    """Reads the options, and makes the folder of `--out` before the work is done.

    Args:
        kind: `Options` with those of the benchmark.
        benchmark: name of the module.
        about: its docstring, shown by `--help`.
        arguments: the words after its name; None for those that the program has.
    """
    with refusals_in_one_sentence("starts anew"):
        prog = f"python -m benchmarks.{benchmark}"
        options = command_line.parse(kind, prog=prog, about=about, arguments=arguments)
        if options.out is not None:
            output_folder(options.out.parent)
            if options.out.is_dir():
                raise Refusal(f"--out must name a file, got the folder {options.out}.")
    return options


def read_by(read: Callable[[str], Any], metavar: str) -> PrimitiveConstructorSpec:
    """How one word is read; if it cannot be, a ValueError of `read` says why."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: isinstance(value, int | float),
        str_from_instance=lambda value: [str(value)],
    )


def positive(text: str) -> int:
    """Reads a whole number of at least one.

    Example:
        >>> positive("1_000")
        1000
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError(f"must be a positive integer, got {text!r}.")
    return number


Positive = Annotated[int, read_by(positive, "INT")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options that all benchmarks have; each says how many turns are usual."""

    repeats: Positive
    """turns of every program"""
    out: Path | None = None
    """JSON file to write"""

    def __post_init__(self):
        """Refuses lists of nothing."""
        for name, value in vars(self).items():
            if value == ():
                raise Refusal(f"{flag(name)} must name at least one, got none.")


def require_known(name: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Refuses values of an option that are not among those that there are."""
    for value in given:
        if value not in known:
            raise Refusal(nearest(value, f"value of {flag(name)}", tuple(known)))


def flag(name: str) -> str:
    """How an option is written.

    Example:
        >>> flag("pool_size")
        '--pool-size'
    """
    return f"--{name.replace('_', '-')}"


def digits(number: float) -> str:
    """Three digits or more, without an exponent where the number is large.

    Example:
        >>> print(digits(12345.6), digits(123.4), digits(1.2345), digits(0.012345))
        12,346 123 1.23 0.0123
    """
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def compared(
    timings: Mapping[str, Timing | Unmeasured], comparisons: Sequence[Comparison]
) -> list[dict[str, Any]]:
    """Speed ratios within the run, of those comparisons whose programs were timed."""
    rows = []
    for what, against, aim, least in comparisons:
        pair = timings.get(what), timings.get(against)
        if all(isinstance(timing, Timing) for timing in pair):
            ratio = measure.speed_ratio(*pair)
            met = None if least is None else ratio.median >= least
            row = {"what": what, "against": against, **ratio._asdict()}
            rows.append({**row, "aim": aim, "met": met})
    return rows


def too_large(error: jax.errors.JaxRuntimeError) -> Unmeasured:
    """The row of what does not fit; raises whatever else went wrong again."""
    if "RESOURCE_EXHAUSTED" not in str(error):
        raise error
    return Unmeasured(str(error).partition("\n")[0])


class Trial(NamedTuple):
    """What one call of each program shows.

    Attributes:
        fitting: the programs that ran.
        failed: the others.
        peaks: the most that the device held so far, in megabytes, after each.
    """

    fitting: dict[str, Program]
    failed: dict[str, Unmeasured]
    peaks: dict[str, float | None]


def tried(programs: Mapping[str, Program]) -> Trial:
    """Calls each program once, in the order given."""
    trial = Trial({}, {}, {})
    for name, program in programs.items():
        try:
            jax.block_until_ready(program.run(*program.arguments))
        except jax.errors.JaxRuntimeError as error:
            trial.failed[name] = too_large(error)
        else:
            trial.fitting[name] = program
        trial.peaks[name] = measure.device_peak_megabytes()
    return trial


def as_json(timings: Mapping[str, Timing | Unmeasured]) -> dict[str, dict]:
    """Timings by name, with all seconds."""
    return {name: timing._asdict() for name, timing in timings.items()}


def finish(
    benchmark: str,
    options: Options,
    results: Mapping[str, Any],
    packages: Sequence[str] = (),
    ignored: Collection[str] = (),
) -> None:
    """Writes the JSON that `--out` names, if it does.

    Args:
        benchmark: name of the module.
        options: all of them but `--out` and those ignored are settings.
        results: what was measured.
        packages: those the numbers depend on, besides jax.
        ignored: options that say nothing of what was measured.
    """
    if options.out:
        settings = dataclasses.asdict(options)
        for name in ("out", *ignored):
            del settings[name]
        measure.write(
            options.out,
            {
                "benchmark": benchmark,
                "settings": settings,
                "machine": measure.machine(packages),
                "device_peak_megabytes": measure.device_peak_megabytes(),
                **results,
            },
        )


def show_timings(title: str, timings: Mapping[str, Timing | Unmeasured]) -> None:
    """Prints a row for each program, medians over the turns."""
    table = Table("program", title=title, title_justify="left")
    for column in (
        "samples",
        "samples/s",
        "µs a sample",
        "MB",
        "temporary",
        "compile s",
    ):
        table.add_column(column, justify="right")
    console, reasons = Console(width=120), []
    for name, timing in timings.items():
        if isinstance(timing, Unmeasured):
            table.add_row(name, "", "not measured")
            reasons.append(f"{name}: not measured, {timing.not_measured}")
            continue
        seconds = statistics.median(timing.seconds)
        table.add_row(
            name,
            f"{timing.samples:,}",
            digits(timing.rate),
            digits(1e6 * seconds / timing.samples),
            *(
                "-" if value is None else digits(value)
                for value in (
                    timing.memory_megabytes,
                    timing.temporary_megabytes,
                    timing.compile_seconds,
                )
            ),
        )
    console.print(table)
    for reason in reasons:
        console.print(reason, highlight=False)


def show_ratios(title: str, ratios: Sequence[Mapping[str, Any]]) -> None:
    """Prints a row for each comparison, with the aim where there is one."""
    table = Table("what", "against", title=title, title_justify="left")
    for column in ("speed ratio", "lowest", "highest", "takes"):
        table.add_column(column, justify="right")
    table.add_column("aim")
    for row in ratios:
        verdict = {True: " (met)", False: " (MISSED)", None: ""}[row["met"]]
        table.add_row(
            row["what"],
            row["against"],
            *(f"{digits(row[key])}x" for key in ("median", "lowest", "highest")),
            f"{digits(100 / row['median'])} %",
            row["aim"] + verdict,
        )
    Console(width=140).print(table)
