"""Rows done, rows a second and time left, in the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    is_shown: bool, num_rows: int | None
) -> Iterator[Callable[[int], None]]:
    """A bar over `num_rows`, or of unknown length; yields `advance(rows)`."""
    if not is_shown:
        yield lambda rows: None
        return
    from rich import progress  # only where it is shown: importing it takes its time

    columns = (
        progress.TextColumn("scoring"),
        progress.BarColumn(),
        progress.TextColumn("{task.completed:,} of {task.fields[size]}"),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(compact=True),
    )
    size = "?" if num_rows is None else f"{num_rows:,}"
    with progress.Progress(*columns) as bar:
        task = bar.add_task("", total=num_rows, size=size, rate="")

        def advance(rows):
            bar.advance(task, rows)
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            if speed:
                bar.update(task, rate=f"{speed:,.0f} samples/s")

        yield advance
