"""Reads `source.json`, which `iwps embed` writes beside a pool."""

from pathlib import Path
from typing import Any

from iwps_jax.app.embedding.pool_folder import ABOUT, FORMAT, POOL
from iwps_jax.app.files.json_file import read_json
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.refusal import short
from iwps_jax.wording import plural


def read_about(pool: Path, size: int) -> dict[str, Any] | None:
    """What `source.json` says of a pool; None if `iwps embed` has not made the pool.

    Args:
        pool: file of the features.
        size: how many rows it has.

    Returns:
        With `format`, `kind`, `source` and `rows`, and `backbone` but for tables.

    Raises:
        FileError: if the file is damaged, or belongs to another pool.
    """
    path = pool.parent / ABOUT
    if pool.name != POOL or not path.exists():
        return None
    about = read_json(path)
    if (
        not isinstance(about, dict)
        or about.get("format") != FORMAT
        or not isinstance(about.get("source"), dict)
        or not isinstance(about.get("backbone", {}), dict)
    ):
        raise FileError(f"{path} is damaged: no command writes it so.")
    if about.get("rows") != size:
        raise FileError(
            f"{path} must be about {pool} with its {plural(size, 'row')}, got "
            f"{short(str(about.get('rows')))}."
        )
    return about
