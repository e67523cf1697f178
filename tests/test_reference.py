"""The float64 oracle of the look-ahead against its own definition."""

import numpy as np
import pytest
import reference


def test_oracle_gradient_matches_finite_differences():
    layers, inputs, _, _ = reference.network_problem(0, 4, (6, 7, 5, 3), 1)
    layers = reference.wide_layers(layers)
    for label, one_input in zip((0, 1, 2, 0), reference.wide(inputs), strict=True):
        found = reference.flat(reference.gradient(layers, one_input, label))
        expected, step = [], 1e-6
        for layer in range(len(layers)):
            for part in range(2):
                for index in np.ndindex(layers[layer][part].shape):
                    losses = []
                    for sign in (1, -1):
                        shifted = [[k.copy(), b.copy()] for k, b in layers]
                        shifted[layer][part][index] += sign * step
                        logits = reference.forward(shifted, one_input[None])
                        loss = reference.cross_entropy(logits, np.array([label]))
                        losses.append(loss[0])
                    expected.append((losses[0] - losses[1]) / (2 * step))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("learning_rate", [1e-6, 1e-3, 1e-1])
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_oracle_change_equals_difference_of_losses(scale, learning_rate):
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("no float wider than float64 here")
    layers, inputs, holdout, labels = reference.network_problem(
        0, 20, (16, 16, 5), 20, scale
    )
    longer = [(k.astype(np.longdouble), b.astype(np.longdouble)) for k, b in layers]
    options = {"steps": 3, "learning_rate": learning_rate}
    found = reference.look_ahead_changes(layers, inputs, holdout, labels, **options)
    expected = reference.look_ahead_changes(
        longer,
        inputs.astype(np.longdouble),
        holdout.astype(np.longdouble),
        labels,
        plain=True,
        **options,
    )
    size = np.abs(found).mean(axis=1)
    visible = size > 1e-9  # the difference of two losses shows nothing smaller
    assert visible.sum() >= 8
    error = np.abs(found - expected).mean(axis=1)
    assert np.max(error[visible] / size[visible]) < 1e-8
