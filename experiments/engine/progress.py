"""The display of a running study: one line per method.

On a terminal it is a live table; elsewhere (a log, a pipe) each finished round prints
one plain line.
"""

import time
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from experiments.reporting.measures import ACCURACY, Measure
from experiments.reporting.styles import display_name


class Progress:
    """Live display of a study; use it as a context around the rounds."""

    def __init__(
        self,
        methods: Sequence[str],
        rounds: int,
        title: str,
        *,
        measure: Measure = ACCURACY,
        console: Console | None = None,
    ):
        """Prepares a display of these methods.

        Args:
            methods: their names; each has a row.
            rounds: number of the last round.
            title: title of the table, the name of the data.
            measure: the measure on the test set to show.
            console: where to print; standard output by default.
        """
        self._rounds, self._title, self._measure = rounds, title, measure
        self._console = console or Console()
        self._started = time.perf_counter()
        self._rows = {name: ("waiting", "", "", "") for name in methods}
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self):
        """Starts the live table, on a terminal."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_):
        """Removes the live table."""
        self._live.stop()

    def say(self, sentence: str) -> None:
        """Prints a sentence above the table."""
        self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def begin(self, method: str, round_: int, stage: str) -> None:
        """Shows the current stage of a method."""
        _, *rest = self._rows[method]
        self._rows[method] = (f"round {round_}: {stage}", *rest)
        self._refresh()
        if stage == "compile" and not self._console.is_terminal:
            # The one stage that may take minutes before a first round is shown.
            self.say(f"{self._elapsed()} {display_name(method)}: compiling")

    def show(self, method: str, lines: list[dict]) -> None:
        """Shows the newest finished round of a method, from its metric lines."""
        last = max(line["round"] for line in lines)
        now = [line for line in lines if line["round"] == last]
        measured = 100 * np.array([line[self._measure.key] for line in now])
        wrong = [line["wrong_rate"] for line in now if line["wrong_rate"] is not None]
        is_done = last == self._rounds
        labels = str(now[0]["num_labeled"])
        shown = f"{measured.mean():.1f}"
        if len(measured) > 1:
            shown += f" ± {measured.std(ddof=1):.1f}"
        # The last round picks nothing; the table keeps the one before it in view.
        shown_wrong = f"{100 * np.mean(wrong):.0f}" if wrong else self._rows[method][3]
        stage = "done" if is_done else f"round {last}: done"
        self._rows[method] = (stage, labels, shown, shown_wrong)
        if self._console.is_terminal:
            self._refresh()
        else:
            sentence = (
                f"{self._elapsed()} {display_name(method)} round {last}"
                f"/{self._rounds}: {labels} labels, {self._measure.short} {shown} %"
            )
            if wrong:
                sentence += f", wrong among picks {shown_wrong} %"
            self.say(sentence)

    def _elapsed(self) -> str:
        seconds = int(time.perf_counter() - self._started)
        return f"[{seconds // 60:d}:{seconds % 60:02d}]"

    def _refresh(self) -> None:
        if not self._console.is_terminal:
            return
        table = Table(title=escape(f"{self._title}, {self._elapsed()}"))
        table.add_column("method")
        table.add_column("now")
        table.add_column("labels", justify="right")
        table.add_column(f"test {self._measure.short}, % ± sd", justify="right")
        table.add_column("wrong among picks, %", justify="right")
        for method, row in self._rows.items():
            table.add_row(display_name(method), *row)
        self._live.update(table)
