"""Makes docs/gallery.png: `python docs/gallery.py`, about ten seconds.

scikit-learn's digits, 60 of them labeled: a linear model of these, the picks of IWPS on
it, and the page of `iwps show` after a few answers. It needs a Chromium.
"""

import shutil
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import iwps_jax
from iwps_jax.__main__ import main
from iwps_jax.app.files.picks import Pick, write_picks

LABELED, HOLDOUT, PICKS = 60, 300, 30
ANSWERS, SKIPPED = 7, 3


def write_files(folder: Path) -> list[str]:
    """Images, features, labels and picks, as a user would have them.

    Returns:
        What a person who labels the picks would press.
    """
    features, labels = load_digits(return_X_y=True)
    features = (features / 16).astype(np.float32)
    model = LogisticRegression(max_iter=200)
    model.fit(features[:LABELED], labels[:LABELED])
    kernel, bias = jnp.float32(model.coef_.T), jnp.float32(model.intercept_)
    held_out, rows = np.split(np.arange(LABELED, len(features)), [HOLDOUT])
    scores = iwps_jax.iwps_last_layer(
        features[rows], kernel, bias, features[held_out], labels[held_out]
    )
    best = np.asarray(iwps_jax.top_k(scores, PICKS))
    probs = model.predict_proba(features[rows[best]])
    picks = [
        Pick(
            *(str(row), str(row), f"{score:.3g}", "iwps"),
            *(str(p.argmax()), f"{p.max():.4f}"),
        )
        for row, score, p in zip(rows[best], scores[best], probs, strict=True)
    ]
    columns = ("method", "id", "row", "score", "predicted", "confidence")
    write_picks(folder / "picks.csv", picks, columns)
    known = [Pick(str(row), label=str(labels[row])) for row in range(LABELED)]
    write_picks(folder / "labels.csv", known, ("id", "label"))
    np.save(folder / "pool.npy", features)
    np.save(folder / "images.npy", np.uint8(features.reshape(-1, 8, 8) * 255))
    keys = [str(label) for label in labels[rows[best]][:ANSWERS]]
    return [*keys[:SKIPPED], "-", *keys[SKIPPED + 1 :]]


def show(folder: Path) -> None:
    """The command of the documentation."""
    files = ("images", "pool")
    arrays = [x for name in files for x in (f"--{name}", str(folder / f"{name}.npy"))]
    options = [
        "--labels",
        str(folder / "labels.csv"),
        "--classes",
        "0,1,2,3,4,5,6,7,8,9",
    ]
    page = ["--out", str(folder / "picks.html"), "--thumbnail", "112"]
    try:
        main(["show", str(folder / "picks.csv"), *arrays, *options, *page])
    except SystemExit as ended:
        if ended.code:
            raise


def photograph(page: Path, keys: list[str], path: Path) -> None:
    """The page in a browser after these keys, with few colors."""
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        tab = browser.new_page(viewport={"width": 1180, "height": 700})
        tab.goto(page.as_uri())
        for key in keys:
            tab.keyboard.press(key)
        tab.screenshot(path=path)
        browser.close()
    with Image.open(path) as image:
        image.convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        keys = write_files(Path(name))
        show(Path(name))
        picture = Path(__file__).with_name("gallery.png")
        photograph(Path(name) / "picks.html", keys, picture)
