"""The gallery in a real browser, from a file: keys, reload, download."""

import csv

import numpy as np
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
from gallery_pages import gray_images, write_csv
from PIL import Image
from some_campaigns import run, some_digits, write_digits

from iwps_jax.app.campaign import folder, labels_of, unanswered_of
from iwps_jax.app.files.picks import read_answers, read_picks

pytestmark = needs_browser


def make_page(folder, ids, classes, predicted=None):
    """A page of gray images, 8 a side, with the next class predicted for each."""
    (folder / "photos").mkdir()
    for number, image in enumerate(gray_images(len(ids))):
        Image.fromarray(image).save(folder / "photos" / f"{number:03d}.png")
    # The ids of the files; others are put into the page by a link of that name.
    write_csv(folder / "classes.txt", classes[0], *classes[1:])
    with (folder / "picks.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("id", "predicted"))
        for number, id_ in enumerate(ids):
            if not id_.isdigit():
                (folder / "photos" / id_).symlink_to(f"{number:03d}.png")
            lines.writerow((id_, classes[number % len(classes)]))
    page = folder / "page.html"
    status = run(
        *("show", folder / "picks.csv", "--images", folder / "photos"),
        *("--classes", folder / "classes.txt", "--out", page, "--title", "Animals"),
    )
    assert status == 0
    return page


def test_labels_go_back_into_the_campaign(tmp_path, monkeypatch, open_page):
    monkeypatch.chdir(tmp_path)
    digits = some_digits(0)
    write_digits(tmp_path, digits)
    np.save("images.npy", np.uint8(digits["pool"].reshape(-1, 8, 8) * 15))
    files = ("--pool", "pool.npy", "--holdout", "holdout.npz", "--labels")
    files += ("initial.csv", "--classes", "classes.txt")
    assert run("init", *files) == run("next", "--k", 6, "--out", "batch.csv") == 0
    images = ("--images", "images.npy", "--campaign", "campaign")
    assert run("show", "batch.csv", *images, "--out", "page.html") == 0
    rows = [int(pick.id) for pick in read_picks("batch.csv")]
    truth = digits["truth"][rows].tolist()

    page = open_page(tmp_path / "page.html")
    press(page, *("1234567890"[label] for label in truth[:5]))  # keys of 10 classes
    content = saved(page, lambda: press(page, "Control+s"))
    (tmp_path / "labels.csv").write_bytes(content)

    assert run("label", "labels.csv") == 0
    state = folder.read_record("campaign")
    assert [labels_of(state)[row] for row in rows[:5]] == truth[:5]
    assert unanswered_of(state) == rows[5:]


def test_a_session_with_the_keyboard(tmp_path, open_page):
    ids = [str(number) for number in range(40)]
    page = open_page(make_page(tmp_path, ids, ["cat", "dog", "owl"]))
    assert page.title() == "0/40 Animals" and current(page) == 0
    assert page.locator("#save").is_disabled()

    press(page, "3", "Enter", "1", "2", "x", "Space", "Enter")
    assert count(page) == "5 of 40 labeled" and current(page) == 5
    assert shown_answers(page)[:6] == ["✓ owl", "✓ dog", "✓ cat", "✓ dog", "✓ dog", ""]

    press(page, "Backspace")
    assert count(page) == "4 of 40 labeled" and current(page) == 4
    press(page, "Control+z")
    assert count(page) == "3 of 40 labeled" and current(page) == 3
    press(page, "-")
    assert count(page) == "3 of 40 labeled, 1 skipped" and current(page) == 4
    press(page, "1")

    # A row of the grid down and up, and along it.
    down = page.evaluate(
        "[...document.querySelectorAll('.card')].findIndex(c => c.offsetTop > "
        "document.querySelector('.card').offsetTop)"
    )
    press(page, "ArrowDown")
    assert 1 < down < 40 and current(page) == 5 + down
    press(page, "ArrowLeft", "ArrowUp", "ArrowRight", "ArrowRight")
    assert current(page) == 6
    press(page, "End", "ArrowDown", "ArrowRight")
    assert current(page) == 39
    press(page, "3")
    assert current(page) == 5  # the next that has no answer
    press(page, "Home", "ArrowUp", "ArrowLeft", "2")  # another answer to the first
    assert current(page) == 5

    before = shown_answers(page)
    page.reload()
    assert shown_answers(page) == before and current(page) == 5
    assert count(page) == "5 of 40 labeled, 1 skipped"
    press(page, "Control+z")
    assert shown_answers(page)[0] == "✓ owl" and current(page) == 0

    content = saved(page, lambda: press(page, "Control+s"))
    expected = "id,label\r\n0,owl\r\n1,dog\r\n2,cat\r\n3,skip\r\n4,cat\r\n39,owl\r\n"
    assert content.decode() == expected
    assert saved(page, page.locator("#save").click) == content


def test_names_of_every_kind_come_back_from_the_file(tmp_path, open_page):
    names = ["</script><b>", 'a "b", c', "Ä → 猫", "x & y", "=1+1", "'"]
    classes = [*names, *(f"class {number}" for number in range(60))]
    ids = ["0", "a,b.png", 'q"uote.png', "new\nline.png", "<!--.png", "Ü.png"]
    page = open_page(make_page(tmp_path, ids, classes))
    assert page.locator("#classes button").count() == 36

    press(page, "Enter", "3", "Enter", "Enter")
    press(page, "/", *"CLASS 5", "ArrowDown", "ArrowDown", "Enter")
    assert count(page) == "5 of 6 labeled" and current(page) == 5
    press(page, "/", *"no such", "Enter", "Escape", "/", *"quote", "Escape")
    assert count(page) == "5 of 6 labeled"
    press(page, "/", *"class 59", "Enter")
    path = tmp_path / "labels.csv"
    path.write_bytes(saved(page, lambda: press(page, "Control+s")))
    answers = [(answer.id, answer.label) for answer in read_answers(path)]
    labels = [names[0], names[2], names[2], names[3], "class 51", "class 59"]
    assert answers == list(zip(ids, labels, strict=True))


def test_classes_called_by_a_character_have_it_as_key(tmp_path, open_page):
    classes = [*"0123456789", *"ABCDEFGHIJ", *"abc", "other"]
    ids = [str(number) for number in range(8)]
    page = open_page(make_page(tmp_path, ids, classes))
    press(page, "0", "7", "A", "a", "J", "j", "d", "k")
    expected = ["0", "7", "A", "a", "J", "J", "D", "other"]
    assert shown_answers(page) == [f"✓ {name}" for name in expected]


def test_keys_by_their_place_where_the_character_is_no_class(tmp_path, open_page):
    page = open_page(make_page(tmp_path, list("01234"), ["cat", "dog", "owl"]))
    send = """([key, code, more]) => document.activeElement.dispatchEvent(
        new KeyboardEvent("keydown", { key, code, bubbles: true, ...more }))"""
    for key, code, more in (
        ("é", "Digit2", {}),  # unshifted, on a French keyboard
        ("/", "Digit7", {"shiftKey": True}),  # on a German one: finds
    ):
        page.evaluate(send, [key, code, more])
    assert page.locator("#finder").is_visible()
    press(page, "Escape")
    for more in ({"repeat": True}, {"ctrlKey": True}, {"altKey": True}):
        page.evaluate(send, ["1", "Digit1", more])
    assert shown_answers(page) == ["✓ dog", "", "", "", ""]


def test_mouse_and_touch(tmp_path, open_page):
    path = make_page(tmp_path, list("0123456"), ["cat", "dog"])
    page = open_page(
        path, has_touch=True, is_mobile=True, viewport={"width": 390, "height": 700}
    )
    page.locator("#card-3").tap()
    page.get_by_role("button", name="dog").tap()
    page.locator("#skip").tap()
    page.locator("#accept").tap()
    page.locator("#accept").tap()
    assert shown_answers(page) == ["", "", "", "✓ dog", "skipped", "✓ dog", "✓ cat"]
    page.locator("#undo").tap()
    page.locator("#find").tap()
    page.get_by_role("option", name="dog").tap()
    assert shown_answers(page)[6] == "✓ dog" and current(page) == 0
    # The page is as wide as the screen.
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_button_pressed_by_key_does_what_it_says(tmp_path, open_page):
    page = open_page(make_page(tmp_path, list("0123"), ["cat", "dog"]))
    page.locator("#keys").focus()
    press(page, "Enter")
    assert page.locator("#legend").is_visible() and count(page) == "0 of 4 labeled"
    page.get_by_role("button", name="dog").focus()
    press(page, "Space", "Enter")
    assert shown_answers(page) == ["✓ dog", "✓ dog", "", ""]


def test_without_storage_the_page_works_and_says_so(tmp_path, open_page):
    page = open_page(make_page(tmp_path, list("01"), ["cat", "dog"]), NO_STORAGE)
    assert "save them before you close" in page.get_by_role("alert").inner_text()
    press(page, "Enter", "1")
    assert saved(page, lambda: press(page, "Control+s")) == (
        b"id,label\r\n0,cat\r\n1,cat\r\n"
    )


def test_what_another_page_or_version_kept_is_harmless(tmp_path, open_page):
    path = make_page(tmp_path, list("01"), ["cat", "dog"])
    page = open_page(path)
    press(page, "2")
    keep = "value => localStorage.setItem(Object.keys(localStorage)[0], value)"
    for value, answers in (
        ("{", ["", ""]),
        ("[]", ["", ""]),
        ('{"answers": ["cat"]}', ["", ""]),
        ('{"answers": ["owl", "dog"], "current": 9}', ["", "✓ dog"]),
    ):
        page.evaluate(keep, value)
        page.reload()
        assert shown_answers(page) == answers and current(page) == 0
