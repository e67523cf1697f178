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
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from iwps_jax.refusal import Refusal

TEMPLATES = Path(__file__).parent / "templates"


class Picture(NamedTuple):
    """An image as a data URL, with its size in pixels; or why there is none."""

    url: str
    width: int
    height: int
    flaw: str = ""


class Neighbor(NamedTuple):
    """The nearest labeled example: its id, its label and its image."""

    id: str
    label: str
    picture: Picture


class Card(NamedTuple):
    """A pick as the page shows it; unknown fields are empty or None.

    `hurts` are the holdout rows whose loss would rise most, with the changes, in the
    unit of the method: nats, or for iwps_app nats per unit of step length.
    `label` is an earlier answer: a class, or `skip`.
    """

    id: str
    picture: Picture
    predicted: str = ""
    confidence: float | None = None
    score: float | None = None
    method: str = ""
    hurts: tuple[tuple[str, float], ...] = ()
    neighbor: Neighbor | None = None
    label: str = ""


def page(
    cards: Sequence[Card], classes: Sequence[str], title: str, *, side: int = 160
) -> str:
    """Makes the page.

    Args:
        cards: the picks, in the order of labeling.
        classes: names of the classes; the first get the keys 1 to 9, 0 and a to z.
        title: title of the page.
        side: width and height of the frame for an image, in CSS pixels.

    Returns:
        HTML; equal inputs give equal text.

    Raises:
        Refusal: if there is no card or no class, a name or an id occurs twice, or a
            prediction is not one of the classes.

    Example:
        >>> dot = Picture("data:image/gif;base64,R0lGODlhAQABAAAAACw=", 1, 1)
        >>> "digits" in page([Card("17", dot)], ["cat", "dog"], "Some digits")
        True
    """
    _check(cards, classes)
    shown = {
        "side": side,
        "classes": list(classes),
        "cards": [_plain(card) for card in cards],
    }
    # The browser stores the answers under the hash of the page's content, so that
    # another page with the same ids never shows them.
    key = hashlib.sha256(_json(shown).encode()).hexdigest()
    style = _template("page.css")
    script = _template("parts.js") + _template("page.js")
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


def _check(cards, classes):
    if not cards or not classes:
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


def _plain(card):
    """A card for JSON, without unknown fields."""
    pairs = card._asdict()
    pairs["picture"] = _known(card.picture._asdict())
    if card.neighbor is not None:
        picture = _known(card.neighbor.picture._asdict())
        pairs["neighbor"] = {**card.neighbor._asdict(), "picture": picture}
    return _known(pairs)


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
