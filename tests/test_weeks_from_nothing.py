"""A week of labeling by commands alone, from photos, texts or a table to labels.

The pools have as many rows, features and classes, so that programs are compiled once.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from embed_runs import folder as folder
from PIL import Image
from sklearn.datasets import load_digits, load_wine

from iwps_jax.__main__ import main

OWN = '''
import numpy as np

def pixels(images):
    """Gray values."""
    small = [image.convert("L").reduce(2) for image in images]
    return np.array([np.asarray(image).ravel() / 16.0 for image in small])

def words(texts):
    """How often each of a few words occurs."""
    return np.array([[text.count(word) for word in WORDS] for text in texts], "f4")

WORDS = "card money pin fee late broken door box run ball goal cup".split()
WORDS += "hello my and not".split()
'''
SIZE = 178
SUBJECTS = {
    "payment": "card money pin fee",
    "parcel": "late broken door box",
    "sport": "run ball goal cup",
}


def run(*words):
    with pytest.raises(SystemExit) as end:
        main([*map(str, words)])
    assert end.value.code == 0, words


def photos(folder):
    """Digits as PNG files; their classes by id."""
    images, labels = load_digits(n_class=3, return_X_y=True)
    truth = {}
    for number, (image, label) in enumerate(zip(images[:SIZE], labels, strict=False)):
        path = folder / "photos" / f"{number % 7}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(image.reshape(8, 8) * 15)).save(path)
        truth[str(path.relative_to(folder / "photos"))] = f"digit {label}"
    return truth, ("photos", "--backbone", "eyes:pixels")


def texts(folder):
    """Sentences about three subjects."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(SIZE):
        subject = rng.choice(list(SUBJECTS))
        words = rng.choice(SUBJECTS[subject].split(), 3)
        rows.append((f"t{number}", f"hello, my {' and '.join(words)}", subject))
    _write("mails.csv", ("key", "body"), [row[:2] for row in rows])
    words = ("mails.csv", "--text", "body", "--id", "key", "--backbone", "eyes:words")
    return {key: subject for key, _, subject in rows}, words


def wines(folder):
    """The table of scikit-learn."""
    features, labels = load_wine(return_X_y=True)
    names = [f"measure {at}" for at in range(features.shape[1])] + ["shelf"]
    rows = [
        (f"w{at}", *row, ("left", "middle", "right")[at % 3])
        for at, row in enumerate(features.tolist())
    ]
    _write("wines.csv", ("key", *names), rows)
    truth = {f"w{at}": f"winery {label}" for at, label in enumerate(labels)}
    return truth, ("wines.csv", "--table", "--id", "key")


def _write(name, header, rows):
    with open(name, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def answer(name, truth):
    """Somebody fills in the column of labels with a spreadsheet."""
    with open(name, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = truth[row["id"]]
    _write(name, rows[0].keys(), [row.values() for row in rows])
    return [row["id"] for row in rows]


@pytest.mark.parametrize("given", [photos, texts, wines], ids=lambda f: f.__name__)
def test_a_week_from_nothing(folder, given, capsys):
    (folder / "eyes.py").write_text(OWN)
    truth, words = given(folder)
    run("embed", *words, "--out", "pool")
    run("init", "pool")
    run("next", "--k", 20, "--out", "monday.csv")
    asked = answer("monday.csv", truth)
    run("label", "monday.csv", "--next", 20, "--out", "tuesday.csv")
    asked += answer("tuesday.csv", truth)
    run("label", "tuesday.csv", "--next", 20, "--out", "wednesday.csv")
    asked += answer("wednesday.csv", truth)
    assert len({*asked}) == 60
    run("label", "wednesday.csv")
    capsys.readouterr()
    run("status", "--json", "status.json")
    assert "of 6 control rows (95% interval" in capsys.readouterr().out
    run("predict", "--out", "labels.csv")
    with open("labels.csv", newline="", encoding="utf-8") as file:
        found = {row["id"]: row for row in csv.DictReader(file)}
    assert {*found} == {*truth}
    by_person = {id_ for id_, row in found.items() if row["by_person"] == "true"}
    assert by_person == {*asked}
    right = np.mean([row["label"] == truth[id_] for id_, row in found.items()])
    status = json.loads(Path("status.json").read_text("utf-8"))
    assert right > 0.9 and status["num_labeled"] == 60
    assert status["measured"]["total"] == 6


def test_the_same_seed_gives_the_same_first_batch(folder):
    (folder / "eyes.py").write_text(OWN)
    _, words = texts(folder)
    run("embed", *words, "--out", "pool")
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        run("init", "pool", "--campaign", name, "--seed", seed)
        run("next", "--k", 20, "--out", f"{name}.csv", "--campaign", name)
    a, b, c = (Path(f"{name}.csv").read_text("utf-8") for name in "abc")
    assert a == b != c


def test_a_folder_that_embed_has_not_made_is_refused(folder, capsys):
    (folder / "photos").mkdir()
    for words, sentence in (
        (["photos"], "photos/pool.npy"),
        ([], "--pool: one of the two"),
        (["photos", "--pool", "pool.npy"], "--pool: one of the two"),
        (["photos", "--ids", "ids.txt"], "--ids needs --pool"),
        (
            ["photos", "--method", "margin", "--steps", "9"],
            "--steps does not apply to margin",
        ),
        (
            ["photos", "--method", "margin", "--rarity", "0"],
            "--rarity does not apply to margin",
        ),
    ):
        with pytest.raises(SystemExit) as end:
            main(["init", *words])
        assert end.value.code == 2
        assert sentence in " ".join(capsys.readouterr().err.split())
