"""One input: made, read, and held against what the format's own library reads."""

import shutil
import traceback
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.backbones.torch_file import TorchFileError
from iwps_jax.refusal import Refusal
from tests.fuzz import edits
from tests.fuzz.readers import READERS, NotCompared

UNCHANGED = 0.05
"""The share of inputs that stay valid."""
LONGEST = 1000
"""Characters of a sentence."""
REFUSED, READ = "refused", "read"
FAULTS = {
    "traceback": "an error that is no refusal",
    "sentence": "a refusal that does not name the file, or is no sentence",
    "different": "read as other values than the format's own library reads",
    "laxer": "read, although the format's own library refuses it",
    "stricter": "refused, although nothing was changed",
    "hang": "more than 10 seconds",
    "memory": "more than 500 MB",
    "crash": "the end of the process",
}


class Verdict(NamedTuple):
    """What became of an input.

    Attributes:
        kind: `REFUSED`, `READ`, or one of `FAULTS`.
        said: the sentence, or what is wrong.
    """

    kind: str
    said: str = ""


def files_of(reader: str, seed: int, number: int) -> tuple[dict[str, bytes], bool]:
    """The files of an input, and whether they have been changed."""
    rng = np.random.default_rng([seed, zlib.crc32(reader.encode()), number])
    row = READERS[reader]
    files = row.make(rng)
    if rng.random() < UNCHANGED:
        return files, False
    before = dict(files)
    name = edits.one_of(rng, sorted(files))
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 6]))):
        edit = edits.one_of(rng, (*edits.BYTES, *row.edits))
        files[name] = edit(rng, files[name])
    return files, files != before


def judge(
    reader: str,
    seed: int,
    number: int,
    folder: Path,
    memory: Callable[[], float] = lambda: 0.0,
) -> Verdict:
    """The verdict on an input.

    Args:
        reader: a key of `READERS`.
        seed: of the run.
        number: of the input.
        folder: for its files; emptied before.
        memory: the megabytes that reading took, called when it is over.
    """
    shutil.rmtree(folder, ignore_errors=True)
    files, is_changed = files_of(reader, seed, number)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    row = READERS[reader]
    path = folder / (row.target or next(iter(files)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ours = _in_memory(row.read(path))
    except (Refusal, TorchFileError) as error:
        fault = _of_sentence(str(error), [*files, path.name], memory())
        return fault or Verdict(REFUSED if is_changed else "stricter", str(error))
    except Exception:
        return Verdict("traceback", traceback.format_exc())
    if (megabytes := memory()) > 0:
        return Verdict("memory", f"{megabytes:,.0f} MB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = row.own(path)
    except NotCompared:
        return Verdict(READ)
    except Exception as error:
        return Verdict("laxer", f"{type(error).__name__}: {error}"[:LONGEST])
    if (row.agrees or same)(ours, theirs):
        return Verdict(READ)
    return Verdict("different", f"{ours!r}\ninstead of\n{theirs!r}"[: 4 * LONGEST])


def _in_memory(found):
    return np.asarray(found) if hasattr(found, "__array__") else found


def _of_sentence(told, names, megabytes) -> Verdict | None:
    if megabytes > 0 or "more memory than" in told:
        return Verdict("memory", f"{megabytes:,.0f} MB: {told}")
    is_named = any(name in told for name in names)
    return None if is_named and len(told) <= LONGEST else Verdict("sentence", told)


def same(ours: Any, theirs: Any) -> bool:
    """Whether two results are equal, types and NaN included."""
    if isinstance(ours, np.ndarray) or isinstance(theirs, np.ndarray):
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        is_same = ours.shape == theirs.shape and ours.dtype == theirs.dtype
        return is_same and ours.tobytes() == theirs.tobytes()
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(
            same(ours[name], theirs[name]) for name in ours
        )
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)
