"""Names of version 0.6 answer with a warning, or say where they went."""

import importlib
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import iwps_jax
from iwps_jax import contrib, moved, selection

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", moved.FUNCTIONS)
def test_old_function_names_answer_with_a_warning(name):
    new = getattr(contrib, name)
    for package in (iwps_jax, selection):
        with pytest.warns(DeprecationWarning, match=f"is now iwps_jax.contrib.{name}"):
            assert getattr(package, name) is new
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        iwps_jax.no_such_name  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'pool.no_such_name'"):
        getattr(iwps_jax, "pool.no_such_name")


@pytest.mark.parametrize("old", moved.MODULES)
def test_old_modules_hold_what_the_new_ones_hold(old):
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{old}.")]:
        del sys.modules[name]
    if moved.MODULES[old] == "iwps_jax.app.campaign.folder":
        pytest.importorskip("filelock")  # of the extra `app`
    new = importlib.import_module(moved.MODULES[old])
    with warnings.catch_warnings():  # of an old package, which has its own row
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module(old.rpartition(".")[0])
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new.__name__}"):
        module = importlib.import_module(old)
    for name in (n for n in vars(new) if not n.startswith("__")):
        assert getattr(module, name) is getattr(new, name)
    parent, _, last = old.rpartition(".")
    assert getattr(sys.modules[parent], last) is not None


@pytest.mark.parametrize("old", [*moved.LEFT, "iwps_jax.models.classifiers"])
def test_modules_that_left_name_the_clone_and_the_new_path(old):
    with pytest.raises(
        ImportError, match="from a clone .* and is experiments."
    ) as seen:
        importlib.import_module(old)
    home = re.search(r"experiments\.\S+", str(seen.value))[0].replace(".", "/")
    assert (ROOT / home).is_dir() or (ROOT / f"{home}.py").is_file()


@pytest.mark.parametrize(
    "old", ["upsampling", "scores.reductions", "selection.whole_batch", "pool.spans"]
)
def test_old_modules_are_attributes_too(old, monkeypatch):
    """As they were after `import iwps_jax`."""
    package, _, name = f"iwps_jax.{old}".rpartition(".")
    monkeypatch.delitem(sys.modules, f"iwps_jax.{old}", raising=False)
    parent = importlib.import_module(package)
    monkeypatch.delitem(vars(parent), name, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{old} is now"):
        module = getattr(parent, name)
    assert module is sys.modules[f"iwps_jax.{old}"]


def test_submodules_of_an_old_package_are_attributes(monkeypatch):
    pytest.importorskip("filelock")  # of the extra `app`
    for name in ("iwps_jax.campaign", "iwps_jax.campaign.telling"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.warns(DeprecationWarning):
        campaign = importlib.import_module("iwps_jax.campaign")
    with pytest.warns(DeprecationWarning, match="is now iwps_jax.app.campaign.learn"):
        module = campaign.telling
    assert module is sys.modules["iwps_jax.campaign.telling"]


@pytest.mark.parametrize(
    ("old", "sentence"),
    [("models", "from a clone"), ("linear_probe", "is now iwps_jax.heads.linear_pro")],
)
def test_an_old_module_is_no_program(old, sentence):
    command = [sys.executable, "-m", f"iwps_jax.{old}"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode != 0 and sentence in result.stderr


def test_other_modules_are_still_missing():
    with pytest.raises(ModuleNotFoundError, match="No module named 'iwps_jax.absent'"):
        importlib.import_module("iwps_jax.absent")


def test_warnings_point_at_the_line_that_uses_an_old_name(tmp_path):
    user = tmp_path / "user.py"
    user.write_text(
        "import iwps_jax.linear_probe\n"
        "from iwps_jax.campaign import scaling\n"
        "from iwps_jax import farthest_first\n"
        "iwps_jax.scores.reductions\n"
    )
    command = [sys.executable, "-W", "default::DeprecationWarning:__main__", str(user)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.findall(r"user.py:(\d): DeprecationWarning: (\S+) is", result.stderr)
    assert found == [
        ("1", "iwps_jax.linear_probe"),
        ("2", "iwps_jax.campaign"),
        ("3", "iwps_jax.farthest_first"),
        ("4", "iwps_jax.scores.reductions"),
    ]
