"""How fast is the page of `iwps show` with thousands of cards, in a real browser?

    python -m benchmarks.page            # 3,000 cards of photos, texts and rows
    python -m benchmarks.page --smoke    # seconds

For each kind of card: megabytes of the page; seconds from the address to the first card
that is painted; and the milliseconds from a key that labels a card to the next frame,
the median and the most of `--keys` keys in turn, at the start and at the end of the
page. The photos are crops of scikit-learn's sample images, which compress as photos do.
The benchmark needs playwright and a Chromium.
"""

import dataclasses
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks import command
from benchmarks.command import Positive
from iwps_jax.app.gallery import thumbnails
from iwps_jax.app.gallery.page import Card, Content, Row, Text, page
from iwps_jax.app.options import Flag
from iwps_jax.refusal import Refusal

SMOKE = {"cards": 40, "keys": 3, "repeats": 1}
BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome"
SIDE = 160
WORDS = "the mail says that a parcel came late and who pays for it now please answer"
PAINTED = """() => new Promise((done) =>
  requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"""
"""When the next frame has been painted, in milliseconds since the page began."""
LISTEN = """() => {
  addEventListener("keydown", (event) => { window.pressed = event.timeStamp; }, true);
}"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 3
    cards: Positive = 3_000
    classes: Positive = 20
    keys: Positive = 50
    smoke: Flag = False
    """few cards, in seconds"""


def some_photos(rng: np.random.Generator, count: int) -> Iterator[Content]:
    """Crops of two photos, of many sizes."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(image) for image in load_sample_images().images]
    for number in range(count):
        photo = photos[number % len(photos)]
        side = int(rng.integers(SIDE, photo.height))
        left = int(rng.integers(photo.width - side))
        top = int(rng.integers(photo.height - side))
        crop = photo.crop((left, top, left + side, top + side))
        yield thumbnails.thumbnail(crop, SIDE)


def some_texts(rng: np.random.Generator, count: int) -> Iterator[Content]:
    """Texts of 5 to 500 words, most of them short."""
    words = WORDS.split()
    for length in np.exp(rng.uniform(np.log(5), np.log(500), count)).astype(int):
        yield Text(" ".join(rng.choice(words, length)))


def some_rows(rng: np.random.Generator, count: int) -> Iterator[Content]:
    """Rows of 12 columns."""
    for values in rng.normal(size=(count, 12)):
        yield Row(tuple((f"column {at}", f"{x:.4f}") for at, x in enumerate(values)))


KINDS: dict[str, Callable[[np.random.Generator, int], Iterator[Content]]] = {
    "photos": some_photos,
    "texts": some_texts,
    "rows": some_rows,
}


def write_page(path: Path, kind: str, options: Options) -> None:
    """A page with predictions, scores, and thirty examples as nearest ones."""
    rng = np.random.default_rng(0)
    classes = [f"class {number}" for number in range(options.classes)]
    contents = KINDS[kind](rng, options.cards)
    cards = [
        Card(f"{number:05}", content, classes[number % len(classes)], 0.5, 0.25)
        for number, content in enumerate(contents)
    ]
    path.write_text(page(cards, classes, kind, side=SIDE), encoding="utf-8")


def measure(browser: Any, path: Path, keys: int) -> dict[str, Any]:
    """Seconds and milliseconds of one visit."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    before = time.perf_counter()
    tab.goto(path.as_uri())
    tab.wait_for_selector("[aria-current=true]")
    tab.evaluate(PAINTED)
    told: dict[str, Any] = {"open_seconds": time.perf_counter() - before}
    tab.evaluate(LISTEN)
    for place in ("Home", "End"):
        tab.keyboard.press(place)
        tab.evaluate(PAINTED)
        waits = []
        for _ in range(keys):
            tab.keyboard.press("1")
            waits.append(tab.evaluate(PAINTED) - tab.evaluate("window.pressed"))
        told[f"key_milliseconds_{place.lower()}"] = waits
    context.close()
    return told


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window.

    Raises:
        Refusal: if there is none.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None or find_spec("playwright") is None:
        raise Refusal("the benchmark needs playwright and a Chromium.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = started.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints and keeps the numbers."""
    options = command.parse(Options, "page", __doc__, arguments)
    if options.smoke:
        options = dataclasses.replace(options, **SMOKE)
    told: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        for kind in KINDS:
            path = Path(folder, f"{kind}.html")
            write_page(path, kind, options)
            visits = [
                measure(browser, path, options.keys) for _ in range(options.repeats)
            ]
            told[kind] = {"megabytes": path.stat().st_size / 1e6, "visits": visits}
    print_table(options, told)
    command.finish("page", options, {"pages": told}, ["playwright"])


def print_table(options: Options, told: dict[str, dict[str, Any]]) -> None:
    """Prints what was measured."""
    columns = "kind", "MB", "opens in s", "a key in ms", "most", "at the end", "most"
    table = Table(*columns, title=f"{options.cards:,} cards")
    for kind, numbers in told.items():
        visits = numbers["visits"]
        cells = [f"{statistics.median(v['open_seconds'] for v in visits):.2f}"]
        for place in ("home", "end"):
            waits = [w for v in visits for w in v[f"key_milliseconds_{place}"]]
            cells += [f"{statistics.median(waits):.0f}", f"{max(waits):.0f}"]
        table.add_row(kind, f"{numbers['megabytes']:.1f}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
