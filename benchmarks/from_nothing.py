"""How long does it take from a folder of photos, or texts, to the first page of picks?

    python -m benchmarks.from_nothing           # three to six minutes, 2 CPU cores
    python -m benchmarks.from_nothing --smoke   # 40 samples, in seconds

3,000 photos of mixed sizes, 0.3 megapixels on average, and 3,000 short texts go through
`iwps embed`, `init`, `next` and `show`, each a process of its own: wall-clock seconds,
and samples a second of `iwps embed`, with all that a process needs to start. The photos
are crops of scikit-learn's sample images at other sizes, as JPEG. The weights are
fetched before the clock starts.
"""

import csv
import dataclasses
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_images

from benchmarks import command
from benchmarks.command import Positive
from iwps_jax.app.embedding.encoders import backbone_of
from iwps_jax.app.embedding.source import IMAGES, TEXTS
from iwps_jax.app.options import Flag
from iwps_jax.refusal import Refusal

MEGAPIXELS = 0.1, 0.5
"""Smallest and largest photo."""
WORDS = (
    "card payment transfer cash top up pin account fee exchange rate limit refund "
    "pending declined verify identity phone lost stolen abroad why is my when will the"
)
OWN = """
import numpy as np

def small(images):
    return np.array([np.asarray(i.convert("L").resize((8, 8))).ravel() for i in images])

def lengths(texts):
    return np.array([[len(t), t.count("a"), t.count("e"), t.count(" ")] for t in texts])
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 1
    samples: Positive = 3_000
    """photos, and texts"""
    k: Positive = 20
    """picks of the first batch"""
    smoke: Flag = False
    """40 samples, and a function as the network: seconds"""


def write_photos(folder: Path, number: int) -> list[str]:
    """Photos of mixed sizes in a folder; the words that name them to `iwps embed`."""
    rng = np.random.default_rng(0)
    originals = [Image.fromarray(image) for image in load_sample_images().images]
    photos = folder / "photos"
    photos.mkdir()
    for at in range(number):
        original = originals[at % len(originals)]
        pixels = 1e6 * rng.uniform(*MEGAPIXELS)
        ratio = rng.choice([4 / 3, 3 / 2, 3 / 4])
        size = round((pixels * ratio) ** 0.5), round((pixels / ratio) ** 0.5)
        left, top = rng.uniform(0, 0.4, 2) * original.size
        right, bottom = (left, top) + np.array(original.size) * rng.uniform(0.3, 0.6)
        box = left, top, right, bottom
        original.resize(size, box=box).save(photos / f"{at:05}.jpg", quality=85)
    return [str(photos)]


def write_texts(folder: Path, number: int) -> list[str]:
    """Texts of 8 to 16 words in a file, likewise."""
    rng, words = np.random.default_rng(0), WORDS.split()
    path = folder / "texts.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = (
            [" ".join(rng.choice(words, rng.integers(8, 17)))] for _ in range(number)
        )
        csv.writer(file).writerows([["text"], *rows])
    return [str(path)]


KINDS = {IMAGES: (write_photos, "own:small"), TEXTS: (write_texts, "own:lengths")}
"""By kind: what writes the samples, and the function in place of a network."""


def seconds_of(kind: str, options: Options, folder: Path) -> dict[str, float]:
    """Wall-clock seconds of each command."""
    write, own = KINDS[kind]
    words = write(folder, options.samples)
    if options.smoke:
        (folder / "own.py").write_text(OWN)
        words += ["--backbone", own]
    else:
        backbone_of(None, kind).load()
    steps = {
        "embed": [*words, "--out", "pool"],
        "init": ["pool"],
        "next": ["--k", str(options.k), "--out", "monday.csv"],
        "show": ["monday.csv", "--out", "monday.html"],
    }
    found = {}
    for name, arguments in steps.items():
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "iwps_jax", name, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        found[name] = time.perf_counter() - start
        if done.returncode:
            raise Refusal(f"iwps {name}: {done.stderr.strip()[-200:]}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints and keeps the numbers."""
    options = command.parse(Options, "from_nothing", __doc__, arguments)
    if options.smoke:
        options = dataclasses.replace(options, samples=40)
    table = Table("kind", "embed", "init", "next", "show", "all, s", "samples/s")
    found = []
    for _ in range(options.repeats):
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as where:
                seconds = seconds_of(kind, options, Path(where))
            rate = options.samples / seconds["embed"]
            found.append({"kind": kind, "seconds": seconds, "samples_per_s": rate})
            cells = (
                f"{value:.1f}" for value in (*seconds.values(), sum(seconds.values()))
            )
            table.add_row(kind, *cells, f"{rate:.0f}")
    Console(width=100).print(table)
    command.finish("from_nothing", options, {"results": found})


if __name__ == "__main__":
    main()
