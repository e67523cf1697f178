"""A real browser for pages that are files, and what people do in it."""

import shutil

import pytest

playwright = pytest.importorskip("playwright.sync_api")

BROWSER = next(
    filter(
        None,
        map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")),
    ),
    None,
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs a Chromium")

# Storage that refuses, as in some private windows.
NO_STORAGE = """
Object.defineProperty(window, "localStorage", { get() { throw new Error("denied"); } });
"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """Opens a file of a gallery; at the end, nothing was asked for or complained of."""
    contexts, wrong = [], []

    def opened(path, script="", **options):
        context = browser.new_context(accept_downloads=True, **options)
        contexts.append(context)
        context.add_init_script(script)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: _note(wrong, request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def _note(wrong, url):
    if not url.startswith(("file:", "data:", "blob:")):
        wrong.append(url)


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def current(page):
    """The number of the current card, which has the focus and can be seen."""
    card = page.locator("[aria-current=true]")
    assert card.count() == 1
    number = int(card.get_attribute("id").removeprefix("card-"))
    assert page.evaluate("document.activeElement.id") == f"card-{number}"
    box = card.bounding_box()
    top = page.locator("header").bounding_box()
    assert box["y"] >= top["y"] + top["height"]
    assert box["y"] + box["height"] <= page.locator("footer").bounding_box()["y"]
    return number


def count(page):
    return page.locator("#count").inner_text()


def shown_answers(page):
    return page.locator(".card .chip").all_text_contents()


def saved(page, act):
    """The bytes of the file that an act makes the browser save."""
    with page.expect_download() as started:
        act()
    assert started.value.suggested_filename == "labels.csv"
    with open(started.value.path(), "rb") as file:
        return file.read()
