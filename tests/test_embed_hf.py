"""`iwps embed --backbone hf:NAME` and model folders: with stand-ins, and for real.

The stand-ins have the calls of transformers 5 and PyTorch that we use, on NumPy.
"""

import contextlib
import hashlib
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from embed_runs import embedded, run, some_photos
from embed_runs import folder as folder

from iwps_jax.app.embedding import hugging_face


class Tensor(np.ndarray):
    """An array with the methods of a tensor that are called otherwise in NumPy."""

    def to(self, _):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return np.asarray(self)

    def clamp(self, min):
        return np.maximum(self, min).view(Tensor)

    def flatten(self, start):
        return self.reshape(*self.shape[:start], -1)


def tensor(values):
    return np.asarray(values, np.float32).view(Tensor)


class Tokenizer:
    """A token a letter; 0 is padding."""

    model_max_length = 10**30
    pad_token, eos_token, unk_token = None, "end", None

    def __call__(self, texts, **options):
        assert options["padding"] and options["truncation"] and self.pad_token == "end"
        cut = [text[: options["max_length"]] for text in texts]
        width = max(map(len, cut))
        ids = [[*map(ord, text), *[0] * (width - len(text))] for text in cut]
        mask = [[1] * len(text) + [0] * (width - len(text)) for text in cut]
        return {"input_ids": tensor(ids), "attention_mask": tensor(mask)}


def prepare_images(images, return_tensors):
    assert return_tensors == "pt"
    means = [np.asarray(image).mean((0, 1)) for image in images]
    return {"pixel_values": tensor(means)}


class Model:
    """The last layer repeats what is put in, in two columns of which one is minus."""

    config = SimpleNamespace(max_position_embeddings=6)

    def __init__(self, last=None, pooled=None):
        self.last, self.pooled = last, pooled

    def float(self):
        return self

    eval = float

    def to(self, device):
        assert device == "cpu"
        return self

    def get_encoder(self):
        return Model()

    def __call__(self, input_ids=None, attention_mask=None, pixel_values=None):
        if pixel_values is None:
            last = np.stack([input_ids, -input_ids], -1).view(Tensor)
        else:
            last = self.last(pixel_values) if self.last else None
        pooled = self.pooled(pixel_values) if self.pooled else None
        return SimpleNamespace(last_hidden_state=last, pooler_output=pooled)


@pytest.fixture
def library(monkeypatch, folder):
    """In place of transformers and PyTorch; `library.model` is what is loaded."""
    transformers, torch = ModuleType("transformers"), ModuleType("torch")
    torch.cuda = SimpleNamespace(is_available=lambda: False)
    torch.inference_mode = contextlib.nullcontext
    torch.device = type("device", (), {})  # tyro asks for it
    here = SimpleNamespace(
        model=Model(), missing=set(), asked=[], cached={str(folder / "model"), "model"}
    )

    def loader(make):
        def from_pretrained(source, *, output_loading_info=False, **options):
            here.asked.append(options)
            assert options["trust_remote_code"] is False
            if options["local_files_only"] and source not in here.cached:
                raise OSError("We couldn't connect to 'https://huggingface.co'.\nAnd")
            if isinstance(made := make(), Exception):
                raise made
            return (
                (made, {"missing_keys": here.missing})
                if output_loading_info
                else (made)
            )

        return SimpleNamespace(from_pretrained=from_pretrained)

    transformers.__version__ = "5.0.0"
    transformers.AutoTokenizer = loader(Tokenizer)
    transformers.AutoImageProcessor = loader(lambda: prepare_images)
    transformers.AutoModel = loader(lambda: here.model)
    transformers.utils = SimpleNamespace(
        logging=SimpleNamespace(
            set_verbosity_error=lambda: None, disable_progress_bar=lambda: None
        ),
        cached_file=lambda source, name, **_: os.fspath(folder / "model" / name),
    )
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    monkeypatch.setitem(sys.modules, "torch", torch)
    (folder / "model").mkdir()
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "README.md"):
        (folder / "model" / name).write_text(name)
    (folder / "t.txt").write_text("abc\nz\n\nabcdefgh\n")
    return here


def test_a_text_is_the_mean_of_its_own_tokens(library):
    """Not of the padding, nor of the tokens behind those that the model takes."""
    features, ids, about = embedded("t.txt", "--backbone", "./model")
    expected = [ord("b"), ord("z"), np.mean([*b"abcd"])]  # 6 places, some from 2
    np.testing.assert_allclose(features, np.outer(expected, [1, -1]), rtol=1e-6)
    assert ids == ["0", "1", "3"]
    assert [options["local_files_only"] for options in library.asked] == [True] * 2
    digests = {
        name: hashlib.sha256(name.encode()).hexdigest()
        for name in ("config.json", "model.safetensors")
    }
    assert about["backbone"] == {
        **{"name": "./model", "hugging_face": "./model", "transformers": "5.0.0"},
        "files": digests,
    }


def columns(pixels):
    return np.stack([pixels, pixels + 2], 1).view(Tensor)  # two tokens


def maps(pixels):
    return np.stack([[pixels, pixels + 2]] * 2).transpose(2, 3, 0, 1).view(Tensor)


@pytest.mark.parametrize(
    ("model", "missing", "added"),
    [
        (Model(pooled=lambda x: x[:, :, None, None]), set(), 0),
        (Model(columns, pooled=lambda x: x + 9), {"pooler.dense.weight"}, 1),
        (Model(columns), set(), 1),
        (Model(maps), set(), 1),
    ],
    ids=["pooled", "pooler without weights", "tokens", "maps"],
)
def test_an_image_is_the_pooled_output_or_the_mean(library, model, missing, added):
    some_photos()
    library.model, library.missing = model, missing
    features, ids, _ = embedded("photos", "--backbone", "./model")
    assert ids[1:] == [f"deep/er/{n}.png" for n in range(3)]
    np.testing.assert_allclose(features[1:], 250 * np.eye(3) + added)


def test_a_model_of_images_and_texts_says_its_features_itself(library):
    some_photos()
    library.model.get_image_features = lambda pixel_values: SimpleNamespace(
        pooler_output=pixel_values[:, :2]
    )
    library.model.get_text_features = lambda input_ids, attention_mask: input_ids[:, :1]
    features, _, _ = embedded("photos", "--backbone", "./model")
    assert features.shape == (4, 2)
    assert run("t.txt", "--backbone", "./model", "--out", "texts") == 0
    assert np.load("texts/pool.npy").tolist() == [[97], [122], [97]]


def test_an_encoder_and_a_decoder_give_the_encoder(library):
    library.model.config = SimpleNamespace(is_encoder_decoder=True)
    library.model.__class__ = type("Both", (Model,), {"__call__": None})
    library.missing = {"decoder.weight"}
    assert embedded("t.txt", "--backbone", "./model")[0].shape == (3, 2)


def test_a_model_in_the_cache_needs_no_network(library, monkeypatch):
    monkeypatch.setattr(hugging_face, "_require_network", None)
    library.cached.add("some/model")
    _, _, about = embedded("t.txt", "--backbone", "hf:some/model")
    assert about["backbone"]["name"] == "hf:some/model"


def test_a_model_that_is_not_in_the_cache_is_fetched(library, monkeypatch):
    def opened(address, timeout):
        assert address == "https://mirror" and timeout <= 10
        raise urllib.error.HTTPError(address, 403, "Forbidden", {}, None)  # an answer

    monkeypatch.setenv("HF_ENDPOINT", "https://mirror")
    monkeypatch.setattr(urllib.request, "urlopen", opened)
    embedded("t.txt", "--backbone", "hf:some/model")
    asked = [options["local_files_only"] for options in library.asked]
    assert asked == [True, False, False]


def test_without_a_network_one_sentence_says_so(library, monkeypatch, capsys):
    def unreachable(address, timeout):
        raise urllib.error.URLError(OSError(-2, "Name or service not known"))

    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    assert run("t.txt", "--backbone", "hf:some/model") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "--backbone hf:some/model cannot be loaded for texts from the cache of Hugging "
        "Face, and https://huggingface.co cannot be reached ([Errno -2] Name or "
        "service not known): fetch the model where there is a network, and name its "
        "folder."
    )
    assert not Path("pool").exists()


@pytest.mark.parametrize(
    ("backbone", "sentence"),
    [
        ("./nowhere", "./nowhere must be a folder with the file config.json."),
        ("photos/", "photos/ must be a folder with the file config.json."),
        ("hf:", "hf: must be hf:NAME, with a name of Hugging Face such as"),
        ("hf:../up", "hf:../up must be hf:NAME"),
        ("hf:model", "hf:model may mean model in the working folder: name that as"),
    ],
)
def test_names_of_no_model_are_refused(library, capsys, backbone, sentence):
    assert run("t.txt", "--backbone", backbone) == 2
    assert sentence in capsys.readouterr().err


def test_random_weights_are_refused(library, capsys):
    library.missing = {"layer.0.weight", "pooler.bias"}
    assert run("t.txt", "--backbone", "./model") == 2
    told = capsys.readouterr().err
    assert "lacks weights (1, such as layer.0.weight), which would be random." in told


def test_a_damaged_model_is_refused_in_one_sentence(library, capsys):
    library.model = RuntimeError("sizes differ:\n  a\n  b")
    assert run("t.txt", "--backbone", "model") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "--backbone model cannot be loaded for texts: sizes differ: a b."


@pytest.mark.parametrize("package", ["transformers", "torch"])
def test_the_extra_is_named(library, monkeypatch, capsys, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert run("t.txt", "--backbone", "hf:some/model") == 2
    told = capsys.readouterr().err
    assert "needs transformers and torch (" in told and package in told
    assert "pip install 'iwps-jax[hf]'." in told


def test_help_lists_them(capsys):
    assert run("--backbone", "help") == 0
    out = capsys.readouterr().out
    assert "hf:NAME " in out and "FOLDER " in out and "extra hf" in out


def test_a_real_model_gives_what_transformers_does(folder):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from PIL import Image

    some_photos()
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ViTConfig(**sizes, image_size=8, patch_size=4)
    prepare = transformers.ViTImageProcessor(size={"height": 8, "width": 8})
    transformers.ViTModel(config).save_pretrained("vit")
    prepare.save_pretrained("vit")
    features, ids, _ = embedded("photos", "--backbone", "./vit")
    model = transformers.AutoModel.from_pretrained("vit").eval()
    with torch.inference_mode():
        images = [Image.open(f"photos/{id_}").convert("RGB") for id_ in ids]
        expected = model(**prepare(images, return_tensors="pt")).pooler_output
    np.testing.assert_allclose(features, expected.numpy(), atol=1e-6)
