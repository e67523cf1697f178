"""Folders of images and pages of them, for the tests of the gallery."""

import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
from PIL import Image
from some_campaigns import run


class _Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.elements = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_data(self, data):
        if self.elements:
            self.elements[-1][2].append(data)


def elements(html):
    """Every element of a page: tag, attributes, and the text after its start."""
    parser = _Elements()
    parser.feed(html)
    return [
        (tag, attributes, "".join(text)) for tag, attributes, text in parser.elements
    ]


def data_of(html):
    """What the page's script is given, with each neighbor in its place."""
    (text,) = [
        text
        for tag, attributes, text in elements(html)
        if tag == "script" and attributes.get("id") == "data"
    ]
    data = json.loads(text)
    for card in data["cards"]:
        if "neighbor" in card:
            card["neighbor"] = data["examples"][card["neighbor"]]
    return data


def image_of(picture):
    """The image of a data URL."""
    kind, text = picture["url"].split(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    assert kind == f"data:image/{image.format.lower()}"
    assert image.size == (picture["width"], picture["height"])
    return image


def gray_images(count, side=8):
    """Images that differ from each other in every pixel's brightness."""
    return np.full((count, side, side), np.arange(count)[:, None, None], np.uint8)


def write_csv(path, header, *lines):
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def shower(folder, monkeypatch):
    """Runs `iwps show picks.csv` in a folder; the page's data, or the exit status."""
    monkeypatch.chdir(folder)

    def show(*options):
        status = run("show", "picks.csv", "--out", "page.html", *options)
        html = folder / "page.html"
        assert html.exists() == (status == 0)
        return data_of(html.read_text(encoding="utf-8")) if status == 0 else status

    return show


def refused(show, capsys, *options):
    """The one sentence of a refusal; nothing was written."""
    assert show(*options) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert "Traceback" not in output.err
    return output.err
