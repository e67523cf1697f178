"""Cards of every kind in a real browser: folds, captions, the end, and new classes."""

import csv
import io

import pytest
from browsers import (
    NO_STORAGE,
    count,
    current,
    needs_browser,
    press,
    saved,
    shown_answers,
)
from browsers import browser as browser
from browsers import open_page as open_page

from iwps_jax.app.gallery.page import Card, Neighbor, Picture, Row, Text, page

pytestmark = needs_browser

DOT = Picture("data:image/gif;base64,R0lGODlhAQABAAAAACw=", 1, 1)


@pytest.fixture
def show(tmp_path, open_page):
    """Opens a page of these cards."""

    def shown(cards, classes, script="", **options):
        path = tmp_path / "page.html"
        path.write_text(page(cards, classes, "Some", **options), encoding="utf-8")
        return open_page(path, script)

    return shown


def facts(tab, index):
    """Captions and values of a card."""
    captions = tab.locator(f"#card-{index} dt").all_text_contents()
    values = tab.locator(f"#card-{index} dd").all_text_contents()
    return dict(zip(captions, values, strict=True))


def answers_of(content):
    return [*csv.reader(io.StringIO(content.decode(), newline=""))][1:]


def test_texts_are_whole_and_long_ones_fold(show):
    long = "one <i>two</i> " * 200
    texts = ["<1>שלום</1> abc", long, "\n".join(map(str, range(50))), "🦊" * 900]
    tab = show(
        [Card(str(n), Text(text)) for n, text in enumerate(texts)], ["cat", "dog"]
    )
    first = tab.locator("#card-0 .text")
    assert first.text_content() == texts[0]
    assert first.evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert tab.locator("#card-0 .more").count() == 0
    for index in (1, 2, 3):
        tab.locator(f"#card-{index}").click()
        part = tab.locator(f"#card-{index} .text").text_content()
        assert part.endswith(" …") and len(part) < 1500
        assert texts[index].startswith(part[:-2]) and "\ufffd" not in part
        press(tab, "Space")
        assert tab.locator(f"#card-{index} .text").text_content() == texts[index]
        tab.locator(f"#card-{index} .more").click()
        assert tab.locator(f"#card-{index} .text").text_content() == part
    assert count(tab) == "0 of 4 labeled"
    # The button has the focus, and keys still label.
    press(tab, "1")
    assert shown_answers(tab)[3] == "✓ cat"


def test_rows_stand_beside_the_nearest_labeled_one(show):
    values = tuple((f"column {n}", str(n)) for n in range(20))
    other = Row((("column 0", "<b>"), ("column 1", "")))
    cards = [
        Card("7", Row(values), neighbor=Neighbor("8", "dog", other)),
        Card("9", Row((("note", "x" * 500),))),
    ]
    tab = show(cards, ["cat", "dog"])
    lines = tab.locator("#card-0 tbody tr")
    assert lines.count() == 14
    assert lines.nth(0).locator("td").all_text_contents() == ["0", "<b>"]
    assert lines.nth(2).locator("td").all_text_contents() == ["2", "empty"]
    assert "dog" in tab.locator("#card-0 thead").text_content()
    press(tab, "Space")
    assert (
        lines.count() == 20 and lines.nth(19).locator("td").first.text_content() == "19"
    )
    assert len(tab.locator("#card-1 td").text_content()) < 210


def test_every_number_has_a_caption_and_what_was_not_predicted_a_mark(show):
    cards = [
        Card("17", DOT, "cat", 0.75, 0.125, "iwps", (("3", 0.5),)),
        Card("18", DOT),
    ]
    tab = show(cards, ["cat", "dog"])
    assert facts(tab, 0) == {
        **{"predicted": "cat", "confidence": "75 %", "score": "0.125"},
        **{"method": "iwps", "id": "17"},
        "changes the loss of holdout": "row 3 by +0.5",
    }
    assert facts(tab, 1) == {"predicted": "— nothing yet", "id": "18"}
    press(tab, "1")
    assert tab.locator("#accept").is_disabled()
    press(tab, "Enter", "2")
    kinds = [tab.locator(f"#card-{n}").get_attribute("data-answer") for n in (0, 1)]
    assert kinds == ["agreed", "labeled"]


def test_at_the_end_the_page_says_that_one_must_save(show):
    tab = show([Card(str(n), DOT) for n in range(3)], ["a" * 200, "dog"])
    # A name is never cut.
    button = tab.get_by_role("button", name="a" * 200)
    assert button.evaluate("e => e.lastChild.scrollWidth <= e.clientWidth")
    end = tab.locator("#done")
    press(tab, "1", "-")
    assert end.is_hidden()
    press(tab, "2")
    assert "Now save them" in end.inner_text() and tab.locator("#finish").is_visible()
    content = saved(tab, tab.locator("#finish").click)
    assert [label for _, label in answers_of(content)] == ["a" * 200, "skip", "dog"]
    assert "labels.csv is saved" in end.inner_text()
    tab.reload()
    assert "labels.csv is saved" in end.inner_text()
    press(tab, "Backspace")
    assert end.is_hidden()
    press(tab, "1")
    assert "Now save them" in end.inner_text()


def test_new_classes_are_named_in_the_search(show):
    cards = [Card(str(n), Text(f"text {n}")) for n in range(6)]
    tab = show(cards, [], grows=True)
    press(tab, "/")
    tab.keyboard.type("École 2")
    press(tab, "Enter", "1")
    assert shown_answers(tab)[:2] == ["✓ École 2", "✓ École 2"]
    # The same name in other letters is no new class; skip and unsure are answers.
    press(tab, "/", *"ecole 2", "Enter", "/", *"uns", "Enter", "/", *"q", "Enter", "q")
    assert shown_answers(tab)[2:] == ["✓ École 2", "unsure", "✓ q", "✓ q"]
    assert count(tab) == "5 of 6 labeled, 1 unsure"
    assert tab.locator("#classes button").count() == 2
    before = shown_answers(tab)
    tab.reload()
    assert shown_answers(tab) == before
    assert tab.locator("#classes button").all_text_contents() == ["1École 2", "q"]
    content = saved(tab, lambda: press(tab, "Control+s"))
    assert [label for _, label in answers_of(content)] == [
        *("École 2", "École 2", "École 2", "unsure", "q", "q")
    ]


def test_classes_without_a_key_are_found_by_the_arrows_too(show):
    classes = [f"class {n}" for n in range(120)]
    tab = show([Card("1", DOT), Card("2", DOT)], classes)
    press(tab, "/", *["ArrowDown"] * 100, "Enter")
    assert shown_answers(tab)[0] == "✓ class 100"
    press(tab, "/", *"new", "Enter", "Escape")  # classes are settled here
    assert count(tab) == "1 of 2 labeled"
    press(tab, "/", *"s 77", "Enter")
    assert shown_answers(tab)[1] == "✓ class 77"


def test_of_many_cards_those_far_away_wait(show):
    cards = [
        Card(str(n), Text(f"text {n}"), label="cat" * (n == 3)) for n in range(900)
    ]
    tab = show(cards, ["cat", "dog"], NO_STORAGE)
    filled = "document.querySelectorAll('.card .facts').length"
    assert tab.evaluate(filled) < 300
    assert "not labeled" in tab.locator("#card-899").get_attribute("aria-label")
    press(tab, "2", "End")
    assert current(tab) == 899 and tab.evaluate(filled) < 600
    press(tab, "1")
    assert count(tab) == "3 of 900 labeled" and current(tab) == 1
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(filled) == 900
    assert [n for n, said in enumerate(shown_answers(tab)) if said] == [0, 3, 899]
