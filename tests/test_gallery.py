"""`iwps show`: what is on the page, images of every kind, and what is refused."""

import numpy as np
import pytest
from gallery_pages import data_of, gray_images, image_of, write_csv
from PIL import Image
from some_campaigns import run


@pytest.fixture
def show(tmp_path, monkeypatch):
    """Runs `iwps show` in a folder; returns the page's data, or the refusal."""
    monkeypatch.chdir(tmp_path)

    def run_show(*options):
        status = run("show", "picks.csv", "--out", "page.html", *options)
        html = tmp_path / "page.html"
        assert html.exists() == (status == 0)
        return data_of(html.read_text(encoding="utf-8")) if status == 0 else status

    return run_show


def refused(show, capsys, *options):
    """The one sentence of a refusal; nothing was written."""
    assert show(*options) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert "Traceback" not in output.err
    return output.err


# Images in files


def upright():
    """Wide, and brighter to the right, so that any turn shows."""
    return Image.fromarray(np.tile(np.linspace(0, 255, 200), (100, 1)).astype(np.uint8))


def save_photo(folder, name, image, **options):
    (folder / "photos").mkdir(exist_ok=True)
    image.save(folder / "photos" / name, **options)


def brightness(picture):
    """Mean of the left and of the right quarter."""
    values = np.asarray(image_of(picture).convert("L"), float)
    width = values.shape[1]
    return values[:, : width // 4].mean(), values[:, -(width // 4) :].mean()


def turned(tag):
    """The image that EXIF's orientation tag turns into the upright one."""
    back = {
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_90,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = tag
    return {"image": upright().convert("RGB").transpose(back[tag]), "exif": exif}


def deep(factor):
    values = np.asarray(upright()).astype(np.uint16) * factor + 1000
    return {"image": Image.fromarray(values)}


def real():
    return {"image": Image.fromarray(np.asarray(upright(), np.float32) / 7 - 3)}


def animated():
    frames = [Image.new("L", (200, 100), value) for value in (50, 250)]
    return {"image": upright(), "save_all": True, "append_images": frames}


IMAGES = {
    "gray.png": {"image": upright()},
    "color.jpg": {"image": upright().convert("RGB")},
    "color.webp": {"image": upright().convert("RGB")},
    "color.bmp": {"image": upright().convert("RGB")},
    "cmyk.jpg": {"image": upright().convert("CMYK")},
    "cmyk.tiff": {"image": upright().convert("CMYK")},
    "palette.gif": {"image": upright().convert("P")},
    "palette.png": {"image": upright().convert("P"), "transparency": 3},
    "alpha.png": {"image": upright().convert("RGBA")},
    "gray_alpha.png": {"image": upright().convert("LA")},
    "bits.png": {"image": upright().convert("1")},
    "lab.tiff": {"image": upright().convert("RGB").convert("YCbCr")},
    "12_bits.png": deep(16),
    "16_bits.png": deep(250),
    "16_bits.tiff": deep(250),
    "float.tiff": real(),
    "animated.gif": animated(),
    "animated.webp": animated(),
    "turned_3.jpg": turned(3),
    "turned_6.jpg": turned(6),
    "turned_8.png": turned(8),
}


def test_images_of_every_kind_are_upright_and_small(tmp_path, show):
    for name, image in IMAGES.items():
        save_photo(tmp_path, name, **image)
    write_csv(tmp_path / "picks.csv", "id", *IMAGES)
    data = show("--images", "photos", "--classes", "a,b", "--thumbnail", "50")
    assert data["side"] == 50
    assert [card["id"] for card in data["cards"]] == list(IMAGES)
    for card in data["cards"]:
        assert image_of(card["picture"]).size == (50, 25), card["id"]
        left, right = brightness(card["picture"])
        assert left < 60 and right > 195, card["id"]


def test_small_images_keep_every_pixel(tmp_path, show):
    pixels = np.random.default_rng(0).integers(0, 256, (28, 20, 3)).astype(np.uint8)
    save_photo(tmp_path, "1.png", Image.fromarray(pixels))
    write_csv(tmp_path / "picks.csv", "id", "1")
    (card,) = show("--images", "photos", "--classes", "a,b")["cards"]
    np.testing.assert_array_equal(np.asarray(image_of(card["picture"])), pixels)


@pytest.mark.parametrize(
    ("id_", "files", "expected"),
    [
        ("cat.png", ["cat.png", "cat.jpg"], "cat.png"),
        ("cat", ["cat.png", "dog.png"], "cat.png"),
        ("sub/cat", ["cat.png", "sub/cat.png"], "sub/cat.png"),
        ("a.b", ["a.b.png", "a.png"], "a.b.png"),
        ("17", ["17.png", "00017.png"], "17.png"),
        ("17", ["00017.png", "170.png", "1.png"], "00017.png"),
        ("0", ["000.png", "001.png"], "000.png"),
        ("CAT", ["CAT.PNG", "cat.txt.png"], "CAT.PNG"),
    ],
)
def test_ids_name_files(tmp_path, show, id_, files, expected):
    for gray, name in enumerate(files):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), gray).save(path)
    (tmp_path / "photos" / "17.txt").write_text("notes beside the images")
    write_csv(tmp_path / "picks.csv", "id", id_)
    (card,) = show("--images", "photos", "--classes", "a,b")["cards"]
    pixel = np.asarray(image_of(card["picture"]))[0, 0]
    assert files[pixel] == expected


def test_a_folder_that_holds_itself_is_listed_once(tmp_path, show):
    save_photo(tmp_path, "007.png", upright())
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos")
    write_csv(tmp_path / "picks.csv", "id", "7")
    assert show("--images", "photos", "--classes", "a,b")["cards"][0]["id"] == "7"


@pytest.mark.parametrize(
    ("id_", "words"),
    [
        ("missing", ["photos", "must hold an image", "missing"]),
        ("twice", ["twice", "twice.jpg and twice.png"]),
        ("7", ["'7'", "007.png and 07.png"]),
        ("../secret", ["inside photos", "../secret"]),
        ("sub/../../secret.png", ["inside photos", "secret"]),
        ("{root}/secret.png", ["inside photos", "secret.png"]),
        ("broken", ["broken.png", "cannot be read as an image"]),
        ("cut", ["cut.jpg", "cannot be read as an image"]),
        ("empty", ["empty.png", "cannot be read as an image"]),
    ],
)
def test_images_that_cannot_be_had_are_named(tmp_path, show, capsys, id_, words):
    for name in ("twice.png", "twice.jpg", "007.png", "07.png", "cut.jpg"):
        save_photo(tmp_path, name, upright())
    upright().save(tmp_path / "secret.png")
    photos = tmp_path / "photos"
    (photos / "cut.jpg").write_bytes((photos / "cut.jpg").read_bytes()[:700])
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (photos / "empty.png").touch()
    write_csv(tmp_path / "picks.csv", "id", "twice.png", id_.format(root=tmp_path))
    message = refused(show, capsys, "--images", "photos", "--classes", "a,b")
    assert all(word in message for word in words), message


def test_an_image_of_too_many_pixels_is_named(tmp_path, show, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200 * 100 // 2)
    save_photo(tmp_path, "large.png", upright())  # of just twice the limit
    save_photo(tmp_path, "larger.png", upright().resize((201, 100)))
    write_csv(tmp_path / "picks.csv", "id", "large")
    show("--images", "photos", "--classes", "a,b")
    (tmp_path / "page.html").unlink()
    write_csv(tmp_path / "picks.csv", "id", "larger")
    capsys.readouterr()
    message = refused(show, capsys, "--images", "photos", "--classes", "a,b")
    assert "larger.png must have at most 20,000 pixels" in message


# Images in arrays


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rows_of_arrays(tmp_path, show, channels, dtype):
    shape = (5, 6, 7) if channels is None else (5, 6, 7, channels)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    stored = images if dtype == np.uint8 else images.astype(dtype) / 255
    np.save(tmp_path / "images.npy", stored)
    write_csv(tmp_path / "picks.csv", "id,row", "last,4", "0,2")
    data = show("--images", "images.npy", "--classes", "a,b")
    for card, row in zip(data["cards"], (4, 2), strict=True):
        shown = np.asarray(image_of(card["picture"]))
        np.testing.assert_array_equal(shown, images[row].reshape(shown.shape))


@pytest.mark.parametrize(
    ("images", "pick", "words"),
    [
        (np.zeros((3, 5), np.uint8), "1", "must be [pool, height, width]"),
        (np.zeros((3, 3, 8, 8), np.uint8), "1", "transpose(0, 2, 3, 1)"),
        (np.zeros((3, 5, 5), np.int64), "1", "uint8 or floating point"),
        (np.full((3, 5, 5), 2.0), "1", "in [0, 1], but row 1"),
        (np.full((3, 5, 5), np.nan), "1", "in [0, 1], but row 1"),
        (np.zeros((3, 5, 5), np.uint8), "3", "an image for '3', row 3, got 3 images"),
        (
            np.zeros((3, 5, 5), np.uint8),
            "b",
            "the row of 'b' in images.npy must be known",
        ),
    ],
)
def test_arrays_that_are_no_images(tmp_path, show, capsys, images, pick, words):
    np.save(tmp_path / "images.npy", images)
    write_csv(tmp_path / "picks.csv", "id", pick)
    assert words in refused(show, capsys, "--images", "images.npy", "--classes", "a,b")


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
