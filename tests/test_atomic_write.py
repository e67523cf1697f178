"""Files that are written whole: what they replace, and what they leave alone."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from iwps_jax.atomic_write import UNFINISHED, open_atomically, write_atomically
from iwps_jax.refusal import Refusal

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, modes and pipes")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def umask():
    """That of somebody who lets the group read, and nobody else."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_what_a_link_points_to_is_replaced():
    Path("shared").mkdir()
    for name in ("there.csv", "new.csv"):
        Path(name).symlink_to(Path("shared", name))
    Path("shared/there.csv").write_text("before")
    for name in ("there.csv", "new.csv"):
        write_atomically(name, "after")
        assert Path(name).is_symlink()
        assert Path("shared", name).read_text() == "after"
    assert len(os.listdir("shared")) == 2


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_refused(make):
    make("out")
    kind = stat.S_IFMT(os.stat("out").st_mode)
    with pytest.raises(Refusal, match="^out must be a file that can be replaced, is a"):
        write_atomically("out", "content")
    assert stat.S_IFMT(os.stat("out").st_mode) == kind and os.listdir() == ["out"]


def test_devices_are_refused():
    with pytest.raises(Refusal, match="/dev/null must be a file .* is a device"):
        write_atomically("/dev/null", "content")


def test_any_legal_name_is_written():
    name = "ü" * 125  # 250 bytes of at most 255
    write_atomically(name, "ü")
    assert os.listdir() == [name] and Path(name).read_bytes() == "ü".encode()


def test_a_new_file_obeys_the_umask_and_one_that_is_there_keeps_its_mode(umask):
    write_atomically("new", "content")
    assert mode_of("new") == 0o640
    for mode in (0o600, 0o444, 0o664):
        os.chmod("new", mode)
        write_atomically("new", f"{mode}")
        assert mode_of("new") == mode and Path("new").read_text() == f"{mode}"


def test_a_folder_that_cannot_be_synced_holds_the_file_all_the_same(monkeypatch):
    real = os.fsync

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically("file", b"content")
    assert Path("file").read_bytes() == b"content"


def test_an_interrupt_after_the_file_has_its_name_is_told_as_that(monkeypatch):
    real = os.replace

    def replace(*paths):
        real(*paths)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write_atomically("file", "content")
    assert os.listdir() == ["file"]


def test_a_folder_that_is_not_there_is_told_by_the_name_of_the_file():
    with pytest.raises(FileNotFoundError, match="'none/file'"):
        write_atomically("none/file", "content")


def test_text_that_is_none_of_unicode_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"file must be Unicode text, got '\\udcff'"):
        write_atomically("file", "name \udcff")
    assert os.listdir() == []


def test_parts_are_one_file_when_the_block_ends():
    Path("file").write_text("before")
    os.chmod("file", 0o600)
    with open_atomically("file") as file:
        file.write(b"one ")
        file.write(b"two")
        assert Path("file").read_text() == "before"
    assert Path("file").read_text() == "one two" and mode_of("file") == 0o600
    assert os.listdir() == ["file"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_a_block_that_fails_leaves_the_file_before(error):
    Path("file").write_text("before")
    with pytest.raises(error), open_atomically("file") as file:
        file.write(b"one")
        raise error
    assert Path("file").read_text() == "before" and os.listdir() == ["file"]


def test_a_part_that_cannot_be_written_is_told_by_the_name_of_the_file():
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large: 'file'"):
            with open_atomically("file") as file:
                file.write(b"x" * 2000)
                file.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert os.listdir() == []


def test_a_kill_between_parts_leaves_the_file_before():
    Path("file").write_text("before")
    code = """
import os, signal
from iwps_jax.atomic_write import open_atomically
with open_atomically("file") as file:
    file.write(b"x" * 2**20)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[1]
    killed = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert killed.returncode == -signal.SIGKILL
    assert Path("file").read_text() == "before"
    (left,) = (name for name in os.listdir() if name != "file")
    assert left.endswith(UNFINISHED)
