"""What a batch shows of its samples: their texts, or the columns of their rows.

These columns stand after our own, so that `label` is always in the same place, and a
long text runs over empty cells. Whoever reads the file back ignores them.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from iwps_jax.app.campaign import folder
from iwps_jax.app.commands.advice import warn
from iwps_jax.app.embedding import samples
from iwps_jax.app.files.headers import LABEL_STUDIO, LABELBOX, OURS, SAMPLE_ID
from iwps_jax.app.files.picks import Pick, as_lines
from iwps_jax.app.files.tables import guarded, table_of
from iwps_jax.refusal import Refusal

TEXT = "text"
MOST_LETTERS = 30_000
"""Of a cell: spreadsheets hold 32,767, and break a longer one into several rows."""
NUMBER = re.compile(r"[-+]?[0-9]+([.,][0-9]+)?([eE][-+]?[0-9]+)?")
"""What a spreadsheet reads as a number, and needs no guard."""
RESERVED = {
    *(*OURS, *LABEL_STUDIO, LABELBOX, SAMPLE_ID, *Pick._fields),
    *("annotator", "was_cancelled", "choice"),
}
"""Names, in lower case, that mean something to whoever reads answers."""
PREFIX = "original "


def columns_of(
    campaign: Path, size: int, picks: Sequence[Pick]
) -> dict[str, Sequence[str]]:
    """The columns about the samples of a batch, by their names, as cells.

    Args:
        campaign: its folder, which says where the pool is.
        size: how many rows the pool has.
        picks: the lines of the batch.

    Returns:
        Nothing for images, for a pool of features alone, and where the samples cannot
        be read: a warning then says why, and the batch is as good without them.
    """
    rows = [int(pick.row) for pick in picks]
    try:
        found = samples.open_samples(folder.paths_of(campaign).pool, size)
        values = [] if found is None else samples.read(found, rows)
    except Refusal as error:
        warn(
            [
                f"the batch has only the ids of its samples. {error} After that, iwps "
                "show finds the samples, and iwps next --unanswered writes the batch "
                "again."
            ]
        )
        return {}
    texts = [value for value in values if isinstance(value, str)]
    if texts:
        return {TEXT: [*map(cell_of, texts)]}
    return _columns_of_rows([value for value in values if isinstance(value, dict)])


def _columns_of_rows(rows: Sequence[dict[str, str]]) -> dict[str, Sequence[str]]:
    """Columns of rows, which need not all have the same."""
    columns: dict[str, Sequence[str]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        cells = [cell_of(row.get(name, "")) for row in rows]
        columns[_free_name(name, columns)] = cells
    return columns


def _free_name(name: str, others) -> str:
    """A name that no other column has, and that means nothing else to readers."""
    name = " ".join(name.split())[:MOST_LETTERS] or "column"
    taken = RESERVED | {other.casefold() for other in others}
    while name.casefold() in taken:
        name = PREFIX + name
    return name


def cell_of(text: str) -> str:
    """A text as a cell that no spreadsheet executes, cuts or takes for another row.

    Example:
        >>> [cell_of(text) for text in ("=1+1", "-3.5", "a" * 40_000)][:2]
        ["'=1+1", '-3.5']
    """
    if len(text) > MOST_LETTERS:
        text = text[: MOST_LETTERS - 1] + "…"
    return text if NUMBER.fullmatch(text) else guarded(text)


def text_of(
    picks: Sequence[Pick], names: Sequence[str], more: dict[str, Sequence[str]]
) -> str:
    """A batch as CSV.

    Args:
        picks: its lines.
        names: our columns, attributes of `Pick`.
        more: cells of further columns by their names, one for each line.
    """
    lines = as_lines(picks, names)
    header = [*names, *map(guarded, more)]
    cells = zip(*more.values(), strict=True) if more else [()] * len(lines)
    return table_of(
        [header, *([*line, *cell] for line, cell in zip(lines, cells, strict=True))]
    )
