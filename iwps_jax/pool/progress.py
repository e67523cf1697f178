"""Rows done, rows a second and time left, in the terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_LINES = 10.0  # where there is no bar


@contextmanager
def progress_bar(
    is_shown: bool, total: int | None, done: int, *, doing: str = "scoring"
) -> Iterator[Callable[[int], None]]:
    """A bar over `total` rows, or of unknown length; yields `advance(rows)`.

    Without rich, which the extra `app` installs, plain lines stand in for the bar.

    Args:
        is_shown: whether there is one.
        total: rows of the scan, those done before included.
        done: rows that an earlier attempt has finished.
        doing: stands before the numbers.
    """
    if not is_shown:
        yield lambda rows: None
        return
    size = "?" if total is None else f"{total:,}"
    if done:
        print(f"{doing}: {done:,} rows were done before", file=sys.stderr)
    try:
        from rich import console, progress  # only here: importing them takes its time
    except ImportError:
        with _plain_lines(doing, size, done) as advance:
            yield advance
        return
    columns = (
        progress.TextColumn(doing),
        progress.BarColumn(),
        progress.TextColumn("{task.completed:,} of {task.fields[size]}"),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(compact=True),
    )
    screen = console.Console(stderr=True)
    with progress.Progress(*columns, console=screen) as bar:
        task = bar.add_task("", total=total, completed=done, size=size, rate="")
        start, scored = time.perf_counter(), 0

        def advance(rows):
            nonlocal scored
            scored += rows
            rate = scored / (time.perf_counter() - start)
            bar.update(task, advance=rows, rate=f"{rate:,.0f} samples/s")

        yield advance


@contextmanager
def _plain_lines(doing: str, size: str, done: int) -> Iterator[Callable[[int], None]]:
    """`advance(rows)` that prints a line now and then, and one at the end."""
    start = said = time.perf_counter()
    scored = 0

    def say():
        nonlocal said
        said = time.perf_counter()
        rate = scored / max(said - start, 1e-9)
        line = f"{doing}: {done + scored:,} of {size}, {rate:,.0f} samples/s"
        print(line, file=sys.stderr, flush=True)

    def advance(rows):
        nonlocal scored
        scored += rows
        if time.perf_counter() - said >= SECONDS_BETWEEN_LINES:
            say()

    yield advance
    say()
