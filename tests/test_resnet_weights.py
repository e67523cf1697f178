"""ImageNet weights from files: three formats, every tensor accounted for."""

import os
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import reference_deeplab as reference
from safetensors.numpy import save_file
from torch_bytes import contiguous_bytes

from experiments import models
from experiments.models import resnet_weights
from experiments.models.resnet_weights import WeightsError
from iwps_jax.types import Variables

WIDTH = 2


@pytest.fixture(scope="module")
def whole():
    """A checkpoint of DeepLabv3, with the counters that PyTorch adds."""
    found = reference.random_state_dict(0, WIDTH, 3)
    for name in [name for name in found if name.endswith("running_var")]:
        count = name.replace("running_var", "num_batches_tracked")
        found[count] = np.array(7, np.int64)
    return found


@pytest.fixture(scope="module")
def resnet(whole):
    """A checkpoint of the classifier."""
    found = {
        name.removeprefix("backbone."): array
        for name, array in whole.items()
        if name.startswith("backbone.")
    }
    head = {"fc.weight": np.ones((10, 32 * WIDTH)), "fc.bias": np.zeros(10)}
    return found | {name: array.astype(np.float32) for name, array in head.items()}


@pytest.fixture(scope="module")
def variables():
    network = models.deeplabv3_resnet50(3, mean=0.0, std=1.0, width=WIDTH)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.full(leaf.shape, -1, np.float32), shapes)


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


# Files


@pytest.mark.parametrize("kind", ["safetensors", "older", "archive"])
def test_all_formats_hold_the_same(tmp_path, resnet, kind):
    path = tmp_path / "weights"  # the name says nothing
    if kind == "safetensors":
        save_file(resnet, path)
    else:
        path.write_bytes(contiguous_bytes(resnet, as_archive=kind == "archive"))
    assert_same(resnet_weights.load_resnet50(str(path)), resnet)
    assert resnet_weights.find_resnet50(path) == path


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "module.model."])
def test_a_prefix_of_all_names_is_dropped(tmp_path, resnet, prefix):
    path = tmp_path / "weights.safetensors"
    save_file({prefix + name: array for name, array in resnet.items()}, path)
    assert_same(resnet_weights.load_resnet50(path), resnet)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_of_a_whole_deeplab_the_backbone_is_taken(tmp_path, whole, resnet, prefix):
    path = tmp_path / "weights.safetensors"
    auxiliary = {"aux_classifier.4.bias": np.zeros(3, np.float32)}
    stored = whole | auxiliary
    save_file({prefix + name: array for name, array in stored.items()}, path)
    expected = {n: a for n, a in resnet.items() if not n.startswith("fc.")}
    assert_same(resnet_weights.load_resnet50(path), expected)


@pytest.mark.parametrize(
    ("blocks", "is_bottleneck", "message"),
    [
        ((2, 2, 2, 2), False, "got 2, 2, 2 and 2 blocks of two"),
        ((3, 4, 6, 3), False, "got 3, 4, 6 and 3 blocks of two"),
        ((3, 4, 23, 3), True, "got 3, 4, 23 and 3 blocks of three"),
    ],
    ids=["resnet18", "resnet34", "resnet101"],
)
def test_other_depths_are_refused(tmp_path, blocks, is_bottleneck, message):
    path = tmp_path / "weights.safetensors"
    kernel = np.zeros((1, 1, 1, 1), np.float32)
    stored = {
        f"layer{stage + 1}.{number}.conv{i + 1}.weight": kernel
        for stage, count in enumerate(blocks)
        for number in range(count)
        for i in range(3 if is_bottleneck else 2)
    }
    save_file(stored, path)
    with pytest.raises(WeightsError, match=f"must be of a ResNet-50, .* {message}"):
        resnet_weights.load_resnet50(path)


def test_files_that_are_none_are_named(tmp_path, resnet):
    with pytest.raises(WeightsError, match="--weights must be a file, and .*absent"):
        resnet_weights.load_resnet50(tmp_path / "absent.pth")
    path = tmp_path / "weights"
    path.write_bytes(b"<html>log in first</html>")
    with pytest.raises(WeightsError, match="weights cannot be used: .*broke off"):
        resnet_weights.load_resnet50(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="broke off"):
        resnet_weights.load_resnet50(path)
    save_file(resnet, path)
    data = path.read_bytes()
    for size in (9, 500, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(WeightsError, match="must be a whole safetensors file"):
            resnet_weights.load_resnet50(path)


# What goes where


def test_every_leaf_of_the_backbone_is_replaced_and_nothing_else(resnet, variables):
    found = resnet_weights.into_segmenter(variables, resnet)
    assert isinstance(found, Variables)
    assert jax.tree.structure(found) == jax.tree.structure(variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        is_kept = (np.asarray(leaf) == -1).all()
        assert is_kept != ("backbone" in jax.tree_util.keystr(path))
        assert leaf.dtype == np.float32
    assert all((leaf == -1).all() for leaf in jax.tree.leaves(variables))
    # The first block of the third stage is the eighth of all.
    params, statistics = (tree["backbone"]["blocks_7"] for tree in found)
    kernel = resnet["layer3.0.conv2.weight"]
    np.testing.assert_array_equal(
        params["second_convolution"]["kernel"], kernel.transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(
        statistics["shortcut_normalization"]["var"],
        resnet["layer3.0.downsample.1.running_var"],
    )


def test_the_names_of_the_full_size_are_those_of_torchvision():
    """All tensors of resnet50: 53 convolutions and norms, without the classifier."""
    network = models.deeplabv3_resnet50(19, mean=0.0, std=1.0)
    places = resnet_weights._places(jax.eval_shape(network.init, jax.random.key(0)))
    expected = {
        name.removeprefix("backbone."): shape
        for name, shape in reference.shapes(64, 19).items()
        if name.startswith("backbone.")
    }
    found = {place.name: place.shape for place in places}
    assert found == expected and len(found) == 53 * 5


def test_half_precision_becomes_float32(resnet, variables):
    halves = {name: array.astype(np.float16) for name, array in resnet.items()}
    found = resnet_weights.into_segmenter(variables, halves)
    kernel = found.params["backbone"]["stem_convolution"]["kernel"]
    assert kernel.dtype == np.float32
    expected = halves["conv1.weight"].astype(np.float32).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)


def test_every_problem_is_named(resnet, variables):
    broken = dict(resnet)
    del broken["layer2.0.bn3.running_mean"]
    broken["conv1.weight"] = np.zeros((2, 3, 3, 3), np.float32)
    broken["layer1.0.conv4.weight"] = np.zeros(1, np.float32)
    broken["bn1.bias"] = np.full(2, np.nan, np.float32)
    with pytest.raises(WeightsError) as caught:
        resnet_weights.into_segmenter(variables, broken)
    message = str(caught.value)
    assert "missing: layer2.0.bn3.running_mean;" in message
    assert (
        "of another shape: conv1.weight (got (2, 3, 3, 3), must be (2, 3, 7, 7));"
        in message
    )
    assert "unexpected: layer1.0.conv4.weight;" in message
    assert message.endswith("not finite: bn1.bias")
    with pytest.raises(WeightsError, match=r"missing: .* and 260 more"):
        resnet_weights.into_segmenter(variables, {})


def test_other_networks_take_no_such_weights(resnet):
    network = models.deeplabv3_on_features(4, 2, mean=0.0, std=1.0, stride=2, width=3)
    variables = jax.eval_shape(network.init, jax.random.key(0))
    with pytest.raises(WeightsError, match="only a network with a ResNet-50"):
        resnet_weights.into_segmenter(variables, resnet)


# The hub

OFFLINE = """
import sys
from experiments.models import resnet_weights as weights
try:
    weights.load_resnet50(None)
except weights.WeightsError as error:
    sys.exit(str(error))
"""


def test_offline_it_fails_soon_and_says_what_to_do(tmp_path):
    """A port where nobody listens, read by the hub's client when it is imported."""
    environment = os.environ | {
        "IWPS_JAX_CACHE": str(tmp_path),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }
    start = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True
    )
    assert time.perf_counter() - start < 20  # most of it imports
    assert answer.returncode == 1
    message = answer.stderr.strip().splitlines()[-1]
    for part in ("timm/resnet50.tv_in1k", "--weights PATH", "--weights none"):
        assert part in message


def test_what_the_hub_once_brought_is_found_without_it(tmp_path, resnet, monkeypatch):
    """The cache's folders are as the hub's client makes them."""
    monkeypatch.setenv("IWPS_JAX_CACHE", str(tmp_path))
    folder = tmp_path / "weights" / "models--timm--resnet50.tv_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123")
    (folder / "snapshots" / "0123").mkdir(parents=True)
    save_file(resnet, folder / "snapshots" / "0123" / "model.safetensors")
    assert_same(resnet_weights.load_resnet50(None), resnet)
