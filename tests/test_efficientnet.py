"""The frozen network against plain NumPy in float64, unfolded and in PyTorch's axes."""

from functools import partial

import jax
import numpy as np
import pytest
from dataset_files import REAL_DIRS
from jax import lax

from experiments.frozen.features import compute
from iwps_jax.backbones import efficientnet, efficientnet_weights, torch_file
from iwps_jax.backbones.efficientnet import Convolution

# The published architecture, block by block.
KERNELS = (3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
CHANNELS = (32, 16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320)


def some_state_dict(seed=0):
    """Random kernels, and norms that are not the identity."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, array in efficientnet.random_state_dict(seed).items():
        if name.endswith("running_var") or (
            array.ndim == 1 and name.endswith("weight")
        ):
            array = generator.uniform(0.5, 1.5, array.shape)
        elif array.ndim == 1:
            array = generator.normal(0, 0.1, array.shape)
        found[name] = array.astype(np.float32)
    return found


# The oracle: one image [c, h, w], float64, every output pixel by itself


def bicubic(image, factor):
    """Keys' kernel on pixel centers at half-integers; weights off the edge left out."""

    def weights(length):
        centers = (np.arange(factor * length) + 0.5) / factor - 0.5
        t = np.abs(centers[:, None] - np.arange(length))
        near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
        found = np.where(t <= 1, near, np.where(t < 2, far, 0.0))
        return found / found.sum(1, keepdims=True)

    rows, columns = (weights(length) for length in image.shape[:2])
    found = np.einsum("ai,bj,ijc->abc", rows, columns, image.astype(np.float64))
    return np.clip(found, 0, 255)


def convolve(x, weight, stride, *, is_depthwise=False):
    """TensorFlow's SAME: ceil(size / stride) outputs, an odd padding row at the end."""
    k = weight.shape[-1]
    _, h, w = x.shape
    rows, columns = int(np.ceil(h / stride)), int(np.ceil(w / stride))
    high = max((rows - 1) * stride + k - h, 0)
    wide = max((columns - 1) * stride + k - w, 0)
    x = np.pad(
        x, ((0, 0), (high // 2, high - high // 2), (wide // 2, wide - wide // 2))
    )
    found = np.zeros((len(weight), rows, columns))
    for row in range(rows):
        for column in range(columns):
            i, j = row * stride, column * stride
            patch = x[:, i : i + k, j : j + k]
            if is_depthwise:
                found[:, row, column] = (patch * weight[:, 0]).sum((1, 2))
            else:
                found[:, row, column] = np.tensordot(weight, patch, 3)
    return found


def oracle(state_dict, image):
    tensors = {name: array.astype(np.float64) for name, array in state_dict.items()}

    def norm(x, name):
        gamma, beta, mean, variance = (
            tensors[f"{name}.{part}"][:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 0.001) * gamma + beta

    def relu6(x):
        return np.minimum(np.maximum(x, 0), 6)

    x = ((bicubic(image, 4) - 127) / 128).transpose(2, 0, 1)
    x = relu6(norm(convolve(x, tensors["_conv_stem.weight"], 2), "_bn0"))
    for i, stride in enumerate(STRIDES):
        block, y = f"_blocks.{i}", x
        if i > 0:
            weight = tensors[f"{block}._expand_conv.weight"]
            y = relu6(norm(convolve(y, weight, 1), f"{block}._bn0"))
        weight = tensors[f"{block}._depthwise_conv.weight"]
        assert weight.shape == (len(y), 1, KERNELS[i], KERNELS[i])
        y = relu6(norm(convolve(y, weight, stride, is_depthwise=True), f"{block}._bn1"))
        weight = tensors[f"{block}._project_conv.weight"]
        y = norm(convolve(y, weight, 1), f"{block}._bn2")
        assert len(y) == CHANNELS[i + 1]
        x = x + y if stride == 1 and len(x) == len(y) else y
    x = relu6(norm(convolve(x, tensors["_conv_head.weight"], 1), "_bn1"))
    return x.mean((1, 2))


def some_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_features_match_the_oracle():
    """Sides 28 and 44 become odd on the way down, so that padding is of both kinds."""
    state_dict = some_state_dict()
    images = some_images(2, 7, 11, 3)
    network = efficientnet.fold(state_dict)
    found = np.asarray(jax.jit(efficientnet.features)(network, images))
    expected = np.stack([oracle(state_dict, image) for image in images])
    assert found.dtype == np.float32 and found.shape == (2, 1280)
    assert 0.05 < (expected > 0).mean() and (expected < 6).mean() > 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("h", "w"),
    [(1, 1), (6, 4), (9, 7), pytest.param(2, 3, marks=pytest.mark.full)],
)
@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_equals_the_grouped_convolution(h, w, k, stride):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, h, w, 4)).astype(np.float32)
    kernel = generator.normal(size=(k, k, 4)).astype(np.float32)
    bias = generator.normal(size=4).astype(np.float32)
    expected = lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=4,
    )
    convolution = Convolution(kernel, bias)
    depthwise = jax.jit(efficientnet._filter, static_argnums=2)
    found = depthwise(convolution, x, stride)
    np.testing.assert_allclose(found, np.asarray(expected) + bias, atol=1e-5)


def test_gray_images_are_repeated():
    network = efficientnet.fold(some_state_dict())
    gray = some_images(3, 2, 2, 1)
    np.testing.assert_array_equal(
        compute(network, gray),
        compute(network, np.repeat(gray, 3, -1)),
    )


def test_two_channels_are_refused():
    network = efficientnet.fold(some_state_dict())
    with pytest.raises(ValueError, match="one or three channels, got 2"):
        efficientnet.features(network, some_images(3, 2, 2, 2))


def test_chunks_do_not_show():
    """Chunks are padded to one size, which changes nothing."""
    network = efficientnet.fold(some_state_dict())
    images = some_images(11, 2, 2, 3)
    found = compute(network, images)
    assert found.shape == (11, 1280) and found.dtype == np.float32
    np.testing.assert_array_equal(compute(network, images[8:]), found[8:])
    np.testing.assert_array_equal(compute(network, images[:8]), found[:8])
    assert compute(network, images[:0]).shape == (0, 1280)
    assert np.ptp(found, axis=0).max() > 0.1


def test_wrong_weights_are_named():
    state_dict = some_state_dict()
    name = "_blocks.3._depthwise_conv.weight"
    shape = r"\(144, 1, 5, 5\)"
    wrong = state_dict | {name: np.zeros((144, 1, 3, 3), np.float32)}
    with pytest.raises(ValueError, match=rf"{name} of shape {shape}, got \(144, 1, 3"):
        efficientnet.fold(wrong)
    del wrong[name]
    with pytest.raises(ValueError, match=f"{name} of shape {shape}, got nothing"):
        efficientnet.fold(wrong)


def test_published_weights_recognize_photographs():
    """The temple and the dahlia of scikit-learn, by the ImageNet classifier."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    path = REAL_DIRS[1].parent / "weights" / efficientnet_weights.PUBLISHED.weights
    if not path.is_file():
        pytest.skip(f"the published weights are not in {path.parent}")
    photographs = []
    for photograph in load_sample_images().images:
        height, width, _ = photograph.shape
        left = (width - height) // 2
        square = Image.fromarray(photograph[:, left : left + height])
        photographs.append(np.asarray(square.resize((224, 224))))
    state_dict = torch_file.load_state_dict(path)
    assert set(efficientnet.shapes()) < set(state_dict)
    network = efficientnet.fold(state_dict)
    found = np.asarray(
        jax.jit(partial(efficientnet.features, network, enlargement=1))(
            np.stack(photographs)
        )
    )
    logits = found @ state_dict["_fc.weight"].T + state_dict["_fc.bias"]
    palace, daisy = 698, 985
    assert np.argmax(logits, axis=1).tolist() == [palace, daisy]
