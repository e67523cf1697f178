"""ImageNet weights of ResNet-50 for the backbone of DeepLabv3.

They come as a state dict with the names of torchvision, which timm uses as well:

    conv1 bn1 layer1.0.{conv1 bn1 conv2 bn2 conv3 bn3 downsample.0 downsample.1} ... fc

Every tensor is accounted for: what is missing, has another shape or has no place is
named in the error, because a network that learns from half of its weights looks only
a little worse.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from iwps_jax.backbones import torch_file
from iwps_jax.cache import cache_root
from iwps_jax.refusal import Refusal
from iwps_jax.types import Variables

REPOSITORY = "timm/resnet50.tv_in1k"  # torchvision's IMAGENET1K_V1; BSD-3-Clause
FILE = "model.safetensors"
PROBE_SECONDS = 5  # for the hub's first answer; its own retries take half a minute

# What these weights expect to be subtracted from the pixels, and divided by then.
PIXEL_MEAN = np.float32([123.675, 116.28, 103.53])
PIXEL_STD = np.float32([58.395, 57.12, 57.375])

PREFIXES = ("module.", "model.", "backbone.")
HEADS = ("classifier.", "aux_classifier.")  # of a whole DeepLabv3
BLOCKS = (3, 4, 6, 3)
PLACES = {"first": "1", "second": "2", "third": "3"}  # of a block's convolutions
MOST_NAMES = 5  # in a message


class WeightsError(Refusal, RuntimeError):
    """The weights cannot be had; says why and what to do, in sentences."""


def load_resnet50(path: str | Path | None) -> dict[str, np.ndarray]:
    """The state dict of a ResNet-50.

    Args:
        path: A `.safetensors` file, or a `.pth` file in either of PyTorch's formats.
            Names may share a prefix out of `PREFIXES`; of a whole DeepLabv3, named
            `backbone.*`, `classifier.*` and `aux_classifier.*`, only the backbone is
            taken. None: `FILE` of `REPOSITORY` from the cache folder or the hub.

    Returns:
        Arrays by torchvision's names; kernels are [c_out, c_in, k, k].

    Raises:
        WeightsError: the file cannot be had or read, or is of another ResNet.
    """
    found = find_resnet50(path)
    state_dict = _without_prefix(_read(found))
    blocks = _blocks(state_dict)
    is_bottleneck = "layer1.0.conv3.weight" in state_dict
    if any(blocks) and (blocks != BLOCKS or not is_bottleneck):
        convolutions = "three" if is_bottleneck else "two"
        raise WeightsError(
            f"{found} must be of a ResNet-50, whose stages have {_list(BLOCKS)} blocks "
            f"of three convolutions, got {_list(blocks)} blocks of {convolutions}."
        )
    return state_dict


def find_resnet50(path: str | Path | None) -> Path:
    """The file that `load_resnet50` reads.

    Raises:
        WeightsError: it is not there and could not be fetched.
    """
    if path is None:
        return _fetch()
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"--weights must be a file, and {path} is not there.")
    return path


def into_segmenter(
    variables: Variables, state_dict: Mapping[str, np.ndarray]
) -> Variables:
    """A DeepLabv3 whose backbone has these weights.

    Args:
        variables: From `init` of `experiments.models.deeplabv3_resnet50`; all but the
            backbone is kept.
        state_dict: From `load_resnet50`. The classifier `fc` and counters of batches
            are not used.

    Returns:
        Variables of the same structure, in float32.

    Raises:
        WeightsError: a tensor is missing, has another shape, has no place or is not
            finite.
    """
    trees = [dict(tree) for tree in variables]
    places = list(_places(variables))
    problems = _problems(places, state_dict)
    if problems:
        raise WeightsError("the weights must fit a ResNet-50: " + "; ".join(problems))
    for tree in trees:
        tree["backbone"] = {name: dict(part) for name, part in tree["backbone"].items()}
    for place in places:
        array = state_dict[place.name].astype(np.float32)
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        inside = trees[place.tree]["backbone"]
        for key in place.keys[:-1]:
            inside[key] = dict(inside[key])
            inside = inside[key]
        inside[place.keys[-1]] = jnp.asarray(array)
    return Variables(*trees)


# What goes where


class _Place(NamedTuple):
    name: str  # in the state dict
    shape: tuple[int, ...]  # there
    tree: int  # 0 for parameters, 1 for statistics
    keys: tuple[str, ...]  # to the leaf of the backbone


def _places(variables: Variables) -> Iterator[_Place]:
    """Every leaf of the backbone."""
    for tree, of_network in enumerate(variables):
        if "backbone" not in of_network:
            raise WeightsError("only a network with a ResNet-50 takes these weights.")
        for keys, leaf in _leaves(of_network["backbone"]):
            shape = leaf.shape
            if len(shape) == 4:  # from [k, k, c_in, c_out]
                shape = (shape[3], shape[2], shape[0], shape[1])
            yield _Place(_torch_name(keys), shape, tree, keys)


def _leaves(tree: Mapping, keys: tuple[str, ...] = ()) -> Iterator[tuple]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*keys, key))
        else:
            yield (*keys, key), value


def _torch_name(keys: tuple[str, ...]) -> str:
    """The name in the state dict.

    >>> _torch_name(("blocks_3", "second_normalization", "scale"))
    'layer2.0.bn2.weight'
    """
    *block, layer, leaf = keys
    prefix = ""
    if block:
        number = int(block[0].removeprefix("blocks_"))
        stage = 0
        while number >= BLOCKS[stage]:
            number -= BLOCKS[stage]
            stage += 1
        prefix = f"layer{stage + 1}.{number}."
    where, kind = layer.split("_")
    is_convolution = kind == "convolution"
    if where == "shortcut":
        name = f"downsample.{0 if is_convolution else 1}"
    else:
        name = ("conv" if is_convolution else "bn") + PLACES.get(where, "1")
    own = {"mean": "running_mean", "var": "running_var", "bias": "bias"}
    return f"{prefix}{name}.{own.get(leaf, 'weight')}"


def _problems(places: list[_Place], state_dict: Mapping[str, np.ndarray]) -> list[str]:
    """Everything that does not fit, in words."""
    wanted = {place.name: place.shape for place in places}
    present = [name for name in wanted if name in state_dict]
    misshapen = [
        f"{name} (got {state_dict[name].shape}, must be {wanted[name]})"
        for name in present
        if state_dict[name].shape != wanted[name]
    ]
    unused = [
        name
        for name in state_dict
        if name not in wanted
        and not name.startswith("fc.")
        and not name.endswith(".num_batches_tracked")
    ]
    infinite = [name for name in present if not np.isfinite(state_dict[name]).all()]
    found = {
        "missing": [name for name in wanted if name not in state_dict],
        "of another shape": misshapen,
        "unexpected": unused,
        "not finite": infinite,
    }
    return [f"{what}: {_some(names)}" for what, names in found.items() if names]


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    text = ", ".join(names[:MOST_NAMES])
    return f"{text} and {more} more" if more > 0 else text


# Files


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a file, told by its contents and not by its name."""
    with path.open("rb") as file:
        start = file.read(9)
    try:
        if start[8:9] != b"{":  # safetensors: the length of a JSON header, the header
            return torch_file.load_state_dict(path)
    except torch_file.TorchFileError as error:
        raise WeightsError(f"the weights cannot be used: {error}") from None
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path} must be a whole safetensors file of types that NumPy has; reading "
            f"it broke off ({type(error).__name__}: {error})."
        ) from None


def _without_prefix(state_dict: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A ResNet's names, without what a wrapper put before all of them."""
    for _ in PREFIXES:
        if any(name.startswith("backbone.") for name in state_dict):
            state_dict = {
                name: array
                for name, array in state_dict.items()
                if not name.startswith(HEADS)
            }
        for prefix in PREFIXES:
            if all(name.startswith(prefix) for name in state_dict):
                state_dict = {
                    name.removeprefix(prefix): array
                    for name, array in state_dict.items()
                }
    return state_dict


def _blocks(state_dict: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Blocks of each of the four stages."""
    found = {re.match(r"layer([1-4])\.(\d+)\.", name) for name in state_dict}
    pairs = {match.groups() for match in found if match}
    return tuple(sum(stage == str(i) for stage, _ in pairs) for i in (1, 2, 3, 4))


def _list(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}"


def _fetch() -> Path:
    """The published file, from the cache folder or the hub."""
    try:
        import huggingface_hub as hub
    except ImportError:
        raise _unavailable("the package huggingface_hub is not installed") from None
    folder = cache_root() / "weights"
    cached = hub.try_to_load_from_cache(REPOSITORY, FILE, cache_dir=folder)
    if isinstance(cached, str):
        return Path(cached)
    # Whatever goes wrong: the hub's errors are those of several libraries, and other
    # ones with each of its versions.
    try:
        address = hub.hf_hub_url(REPOSITORY, FILE)
        hub.get_hf_file_metadata(address, timeout=PROBE_SECONDS)
    except Exception as error:
        raise _unavailable(f"{type(error).__name__}: {error}") from None
    try:
        return Path(hub.hf_hub_download(REPOSITORY, FILE, cache_dir=folder))
    except Exception as error:
        raise _unavailable(f"{type(error).__name__}: {error}") from None


def _unavailable(reason: str) -> WeightsError:
    first = reason.strip().splitlines()[0].rstrip(".")
    return WeightsError(
        f"the ImageNet weights of ResNet-50 ({FILE} of {REPOSITORY}) could not be "
        f"fetched ({first}). Name a file with --weights PATH, a state dict of "
        "torchvision's or timm's resnet50 as .safetensors or .pth; connect this "
        "machine once; or begin with random weights, --weights none."
    )
