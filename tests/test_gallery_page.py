"""The page of the gallery as text, and the neighbors that it shows."""

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from gallery_pages import data_of, elements
from hypothesis import given
from hypothesis import strategies as st

from iwps_jax.app.files.picks import read_answers
from iwps_jax.app.gallery import nearest
from iwps_jax.app.gallery.page import TEMPLATES, Card, Neighbor, Picture, page

DOT = Picture("data:image/gif;base64,R0lGODlhAQABAAAAACw=", 1, 1)
NASTY = ["</script><script>alert(1)</script>", "<!-- {{data}}", 'a "b", c\nd', "Ä → 猫"]


# The page


@pytest.fixture
def nasty_page():
    cards = [
        Card(id_, DOT, label, 0.5, -1.5, "m", (("3", 0.25),), Neighbor(id_, label, DOT))
        for id_, label in zip(NASTY, reversed(NASTY), strict=True)
    ]
    return page(cards, NASTY, "<b>{{style}} & all")


def test_whatever_ids_and_labels_are_they_are_data(nasty_page):
    data = data_of(nasty_page)
    assert data["classes"] == NASTY
    assert [card["id"] for card in data["cards"]] == NASTY
    assert [card["predicted"] for card in data["cards"]] == NASTY[::-1]
    assert [card["neighbor"]["label"] for card in data["cards"]] == NASTY[::-1]
    assert data["cards"][0]["hurts"] == [["3", 0.25]]
    tags = [tag for tag, _, _ in elements(nasty_page)]
    assert tags.count("script") == 2 and "b" not in tags
    (title,) = [text for tag, _, text in elements(nasty_page) if tag == "h1"]
    assert title.strip() == "<b>{{style}} & all"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_script_writes_answers_that_no_spreadsheet_executes(tmp_path):
    names = [
        *NASTY,
        "=1+1",
        "+1",
        "-1",
        "@x",
        "'=1",
        "'",
        "'tis",
        "a\rb",
        "c\nd",
        "e;f",
    ]
    names += [
        "\x1b[31mred",
        "\u202egnp",
        "a\u2028b",
        "\uff1d1",
        "++",
        '"',
        "007",
        "x\ty",
    ]
    rows = [["id", "label"], *zip(names, reversed(names), strict=True)]
    program = (TEMPLATES / "parts.js").read_text(encoding="utf-8")
    program += f"process.stdout.write(csvOf({json.dumps(rows)}));"
    done = subprocess.run(["node", "-"], input=program.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    path = tmp_path / "labels.csv"
    path.write_bytes(done.stdout)
    answers = [(answer.id, answer.label) for answer in read_answers(path)]
    assert answers == [*zip(names, reversed(names), strict=True)]
    cells = [*csv.reader(io.StringIO(done.stdout.decode(), newline=""))]
    assert not any(cell[0] in "=+-@\uff1d" for row in cells for cell in row)


def test_the_policy_allows_this_script_and_nothing_from_elsewhere(nasty_page):
    (policy,) = [
        attributes["content"]
        for tag, attributes, _ in elements(nasty_page)
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for name, pattern in (
        ("style-src", "<style>(.*?)</style>"),
        ("script-src", "<script>(.*?)</script>"),
    ):
        (text,) = re.findall(pattern, nasty_page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(name) == f"'sha256-{digest}'"
    assert rules.pop("img-src") == "data:"
    assert set(rules) == {"default-src", "base-uri", "form-action"}
    assert set(rules.values()) == {"'none'"}
    for _, attributes, _ in elements(nasty_page):
        assert not {"src", "href", "style", "onclick", "onload"} & set(attributes)


def test_answers_are_kept_under_what_they_are_answers_to():
    def key(*ids, classes=("cat", "dog")):
        return data_of(page([Card(id_, DOT) for id_ in ids], classes, "t"))["key"]

    assert key("1", "2") == key("1", "2")
    keys = [key("1", "2"), key("2", "1"), key("1"), key("1", "2", classes=("a", "b"))]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("cards", "classes", "message"),
    [
        ([], ["a", "b"], "must not be empty"),
        ([Card("1", DOT)], [], "must not be empty"),
        ([Card("1", DOT)] * 2, ["a", "b"], "ids must be distinct, but '1'"),
        ([Card("1", DOT)], ["a", "a"], "classes must be distinct, but 'a'"),
        ([Card("1", DOT, "c")], ["a", "b"], "that of '1' is 'c'"),
    ],
)
def test_pages_that_could_not_be_answered_are_refused(cards, classes, message):
    with pytest.raises(ValueError, match=message):
        page(cards, classes, "title")


def luminance(color):
    shares = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares
    ]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(a, b):
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


def test_colors_have_the_contrast_that_guidelines_ask_for():
    css = (TEMPLATES / "page.css").read_text()
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w{6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    )
    assert light.keys() == dark.keys()
    for colors in (light, dark):
        for text in ("ink", "faint"):
            for ground in ("paper", "raised", "sunk"):
                assert contrast(colors[text], colors[ground]) >= 4.5
        assert contrast(colors["ink"], colors["key"]) >= 4.5
        for chip in ("agreed", "changed", "skipped", "labeled"):
            assert contrast("#ffffff", colors[chip]) >= 4.5
        for mark in ("focus", "edge"):
            assert contrast(colors[mark], colors["paper"]) >= 3


# The nearest labeled example


def some_features(seed, offset, count=40):
    features = np.random.default_rng(seed).normal(size=(count, 3))
    features[20:30] = features[10:20]  # ties
    return (features + offset).astype(np.float32)


def nearest_by_loop(features, rows, labeled):
    features = features.astype(np.float64)
    found = []
    for row in rows:
        others = [other for other in sorted(labeled) if other != row]
        distances = [np.square(features[o] - features[row]).sum() for o in others]
        found.append(others[int(np.argmin(distances))] if others else -1)
    return found


@given(
    seed=st.integers(0, 2**31 - 1),
    offset=st.sampled_from([0.0, 1e3, 1e6]),
    block=st.sampled_from([1, 10, 1 << 22]),
)
def test_nearest_is_that_of_a_loop(seed, offset, block):
    features = some_features(seed, offset)
    order = np.random.default_rng(seed).permutation(len(features))
    rows, labeled = order[:8], order[4:25]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "BLOCK", block)
        found = nearest.nearest_rows(features, rows, labeled)
    assert found.tolist() == nearest_by_loop(features, rows, labeled)


def test_nearest_is_never_the_pick_itself_and_never_a_nan():
    features = np.arange(4.0)[:, None]
    alone = nearest.nearest_rows(features, np.array([1, 2]), np.array([2]))
    assert alone.tolist() == [2, -1]
    features[2] = np.nan
    with pytest.raises(ValueError, match="row 2 are not"):
        nearest.nearest_rows(features, np.array([1]), np.array([2, 3]))
    # A row that nobody asks for is not read.
    assert nearest.nearest_rows(features, np.array([1]), np.array([3])).tolist() == [3]
