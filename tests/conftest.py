import ast
import atexit
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

import compiling

# Before JAX is imported, and for the processes that tests start. Most of a test's time
# is the compiler's: LLVM works less on programs that run once, and each is compiled
# once for all workers and processes of a run. A folder that is named beforehand is
# kept, so that the next run finds its programs.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    programs = tempfile.mkdtemp(prefix="iwps_jax_programs_")
    atexit.register(shutil.rmtree, programs, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs
for name, value in {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": " ".join(compiling.QUICK_FLAGS),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",  # silent about programs that were loaded
}.items():
    os.environ.setdefault(name, value)

import jax
import jaxtyping
import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
# As many as a host with accelerators has; all in this machine's memory.
jax.config.update("jax_num_cpu_devices", 8)

# Every example may compile, so no deadline; derandomized, so CI is repeatable.
settings.register_profile("jax", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("jax")


# The library alone

RUNNER = {"pytest", "hypothesis", "beartype", "jax", "jaxlib", "jaxtyping", "numpy"}
RUNNER |= {"scipy", "packaging", "optax"}  # of these, SciPy comes with JAX
APART = ("iwps_jax.app", "iwps_jax.__main__.main", "experiments", "benchmarks")
FOLDERS = [ROOT / folder for folder in ("iwps_jax/app", "experiments", "benchmarks")]


def pytest_addoption(parser):
    parser.addoption(
        "--library",
        action="store_true",
        help="only what needs no extra: `pip install .` and the packages of `runner`",
    )


def pytest_ignore_collect(collection_path, config):
    """Whether `--library` leaves a file out."""
    if not config.getoption("--library") or collection_path.suffix != ".py":
        return None
    return True if not needs_library_alone(collection_path) else None


@functools.cache
def needs_library_alone(path):
    """Whether a file and its helpers import neither extras nor what needs them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package = name.split(".")[0]
            helper = ROOT / "tests" / f"{package}.py"
            if any(f"{name}.".startswith(f"{apart}.") for apart in APART):
                return False
            if helper.exists():
                if not needs_library_alone(helper):
                    return False
            elif package not in RUNNER | {"iwps_jax"} | sys.stdlib_module_names:
                return False
    return True


# Compiling


def pytest_configure(config):
    if config.getoption("--library"):  # also of the doctests, beyond this folder
        config.option.ignore = [*(config.option.ignore or ()), *map(str, FOLDERS)]
        config.args = [a for a in config.args if Path(a).resolve() not in FOLDERS]
    config.addinivalue_line(
        "markers", "full: left out unless asked for by -m 'full or not full'"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keeps together the tests of a file whose fixtures serve many of them."""
    for item in items:
        fixtures = getattr(item, "_fixtureinfo", None)
        made = fixtures.name2fixturedefs.values() if fixtures else ()
        if any(
            f[-1].scope == "module" and f[-1].func.__module__ != __name__ for f in made
        ):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="module", autouse=True)
def compiled_quickly(request):
    """The library's tests run a program once; those that train run one for long."""
    is_quick = needs_library_alone(request.path)
    jax.config.update("jax_disable_most_optimizations", is_quick)


@pytest.fixture(scope="module", autouse=True)
def programs_of_a_file():
    """Frees the memory of a file's programs; the next file compiles others."""
    yield
    jax.clear_caches()


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def without_jaxtyping():
    """Shows the package's own errors instead of those of the annotations."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
