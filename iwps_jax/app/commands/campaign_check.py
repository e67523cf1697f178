"""Verifies the folder of a campaign, and looks for what may spoil its picks."""

from pathlib import Path
from typing import Any

import numpy as np

from iwps_jax.app.campaign import folder, labels_of, unanswered_of
from iwps_jax.app.campaign.control import judges_of
from iwps_jax.app.campaign.learn import refitted
from iwps_jax.app.campaign.scaling import OUTLYING
from iwps_jax.app.campaign.state import (
    Campaign,
    answers_of,
    ids_of,
)
from iwps_jax.app.commands import advice, pool_check
from iwps_jax.types import Head, Holdout
from iwps_jax.wording import plural


def report_on(path: Path) -> dict[str, Any]:
    """Reads all of a campaign, its pool included.

    Returns:
        Its counts, and warnings.

    Raises:
        FileError: if anything of it is damaged; names the first bad event.
    """
    state = folder.read_record(path)
    pool, files = state.task.pool, folder.paths_of(path)
    bad, outlying = pool_check.find_rows(
        pool, pool_check.are_bad, state.task.scaling.are_outlying
    )
    warnings = advice.head_warnings(*_judged(state))
    if bad.total:
        rows = plural(bad.total, "row is", "rows are")
        warnings.append(f"{files.pool}: {rows} not finite in 32 bits.")
    if outlying.total:
        names = ids_of(state.task, np.array(outlying.first))
        warnings.append(
            advice.outlying_warning(str(files.pool), outlying.total, names, OUTLYING)
        )
    return {
        "path": str(path),
        "format": folder.format_of(path),
        "events": len(state.events),
        "answers": sum(len(event.rows) for event in answers_of(state)),
        "labeled": len(labels_of(state)),
        "waiting": len(unanswered_of(state)),
        "warnings": warnings,
    }


def _judged(state: Campaign) -> tuple[Head | None, Holdout | None]:
    """The head, and the samples that judge it, as it sees them."""
    head, judges = refitted(state).head, judges_of(state)
    if head is None:
        return None, judges
    return Head(np.asarray(head.kernel), np.asarray(head.bias)), judges
