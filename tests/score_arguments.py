"""Small arguments for every score, by a seed: the rows of its contract and others."""

import jax
import numpy as np
import reference

import iwps_jax

POOL, DIM, CLASSES, HOLDOUT, DRAWS = 12, 8, 4, 6, 5


def apply_network(layers, inputs):
    """A small network whose logits are as wide as the inputs of the head problem."""
    (kernel_1, bias_1), (kernel_2, bias_2) = layers
    return jax.nn.relu(inputs @ kernel_1 + bias_1[None]) @ kernel_2 + bias_2[None]


def head_arguments(seed):
    return reference.head_problem(seed, POOL, DIM, CLASSES, HOLDOUT)


def network_arguments(seed):
    layers, inputs, holdout, labels = reference.network_problem(
        seed, POOL, (DIM, 6, CLASSES), HOLDOUT
    )
    return {
        "params": layers,
        "inputs": inputs,
        "holdout_inputs": holdout,
        "holdout_labels": labels,
    }


def dense_arguments(seed):
    arguments = network_arguments(seed)
    arguments["layers"] = arguments.pop("params")
    return arguments


def first_order_arguments(seed):
    layers, inputs, _, _ = reference.network_problem(seed, POOL, (DIM, 6, CLASSES), 1)
    rng = np.random.default_rng(seed)
    slope = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), layers)
    return {"params": layers, "inputs": inputs, "holdout_gradient": slope}


def cross_fitted_arguments(seed):
    """Two heads, each with half of the samples to judge it."""
    arguments = head_arguments(seed)
    heads = iwps_jax.CrossFit(
        np.stack([arguments["kernel"], arguments["kernel"][::-1]]),
        np.stack([arguments["bias"], arguments["bias"][::-1]]),
        np.arange(HOLDOUT).reshape(2, -1),
        np.ones((2, HOLDOUT // 2), bool),
    )
    return {
        "features": arguments["features"],
        "cross_fit": heads,
        "labeled_features": arguments["holdout_features"],
        "labels": arguments["holdout_labels"],
    }


def reduction_arguments(seed):
    arguments = head_arguments(seed)
    del arguments["holdout_labels"]
    arguments["reference_features"] = arguments.pop("holdout_features")
    return arguments


def logits_arguments(seed):
    rng = np.random.default_rng(seed)
    return {"logits": 2 * rng.normal(size=(POOL, CLASSES)).astype(np.float32)}


def balanced_arguments(seed):
    labels = np.random.default_rng(seed).integers(-1, CLASSES, HOLDOUT)
    return {**logits_arguments(seed), "labels": labels}


def draws_arguments(seed):
    logits = np.random.default_rng(seed).normal(size=(DRAWS, POOL, CLASSES))
    return {"log_probs": reference.log_softmax(2 * logits).astype(np.float32)}
