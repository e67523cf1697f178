"""The rules of the house that a machine can check: who may import whom."""

import ast
import functools
import graphlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import iwps_jax
from iwps_jax import __main__, moved
from iwps_jax.methods import ROWS

ROOT = Path(iwps_jax.__file__).parents[1]

FLOORS = {  # a room may import from those before it only
    "iwps_jax": (
        *("types", "versions", "moved", "cache", "wording", "refusal"),
        *("command_line", "atomic_write"),
        *("checks", "series", "dialect", "numerics", "blocks", "masks", "method"),
        *("scores", "selection", "pixels", "contrib", "heads", "backbones"),
        *("pool", "known_step", "rows", "methods", "recommendations", "picking"),
        *("explanations", "loop"),
        *("app", "__main__"),
    ),
    "iwps_jax.app": (
        "options",
        "leaks",
        "naming",
        "files",
        "campaign",
        "gallery",
        "embedding",
        "commands",
    ),
    "experiments": (
        *("data", "frozen", "models", "reporting", "engine"),
        *("classification", "segmentation", "linear_heads"),
    ),
}
STRANGERS = {  # what a room must not import although it stands before
    "experiments.segmentation": ("experiments.classification",),
    "experiments.reporting": ("experiments.frozen", "experiments.models"),
    "iwps_jax.app": ("iwps_jax.contrib",),
    "iwps_jax.heads": ("iwps_jax.contrib",),
    "iwps_jax.pool": ("iwps_jax.contrib",),
}
PACKAGES = ("iwps_jax", "experiments", "benchmarks")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    ): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
LIBRARY = {
    name: path
    for name, path in FILES.items()
    if name.startswith("iwps_jax") and not name.startswith("iwps_jax.app")
}


@functools.cache
def imported_names(path, at_import_time=False):
    """Dotted names of the modules, or of their members, that a file imports."""
    nodes = [ast.parse(path.read_text())]
    found = []
    for node in nodes:  # grows on the way
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        if not at_import_time or not isinstance(node, ast.FunctionDef):
            nodes += ast.iter_child_nodes(node)
    return found


def is_below(name, room):
    return f"{name}.".startswith(f"{room}.")


def importers_of(package):
    """Modules of the library and the application that import a package."""
    return {
        name
        for name, path in FILES.items()
        if name.startswith("iwps_jax")
        and any(is_below(imported, package) for imported in imported_names(path))
    }


def room_of(name, house):
    """The room of a module within a house: the next part of its name, if any."""
    inside = name.removeprefix(f"{house}.")
    return inside.split(".")[0] if is_below(name, house) and name != house else None


@pytest.mark.parametrize("house", FLOORS)
def test_no_arrow_runs_up(house):
    floors = FLOORS[house]
    for name, path in FILES.items():
        room = room_of(name, house)
        if room is None or (house == "experiments" and room not in floors):
            continue  # a package's own file, or a command: it may import all
        for imported in imported_names(path):
            other = room_of(imported, house)
            if other is None or other == room:
                continue
            # What is no room is a command, or a name that the package hands on.
            assert other in floors, f"{name}: {imported}"
            assert floors.index(other) < floors.index(room), f"{name}: {imported}"


@pytest.mark.parametrize("name", [n for n in LIBRARY if n != "iwps_jax.__main__"])
def test_rooms_do_not_go_through_the_front_door(name):
    """Else a low room could have a high one's names from the package."""
    assert "iwps_jax" not in imported_names(LIBRARY[name])


def test_nobody_uses_an_old_name():
    functions = {
        f"{package}.{name}"
        for package in moved.HAD_FUNCTIONS
        for name in moved.FUNCTIONS
    }
    for name, path in FILES.items():
        for imported in imported_names(path):
            assert imported not in functions, f"{name}: {imported}"
            for old in (*moved.MODULES, *moved.LEFT):
                assert not is_below(imported, old), f"{name}: {imported}"


NOT_METHODS = {  # words that are also names of methods
    "iwps_jax.__main__": {"iwps"},  # the program
    "experiments.reporting.charts": {"margin"},  # of a page
    "experiments.segmentation.networks": {"random"},  # weights
}


def test_names_of_methods_stand_in_rows_and_lists_only():
    """No branch and no table asks for a method by its name: rows say what differs."""
    lists = ast.Tuple | ast.List | ast.Assign
    for name, path in FILES.items():
        if is_below(name, "iwps_jax.rows"):
            continue
        for parent in ast.walk(ast.parse(path.read_text())):
            for node in ast.iter_child_nodes(parent):
                is_name = isinstance(node, ast.Constant) and node.value in ROWS.keys()
                if not is_name or node.value in NOT_METHODS.get(name, ()):
                    continue
                if name.startswith("benchmarks"):  # they name programs, by functions
                    is_right = not isinstance(parent, ast.Compare | ast.IfExp)
                else:
                    is_right = isinstance(parent, lists)
                assert is_right, f"{name}: {node.value}"


@pytest.mark.parametrize("house", FLOORS)
def test_every_room_has_a_floor(house):
    rooms = {room_of(name, house) for name in FILES} - {None}
    if house == "experiments":  # its top holds commands, and a folder of more
        rooms = {room for room in rooms if (ROOT / house / room).is_dir()}
        rooms.remove("ablations")
    assert rooms == set(FLOORS[house])


@pytest.mark.parametrize("room", STRANGERS)
def test_rooms_that_must_not_know_each_other(room):
    for name, path in FILES.items():
        if is_below(name, room):
            for imported in imported_names(path):
                for stranger in STRANGERS[room]:
                    assert not is_below(imported, stranger), f"{name}: {imported}"


def test_wings_are_apart():
    for name, path in FILES.items():
        for imported in imported_names(path):
            if is_below(name, "iwps_jax"):
                assert not is_below(imported, "experiments"), f"{name}: {imported}"
                assert not is_below(imported, "benchmarks"), f"{name}: {imported}"
            if is_below(name, "experiments"):
                assert not is_below(imported, "iwps_jax.app"), f"{name}: {imported}"
                assert not is_below(imported, "benchmarks"), f"{name}: {imported}"
    library_imports_app = {
        name
        for name, path in LIBRARY.items()
        if any(is_below(imported, "iwps_jax.app") for imported in imported_names(path))
    }
    assert library_imports_app == set()


def test_no_circle():
    graph = {}
    for name, path in FILES.items():
        imported = imported_names(path)
        # A member's module, or the package that hands the member on.
        owners = {i if i in FILES else i.rpartition(".")[0] for i in imported}
        graph[name] = (owners & FILES.keys()) - {name}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_top_of_experiments_holds_commands_and_folders():
    for path in (ROOT / "experiments").glob("*.py"):
        if path.name != "__init__.py":
            source = path.read_text()
            assert "\ndef main(arguments" in source, path.name
            assert source.rstrip().endswith('if __name__ == "__main__":\n    main()')
            assert f"python -m experiments.{path.stem}" in ast.get_docstring(
                ast.parse(source)
            )


ALLOWED = {"jax", "jaxlib", "numpy", "jaxtyping"}


@pytest.mark.parametrize("name", LIBRARY)
def test_library_imports_jax_and_numpy_alone(name):
    allowed = ALLOWED | ({"optax"} if is_below(name, "iwps_jax.heads") else set())
    allowed |= {"lazy_loader"} if name == "iwps_jax" else set()
    outside = {i.split(".")[0] for i in imported_names(LIBRARY[name], True)}
    assert outside - set(sys.stdlib_module_names) <= allowed | {"iwps_jax"}


def test_scores_know_only_jax():
    outside = {
        imported.split(".")[0]
        for name, path in LIBRARY.items()
        if is_below(name, "iwps_jax.scores")
        for imported in imported_names(path)
    }
    assert outside - set(sys.stdlib_module_names) == {"iwps_jax", "jax", "jaxtyping"}


def test_only_the_pool_and_the_backbones_touch_a_disk():
    writers = importers_of("iwps_jax.atomic_write") | importers_of("iwps_jax.cache")
    in_library = {name.split(".")[1] for name in writers & LIBRARY.keys()}
    assert in_library == {"pool", "backbones"}


def test_heavy_packages_have_few_doors():
    assert (
        importers_of("orbax") == importers_of("flax") == importers_of("chex") == set()
    )
    assert {name.split(".")[1] for name in importers_of("optax")} == {"heads"}
    assert importers_of("rich") == {"iwps_jax.pool.progress"}
    for package in ("filelock", "PIL", "pyarrow"):
        assert all(is_below(name, "iwps_jax.app") for name in importers_of(package))
    encoder = {"iwps_jax.backbones.minilm"}
    assert importers_of("tokenizers") == encoder
    assert all(
        is_below(name, "iwps_jax.app") or name in encoder
        for name in importers_of("safetensors")
    )


def dependencies_of(extra=None):
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    lines = project["dependencies"]
    lines = project["optional-dependencies"][extra] if extra else lines
    return {Requirement(line).name for line in lines}


def outside_of(prefix):
    """Distributions that the files below a package import at any time."""
    distributions = {"PIL": "pillow", "sklearn": "scikit-learn"}
    found = {
        imported.split(".")[0]
        for name, path in FILES.items()
        if is_below(name, prefix)
        for imported in imported_names(path)
    }
    found -= {"iwps_jax", *sys.stdlib_module_names}
    return {distributions.get(name, name) for name in found}


def test_dependencies_are_what_the_wheel_imports():
    extras = map(dependencies_of, ("app", "embed", "hf", "text"))
    assert outside_of("iwps_jax") == dependencies_of().union(*extras)
    assert set(__main__.PACKAGES.values()) == dependencies_of("app")


def test_import_loads_not_even_jax_and_use_loads_nothing_else():
    code = """
import sys
import iwps_jax
print("jax" in sys.modules)
import jax, jax.numpy, jaxtyping, wadler_lindig  # jaxtyping needs it late
before = {name.split(".")[0] for name in sys.modules}
[getattr(iwps_jax, name) for name in iwps_jax.__all__]
after = {name.split(".")[0] for name in sys.modules}
print(*sorted(after - before - set(sys.stdlib_module_names)))
unwanted = "tensorflow_datasets matplotlib sklearn tyro rich scipy flax optax orbax"
unwanted += " safetensors tokenizers"
print(*sorted(after & {*unwanted.split(), "chex", "pandas", "PIL", "experiments"}))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == ["False", "", ""]
    assert result.stderr == ""


EXIT = ("app", "app.commands", "app.commands.exit_status")  # they import no package


def test_help_imports_nothing_beyond_the_library():
    code = """
import sys
import iwps_jax
before = set(sys.modules)
from iwps_jax.__main__ import main
try:
    main(["--help"])
except SystemExit:
    print(*sorted(set(sys.modules) - before))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    imported = {*result.stdout.splitlines()[-1].split()} - {*sys.stdlib_module_names}
    assert imported <= {
        f"iwps_jax.{n}" for n in ("__main__", "command_line", "refusal", *EXIT)
    }


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_short_and_says_what_it_is_for(name):
    source = FILES[name].read_text()
    assert ast.get_docstring(ast.parse(source))
    assert len(source.splitlines()) <= 400
    assert "import annotations" not in source and "import *" not in source
