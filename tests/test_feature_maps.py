"""The frozen backbone's inner maps: the same walk as its features, equivariance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dataset_files import REAL_DIRS
from test_efficientnet import (
    STRIDES,
    bicubic,
    convolve,
    some_images,
    some_state_dict,
)

from iwps_jax.backbones import efficientnet, efficientnet_weights, torch_file

maps_of = jax.jit(
    efficientnet.feature_maps,
    static_argnames="enlargement",
    compiler_options={"xla_backend_optimization_level": "0"},
)


@pytest.fixture(scope="module")
def network():
    return efficientnet.fold(some_state_dict())


def oracle(state_dict, image, factor):
    """The outputs of the fifth and of the eleventh block, [c, h, w], in float64."""
    tensors = {name: array.astype(np.float64) for name, array in state_dict.items()}

    def norm(x, name):
        gamma, beta, mean, variance = (
            tensors[f"{name}.{part}"][:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 0.001) * gamma + beta

    def relu6(x):
        return np.clip(x, 0, 6)

    x = ((bicubic(image, factor) - 127) / 128).transpose(2, 0, 1)
    x = relu6(norm(convolve(x, tensors["_conv_stem.weight"], 2), "_bn0"))
    found = []
    for i, stride in enumerate(STRIDES[:11]):
        block, y = f"_blocks.{i}", x
        if i > 0:
            y = relu6(
                norm(
                    convolve(y, tensors[f"{block}._expand_conv.weight"], 1),
                    f"{block}._bn0",
                )
            )
        weight = tensors[f"{block}._depthwise_conv.weight"]
        y = relu6(norm(convolve(y, weight, stride, is_depthwise=True), f"{block}._bn1"))
        y = norm(
            convolve(y, tensors[f"{block}._project_conv.weight"], 1), f"{block}._bn2"
        )
        x = x + y if stride == 1 and len(x) == len(y) else y
        found.append(x)
    return found[4], found[10]


def doubled(x):
    """Bilinear on half-integer centers: three quarters of the nearer, edges held."""
    for axis in (1, 2):
        x = np.moveaxis(x, axis, 0)
        before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
        pair = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], 1)
        x = np.moveaxis(pair.reshape(-1, *x.shape[1:]), 0, axis)
    return x


@pytest.mark.parametrize(("factor", "h", "w"), [(4, 8, 12), (2, 16, 8)])
def test_maps_match_the_oracle(network, factor, h, w):
    images = some_images(2, h, w, 3)
    found = maps_of(network, images, enlargement=factor)
    assert found.dtype == jnp.float32
    assert found.shape == (2, h * factor // 8, w * factor // 8, 40 + 112)
    assert found.shape[-1] == efficientnet.NUM_MAP_CHANNELS
    for image, maps in zip(images, found, strict=True):
        fine, coarse = oracle(some_state_dict(), image, factor)
        expected = np.concatenate([fine, doubled(coarse)]).transpose(1, 2, 0)
        atol = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=atol)


def test_the_default_enlarges_as_the_features_do(network):
    images = some_images(1, 4, 4, 3)
    expected = maps_of(network, images, enlargement=efficientnet.ENLARGEMENT)
    np.testing.assert_array_equal(maps_of(network, images), expected)


def test_later_blocks_are_never_run(network):
    """Their weights may be anything: the program does not read them."""
    images = some_images(1, 4, 4, 3)
    broken = network._replace(blocks=(*network.blocks[:11], *[None] * 5), head=None)
    np.testing.assert_array_equal(maps_of(broken, images), maps_of(network, images))


def test_gray_images_are_repeated(network):
    gray = some_images(1, 4, 4, 1)
    np.testing.assert_array_equal(
        maps_of(network, gray), maps_of(network, np.repeat(gray, 3, -1))
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [((6, 8, 3), "multiples of 16, got 6x8"), ((8, 8, 2), "three channels, got 2")],
)
def test_other_images_are_refused(network, shape, message):
    with pytest.raises(ValueError, match=message):
        efficientnet.feature_maps(network, some_images(1, *shape))


def test_moved_images_have_moved_maps(network):
    """By whole positions of the coarse map, where no edge is seen."""
    canvas = some_images(1, 416, 432, 3)
    here, moved = canvas[:, :, :416], canvas[:, :, 16:]
    first, second = (maps_of(network, x, enlargement=1)[0] for x in (here, moved))
    # Eleven blocks see 170 pixels to each side, doubling one position of 16 more.
    first, second = first[24:28, 26:28], second[24:28, 24:26]
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-4)
    assert np.ptp(first, axis=(0, 1)).min() > 1e-2


def test_published_weights_tell_the_temple_from_the_sky():
    """Places of one kind have alike maps: the sky's are nearer to each other."""
    from sklearn.datasets import load_sample_images

    path = REAL_DIRS[1].parent / "weights" / efficientnet_weights.PUBLISHED.weights
    if not path.is_file():
        pytest.skip(f"the published weights are not in {path.parent}")
    temple = load_sample_images().images[0][:416:2, :640:2][None]
    network = efficientnet.fold(torch_file.load_state_dict(path))
    maps = np.asarray(maps_of(network, temple, enlargement=1))[0]
    assert maps.shape == (26, 40, 152)
    scaled = (maps - maps.mean((0, 1))) / maps.std((0, 1))
    sky, roof = (
        scaled[1:3, 2:10].reshape(-1, 152),
        scaled[12:20, 15:25].reshape(-1, 152),
    )

    def distance(a, b):
        return np.linalg.norm(a[:, None] - b[None], axis=-1).mean()

    assert 2 * distance(sky, sky) < distance(sky, roof)
