"""Scores that look at predictions alone: how unsure is the model?

Over one set of logits `[pool, classes]`: entropy, margin, least confidence. Over
several posterior draws of log-probabilities `[draws, pool, classes]`, such as the
dropout masks of MC-Dropout: their mean's entropy, variation ratio, BALD.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from iwps_jax import checks, numerics
from iwps_jax.types import AnyArray


def entropy(logits: Float[AnyArray, "pool classes"]) -> Float[jax.Array, " pool"]:
    """Entropy of the predicted distribution.

        H(x) = -Σ_c p_c log p_c

    Zero for a certain prediction, log(classes) for a uniform one.

    Args:
        logits: unnormalized log-probabilities; -inf rules a class out.

    Returns:
        One float32 score per candidate, in nats.

    Raises:
        ValueError: if the axes are wrong, or outside `jax.jit` if a row has no softmax.
        TypeError: if logits are not floating point.

    References:
        Shannon 1948, "A Mathematical Theory of Communication", §6.

    Example:
        >>> print(f"{entropy(jnp.zeros((1, 2)))[0]:.4f}")
        0.6931
    """
    checks.require_logits("logits", logits, "pool classes")
    return _entropy(logits)


@jax.jit
def _entropy(logits):
    log_probs = numerics.log_softmax(numerics.upcast(logits))
    return numerics.entropy_of(log_probs).astype(jnp.float32)


def margin(logits: Float[AnyArray, "pool classes"]) -> Float[jax.Array, " pool"]:
    """One minus the gap between the two most probable classes.

        score(x) = 1 - (p_first - p_second)

    One for a tie, zero for a certain prediction; formed without cancellation as
    (1 - p_first) + p_second, so that confident candidates still rank.

    Args:
        logits: unnormalized log-probabilities of at least two classes.

    Returns:
        One float32 score per candidate, a probability in [0, 1].

    Raises:
        ValueError: if the axes are wrong or there are fewer than two classes, or
            outside `jax.jit` if a row has no softmax.
        TypeError: if logits are not floating point.

    References:
        Scheffer, Decomain, Wrobel 2001, "Active Hidden Markov Models for
        Information Extraction", §3.

    Example:
        >>> print(f"{margin(jnp.log(jnp.array([[0.7, 0.2, 0.1]])))[0]:.4f}")
        0.5000
    """
    checks.require_logits("logits", logits, "pool classes")
    if logits.shape[1] < 2:
        raise ValueError(f"logits must have at least 2 classes, got {logits.shape[1]}.")
    return _margin(logits)


@jax.jit
def _margin(logits):
    others = _all_but_the_first(logits)
    return (others.sum(-1) + others.max(-1)).astype(jnp.float32)


def _all_but_the_first(logits):
    """The class probabilities, with zero in place of the most probable one."""
    probs = jax.nn.softmax(numerics.upcast(logits))
    is_first = jax.nn.one_hot(probs.argmax(-1), probs.shape[-1], dtype=bool)
    return jnp.where(is_first, 0, probs)


def least_confidence(
    logits: Float[AnyArray, "pool classes"],
) -> Float[jax.Array, " pool"]:
    """Probability that the prediction is wrong, as the model sees it.

        score(x) = 1 - max_c p_c

    Zero for a certain prediction, 1 - 1/classes for a uniform one.

    Args:
        logits: unnormalized log-probabilities; -inf rules a class out.

    Returns:
        One float32 score per candidate, a probability in [0, 1).

    Raises:
        ValueError: if the axes are wrong, or outside `jax.jit` if a row has no softmax.
        TypeError: if logits are not floating point.

    References:
        Lewis, Gale 1994, "A Sequential Algorithm for Training Text Classifiers", §3.

    Example:
        >>> print(f"{least_confidence(jnp.log(jnp.array([[0.7, 0.2, 0.1]])))[0]:.4f}")
        0.3000
    """
    checks.require_logits("logits", logits, "pool classes")
    return _least_confidence(logits)


@jax.jit
def _least_confidence(logits):
    return _all_but_the_first(logits).sum(-1).astype(jnp.float32)


def mc_dropout(
    log_probs: Float[AnyArray, "draws pool classes"],
) -> Float[jax.Array, " pool"]:
    """Entropy of the mean prediction over posterior draws.

        score(x) = H[(1/n) Σ_d p(y|x, θ_d)]

    Zero when all draws are certain of the same class, at most log(classes).

    Args:
        log_probs: log p(y|x, θ_d), normalized over classes; -inf is allowed.

    Returns:
        One float32 score per candidate, in nats.

    Raises:
        ValueError: if the axes are wrong, or outside `jax.jit` if there is a NaN or a
            positive entry.
        TypeError: if log_probs are not floating point.

    References:
        Gal, Ghahramani 2016, "Dropout as a Bayesian Approximation"; the score is
        the predictive entropy of Gal, Islam, Ghahramani 2017, "Deep Bayesian Active
        Learning with Image Data", §3. https://arxiv.org/abs/1703.02910

    Example:
        >>> two_draws = jnp.array([[[1.0, 0.0]], [[0.0, 1.0]]])
        >>> print(f"{mc_dropout(jnp.log(two_draws))[0]:.4f}")
        0.6931
    """
    checks.require_log_probs("log_probs", log_probs, "draws pool classes")
    return _mc_dropout(log_probs)


@jax.jit
def _mc_dropout(log_probs):
    mean = numerics.log_mean_exp(numerics.upcast(log_probs))
    return numerics.entropy_of(mean).astype(jnp.float32)


def variation_ratio(
    log_probs: Float[AnyArray, "draws pool classes"],
) -> Float[jax.Array, " pool"]:
    """Share of the draws that do not predict the modal class.

        score(x) = 1 - max_c (1/n) Σ_d [argmax p(y|x, θ_d) = c]

    Zero when all draws predict the same class. With few draws most candidates tie;
    `mc_dropout` ranks finer.

    Args:
        log_probs: log p(y|x, θ_d), normalized over classes; -inf is allowed.

    Returns:
        One float32 score per candidate, a share in [0, 1).

    Raises:
        ValueError: if the axes are wrong, or outside `jax.jit` if there is a NaN or a
            positive entry.
        TypeError: if log_probs are not floating point.

    References:
        Gal, Islam, Ghahramani 2017, "Deep Bayesian Active Learning with Image
        Data", §3. https://arxiv.org/abs/1703.02910

    Example:
        >>> draws = jnp.log(jnp.array([[[0.9, 0.1]], [[0.6, 0.4]], [[0.2, 0.8]]]))
        >>> print(f"{variation_ratio(draws)[0]:.4f}")
        0.3333
    """
    checks.require_log_probs("log_probs", log_probs, "draws pool classes")
    return _variation_ratio(log_probs)


@jax.jit
def _variation_ratio(log_probs):
    num_draws, _, num_classes = log_probs.shape
    votes = jax.nn.one_hot(log_probs.argmax(-1), num_classes, dtype=jnp.int32).sum(0)
    return (num_draws - votes.max(-1)).astype(jnp.float32) / num_draws


def bald(
    log_probs: Float[AnyArray, "draws pool classes"],
) -> Float[jax.Array, " pool"]:
    """Mutual information between a candidate's label and the parameters.

        BALD(x) = H[E_θ p(y|x,θ)] - E_θ H[p(y|x,θ)] = E_θ KL(p(y|x,θ) ‖ E_θ p(y|x,θ))

    Zero when the draws agree; at most log(min(draws, classes)). Computed in the
    second form, whose terms do not cancel.

    Args:
        log_probs: log p(y|x, θ_d), normalized over classes; -inf is allowed.

    Returns:
        One float32 score per candidate, in nats.

    Raises:
        ValueError: if the axes are wrong, or outside `jax.jit` if there is a NaN or a
            positive entry.
        TypeError: if log_probs are not floating point.

    References:
        Houlsby et al. 2011, "Bayesian Active Learning for Classification and
        Preference Learning", Eq. 2. https://arxiv.org/abs/1112.5745

    Example:
        >>> two_draws = jnp.array([[[1.0, 0.0]], [[0.0, 1.0]]])
        >>> print(f"{bald(jnp.log(two_draws))[0]:.4f}")
        0.6931
    """
    checks.require_log_probs("log_probs", log_probs, "draws pool classes")
    return _bald(log_probs)


@jax.jit
def _bald(log_probs):
    log_probs = numerics.upcast(log_probs)
    log_mean = numerics.log_mean_exp(log_probs)
    log_ratio = log_probs - jnp.where(jnp.isneginf(log_mean), 0, log_mean)[None]
    terms = jnp.exp(log_mean)[None] * numerics.divergence_term(log_ratio)
    return terms.sum(-1).mean(0).astype(jnp.float32)
