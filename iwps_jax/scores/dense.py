"""IWPS on every layer of a fully connected ReLU network, without a copy of a weight.

One SGD step on one candidate adds to each layer the outer product of what the layer
read and what was propagated back to it. After T steps a layer has therefore changed by

    Δkernel = Σ_r a_r u_rᵀ,    Δbias = Σ_r u_r

with a_r the layer's input at step r and u_r the step of its output. The first layer
always reads the candidate itself, so that there one term holds all steps. All
candidates share the weights, and each carries only its few vectors a_r and u_r.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer

from iwps_jax import checks, numerics
from iwps_jax.types import AnyArray

Layers: TypeAlias = Sequence[tuple[Float[AnyArray, "_ _"], Float[AnyArray, " _"]]]
"""(kernel [d_in, d_out], bias [d_out]) of each layer, in order."""

_matmul = partial(jnp.matmul, precision=numerics.PRECISION)


class _Update(NamedTuple):
    """Change of one layer by one candidate, in the terms of the module's docstring."""

    inputs: Float[jax.Array, "rank d_in"]
    outputs: Float[jax.Array, "rank d_out"]


def iwps_mlp(
    layers: Layers,
    inputs: Float[AnyArray, "pool d"],
    holdout_inputs: Float[AnyArray, "m d"],
    holdout_labels: Integer[AnyArray, " m"],
    *,
    steps: int = 3,
    learning_rate: float | Float[AnyArray, ""] = 1e-3,
) -> Float[jax.Array, " pool"]:
    """Exact IWPS on every parameter of a fully connected ReLU network.

        score(x) = mean_m [ℓ(f(g_m; θ_x), y_m) - ℓ(f(g_m; θ), y_m)]

    with f(x) = W_L relu(… relu(W_1 x + b_1) …) + b_L and θ_x the network after T SGD
    steps on the candidate under its own prediction. The same number as `iwps` with
    that network as its `apply_fn`, several times faster: updates of low rank take the
    place of moved weights. With one layer it is `iwps_last_layer`.

    What is carried through the layers is the change of the holdout activations, not
    two activations to subtract, also where units switch on or off on the way. So the
    scores of confident candidates, 1e-9 and smaller, keep their digits. Memory is
    pool · m · (widest layer behind the inputs): score a large pool in chunks of some
    ten candidates (`iwps_jax.score_in_chunks`).

    Args:
        layers: (kernel [d_in, d_out], bias [d_out]) of each layer, in order; a ReLU
            follows all but the last. One layer or more.
        inputs: candidates, as the first layer reads them.
        holdout_inputs: the same for the holdout samples.
        holdout_labels: their true classes, in [0, classes).
        steps: T, the SGD steps on each pseudo-label.
        learning_rate: η, the length of a step.

    Returns:
        One float32 score per candidate, in nats.

    Raises:
        ValueError: if shapes or class counts disagree; outside `jax.jit` also if a
            label is out of range or a number is not finite.
        TypeError: if labels are not integers or other arrays not floating point.

    References:
        Aljundi et al. 2020, "Identifying Wrongly Predicted Samples", Eq. 2 and Eq. 3;
        T = 3 and η = 1e-3 as in supplement §4. https://arxiv.org/abs/2010.06890

    Example:
        >>> layers = [(jnp.eye(2), jnp.zeros(2)), (2 * jnp.eye(2), jnp.zeros(2))]
        >>> wrong, sure = [0.6, 0.1], [9.0, 0.0]
        >>> scores = iwps_mlp(
        ...     layers,
        ...     inputs=jnp.array([wrong, sure]),
        ...     holdout_inputs=jnp.array([[0.5, 0.2]]),
        ...     holdout_labels=jnp.array([1]),
        ... )
        >>> bool(scores[0] > scores[1] > 0)
        True
    """
    _check_layers(layers)
    for name, samples in (("inputs", inputs), ("holdout_inputs", holdout_inputs)):
        checks.require_finite(name, samples, "samples d")
        checks.require_size(name, samples, 1, layers[0][0].shape[0], "layers[0]")
    checks.require_labels("holdout_labels", holdout_labels, layers[-1][0].shape[1])
    checks.require_size(
        "holdout_labels", holdout_labels, 0, len(holdout_inputs), "holdout_inputs"
    )
    checks.require_steps(steps, learning_rate)
    return _iwps_mlp(
        tuple((kernel, bias) for kernel, bias in layers),
        inputs,
        holdout_inputs,
        holdout_labels,
        learning_rate,
        steps=int(steps),
    )


def _check_layers(layers):
    """Refuses anything but pairs of arrays, each reading what the one before writes."""
    if not isinstance(layers, Sequence) or len(layers) == 0:
        raise ValueError(
            "layers must be a sequence of at least one (kernel, bias), "
            f"got {type(layers).__name__} of length {_length(layers)}."
        )
    for index, layer in enumerate(layers):
        name = f"layers[{index}]"
        if not isinstance(layer, Sequence) or len(layer) != 2:
            raise ValueError(
                f"{name} must be a pair (kernel, bias), "
                f"got {type(layer).__name__} of length {_length(layer)}."
            )
        kernel, bias = layer
        checks.require_finite(f"{name} kernel", kernel, "d_in d_out")
        checks.require_finite(f"{name} bias", bias, "d_out")
        checks.require_size(f"{name} bias", bias, 0, kernel.shape[1], "its kernel")
        if index > 0:
            width = layers[index - 1][0].shape[1]
            before = f"layers[{index - 1}]"
            checks.require_size(f"{name} kernel", kernel, 0, width, before)


def _length(value):
    return len(value) if hasattr(value, "__len__") else "none"


@partial(jax.jit, static_argnames="steps")
def _iwps_mlp(layers, inputs, holdout_inputs, holdout_labels, learning_rate, *, steps):
    layers, inputs, holdout_inputs = numerics.upcast((layers, inputs, holdout_inputs))
    holdout_labels = holdout_labels.astype(jnp.int32)
    outputs = _outputs(layers, holdout_inputs)
    log_probs = jax.nn.log_softmax(outputs[-1]).T

    def score(candidate):
        updates = _updates(layers, candidate, steps=steps, learning_rate=learning_rate)
        change = _logit_change(layers, updates, holdout_inputs, outputs)
        change_of_label = jnp.take_along_axis(change, holdout_labels[:, None], axis=1)
        margin_change = (change - change_of_label).T
        return numerics.cross_entropy_change(
            log_probs, lambda c: margin_change[c]
        ).mean()

    return jax.vmap(score)(inputs).astype(jnp.float32)


def _outputs(layers, samples) -> list[Float[jax.Array, "m d_out"]]:
    """Each layer's output before its ReLU, for every sample."""
    outputs, activations = [], samples
    for kernel, bias in layers:
        outputs.append(_matmul(activations, kernel) + bias[None])
        activations = jax.nn.relu(outputs[-1])
    return outputs


def _updates(layers, candidate, *, steps, learning_rate) -> tuple[_Update, ...]:
    """What T SGD steps on one candidate under its own prediction do to each layer."""
    first_kernel, first_bias = layers[0]
    first_output = _matmul(candidate, first_kernel) + first_bias
    own_coupling = 1 + jnp.sum(candidate**2)

    def forward(updates):
        activations = [candidate]
        output = first_output + own_coupling * updates[0].outputs[0]
        for (kernel, bias), update in zip(layers[1:], updates[1:], strict=True):
            activation = jax.nn.relu(output)
            activations.append(activation)
            couplings = _matmul(update.inputs, activation) + 1
            output = _matmul(activation, kernel) + bias
            output = output + _matmul(couplings, update.outputs)
        return activations, output

    dtype = first_output.dtype
    at_start = tuple(
        _Update(
            jnp.zeros((steps, kernel.shape[0]), dtype) if index else candidate[None],
            jnp.zeros((steps if index else 1, kernel.shape[1]), dtype),
        )
        for index, (kernel, _) in enumerate(layers)
    )
    label = jnp.argmax(forward(at_start)[1])

    def step(updates, now):
        activations, logits = forward(updates)
        ascent = learning_rate * numerics.label_residual(logits, label)
        moved = list(updates)
        for index in reversed(range(1, len(layers))):
            inputs, outputs = updates[index]
            activation = activations[index]
            moved[index] = _Update(
                inputs.at[now].set(activation), outputs.at[now].set(ascent)
            )
            back = _matmul(layers[index][0], ascent)
            back = back + _matmul(_matmul(outputs, ascent), inputs)
            ascent = jnp.where(activation > 0, back, 0)
        moved[0] = updates[0]._replace(outputs=updates[0].outputs + ascent[None])
        return tuple(moved), None

    return jax.lax.scan(step, at_start, jnp.arange(steps))[0]


def _logit_change(layers, updates, samples, outputs) -> Float[jax.Array, "m classes"]:
    """f(θ_x) - f(θ) on `samples`, carried through the layers as a change.

    With z the output of a layer and ż its change, the activation relu(z) changes by

        max(ż + min(z, 0), -relu(z))

    which is ż itself where the unit stays on and exact where it switches.
    """
    couplings = _matmul(samples, updates[0].inputs.T) + 1
    change = _matmul(couplings, updates[0].outputs)
    for (kernel, _), update, output in zip(
        layers[1:], updates[1:], outputs[:-1], strict=True
    ):
        activation = jax.nn.relu(output)
        change = jnp.maximum(change + jnp.minimum(output, 0), -activation)
        couplings = _matmul(activation, update.inputs.T) + 1
        couplings = couplings + _matmul(change, update.inputs.T)
        change = _matmul(change, kernel) + _matmul(couplings, update.outputs)
    return change
