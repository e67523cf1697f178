"""The heads of the study: multinomial logistic regression, and what is measured of it.

    argmin over (W, b) of  Σ_i w_i [-log softmax(h_i W + b)_(y_i)]
                           + penalty/2 · (‖W‖² + ‖b‖²)

with w_i the same for all labeled samples, or for all classes that have some; Σ w = 1.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from iwps_jax import numerics
from iwps_jax.heads import logistic
from iwps_jax.scores.head import head_logits
from iwps_jax.types import Head

# Kernel and bias are at most so far from the minimum, and a little more if the penalty
# is below 1e-5.
TOLERANCE = 1e-2


def fit(
    features: Float[jax.Array, "n d"],
    labels: Int[jax.Array, " n"],
    where: Bool[jax.Array, " n"],
    penalty: Float[jax.Array, ""],
    *,
    num_classes: int,
    balanced: bool = False,
) -> Head:
    """The head of the samples in `where`; zeros without any.

    Args:
        features: a buffer of labeled samples.
        labels: their classes.
        where: which entries of the buffer hold a sample.
        penalty: as above.
        num_classes: of the problem.
        balanced: whether classes have the same weight, and not samples.
    """
    weights = where.astype(features.dtype)
    if balanced:
        counts = jnp.zeros(num_classes).at[labels].add(weights)
        weights = weights / jnp.maximum(counts[labels], 1)
    weights = weights / jnp.maximum(weights.sum(), 1e-9)
    # The bias is the weight of a feature that is always one. With its penalty, classes
    # without samples have a probability that the solver's tolerance does not decide.
    extended = jnp.pad(features, ((0, 0), (0, 1)), constant_values=1)
    found = logistic.minimum(
        *(extended, labels, weights),
        penalty=penalty,
        num_classes=num_classes,
        tolerance=TOLERANCE * jnp.maximum(penalty, 1e-5),
    )
    return Head(found[:-1], found[-1])


class Measures(NamedTuple):
    """Of a head on a test set, between 0 and 1.

    Attributes:
        accuracy: share of samples classified right.
        balanced_accuracy: mean recall of the classes.
        pool_accuracy: the recalls weighted by the shares of the classes in the pool.
        macro_f1: mean over classes of 2 · right / (labeled so + predicted so).
    """

    accuracy: Float[jax.Array, ""]
    balanced_accuracy: Float[jax.Array, ""]
    pool_accuracy: Float[jax.Array, ""]
    macro_f1: Float[jax.Array, ""]


@partial(jax.jit, static_argnames="num_classes")
def measure(
    head: Head,
    shares: Float[jax.Array, " classes"],
    features: Float[jax.Array, "m d"],
    labels: Int[jax.Array, " m"],
    *,
    num_classes: int,
) -> Measures:
    """Measures a head on a test set; classes without test samples do not count.

    Args:
        head: of `fit`.
        shares: of the classes in the pool, one in sum over the classes tested.
        features: of the test samples.
        labels: their classes.
        num_classes: of the problem.
    """
    predicted = head_logits(features, *head).argmax(-1)
    zeros = jnp.zeros(num_classes)
    right = zeros.at[labels].add(predicted == labels)
    true = zeros.at[labels].add(1)
    said = zeros.at[predicted].add(1)
    num_tested = jnp.maximum((true > 0).sum(), 1)
    recall = right / jnp.maximum(true, 1)
    f1 = 2 * right / jnp.maximum(true + said, 1)
    return Measures(
        accuracy=right.sum() / len(labels),
        balanced_accuracy=recall.sum() / num_tested,
        pool_accuracy=(recall * shares).sum(),
        macro_f1=jnp.where(true > 0, f1, 0).sum() / num_tested,
    )


def probabilities(
    head: Head, features: Float[jax.Array, "n d"]
) -> Float[jax.Array, "n classes"]:
    """The head's predictions in half precision."""
    return jax.nn.softmax(numerics.upcast(head_logits(features, *head))).astype(
        jnp.float16
    )
