"""`iwps show`: what is on the page, and what is refused."""

import gallery_pages
import numpy as np
import pytest
from gallery_pages import gray_images, image_of, refused, write_csv


@pytest.fixture
def show(tmp_path, monkeypatch):
    """Runs `iwps show` in a folder; returns the page's data, or the refusal."""
    return gallery_pages.shower(tmp_path, monkeypatch)


# The command


@pytest.fixture
def pool(tmp_path):
    """Six rows, called a to f, at 0, 1, 2, 3, 4 and 10; a and f are labeled."""
    np.save(tmp_path / "images.npy", gray_images(6))
    np.save(
        tmp_path / "pool.npy", np.array([[0], [1], [2], [3], [4], [10]], np.float32)
    )
    write_csv(tmp_path / "ids.csv", "id", *"abcdef")
    write_csv(tmp_path / "labels.csv", "id,label", "f,dog", "a,cat", "c,", "d,skip")
    write_csv(tmp_path / "picks.csv", "id,predicted,confidence", "e,1,0.75", "b,0,0.5")
    return ("--images", "images.npy", "--pool", "pool.npy", "--ids", "ids.csv")


def test_the_nearest_labeled_example_is_shown_beside(show, pool):
    data = show(*pool, "--labels", "labels.csv", "--classes", "cat,dog")
    far, near = data["cards"]
    assert (far["id"], far["predicted"], far["confidence"]) == ("e", "dog", 0.75)
    assert (near["id"], near["predicted"]) == ("b", "cat")
    # At 4, the one at 0 is nearer than the one at 10.
    for card in (far, near):
        assert card["neighbor"]["id"] == "a" and card["neighbor"]["label"] == "cat"
        assert np.asarray(image_of(card["neighbor"]["picture"])).max() == 0
    assert np.asarray(image_of(far["picture"])).min() == 4


def test_what_a_pick_file_says_is_on_the_page(tmp_path, show, pool, capsys):
    write_csv(
        tmp_path / "picks.csv",
        "method,id,row,score,predicted,confidence,hurts,hurts_by,label",
        "iwps,e,4,-0.125,dog,0.75,7 3,0.5 -0.25,",
        "iwps,b,1,2e-3,owl,,,,SKIP",
        "iwps,c,2,,,,,,dog",
    )
    data = show("--images", "images.npy")
    assert data["classes"] == ["dog", "owl"]
    assert "2 classes among predictions and labels" in capsys.readouterr().out
    first, second, third = ({**card, "picture": 0} for card in data["cards"])
    common = {"picture": 0, "method": "iwps"}
    assert first == {
        **common,
        **{"id": "e", "predicted": "dog", "confidence": 0.75, "score": -0.125},
        "hurts": [["7", 0.5], ["3", -0.25]],
    }
    assert second == {
        **common,
        **{"id": "b", "predicted": "owl", "score": 0.002, "label": "skip"},
    }
    assert third == {**common, "id": "c", "label": "dog"}


def test_picks_of_several_methods_are_one_with_their_names(tmp_path, show, pool):
    write_csv(
        tmp_path / "picks.csv",
        "method,id,row,score,predicted,hurts,hurts_by",
        *("iwps,e,4,0.5,1,3,0.25", "iwps,b,1,0.25,0,,"),
        *("margin,c,2,0.9,1,,", "margin,e,4,0.8,1,3,0.25"),
    )
    cards = show("--images", "images.npy", "--classes", "cat,dog")["cards"]
    assert [card["id"] for card in cards] == ["e", "b", "c"]
    assert [card["method"] for card in cards] == ["iwps, margin", "iwps", "margin"]
    assert [card.get("score") for card in cards] == [None, 0.25, 0.9]
    assert cards[0]["hurts"] == [["3", 0.25]]


def test_numbers_of_classes_are_all_numbers_or_all_names(tmp_path, show, pool, capsys):
    images = ("--images", "images.npy")
    write_csv(tmp_path / "picks.csv", "id,predicted", "1,10", "2,2", "3,owl", "4,ant")
    assert show(*images)["classes"] == ["2", "10", "ant", "owl"]
    write_csv(tmp_path / "picks.csv", "id,predicted", "1,0", "2,2", "3,1")
    named = show(*images, "--classes", "1,2,3")["cards"]
    assert [card["predicted"] for card in named] == ["1", "3", "2"]
    # Of what people say, text is a name.
    write_csv(tmp_path / "picks.csv", "id,predicted,label", "1,0,2", "2,2,Skip")
    first, second = show(*images, "--classes", "1,2,3")["cards"]
    assert (first["predicted"], first["label"]) == ("1", "2")
    assert second["label"] == "skip"


@pytest.mark.parametrize(
    ("lines", "options", "words"),
    [
        (["id,predicted", "1,owl"], (), "that of 1 is owl"),
        (["id,predicted", "1,2"], (), "that of 1 is 2"),
        (["id,predicted", "1,01"], (), "that of 1 is 01"),
        (["id,predicted", "1,cat", "2,0"], (), "that of 2 is 0"),
        (
            ["id,label", "1,0"],
            (),
            "picks.csv: the label of '1' must be cat, dog, skip or",
        ),
        (["id", "1", "1"], (), "1 is there twice"),
        (["id,method", "1,iwps", "2,iwps", "1,iwps"], (), "1 is there twice"),
        (["id,method,row", "1,a,1", "1,b,2"], (), "one row, but 1 has 1 and 2"),
        (
            ["id,method,label", "1,a,cat", "1,b,"],
            (),
            "one label, but 1 has cat and none",
        ),
        (["id,row", "1,x"], (), "must be a number, got x"),
        (["id,score", "1,high"], (), "score of 1 must be a number, got high"),
        (["id,score", "1,nan"], (), "score of 1 must be a number, got nan"),
        (["id,hurts,hurts_by", "1,2 3,0.5"], (), "equally long, got 2 and 1"),
        (["row", "1"], (), "column id"),
        (["id", "1"], ("--thumbnail", "0"), "[16, 1024], got 0"),
        (["id", "1"], ("--out", "none/page.html"), "none/page.html"),
        (["id", "1"], ("--pool", "pool.npy"), "--pool and --labels"),
        (
            ["id", "1"],
            ("--ids", "ids.csv"),
            "ids.csv: every id must be in the pool, got '1'",
        ),
        (["id,row", "b,4"], ("--ids", "ids.csv"), "b must be row 1"),
        (["id", "1"], ("--pool", "pool.npy", "--labels", "labels.csv"), "--ids"),
        (
            ["id", "6"],
            ("--pool", "pool.npy", "--labels", "labels.csv"),
            "[0, 6), got 6",
        ),
        (["id", "1"], ("--images", "nowhere"), "nowhere does not exist"),
    ],
)
def test_refusals(tmp_path, show, pool, capsys, lines, options, words):
    write_csv(tmp_path / "picks.csv", *lines)
    before = sorted(tmp_path.iterdir())
    given = ("--images", "images.npy", "--classes", "cat,dog", *options)
    assert words in refused(show, capsys, *given)
    assert sorted(tmp_path.iterdir()) == before


def test_without_classes_there_must_be_predictions(tmp_path, show, pool, capsys):
    write_csv(tmp_path / "picks.csv", "id,predicted", "1,cat", "2,cat")
    assert "--classes, got cat" in refused(show, capsys, "--images", "images.npy")


def test_images_and_pool_must_be_of_one_length(tmp_path, show, pool, capsys):
    np.save(tmp_path / "images.npy", gray_images(5))
    message = refused(show, capsys, *pool, "--labels", "labels.csv")
    assert "each of the 6 rows of the pool, got 5" in message
