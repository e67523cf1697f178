"""Did anything become slower or larger between two runs of the same benchmark?

    python -m benchmarks.compare OLD.json NEW.json
    python -m benchmarks.compare OLD.json NEW.json --tolerance 1.1
    python -m benchmarks.compare OLD.json NEW.json --no-rates  # on a busy machine

Rows are matched by name. Compared are samples a second, the speed ratios within each
run, and the memory of each program by the compiler's account. What is worse by more
than the tolerance is a regression, and the exit status is 1 if there is one; 2 if the
files cannot be compared. Absolute speeds of two machines say nothing about the
program: where the machines differ they are shown and not judged. On one machine that
others share they still drift, by twice within minutes: `--no-rates` shows them only.
The ratios within a run drift far less.
"""

import dataclasses
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from rich.console import Console
from rich.table import Table
from tyro import conf

from benchmarks.command import digits, read_by
from experiments.engine.command_line import refusals_in_one_sentence
from iwps_jax import command_line
from iwps_jax.app.options import Flag
from iwps_jax.refusal import Refusal

RATE, RATIO, MEMORY = "samples/s", "speed ratio", "MB"
HARDWARE = ("device", "platform", "devices", "cores", "processor")
"""Keys of `machine` that name the machine; the others are versions of software."""


class CompareError(Refusal):
    """Two files that cannot be compared, with a sentence."""


class Change(NamedTuple):
    """One number in both files.

    Attributes:
        row: path of the row within the file.
        what: `RATE`, `RATIO` or `MEMORY`.
        old: number.
        new: number.
        improvement: how many times better it became; below one is worse.
    """

    row: str
    what: str
    old: float
    new: float
    improvement: float


def read(path: Path) -> dict[str, Any]:
    """Reads the JSON of a benchmark.

    Raises:
        CompareError: if it is not one.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CompareError(f"{path} cannot be read: {error}.") from error
    if not isinstance(found, dict) or not {"settings", "machine"} <= found.keys():
        raise CompareError(f"{path} must have settings and machine, as benchmarks do.")
    return found


def check_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuses files that measured different things.

    Raises:
        CompareError: if the benchmarks or their settings differ.
    """
    if old.get("benchmark") != new.get("benchmark"):
        raise CompareError(
            "both files must come from one benchmark, got "
            f"{old.get('benchmark')} and {new.get('benchmark')}."
        )
    names = old["settings"].keys() | new["settings"].keys()
    for name in sorted(names - {"repeats", "out"}):
        values = [file["settings"].get(name) for file in (old, new)]
        if values[0] != values[1]:
            raise CompareError(
                f"both files must have the same settings, got {name} {values[0]} "
                f"and {values[1]}."
            )


def numbers(part: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple, float]]:
    """Rates, ratios and memories in a file, each with the path of its row.

    A rate is where `samples` and `seconds` are, a ratio where `median`, `lowest` and
    `highest` are. An element of a list is found again by the words in it.
    """
    if isinstance(part, list):
        for element in part:
            if isinstance(element, dict):
                words = [
                    element[key]
                    for key in ("name", "what", "against")
                    if key in element
                ]
                yield from numbers(element, (*path, *map(str, words)))
        return
    if not isinstance(part, dict):
        return
    if part.keys() >= {"samples", "seconds"} and part["seconds"]:
        seconds = statistics.median(part["seconds"])
        if seconds > 0:
            yield (*path, RATE), part["samples"] / seconds
        if part.get("memory_megabytes"):
            yield (*path, MEMORY), part["memory_megabytes"]
    elif part.keys() >= {"median", "lowest", "highest"}:
        yield (*path, RATIO), part["median"]
    else:
        for name, value in part.items():
            yield from numbers(value, (*path, name))


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Every number that both files have, in the order of the old one."""
    before, after = dict(numbers(old)), dict(numbers(new))
    return [
        Change(
            ": ".join(path[:-1]),
            path[-1],
            before[path],
            after[path],
            before[path] / after[path]
            if path[-1] == MEMORY
            else after[path] / before[path],
        )
        for path in before
        if path in after
    ]


def missing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Rows that only one of the files has."""
    rows = [
        list(dict.fromkeys(": ".join(path[:-1]) for path, _ in numbers(file)))
        for file in (old, new)
    ]
    return [
        f"only in the {name} file: {row}"
        for name, own, other in (("old", *rows), ("new", *reversed(rows)))
        for row in own
        if row not in other
    ]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list, bool]:
    """Warnings about what else differs, and whether the machine itself does."""
    machines = old["machine"], new["machine"]
    names = [
        name
        for name in dict.fromkeys((*machines[0], *machines[1]))
        if machines[0].get(name) != machines[1].get(name)
    ]
    is_other = any(name in HARDWARE for name in names)
    warnings = [
        f"warning: {name} was {machines[0].get(name)}, is {machines[1].get(name)}."
        for name in names
    ]
    if is_other:
        warnings.append("warning: another machine, so samples/s are not judged.")
    return warnings, is_other


def ratio(text: str) -> float:
    """Reads a ratio of at least one.

    Example:
        >>> ratio("1.3")
        1.3
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 1 <= number < float("inf"):
        raise ValueError(f"must be a ratio of at least 1, got {text!r}.")
    return number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is compared, and how strictly."""

    old: Annotated[Path, conf.Positional, conf.arg(metavar="OLD.json")]
    """numbers of before"""
    new: Annotated[Path, conf.Positional, conf.arg(metavar="NEW.json")]
    """numbers of after"""
    tolerance: Annotated[float, read_by(ratio, "RATIO")] = 1.3
    """how many times worse a number may be"""
    no_rates: Flag = False
    """judge no samples/s"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares, prints, and exits with 1 on a regression."""
    with refusals_in_one_sentence("compares them"):
        options = command_line.parse(
            Options,
            prog="python -m benchmarks.compare",
            about=__doc__,
            arguments=arguments,
        )
        old, new = read(options.old), read(options.new)
        check_same(old, new)
        found = changes(old, new)
        if not found:
            raise CompareError("the files must share a row, got none.")
    warnings, is_other = differences(old, new)
    worse = [
        change
        for change in found
        if change.improvement * options.tolerance < 1
        and not (change.what == RATE and (is_other or options.no_rates))
    ]
    console = Console(width=130)
    console.print(_table(found, worse))
    for sentence in (*warnings, *missing(old, new)):
        console.print(sentence, highlight=False)
    console.print(
        f"{len(worse)} of {len(found)} numbers are worse by more than "
        f"{options.tolerance:g}x.",
        highlight=False,
    )
    if worse:
        sys.exit(1)


def _table(found: Sequence[Change], worse: Sequence[Change]) -> Table:
    table = Table("row", "what")
    for column in ("old", "new", "times better"):
        table.add_column(column, justify="right")
    table.add_column("")
    for change in found:
        table.add_row(
            change.row,
            change.what,
            *map(digits, (change.old, change.new, change.improvement)),
            "REGRESSION" if change in worse else "",
        )
    return table


if __name__ == "__main__":
    main()
