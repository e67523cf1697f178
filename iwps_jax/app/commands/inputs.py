"""What a command is given in files: read, and held against each other."""

import dataclasses
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tyro import conf

from iwps_jax.app import leaks, naming
from iwps_jax.app.commands.jax_settings import Computing
from iwps_jax.app.files.arrays import SUFFIXES, open_array
from iwps_jax.app.files.heads import read_head, require_known
from iwps_jax.app.files.readers import (
    read_classes,
    read_holdout,
    read_ids,
    read_ids_of_lines,
    read_logits,
    read_pool,
    require_width,
)
from iwps_jax.app.files.tables import read_table
from iwps_jax.app.files.unreadable import FileError, require_no_address
from iwps_jax.app.naming import AnswerError
from iwps_jax.pool import sources
from iwps_jax.pool.sources import PoolError
from iwps_jax.refusal import Refusal, refusing
from iwps_jax.types import Head, Holdout
from iwps_jax.wording import plural

ROWS_LOOKED_AT = 1000
OFF_BY_ROUNDING = 0.01
"""How far from one the sum of probabilities may be, in float16 or three decimals."""
ROWS_TRIED = 8
"""How many rows a score of the user's is asked to say something of, at first."""


class Given(NamedTuple):
    """The files of a command, as far as they were given.

    Attributes:
        pool: rows of features, of logits, or what a function of the user's returned.
        head: the last layer.
        holdout: labeled samples that judge.
        training: labeled samples that the head was trained on.
        ids: what the user calls the rows; None where that is their number.
        classes: names of the classes; None where these are their numbers.
        labeled: rows that have been labeled.
        are_logits: whether the rows are logits.
    """

    pool: Any
    head: Head | None
    holdout: Holdout | None
    training: Holdout | None
    ids: np.ndarray | None
    classes: tuple[str, ...] | None
    labeled: np.ndarray | None
    are_logits: bool

    def id_of(self, row: int) -> str:
        """What the user calls a row."""
        return str(row) if self.ids is None else str(self.ids[row])

    def name_of(self, label: int) -> str:
        """What the user calls a class."""
        return str(label) if self.classes is None else self.classes[label]


AT_MOST_ONE = conf.create_mutex_group(required=False, title="at most one of these")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files(Computing):
    """The files that `read` reads."""

    pool: Annotated[str | None, conf.arg(metavar="POOL"), AT_MOST_ONE] = None
    """features [pool, d] of the samples to choose from: .npy, .npz or .safetensors of
    any size, read a part at a time; or module:function that returns a pool"""
    logits: Annotated[str | None, conf.arg(metavar="LOGITS"), AT_MOST_ONE] = None
    """logits [pool, classes] instead of --pool, for methods that use only logits; for
    methods that compare dropout masks, [pool, draws, classes]"""
    head: Path | None = None
    """the last layer: .npz or .safetensors with kernel [d, classes] and bias
    [classes], or scikit-learn's coef_ and intercept_; one column for two classes"""
    holdout: Path | None = None
    """labeled samples that the model did not learn from: .npz or .safetensors with
    features [m, d] and labels [m]"""
    ids: Path | None = None
    """names of the rows of the pool: .txt with one id per line, .csv or .npy (default:
    0, 1, ...)"""
    classes: str | None = None
    """names of the classes: a,b,c or a file with one name per line (default:
    numbers)"""


def read(
    options: Files, *, training_set: Path | None = None, labeled: Path | None = None
) -> Given:
    """Reads the files, shapes first, and checks that they fit each other.

    Args:
        options: name the files that all commands may have.
        training_set: samples that the head was trained on.
        labeled: rows that have been labeled.

    Raises:
        FileError: if one cannot be used, or two do not fit.
        Refusal: if a function that the options name cannot be called.
    """
    if options.logits is not None and options.head is not None:
        raise Refusal("--head needs features: give --pool instead of --logits.")
    name = options.pool if options.logits is None else options.logits
    read_file = read_pool if options.logits is None else read_logits
    pool: Any = None if name is None else open_pool(name, read_file)
    has_columns = getattr(pool, "ndim", None) == 2
    head = None if options.head is None else read_head(options.head)
    if head is not None and has_columns:
        require_width(str(name), pool, head)
    holdout = _labeled_set(options.holdout, head)
    training = _labeled_set(training_set, head)
    if holdout is not None and training is not None:
        _refuse_leak(options.holdout, holdout, training_set, training)
    num_classes = None if head is None else len(head.bias)
    if options.logits is not None and hasattr(pool, "shape"):
        num_classes = pool.shape[-1]
        _refuse_probabilities(str(name), pool)
    classes, ids = _classes(options, num_classes), _ids(options, pool)
    rows = _labeled(labeled, pool, ids)
    are_logits = options.logits is not None
    return Given(pool, head, holdout, training, ids, classes, rows, are_logits)


def _refuse_probabilities(name, pool):
    """Refuses logits whose rows all look like probabilities, in a sample of them.

    Of probabilities the softmax is another distribution, which ranks other rows first.
    Among logits a row may be nonnegative and sum to one, but not every row.
    """
    if pool.ndim < 2 or len(pool) == 0:
        return
    spread = np.linspace(0, len(pool) - 1, min(ROWS_LOOKED_AT, len(pool)))
    rows = sources.take(pool, sorted({int(row) for row in spread}))
    rows = np.asarray(rows, np.float64)
    off = np.abs(rows.sum(-1) - 1)
    if rows.min(initial=0) >= 0 and off.max(initial=0) <= OFF_BY_ROUNDING:
        first = ", ".join(f"{number:.3g}" for number in rows[0].ravel()[:3])
        raise FileError(
            f"{name} must hold logits, but its rows look like probabilities: row 0 "
            f"begins with {first}, and in every row the numbers are at least 0 and sum "
            "to 1. Pass np.log(p)."
        )


def _labeled_set(path, head):
    """Features and labels that the head can read."""
    if path is None:
        return None
    samples = read_holdout(path)
    if head is not None:
        require_width(path, samples.features, head)
        require_known(path, samples.labels, head)
    return samples


def _refuse_leak(path, holdout, training_path, training):
    """Refuses a holdout set with a sample that was learned from."""
    copies = leaks.copies_of(holdout.features, training.features)
    is_copy = copies != leaks.NO_COPY
    if is_copy.any():
        sample = int(np.argmax(is_copy))
        raise FileError(
            f"{path} must not hold samples of the training set {training_path}, "
            f"because the head has learned them: sample {sample} is a copy of its row "
            f"{copies[sample]}; copies in all: {is_copy.sum():,}."
        )


def open_pool(name: str, read_file: Callable[[str], Any]) -> Any:
    """The pool in a file, or what a function named module:function returns."""
    is_file = Path(name).suffix.lower() in SUFFIXES or Path(name).exists()
    if is_file or ":" not in name:
        return read_file(name)
    require_no_address(name)
    pool = made_by(name)
    if pool is None:
        raise Refusal(f"{name} must return a pool, got None.")
    return pool


def made_by(name: str) -> Any:
    """What the function named module:function returns.

    Raises:
        Refusal: if it is not called so, or there is no such module, or function in
            it.
    """
    module, _, function = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise Refusal(f"{name} must be a file or module:function, it is neither.")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # last, so that no file here hides a module of Python
    importlib.invalidate_caches()
    if not _is_module(module):
        raise Refusal(f"{name} cannot be called: there is no module {module}.")
    found = importlib.import_module(module)
    made = getattr(found, function, None)
    if made is None:
        file = Path(*module.split(".")).with_suffix(".py")
        hint = ""
        if file.exists() and not _is_file(found, file):
            hint = f"; {file} is hidden by another module of that name: rename it"
        raise Refusal(f"{name} cannot be called: {module} has no {function}{hint}.")
    if not callable(made):
        raise Refusal(f"{name} must be a function, got {type(made).__name__}.")
    try:
        inspect.signature(made).bind()
    except TypeError as error:
        raise Refusal(
            f"{name} must need no argument, and return a pool or a score: {error}."
        ) from error
    except ValueError:  # a function of C that does not say
        pass
    return made()


def _is_file(module, file) -> bool:
    return Path(getattr(module, "__file__", None) or "").resolve() == file.resolve()


def _is_module(name) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        if name.startswith(f"{error.name}."):  # no such package
            return False
        raise  # of an import in it


def require_pool(name: str, pool: Any) -> None:
    """Refuses a pool of which not even the first row can be scored.

    Args:
        name: its file or function.
        pool: what `open_pool` returned; a stream is left as it is.
    """
    if pool is not None and not hasattr(pool, "__next__"):
        with refusing(ValueError, TypeError, IndexError, about=name):
            source = sources.open_source(pool)
        with refusing(PoolError, about=name):
            row, _ = sources.read_chunk(source, 0, 1)
        with refusing(ValueError, TypeError, about=name):
            sources.check_numbers(row)


def require_score(name: str, score_fn: Any, pool: Any) -> None:
    """Refuses what is no score of rows: a function that returns a number for each.

    Args:
        name: module:function that returned it.
        score_fn: what it returned.
        pool: what it will score; of a stream nothing is read.
    """
    if not callable(score_fn):
        kind = type(score_fn).__name__
        raise Refusal(f"{name} must return a function of rows, got {kind}.")
    if hasattr(pool, "__next__"):
        return
    row, _ = sources.read_chunk(sources.open_source(pool), 0, 1)
    several = jax.tree.map(lambda leaf: np.repeat(leaf, ROWS_TRIED, axis=0), row)
    found = jax.eval_shape(score_fn, several)
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", np.dtype(int))
    if shape != (ROWS_TRIED,) or not jnp.issubdtype(dtype, jnp.floating):
        got = found if shape is None else f"{dtype}{list(shape)}"
        raise Refusal(
            f"{name} must return one floating-point number for each row, got {got} for "
            f"{ROWS_TRIED} rows."
        )


def require_seed(seed: int) -> None:
    """Refuses a seed that no generator takes."""
    if not 0 <= seed < 2**32:
        raise Refusal(f"--seed must be at least 0 and less than 2**32, got {seed}.")


def size_of(pool: Any, option: str) -> int:
    """How many rows the pool has.

    Raises:
        Refusal: if it is an iterator, which the option cannot do with.
    """
    if hasattr(pool, "__next__"):
        raise Refusal(f"{option} needs a pool with a length, got an iterator.")
    return len(jax.tree.leaves(pool)[0])


def _ids(options: Files, pool):
    if options.ids is None:
        return None
    if pool is None:
        raise Refusal("--ids names the rows of a pool: give --pool too.")
    return read_ids(options.ids, size_of(pool, "--ids"))


def _classes(options: Files, num_classes):
    if options.classes is None:
        return None
    classes = read_classes(options.classes)
    if num_classes is not None and len(classes) != num_classes:
        raise FileError(
            f"--classes {options.classes} must name {plural(num_classes, 'class')}, "
            f"like the head or logits, got {len(classes)}."
        )
    return classes


def _labeled(path, pool, ids):
    """Rows that were labeled, by number or by id."""
    if path is None:
        return None
    size = size_of(pool, "--labeled")
    require_no_address(path)
    if path.suffix.lower() in (".csv", ".txt"):
        return rows_of_ids(path, ids, size)
    if path.suffix.lower() not in SUFFIXES:
        raise FileError(
            f"{path} must be an .npy file of rows, or a .csv or .txt file of ids."
        )
    rows = open_array(path)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise FileError(f"{path} must hold a vector of row numbers.")
    rows = np.asarray(rows)
    if rows.size and not 0 <= rows.min() <= rows.max() < size:
        raise FileError(f"{path} must hold rows in [0, {size}).")
    return np.array(rows, np.int64)


def rows_of_ids(path: Path, ids: naming.Ids, size: int) -> np.ndarray:
    """The rows whose ids a file lists; where it has labels, those with one.

    Args:
        path: .txt with an id a line, or else .csv with a column id.
        ids: of the pool.
        size: of the pool.

    Raises:
        FileError: if an id is not of the pool; names the line.
    """
    answered: Collection[str]
    if path.suffix.lower() == ".txt":
        numbers, listed = read_ids_of_lines(path)
        lines = answered = dict(zip(listed, numbers, strict=True))
    else:
        table = read_table(path, ("id",))
        lines = {record["id"]: line for line, record in table}
        answered = {  # empty: not answered yet
            record["id"] for _, record in table if record.get("label", "yes")
        }
    try:
        rows = naming.rows_of(ids, size, [*lines])
    except AnswerError as error:
        raise FileError(f"{path}: line {lines[error.id]}: {error}") from error
    return rows[[id_ in answered for id_ in lines]]
