"""Models of Hugging Face, or of a folder in their form, as encoders.

Of an image the features are the image features of a model of images and texts (CLIP,
SigLIP), or else the pooled output, or, where the model has none or its weights are
missing, the mean of the last layer over all tokens or places. Of a text they are the
text features of such a model, or else the mean of the last layer over its tokens.
"""

import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from iwps_jax.app.embedding.encoder import Encoder, checked
from iwps_jax.app.embedding.source import IMAGES, TEXTS
from iwps_jax.backbones.published import sha256_of
from iwps_jax.refusal import Refusal, short

PREFIX = "hf:"
ABOUT = (
    "a model of Hugging Face, such as hf:facebook/dinov2-small; needs the extra hf, "
    "that is transformers and PyTorch"
)
ABOUT_FOLDER = "such a model in a folder with its config.json, such as ./my-model"
NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
CONFIG = "config.json"
IDENTIFYING = {".json", ".txt", ".model", ".safetensors", ".bin"}
"""Suffixes of the files of a model on which its features may depend."""
MOST_TOKENS = 512
"""Of a text; most models were trained on no more, and longer ones take long."""
ENDLESS = 10**6
"""A tokenizer that takes more tokens than this does not know what its model takes."""
AT_ONCE = {IMAGES: 16, TEXTS: 32}
"""Samples of a call: images are there in their full size, texts padded to the longest.
"""
SECONDS = 10.0
"""How long the network may take to answer at all."""


def names_model(name: str) -> bool:
    """Whether a name of a backbone is `hf:NAME`, or looks like the path of a folder.

    Example:
        >>> [names_model(name) for name in ("hf:a/b", "./a", "module:function")]
        [True, True, False]
    """
    is_path = "/" in name or os.sep in name or name.startswith((".", "~"))
    return name.startswith(PREFIX) or is_path or Path(name).is_dir()


def load(name: str, kind: str) -> Encoder:
    """The encoder of a model; fetches it if it is named and not in the cache.

    Args:
        name: `hf:NAME`, or a folder with a config.json.
        kind: of the samples.

    Raises:
        Refusal: if transformers or PyTorch are not installed, or there is no such
            model, or it cannot be loaded.
    """
    source = _hub_name(name) if name.startswith(PREFIX) else _folder(name)
    try:
        import torch  # noqa: F401
        import transformers
    except (ImportError, OSError) as error:  # of a library that is not there
        raise Refusal(
            f"--backbone {name} needs transformers and torch ({_reason(error)}): pip "
            "install 'iwps-jax[hf]'."
        ) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # of each new attempt
    prepare, model, missing = _loaded(transformers, name, source, kind)
    encode = _encode(name, prepare, model, missing, kind)
    folder = Path(transformers.utils.cached_file(source, CONFIG, local_files_only=True))
    identity = {
        "hugging_face": short(name),
        "transformers": transformers.__version__,
        "files": _digests(folder.parent),
    }
    return Encoder(identity, checked(name, encode), AT_ONCE[kind])


def _hub_name(name: str) -> str:
    source = name.removeprefix(PREFIX)
    if not NAME.fullmatch(source):
        raise Refusal(
            f"--backbone {name} must be {PREFIX}NAME, with a name of Hugging Face such "
            "as facebook/dinov2-small."
        )
    if Path(source).exists():  # transformers would take it
        raise Refusal(
            f"--backbone {name} may mean {source} in the working folder: name that as "
            f"./{source}, or rename it."
        )
    return source


def _folder(name: str) -> str:
    folder = Path(name).expanduser()
    if not (folder / CONFIG).is_file():
        raise Refusal(f"--backbone {name} must be a folder with the file {CONFIG}.")
    return str(folder)


def _loaded(transformers, name: str, source: str, kind: str):
    """What prepares samples, the model, and the names of weights that it lacks."""
    auto = transformers.AutoTokenizer
    if kind == IMAGES:
        auto = transformers.AutoImageProcessor

    def attempt(*, is_local: bool):
        # No code of the model's authors is run.
        options = {"local_files_only": is_local, "trust_remote_code": False}
        prepare = auto.from_pretrained(source, **options)
        model, info = transformers.AutoModel.from_pretrained(
            source, output_loading_info=True, **options
        )
        return prepare, model, {*info["missing_keys"]}

    is_named = name.startswith(PREFIX)
    try:  # the errors are of many kinds: of files, names, types, packages
        return attempt(is_local=True)
    except Exception as error:
        if not is_named:
            raise Refusal(
                f"--backbone {name} cannot be loaded for {kind}: {_reason(error)}."
            ) from error
    _require_network(name, kind)
    try:
        return attempt(is_local=False)
    except Exception as error:
        raise Refusal(
            f"--backbone {name} can be loaded for {kind} neither from the cache of "
            f"Hugging Face nor from the network: {_reason(error)}."
        ) from error


def _reason(error: Exception) -> str:
    """All in one short line, as part of a sentence."""
    said = short(str(getattr(error, "reason", None) or error))
    return said.rstrip(".:") or type(error).__name__


def _require_network(name: str, kind: str) -> None:
    """Refuses at once where nothing can be fetched; the attempts would take minutes."""
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(address, timeout=SECONDS).close()
    except urllib.error.HTTPError:  # it has answered
        return
    except (OSError, ValueError) as error:
        raise Refusal(
            f"--backbone {name} cannot be loaded for {kind} from the cache of Hugging "
            f"Face, and {address} cannot be reached ({_reason(error)}): fetch the "
            "model where there is a network, and name its folder."
        ) from error


def _digests(folder: Path) -> dict[str, str]:
    """The sha256 of the model's files, by name; of two forms of the weights, of one."""
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix in IDENTIFYING and path.is_file()
    )
    if any(name.endswith(".safetensors") for name in names):
        names = [name for name in names if not name.endswith(".bin")]
    return {name: sha256_of(folder / name) for name in names}


def _encode(
    name: str, prepare, model, missing: set[str], kind: str
) -> Callable[[list[Any]], Any]:
    """`encode(samples)` of a model, on the accelerator that PyTorch sees."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.float().eval().to(device)
    asked = [getattr(model, f"get_{what}_features", None) for what in ("image", "text")]
    joint = None if None in asked else asked[kind == TEXTS]
    if joint is None and getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
        missing = {key for key in missing if not key.startswith("decoder")}
    if random := sorted(key for key in missing if "pooler" not in key):
        raise Refusal(
            f"--backbone {name} lacks weights ({len(random)}, such as {random[0]}), "
            "which would be random."
        )
    pool: Callable[[Any, Any], Any] = _mean
    if kind == IMAGES:
        pool = partial(_pooled, has_pooler=not missing)
        prepared = partial(prepare, return_tensors="pt")
    else:
        prepared = _tokens(prepare, model)

    def encode(samples):
        inputs = {key: value.to(device) for key, value in prepared(samples).items()}
        with torch.inference_mode():
            if joint is not None:
                found = joint(**inputs)
                features = getattr(found, "pooler_output", found)
            else:
                features = pool(model(**inputs), inputs)
        return features.cpu().numpy()

    return encode


def _tokens(tokenizer, model) -> partial:
    """Texts as tokens, cut to what the model takes."""
    if tokenizer.pad_token is None:  # of models that write; the mask hides it
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    most = tokenizer.model_max_length
    if most > ENDLESS:
        config = getattr(model.config, "text_config", model.config)
        places = getattr(config, "max_position_embeddings", None)
        most = MOST_TOKENS if places is None else places - 2  # some count from 2
    return partial(
        tokenizer,
        padding=True,
        truncation=True,
        max_length=max(1, min(most, MOST_TOKENS)),
        return_tensors="pt",
    )


def _pooled(output, inputs, *, has_pooler: bool):
    """Images: the pooled output, or the mean of the last layer, [n, d]."""
    del inputs
    pooled = getattr(output, "pooler_output", None)
    if has_pooler and pooled is not None:
        return pooled.flatten(1)
    last = output.last_hidden_state
    return last.mean(1) if last.ndim == 3 else last.flatten(2).mean(2)


def _mean(output, inputs):
    """Texts: the mean of the last layer over the tokens that are no padding, [n, d]."""
    mask = inputs["attention_mask"][:, :, None].to(output.last_hidden_state.dtype)
    return (output.last_hidden_state * mask).sum(1) / mask.sum(1).clamp(min=1)
