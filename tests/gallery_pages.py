"""Folders of images and pages of them, for the tests of the gallery."""

import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
from PIL import Image


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
    """What the page's script is given."""
    (text,) = [
        text
        for tag, attributes, text in elements(html)
        if tag == "script" and attributes.get("id") == "data"
    ]
    return json.loads(text)


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
