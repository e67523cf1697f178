"""A score and rows of a pool in a word each: equal words, equal numbers.

Of a function these see its code, and what it is bound to or closes over; not what it
reads of its module, nor the inside of objects that are no pytrees. What they do not
see, a few scores must tell.
"""

import hashlib
import types
from collections.abc import Callable, Mapping
from functools import partial

import jax
import numpy as np
from jaxtyping import PyTree


def of_score(score_fn: Callable) -> str:
    """A score with all that is bound to it, to the last bit.

    Example:
        >>> def power(rows, exponent):
        ...     return rows**exponent
        >>> of_score(partial(power, exponent=2)) == of_score(partial(power, exponent=2))
        True
        >>> of_score(partial(power, exponent=2)) == of_score(partial(power, exponent=3))
        False
    """
    return _word(score_fn)


def of_rows(rows: PyTree) -> str:
    """Rows of the pool: their numbers, shapes and types."""
    return _word(rows)


def _word(value):
    told = hashlib.sha256()
    _tell(told, value, ())
    return told.hexdigest()


def _tell(told, value, inside):
    """Adds a value to the hash; `inside` are the functions that it is a part of."""

    def say(*words):
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode()
            told.update(b"%d:" % len(data) + data)

    def go_on(*parts):
        for part in parts:
            _tell(told, part, inside)

    if not isinstance(value, types.FunctionType):
        value = getattr(value, "__wrapped__", value)  # of a jitted function
    say(type(value).__module__, type(value).__qualname__)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        say(repr(value))
    elif isinstance(value, jax.Array | np.ndarray | np.generic):
        say(value.dtype, value.shape, _bytes_of(value))
    elif isinstance(value, partial):
        go_on(value.func, value.args, value.keywords)
    elif isinstance(value, types.CodeType):
        say(value.co_code, value.co_names)
        go_on(value.co_consts)
    elif isinstance(value, types.MethodType):
        go_on(value.__func__, value.__self__)
    elif isinstance(value, types.FunctionType):
        say(value.__module__, value.__qualname__)
        if value not in inside:  # a function that calls itself closes over itself
            inside = (*inside, value)
            go_on(value.__code__, value.__defaults__, value.__kwdefaults__)
            go_on(*map(_content, value.__closure__ or ()))
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            go_on(key, value[key])
    elif isinstance(value, list | tuple | set | frozenset):
        is_ordered = isinstance(value, list | tuple)
        say(len(value))
        go_on(*(value if is_ordered else sorted(value, key=repr)))
    elif not jax.tree_util.all_leaves([value]):
        go_on(jax.tree.leaves(value))
    else:
        say(getattr(value, "__module__", ""), getattr(value, "__qualname__", ""))


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:  # nothing is in it yet
        return None


def _bytes_of(array):
    if isinstance(array, jax.Array):
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            array = jax.random.key_data(array)
        if not array.is_fully_addressable:
            return b""
    return np.ascontiguousarray(array).tobytes()
