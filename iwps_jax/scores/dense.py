"""IWPS on every layer of a fully connected ReLU network, without a copy of a weight.

One SGD step on one candidate adds to each layer the outer product of what the layer
read and what was propagated back to it. After T steps a layer has therefore changed by

    Δkernel = Σ_r a_r u_rᵀ,    Δbias = Σ_r u_r

with a_r the layer's input at step r and u_r the step of its output. The first layer
always reads the candidate itself, so that there one term holds all steps. All
candidates share the weights, and each carries only its few vectors a_r and u_r.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer

from iwps_jax import checks, numerics
from iwps_jax.types import AnyArray, ApplyFn, Params

Layers: TypeAlias = Sequence[tuple[Float[AnyArray, "_ _"], Float[AnyArray, " _"]]]
"""(kernel [d_in, d_out], bias [d_out]) of each layer, in order."""

# `dense_layers` compares at inputs times these, to this accuracy, in so many orders.
SCALES = (1.0, -1.0, 1 / 16, 16.0)
SAME = 1e-4
MOST_ORDERS = 24

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
    scores of confident candidates, 1e-9 and smaller, keep their digits (until their
    factors underflow, about 1e-30). Memory is pool · m · (widest layer behind the
    inputs) floats: score a large pool in chunks (`iwps_jax.score_in_chunks`), on a
    CPU of 16 or so, which stay in its caches.

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


def dense_layers(
    apply_fn: ApplyFn, params: Params, inputs: AnyArray
) -> list[tuple[AnyArray, AnyArray]] | None:
    """The layers for `iwps_mlp`, if the network is one that it can score.

    Finds the (kernel, bias) of every layer in `params`, whatever holds them: Flax's
    dictionaries, or lists of pairs or of dictionaries. Layers follow each other in the
    natural order of their names (Dense_2 before Dense_10) as far as their shapes allow.
    Nothing is believed: the outputs of `apply_fn` and their derivative along the
    parameters must be those of the layers with ReLUs between them, on the inputs and
    on the inputs times -1, 1/16 and 16.

    None is a network that is anything else: another activation, a skip connection,
    normalization, a convolution, a layer without bias (`iwps_mlp` would learn one),
    parameters that are not used or not learned; also one that first changes its inputs,
    such as pixels to be normalized: do that before, in the inputs of both. In doubt, as
    where outputs are not exact to 1e-4 of the largest, it is None too. Call it
    outside `jax.jit`, since the answer depends on values.

    Args:
        apply_fn: pure `apply_fn(params, inputs) -> logits [batch, classes]` in
            inference mode.
        params: θ, a pytree of floating-point arrays.
        inputs: a few samples as `apply_fn` reads them, [n, ...] floating point, not
            all zero. `iwps_mlp` reads them flattened to [n, d].

    Returns:
        (kernel [d_in, d_out], bias [d_out]) of each layer in order, or None.

    Example:
        >>> from iwps_jax import iwps
        >>> def apply_fn(params, x):
        ...     first, last = params["in"], params["out"]
        ...     hidden = jax.nn.relu(x @ first["w"] + first["b"][None])
        ...     return hidden @ last["w"] + last["b"][None]
        >>> layer = {"w": jnp.eye(2), "b": jnp.ones(2)}
        >>> params, pool = {"out": layer, "in": layer}, jnp.array([[0.6, -0.1]])
        >>> holdout, labels = jnp.array([[0.5, 0.2]]), jnp.array([1])
        >>> layers = dense_layers(apply_fn, params, pool)
        >>> if layers:
        ...     scores = iwps_mlp(layers, pool, holdout, labels)
        ... else:
        ...     scores = iwps(apply_fn, params, pool, holdout, labels)
        >>> bool(scores[0] > 0)
        True
    """
    checks.require_same_numbers("params", params)
    checks.require_same_numbers("inputs", inputs)
    found = _pairs(params)
    is_batch = getattr(inputs, "ndim", 0) >= 2 and len(inputs) > 0
    if not found or not is_batch or not jnp.issubdtype(inputs.dtype, jnp.floating):
        return None
    width = inputs.size // len(inputs)
    for layers in islice(_orders(found, width), MOST_ORDERS):
        if all(_is_same(apply_fn, params, layers, scale * inputs) for scale in SCALES):
            return layers
    return None


def _pairs(tree) -> list[tuple[AnyArray, AnyArray]] | None:
    """Every matrix with the vector beside it; None if the tree holds anything else."""
    if isinstance(tree, Mapping):
        children = [tree[name] for name in sorted(tree, key=_natural_order)]
    elif isinstance(tree, Sequence) and not isinstance(tree, str):
        children = list(tree)
    else:
        return None
    ranks = [getattr(child, "ndim", None) for child in children]
    if ranks in ([1, 2], [2, 1]):
        kernel, bias = children if ranks == [2, 1] else reversed(children)
        return [(kernel, bias)]
    found = []
    for child in children:
        pairs = _pairs(child)
        if pairs is None:
            return None
        found += pairs
    return found


def _natural_order(name):
    return [int(part) if part.isdigit() else part for part in _split(str(name))]


_split = re.compile(r"([0-9]+)").split


def _orders(layers, width) -> Iterator[list]:
    """Orders in which each layer reads what the one before writes, the given first."""
    if not layers:
        yield []
    for index, (kernel, bias) in enumerate(layers):
        if kernel.shape[0] == width and bias.shape == kernel.shape[1:]:
            others = [*layers[:index], *layers[index + 1 :]]
            for rest in _orders(others, kernel.shape[1]):
                yield [(kernel, bias), *rest]


def _is_same(apply_fn, params, layers, inputs):
    """Whether outputs, and their derivatives along all parameters, agree."""
    params, layers, inputs = numerics.upcast((params, layers, inputs))
    flat = inputs.reshape(len(inputs), -1)
    # Products rounded as on a GPU by default would hide, or feign, a difference.
    with jax.default_matmul_precision("highest"):
        found = jax.jvp(lambda p: apply_fn(p, inputs), (params,), (params,))
    expected = jax.jvp(lambda p: _outputs(p, flat)[-1], (layers,), (layers,))

    def agree(found, expected):
        if jnp.shape(found) != expected.shape:
            return False
        allowed = SAME * jnp.abs(expected).max(-1, keepdims=True)
        return bool((jnp.abs(found - expected) <= allowed).all())

    return all(map(agree, found, expected))


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
    learning_rate = jnp.asarray(learning_rate, dtype)
    at_start = tuple(
        _Update(
            jnp.zeros((steps, kernel.shape[0]), dtype) if index else candidate[None],
            jnp.zeros((steps if index else 1, kernel.shape[1]), dtype),
        )
        for index, (kernel, _) in enumerate(layers)
    )

    def step(updates_and_label, now):
        updates, label = updates_and_label
        activations, logits = forward(updates)
        label = jnp.where(now == 0, jnp.argmax(logits).astype(label.dtype), label)
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
        return (tuple(moved), label), None

    start = at_start, jnp.zeros((), jnp.int32)
    return jax.lax.scan(step, start, jnp.arange(steps))[0][0]


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
        couplings = _matmul(activation + change, update.inputs.T) + 1
        change = _matmul(change, kernel) + _matmul(couplings, update.outputs)
    return change
