"""DeepLabv3-ResNet50 in float64 NumPy, by torchvision's names and axes [n, c, h, w].

Written from the definition in torchvision: the 3x3 convolutions of a bottleneck have
its stride, and stages three and four are dilated instead of strided, the first block of
each with the dilation of the stage before.
"""

import numpy as np

EPSILON = 1e-5
BLOCKS = (3, 4, 6, 3)
# (stride, dilation) of the first block of a stage, dilation of the others
STAGES = (((1, 1), 1), ((2, 1), 1), ((1, 1), 2), ((1, 2), 4))
RATES = (12, 24, 36)


def shapes(width, num_classes):
    """Every tensor of the checkpoint but the counters of batches."""
    found = {}

    def add(convolution, norm, shape):
        found[f"{convolution}.weight"] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{norm}.{part}"] = shape[:1]

    add("backbone.conv1", "backbone.bn1", (width, 3, 7, 7))
    incoming = width
    for stage, count in enumerate(BLOCKS):
        inner = width * 2**stage
        for number in range(count):
            name = f"backbone.layer{stage + 1}.{number}"
            add(f"{name}.conv1", f"{name}.bn1", (inner, incoming, 1, 1))
            add(f"{name}.conv2", f"{name}.bn2", (inner, inner, 3, 3))
            add(f"{name}.conv3", f"{name}.bn3", (4 * inner, inner, 1, 1))
            if number == 0:
                shape = (4 * inner, incoming, 1, 1)
                add(f"{name}.downsample.0", f"{name}.downsample.1", shape)
            incoming = 4 * inner
    side = 4 * width
    for number, size in enumerate((1, 3, 3, 3)):
        name = f"classifier.0.convs.{number}"
        add(f"{name}.0", f"{name}.1", (side, incoming, size, size))
    add("classifier.0.convs.4.1", "classifier.0.convs.4.2", (side, incoming, 1, 1))
    add("classifier.0.project.0", "classifier.0.project.1", (side, 5 * side, 1, 1))
    add("classifier.1", "classifier.2", (side, side, 3, 3))
    found["classifier.4.weight"] = (num_classes, side, 1, 1)
    found["classifier.4.bias"] = (num_classes,)
    return found


def random_state_dict(seed, width, num_classes):
    """Kernels that keep the scale, and norms that are not the identity."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, shape in shapes(width, num_classes).items():
        if len(shape) == 4:
            array = generator.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif name.endswith(("running_var", "weight")):
            array = generator.uniform(0.5, 1.5, shape)
        else:
            array = generator.normal(0, 0.2, shape)
        found[name] = array.astype(np.float32)
    return found


def convolve(x, weight, *, stride=1, dilation=1, padding=0):
    """Cross-correlation, one entry of the kernel after another."""
    n, _, h, w = x.shape
    out, _, size, _ = weight.shape
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    reach = dilation * (size - 1)
    rows = (h + 2 * padding - reach - 1) // stride + 1
    columns = (w + 2 * padding - reach - 1) // stride + 1
    found = np.zeros((n, out, rows, columns))
    for i in range(size):
        for j in range(size):
            top, left = i * dilation, j * dilation
            part = x[
                :,
                :,
                top : top + stride * (rows - 1) + 1 : stride,
                left : left + stride * (columns - 1) + 1 : stride,
            ]
            flat = part.reshape(n, part.shape[1], -1)
            found += (weight[:, :, i, j] @ flat).reshape(found.shape)
    return found


def max_pool(x):
    """3x3, stride 2, with a border of minus infinity."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows, columns = (x.shape[2] - 3) // 2 + 1, (x.shape[3] - 3) // 2 + 1
    shifted = [
        x[:, :, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]
        for i in range(3)
        for j in range(3)
    ]
    return np.max(shifted, axis=0)


def features(state_dict, x):
    """The inputs of `classifier.4`, at inference; x is normalized, float64."""
    tensors = {name: array.astype(np.float64) for name, array in state_dict.items()}

    def norm(x, name):
        weight, bias, mean, variance = (
            tensors[f"{name}.{part}"][:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + EPSILON) * weight + bias

    def layer(x, convolution, norm_name, **options):
        return norm(convolve(x, tensors[f"{convolution}.weight"], **options), norm_name)

    def relu(x):
        return np.maximum(x, 0)

    x = relu(layer(x, "backbone.conv1", "backbone.bn1", stride=2, padding=3))
    x = max_pool(x)
    for stage, (first, others) in enumerate(STAGES):
        for number in range(BLOCKS[stage]):
            stride, dilation = first if number == 0 else (1, others)
            block = f"backbone.layer{stage + 1}.{number}"
            y = relu(layer(x, f"{block}.conv1", f"{block}.bn1"))
            spaced = dict(stride=stride, dilation=dilation, padding=dilation)
            y = relu(layer(y, f"{block}.conv2", f"{block}.bn2", **spaced))
            y = layer(y, f"{block}.conv3", f"{block}.bn3")
            if number == 0:
                x = layer(
                    x, f"{block}.downsample.0", f"{block}.downsample.1", stride=stride
                )
            x = relu(x + y)
    pyramid = "classifier.0.convs"
    branches = [relu(layer(x, f"{pyramid}.0.0", f"{pyramid}.0.1"))]
    for number, rate in enumerate(RATES, 1):
        name, spaced = f"{pyramid}.{number}", dict(dilation=rate, padding=rate)
        branches.append(relu(layer(x, f"{name}.0", f"{name}.1", **spaced)))
    pooled = x.mean((2, 3), keepdims=True)
    pooled = relu(layer(pooled, f"{pyramid}.4.1", f"{pyramid}.4.2"))
    branches.append(np.broadcast_to(pooled, branches[0].shape))
    x = np.concatenate(branches, 1)
    x = relu(layer(x, "classifier.0.project.0", "classifier.0.project.1"))
    return relu(layer(x, "classifier.1", "classifier.2", padding=1))


def logits(state_dict, x):
    """What `classifier.4` makes of them, before upsampling."""
    weight = state_dict["classifier.4.weight"].astype(np.float64)
    bias = state_dict["classifier.4.bias"].astype(np.float64)
    return convolve(features(state_dict, x), weight) + bias[:, None, None]
