import ast
import atexit
import functools
import gc
import itertools
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

QUICK_FLAGS = [
    "--xla_backend_optimization_level=1",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_parallel_codegen_split_count=1",
]
if version("jaxlib").startswith("0.10."):  # later ones have no choice of emitters
    QUICK_FLAGS.append("--xla_cpu_use_fusion_emitters=false")

# Before JAX is imported, and for the processes that tests start. Most of a test's time
# is the compiler's: it works less on programs that run once, and each is compiled once
# for all workers and processes of a run. What is set beforehand is kept: all can be
# compiled as for users (CONTRIBUTING.md), and programs can be kept for the next run.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    programs = tempfile.mkdtemp(prefix="iwps_jax_programs_")
    atexit.register(shutil.rmtree, programs, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs
for name, value in {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "XLA_FLAGS": " ".join(QUICK_FLAGS),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",  # silent about programs that were loaded
    "OPENBLAS_NUM_THREADS": "1",  # the workers take the cores
    "OMP_NUM_THREADS": "1",
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


# Running

LONG_FILES = (
    *("test_docs", "test_run", "test_studies", "test_resnet", "test_score_processes"),
    *("test_segmentation_methods", "test_labeling_week", "test_resume", "test_scan"),
    *("test_pixel_lookahead", "test_score_contract", "test_segmentation_study"),
)
"""The files that take longest; what is left fills the gaps at the end."""
FINISHED_FILES, FILES_BETWEEN = itertools.count(1), 8


def pytest_configure(config):
    if config.getoption("--library"):  # also of the doctests, beyond this folder
        config.option.ignore = [*(config.option.ignore or ()), *map(str, FOLDERS)]
        config.args = [a for a in config.args if Path(a).resolve() not in FOLDERS]
    config.addinivalue_line(
        "markers", "full: left out unless asked for by -m 'full or not full'"
    )


def pytest_collection_modifyitems(items):
    """Long files first: a worker takes whole files, so that none compiles twice."""
    order = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_collection_finish():
    """The collector takes a twentieth of the time unless it looks at less, less often.

    What was imported stays, and tracing makes many objects that soon go by themselves.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


@pytest.fixture(scope="module", autouse=True)
def programs_of_files():
    """Frees the memory of the programs of several files; few files share large ones."""
    yield
    if next(FINISHED_FILES) % FILES_BETWEEN == 0:
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
