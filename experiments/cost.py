"""What a candidate costs: the paper's formulas, the compiler's count, and a clock.

    python -m experiments.cost                     # about a minute, 784-256-256-10
    python -m experiments.cost --network resnet18  # several minutes
    python -m experiments.cost --out cost.json --markdown cost.md
    python -m experiments.cost --smoke             # one turn of every row

Paper: Aljundi et al. 2020, supplement §3. In its formulas

    C     one forward pass of one sample; a backward pass costs about the same
    N^h   holdout samples          T   steps of the look-ahead
    L     layers of the network    n   dropout draws

FLOPs are the compiler's count (see `experiments.classification.flops`: loops in full,
the branch that these inputs take), exponentials and the like not among them. What is
counted is the difference between two chunks, the second twice as large: what is done
once a chunk falls out. Seconds are those of one chunk divided by its candidates,
measured in turns within one run. Neither has what is made once a round (see
`experiments.classification.cost_programs`).

Inputs are random and the network is untrained, which changes no cost but the branch:
look-aheads of the last layer are cheaper while every |k δ| is small, and the table says
whether that was so.
"""

import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from experiments.classification import flops
from experiments.classification.cost_programs import (
    ACQUIRE_SIZE,
    HOLDOUT_SIZE,
    NUM_CLASSES,
    SHAPES,
    STEPS,
    Row,
    Shared,
    make_candidates,
    make_network,
    make_rows,
    make_shared,
    num_layers,
)
from experiments.classification.methods import NUM_DRAWS
from experiments.classification.networks import RECIPES
from experiments.engine import command_line
from experiments.engine.command_line import ConfigError
from experiments.models import Network
from iwps_jax.atomic_write import write_atomically
from iwps_jax.scores.step_forms import SERIES


class Size(NamedTuple):
    """Candidates of a chunk: of most rows, and where each carries all weights."""

    most: int
    full: int

    def of(self, row: Row) -> int:
        """Candidates of this row's chunk."""
        return self.full if row.is_full else self.most


TIMED = {"mlp": Size(1024, 64), "resnet18": Size(100, 1)}
COUNTED = {"mlp": Size(128, 8), "resnet18": Size(128, 1)}


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured, and where it is written."""

    network: Literal["mlp", "resnet18"] = "mlp"
    """Network whose forward pass is the unit."""
    turns: int = 9
    """Times that each row is measured, unless its seconds are spent before."""
    seconds: float = 10.0
    """Seconds for the turns of one row; one turn is always taken."""
    out: Path | None = None
    """JSON file to write."""
    markdown: Path | None = None
    """File for the table in Markdown."""
    smoke: bool = False
    """Try it with a single turn of every row."""


class Cost(NamedTuple):
    """What a row costs for each candidate; the first row's is the unit C.

    Attributes:
        method: the row's name.
        formula: the supplement's, "-" where it gives none.
        formula_passes: its value in forward passes.
        flops: by the compiler's count.
        flops_passes: the same in forward passes by the compiler's count.
        loops_counted_once: loops left in the program that was counted.
        is_small: whether the branch for small |k δ| was taken; None without branches.
        candidates: in the chunk that was timed.
        seconds: median, lowest and highest turn.
        passes: the same in forward passes of the same turn.
        turns: how many there were.
    """

    method: str
    formula: str
    formula_passes: float | None
    flops: float
    flops_passes: float
    loops_counted_once: int
    is_small: bool | None
    candidates: int
    seconds: tuple[float, float, float]
    passes: tuple[float, float, float]
    turns: int


def count_per_candidate(
    row: Row,
    shared: Shared,
    image_shape: tuple[int, ...],
    size: int,
    branch: int | None,
) -> flops.Count:
    """Operations that one more candidate costs, without what a chunk does once."""
    counts = [
        flops.count(row.program, *shapes, branch=branch)
        for shapes in (
            jax.eval_shape(lambda n=n: (shared, make_candidates(image_shape, n)))
            for n in (size, 2 * size)
        )
    ]
    return flops.Count((counts[1].flops - counts[0].flops) / size, counts[0].loops)


def take_turns(
    programs: Sequence[Callable[[], object]], turns: int, seconds: float
) -> list[list[float]]:
    """Times programs in turns, one after another in every turn.

    Args:
        programs: compiled, with their arguments.
        turns: at most as many are kept; the first one is a trial where more follow.
        seconds: a program that took longer in all is left out of further turns.

    Returns:
        For every program the seconds of its turns, at least one.
    """
    times = [[] for _ in programs]
    for _ in range(turns + 1):
        for program, spent in zip(programs, times, strict=True):
            if sum(spent) < seconds:
                start = time.perf_counter()
                jax.block_until_ready(program())
                spent.append(time.perf_counter() - start)
    return [spent[1:] or spent for spent in times]


def measure(
    network: Network,
    rows: Sequence[Row],
    image_shape: tuple[int, ...],
    *,
    timed: Size,
    counted: Size,
    turns: int,
    seconds: float,
) -> list[Cost]:
    """Counts and times every row."""
    shared = make_shared(network, image_shape)
    counts, branches, programs = [], [], []
    for row in rows:
        candidates = make_candidates(image_shape, timed.of(row))
        branch = row.taken and int(jax.jit(row.taken)(shared, candidates))
        counts.append(
            count_per_candidate(row, shared, image_shape, counted.of(row), branch)
        )
        branches.append(None if branch is None else branch in row.small)
        compiled = jax.jit(row.program).lower(shared, candidates).compile()
        programs.append(
            lambda compiled=compiled, candidates=candidates: compiled(
                shared, candidates
            )
        )
    times = [
        [spent / timed.of(row) for spent in of_row]
        for row, of_row in zip(rows, take_turns(programs, turns, seconds), strict=True)
    ]
    return [
        Cost(
            method=row.method,
            formula=row.formula,
            formula_passes=row.passes,
            flops=counts[i].flops,
            flops_passes=counts[i].flops / counts[0].flops,
            loops_counted_once=counts[i].loops,
            is_small=branches[i],
            candidates=timed.of(row),
            seconds=_spread(times[i]),
            passes=_spread(
                [mine / unit for mine, unit in zip(times[i], times[0], strict=False)]
            ),
            turns=len(times[i]),
        )
        for i, row in enumerate(rows)
    ]


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def cells(cost: Cost) -> tuple[str, ...]:
    """A row of the table."""
    at_least = "≥ " if cost.loops_counted_once else ""
    median, low, high = (1e6 * seconds for seconds in cost.seconds)
    of_formula = cost.formula_passes
    return (
        cost.method,
        cost.formula,
        "-" if of_formula is None else _number(of_formula),
        f"{at_least}{cost.flops:,.0f}",
        f"{at_least}{_number(cost.flops_passes)}",
        f"{_number(median)} ({_number(low)} to {_number(high)})",
        " ".join([_number(cost.passes[0]), *["(one turn)"] * (cost.turns == 1)]),
    )


COLUMNS = (
    "method",
    "formula",
    "its value, C",
    "FLOPs",
    "in C",
    "µs (lowest to highest)",
    "in C",
)


def _number(value: float) -> str:
    """Three digits, without an exponent.

    Example:
        >>> _number(53.0), _number(0.012345), _number(12345.6)
        ('53', '0.0123', '12,346')
    """
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.5f}"


def remarks(costs: Sequence[Cost], network: Network, layers: int) -> list[str]:
    """What the numbers do not say by themselves."""
    shared = jax.eval_shape(network.init, jax.random.key(0))
    d, classes = jax.eval_shape(network.head, shared)[0].shape
    products, pairs = HOLDOUT_SIZE * (d + classes), HOLDOUT_SIZE * classes
    unit = costs[0].flops
    radius, order = SERIES[0]
    found = [
        f"C = {unit:,.0f} FLOPs; N^h = {HOLDOUT_SIZE}, T = {STEPS}, L = {layers}, "
        f"n = {NUM_DRAWS}; Coreset and BADGE choose {ACQUIRE_SIZE}. The supplement "
        "gives no formula where the table has a dash.",
        f"IWPS, last layer: the formula charges N^h C = {HOLDOUT_SIZE} C to evaluate "
        f"the holdout. The closed form needs N^h (d + classes) = {products:,} "
        f"multiply-adds ({_number(2 * products / unit)} C) and N^h classes = {pairs} "
        "exponentials instead, since the holdout's features never change; for |k δ| up "
        f"to {radius}, {order} N^h classes multiply-adds and no exponential.",
        f"The last layer costs {_number(2 * d * classes / unit)} C in this network, "
        f"the formulas take it for C/L = {_number(1 / layers)} C.",
        "IWPS, full network: where the formula charges one pass of the holdout, it is "
        "evaluated at the moved weights and, for confident candidates, to keep their "
        "digits, along the tangent at two places on the way; the count is theirs. "
        "The low-rank form carries "
        "the change itself and shares products with the weights between candidates.",
        "IWPS-app, full network: a forward-mode pass takes three products a layer, the "
        "first layer two, where the formula takes a backward pass for one.",
        "MC-Dropout and BALD: what lies before the first dropout is computed once for "
        "all draws, so fewer than n C are needed.",
    ]
    for cost in costs:
        if cost.is_small is not None:
            taken = "small |k δ|" if cost.is_small else "any |k δ|"
            found.append(f"{cost.method}: these inputs took the branch for {taken}.")
    found.append(
        "≥: a loop is left of which one turn is counted, the rounds of the random bits "
        "(of five); in Coreset the blocks of 128 labeled rows, of which there is one."
    )
    return found


def markdown(costs: Sequence[Cost], notes: Sequence[str]) -> str:
    """The table and the remarks as Markdown."""
    lines = [COLUMNS, ("---", "---", *["---:"] * (len(COLUMNS) - 2))]
    lines += [cells(cost) for cost in costs]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return table + "\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"


def print_table(
    costs: Sequence[Cost], notes: Sequence[str], console: Console | None = None
) -> None:
    """Prints the table and the remarks."""
    console = console or Console(width=130)
    table = Table(box=box.SIMPLE_HEAD, title="Cost of one candidate")
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if index < 2 else "right")
    for cost in costs:
        table.add_row(*cells(cost))
    console.print(table)
    for note in notes:
        console.print(f"- {note}", highlight=False)


def as_json(options: Options, costs: Sequence[Cost], notes: Sequence[str]) -> str:
    """Settings, machine and all numbers."""
    content = {
        "settings": {
            "network": options.network,
            "turns": options.turns,
            "seconds": options.seconds,
            "holdout_size": HOLDOUT_SIZE,
            "steps": STEPS,
            "draws": NUM_DRAWS,
            "acquire_size": ACQUIRE_SIZE,
            "classes": NUM_CLASSES,
        },
        "machine": {
            "device": jax.devices()[0].device_kind,
            "cores": os.cpu_count(),
            "processor": platform.machine(),
            "python": platform.python_version(),
            "jax": jax.__version__,
        },
        "per_candidate": [cost._asdict() for cost in costs],
        "remarks": list(notes),
    }
    return json.dumps(content, indent=1) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Counts, times, prints and writes."""
    given = command_line.program_arguments(arguments)
    options = command_line.parse(
        Options,
        "cost",
        __doc__,
        given,
        Options(turns=1) if "--smoke" in given else Options(),
    )
    with command_line.refusals_in_one_sentence("starts anew"):
        check(options)
        for path in (options.out, options.markdown):
            if path is not None:
                command_line.output_folder(path.parent)
    network, image_shape = make_network(options.network), SHAPES[options.network]
    layers = num_layers(jax.eval_shape(network.init, jax.random.key(0)))
    costs = measure(
        network,
        make_rows(network, layers, RECIPES[options.network].learning_rate),
        image_shape,
        timed=TIMED[options.network],
        counted=COUNTED[options.network],
        turns=options.turns,
        seconds=options.seconds,
    )
    notes = remarks(costs, network, layers)
    print_table(costs, notes)
    for path, content in (
        (options.out, as_json(options, costs, notes)),
        (options.markdown, markdown(costs, notes)),
    ):
        if path is not None:
            write_atomically(path, content.encode())


def check(options: Options) -> None:
    """Refuses what measures nothing, with a sentence each."""
    for name in ("turns", "seconds"):
        if not getattr(options, name) > 0:
            raise ConfigError(f"{name} must be positive, got {getattr(options, name)}.")


if __name__ == "__main__":
    main()
