"""Rows done, rows a second and time left, in the terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    is_shown: bool, total: int | None, done: int
) -> Iterator[Callable[[int], None]]:
    """A bar over `total` rows, or of unknown length; yields `advance(rows)`.

    Args:
        is_shown: whether there is one.
        total: rows of the scan, those done before included.
        done: rows that an earlier attempt has scored.
    """
    if not is_shown:
        yield lambda rows: None
        return
    from rich import console, progress  # only here: importing them takes its time

    columns = (
        progress.TextColumn("scoring"),
        progress.BarColumn(),
        progress.TextColumn("{task.completed:,} of {task.fields[size]}"),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(compact=True),
    )
    size = "?" if total is None else f"{total:,}"
    screen = console.Console(stderr=True)
    if done:
        screen.print(f"{done:,} rows were scored before")
    with progress.Progress(*columns, console=screen) as bar:
        task = bar.add_task("", total=total, completed=done, size=size, rate="")
        start, scored = time.perf_counter(), 0

        def advance(rows):
            nonlocal scored
            scored += rows
            rate = scored / (time.perf_counter() - start)
            bar.update(task, advance=rows, rate=f"{rate:,.0f} samples/s")

        yield advance
