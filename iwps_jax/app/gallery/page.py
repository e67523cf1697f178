"""One self-contained HTML page on which people label picks with the keyboard.

The page makes no request: its content security policy allows only the images inside
it and, by their hashes, its one style sheet and its one script. The content that
differs from page to page is JSON, which the script shows as text, never as HTML.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from iwps_jax.refusal import Refusal

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = "parts.js", "content.js", "finder.js", "page.js"
"""In one script; only the last one does something when it is loaded."""


class Picture(NamedTuple):
    """An image as a data URL, with its size in pixels; or why there is none."""

    url: str
    width: int
    height: int
    flaw: str = ""


class Text(NamedTuple):
    """A text, in any script; the page shows all of it."""

    text: str


class Row(NamedTuple):
    """A row of a table: names of columns and values."""

    values: tuple[tuple[str, str], ...]


Content = Picture | Text | Row
"""What a card shows of its sample."""


class Neighbor(NamedTuple):
    """The nearest labeled example: its id, its label and its content."""

    id: str
    label: str
    content: Content


class Card(NamedTuple):
    """A pick as the page shows it; unknown fields are empty or None.

    `hurts` are the holdout rows whose loss would rise most, with the changes, in the
    unit of the method: nats, or for iwps_app nats per unit of step length.
    `label` is an earlier answer: a class, or `skip`.
    """

    id: str
    content: Content
    predicted: str = ""
    confidence: float | None = None
    score: float | None = None
    method: str = ""
    hurts: tuple[tuple[str, float], ...] = ()
    neighbor: Neighbor | None = None
    label: str = ""


def page(
    cards: Sequence[Card],
    classes: Sequence[str],
    title: str,
    *,
    side: int = 160,
    grows: bool = False,
) -> str:
    """Makes the page.

    Args:
        cards: the picks, in the order of labeling.
        classes: names of the classes; the first get the keys 1 to 9, 0 and a to z.
        title: title of the page.
        side: width and height of the frame for an image, in CSS pixels.
        grows: whether people may answer with the name of a class that is not there yet.

    Returns:
        HTML; equal inputs give equal text.

    Raises:
        Refusal: if there is no card, or no class that one could answer; if a name or
            an id occurs twice; or if a prediction is not one of the classes.

    Example:
        >>> dot = Picture("data:image/gif;base64,R0lGODlhAQABAAAAACw=", 1, 1)
        >>> "digits" in page([Card("17", dot)], ["cat", "dog"], "Some digits")
        True
    """
    _check(cards, classes, grows)
    # An example that is nearest to several picks stands in the page once.
    examples = [*dict.fromkeys(card.neighbor for card in cards if card.neighbor)]
    places = {example: place for place, example in enumerate(examples)}
    shown = {
        "side": side,
        "grows": grows,
        "classes": list(classes),
        "examples": [_plain(example) for example in examples],
        "cards": [_plain(card, places) for card in cards],
    }
    # The browser stores the answers under the hash of the page's content, so that
    # another page with the same ids never shows them.
    key = hashlib.sha256(_json(shown).encode()).hexdigest()
    style = _template("page.css")
    script = "".join(map(_template, SCRIPTS))
    values = {
        "title": html.escape(title),
        "policy": f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        "data": _json({"key": f"iwps:{key}", **shown}),
    }
    # In one pass, so that nothing in a value is taken for a place to fill in.
    return re.sub(r"\{\{(\w+)\}\}", lambda m: values[m[1]], _template("page.html"))


def _check(cards, classes, grows):
    if not cards or not (classes or grows):
        raise Refusal(
            f"cards and classes must not be empty, got {len(cards)} and {len(classes)}."
        )
    for name, values in (("classes", classes), ("ids", [c.id for c in cards])):
        seen = set()
        for value in values:
            if value in seen:
                raise Refusal(f"{name} must be distinct, but {value!r} occurs twice.")
            seen.add(value)
    for card in cards:
        if card.predicted and card.predicted not in classes:
            raise Refusal(
                f"predictions must be classes, but that of {card.id!r} is "
                f"{card.predicted!r}."
            )


def _plain(shown: Card | Neighbor, places: Mapping[Neighbor, int] | None = None):
    """A card or an example for JSON, without unknown fields.

    Its content stands under the name of its kind, and its neighbor is a place in the
    list of examples.
    """
    pairs = shown._asdict()
    pairs |= _plain_content(pairs.pop("content"))
    if places is not None and pairs["neighbor"] is not None:
        pairs["neighbor"] = places[pairs["neighbor"]]
    return _known(pairs)


def _plain_content(content: Content) -> dict[str, Any]:
    if isinstance(content, Picture):
        return {"picture": _known(content._asdict())}
    return content._asdict()


def _known(pairs):
    return {name: value for name, value in pairs.items() if value not in ("", None, ())}


def _json(value):
    """JSON that can stand in a script element, which only `<` could end."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _template(name):
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text):
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
