"""JSON that other programs have written."""

import json
from pathlib import Path
from typing import Any

from iwps_jax.app.files.tables import read_text
from iwps_jax.app.files.unreadable import FileError, require_file

MOST_BYTES = 16_000_000
"""Of a JSON file: the answers of some 15,000 samples. Python needs up to 28 times the
bytes in memory."""


def read_json(path: str | Path) -> Any:
    """What a JSON file holds; its texts can be written to any other file.

    Raises:
        FileError: if it cannot be read, is larger than `MOST_BYTES` or no JSON, nests
            too deep, or has a number of thousands of digits or half a character.
    """
    require_file(path, most_bytes=MOST_BYTES)
    text = read_text(path)
    try:
        found = json.loads(text)
        if "\\u" in text:  # may be half of a pair, which no file can hold
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except json.JSONDecodeError as error:
        reason = f"{error.msg} in line {error.lineno}"
        if error.msg == "Extra data" and error.lineno > 1:
            reason += " (JSON lines, as other tools export, are not read)"
    except RecursionError:
        reason = "lists are nested too deep"
    except UnicodeEncodeError:
        reason = "a text has half of a pair of \\u escapes"
    except ValueError:
        reason = "a number has thousands of digits"
    raise FileError(f"{path} must be JSON: {reason}.")
