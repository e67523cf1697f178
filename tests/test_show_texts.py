"""`iwps show` of texts, rows and photos that `iwps embed` has read, without options."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from embed_runs import embedded, save
from embed_runs import folder as folder
from gallery_pages import data_of, image_of
from some_campaigns import run

from iwps_jax.app.campaign import folder as campaigns
from iwps_jax.app.campaign import start, tell
from iwps_jax.app.commands import show
from iwps_jax.app.gallery.page import Card, Picture, Row, Text, page

TEXTS = ["</script><b>", "نص بالعربية", "two\nlines", "y" * 5000, "aa", "bbb"]


def begin(*words):
    """A campaign with two labels on what `iwps embed` makes; the ids."""
    pool, ids, _ = embedded(*words)
    state = start(pool, pool[:2], np.array([0, 1]), classes=("cat", "dog"), ids=ids)
    paths = campaigns.Paths(Path("pool/pool.npy"), Path("pool/ids.txt"))
    campaigns.create("campaign", paths, tell(state, [ids[4], ids[5]], ["cat", "dog"]))
    return ids


def some_texts():
    lines = [{"n": f"n{i}", "body": text} for i, text in enumerate(TEXTS)]
    Path("t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    columns = ("--text", "body", "--id", "n")
    return begin("t.jsonl", *columns, "--backbone", "own:letters")


def batch(ids, rows, predicted="cat,0.75"):
    with open("b.csv", "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("id", "row", "score", "predicted", "confidence", "label"))
        for row in rows:
            lines.writerow((ids[row], row, 0.5, *predicted.split(","), ""))


def shown(*options):
    assert run("show", "b.csv", *options) == 0
    return data_of(Path("b.html").read_text("utf-8"))


def refused(capsys, *options):
    capsys.readouterr()
    assert run("show", "b.csv", *options) == 2
    assert not Path("b.html").exists()
    return capsys.readouterr().err


def test_texts_are_whole_with_the_nearest_labeled_one():
    batch(some_texts(), [3, 0, 1, 2])
    data = shown()
    assert [card["text"] for card in data["cards"]] == [TEXTS[n] for n in (3, 0, 1, 2)]
    assert data["classes"] == ["cat", "dog"] and not data["grows"]
    assert data["cards"][1]["neighbor"] == {"id": "n5", "label": "dog", "text": "bbb"}
    # The examples stand in the page once.
    assert len(data["examples"]) == len(
        {card["neighbor"]["id"] for card in data["cards"]}
    )


def test_the_page_is_named_after_the_picks_unless_one_says_otherwise(monkeypatch):
    monkeypatch.setattr(show, "_show", lambda options: made.append(str(options.page)))
    made = []
    Path("deep").mkdir()
    for picks in ("deep/monday.csv", "picks.csv", "a.b.CSV", "plain"):
        assert run("show", picks, "--images", "photos") == 0
    assert run("show", "monday.csv", "--images", "photos", "--out", "o.html") == 0
    assert made == ["monday.html", "picks.html", "a.b.html", "plain.html", "o.html"]
    assert run("show", "page.html", "--images", "photos") == 2  # would replace it


def test_without_a_prediction_there_is_no_confidence():
    batch(some_texts(), [1], predicted=",0.75")
    (card,) = shown()["cards"]
    assert "predicted" not in card and "confidence" not in card


def test_rows_have_names_and_values():
    lines = [f"p{i},{i % 3},{'=1' if i else ''},{i * i}" for i in range(8)]
    Path("t.csv").write_text("\n".join(["id,size,note,<b>", *lines]) + "\n")
    batch(begin("t.csv", "--table", "--id", "id"), [0, 3])
    first, second = shown()["cards"]
    assert first["values"] == [["size", "0"], ["note", ""], ["<b>", "0"]]
    assert second["values"] == [["size", "0"], ["note", "=1"], ["<b>", "9"]]
    assert first["neighbor"]["values"][0][0] == "size"


@pytest.fixture
def photos():
    for number in range(6):
        save(f"photos/a/{number}.png", (40 * number, 9, 9), (30, 20))
    ids = begin("photos", "--backbone", "own:colors")
    batch(ids, [3, 0])
    return ids


def test_photos_are_found_without_options(photos, capsys):
    cards = shown()["cards"]
    assert [card["id"] for card in cards] == ["a/3.png", "a/0.png"]
    assert image_of(cards[0]["picture"]).getpixel((0, 0))[0] == 120
    Path("photos/a/3.png").unlink()
    assert "cannot be read" in shown()["cards"][0]["picture"]["flaw"]
    shutil.rmtree("campaign")
    Path("b.html").unlink()
    # Of the pool alone, as a folder or as a file, for picks of iwps score.
    for pool in ("pool", "pool/pool.npy"):
        data = shown("--pool", pool, "--classes", "cat,dog")
        assert "neighbor" not in data["cards"][1]
    labels = Path("l.csv")
    labels.write_text("id,label\na/5.png,dog\n")
    data = shown("--pool", "pool", "--labels", labels, "--classes", "cat,dog")
    assert data["cards"][1]["neighbor"]["id"] == "a/5.png"


def test_images_that_are_named_are_those(photos, capsys):
    shutil.copytree("photos", "other")
    save("other/a/3.png", (1, 250, 1), (30, 20))
    options = ("--images", "other", "--classes", "cat,dog")
    (card, _) = shown(*options)["cards"]
    assert image_of(card["picture"]).getpixel((0, 0))[1] == 250
    assert "neighbor" not in card  # the folder campaign counts only without --images
    shutil.rmtree("photos")
    Path("b.html").unlink()
    assert "or name another folder: iwps show --images DIR." in refused(capsys)


def test_what_cannot_be_shown_is_refused(folder, capsys):
    batch(some_texts(), [0])
    text = Path("t.jsonl").read_text()
    for out in ("t.jsonl", "pool/source.json", "pool/ids.txt"):
        before = Path(out).read_bytes()
        assert "the command reads it" in refused(capsys, "--out", out)
        assert Path(out).read_bytes() == before
    Path("t.jsonl").write_text(text + text)
    assert "t.jsonl has changed since" in refused(capsys)
    Path("t.jsonl").unlink()
    said = refused(capsys)
    assert "does not exist any more" in said and "--images" not in said
    Path("pool/source.json").unlink()
    assert "pool.npy was not made by iwps embed" in refused(capsys)
    shutil.rmtree("campaign")
    assert "needs --images, or a pool" in refused(capsys)
    assert "needs --images" in refused(capsys, "--pool", "pool/pool.npy")
    assert "--pool and --labels" in refused(capsys, "--labels", "t.csv")


def test_a_page_that_is_too_large_says_what_to_do(monkeypatch, capsys):
    batch(some_texts(), [0, 1])
    monkeypatch.setattr(show, "MOST_BYTES", 25_000)
    capsys.readouterr()
    assert len(shown()["cards"]) == 2
    error = capsys.readouterr().err
    assert "Warning: the page has 0.0 MB" in error and "at most 1 pick a page" in error


def test_a_page_without_classes_is_one_that_grows():
    cards = [Card("1", Text("one"))]
    assert data_of(page(cards, (), "t", grows=True))["classes"] == []
    with pytest.raises(ValueError, match="must not be empty"):
        page(cards, (), "t")


def test_contents_of_every_kind_are_data():
    dot = Picture("data:image/gif;base64,R0lGODlhAQABAAAAACw=", 1, 1)
    contents = {
        "picture": dot,
        "text": Text("<!-- </script>"),
        "values": Row((("</th>", "<td>"), ("é", ""))),
    }
    cards = [Card(kind, content) for kind, content in contents.items()]
    first, second, third = data_of(page(cards, ["a"], "t"))["cards"]
    assert first["picture"] == {"url": dot.url, "width": 1, "height": 1}
    assert second == {"id": "text", "text": "<!-- </script>"}
    assert third == {"id": "values", "values": [["</th>", "<td>"], ["é", ""]]}
