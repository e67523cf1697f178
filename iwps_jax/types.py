"""The shapes of the functions that the loop is assembled from.

Axis names used in every annotation of the package:

    pool      rows of the dataset that active learning draws from, labeled or not
    classes   classes of the problem
    d         features of the last hidden layer
    m         holdout samples
    draws     samples from an approximate posterior, such as dropout masks
    k         samples acquired at once

A *row* is a position along ``pool``; every index in the package is a row.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Key, PyTree

AnyArray: TypeAlias = jax.Array | np.ndarray
Params: TypeAlias = PyTree
Inputs: TypeAlias = PyTree
ApplyFn: TypeAlias = Callable[[Params, Inputs], jax.Array]
"""``apply_fn(params, inputs) -> logits [batch, classes]``, pure, in inference mode."""


class Variables(NamedTuple):
    """What a network needs to run.

    Attributes:
        params: what gradients move.
        statistics: what training moves without gradients, the running averages of
            batch normalization; an empty dict for networks that have none.
    """

    params: Params
    statistics: PyTree


class Head(NamedTuple):
    """The last layer: logits = features @ kernel + bias.

    Attributes:
        kernel: its weights.
        bias: its offsets.
    """

    kernel: Float[np.ndarray, "d classes"]
    bias: Float[np.ndarray, " classes"]


class Holdout(NamedTuple):
    """Labeled samples that judge what the model learns.

    Attributes:
        features: inputs of the last layer.
        labels: their true classes, from 0.
    """

    features: Float[np.ndarray, "m d"]
    labels: Int[np.ndarray, " m"]


@runtime_checkable
class FitFn(Protocol):
    """Trains on the labeled rows: ``fit(key, train_state, labeled) -> train_state``."""

    def __call__(
        self, key: Key[jax.Array, ""], train_state: Any, labeled: Bool[jax.Array, " n"]
    ) -> Any:
        """Returns the train state after training on the rows where `labeled`."""


@runtime_checkable
class ScoreFn(Protocol):
    """Scores every row: ``score(key, train_state) -> [pool, ...]``."""

    def __call__(self, key: Key[jax.Array, ""], train_state: Any) -> PyTree:
        """Returns arrays with a leading pool axis, labeled rows included."""


@runtime_checkable
class SelectFn(Protocol):
    """Chooses what to label: ``select(key, scores, where) -> [k]``."""

    def __call__(
        self, key: Key[jax.Array, ""], scores: PyTree, where: Bool[jax.Array, " n"]
    ) -> Int[jax.Array, " k"]:
        """Returns distinct rows among those where `where` is true."""
