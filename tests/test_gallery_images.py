"""Images of every kind on the pages of `iwps show`, and those that cannot be shown."""

import os
import struct
import zlib

import gallery_pages
import numpy as np
import pytest
from gallery_pages import image_of, refused, write_csv
from PIL import Image

from iwps_jax.app.gallery import thumbnails


@pytest.fixture
def show(tmp_path, monkeypatch):
    """Runs `iwps show` in a folder; returns the page's data, or the refusal."""
    return gallery_pages.shower(tmp_path, monkeypatch)


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


@pytest.mark.parametrize(
    ("pixels", "shown"),
    [
        ([0, 1, 2, 4], [0, 64, 128, 255]),
        ([np.nan, 1, 3, np.inf], [0, 0, 255, 255]),
        ([-np.inf, -1, 1, 0], [0, 0, 255, 128]),
        ([7, 7, 7, 7], [0, 0, 0, 0]),
        ([np.nan, np.nan, np.inf, -np.inf], [0, 0, 255, 0]),
    ],
)
def test_deep_images_are_stretched_from_their_darkest_to_their_brightest(
    tmp_path, show, pixels, shown
):
    save_photo(tmp_path, "a.tiff", Image.fromarray(np.array([pixels], np.float32)))
    write_csv(tmp_path / "picks.csv", "id", "a")
    (card,) = show("--images", "photos", "--classes", "a,b")["cards"]
    assert np.asarray(image_of(card["picture"])).tolist() == [shown]


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
    ],
)
def test_images_that_cannot_be_had_are_named(tmp_path, show, capsys, id_, words):
    for name in ("twice.png", "twice.jpg", "007.png", "07.png"):
        save_photo(tmp_path, name, upright())
    upright().save(tmp_path / "secret.png")
    write_csv(tmp_path / "picks.csv", "id", "twice.png", id_.format(root=tmp_path))
    message = refused(show, capsys, "--images", "photos", "--classes", "a,b")
    assert all(word in message for word in words), message


# 13,000 x 13,000 pixels are claimed; whoever decodes finds that they are missing.
HUGE = b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data))
    + kind
    + data
    + struct.pack(">I", zlib.crc32(kind + data))
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 13_000, 13_000, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(13_001))),
        (b"IEND", b""),
    )
)
POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
)


@pytest.fixture
def broken(tmp_path):
    """Photos that cannot be shown, by id, with words of the reason; good.png can."""
    for name in ("good.png", "cut.jpg"):
        save_photo(tmp_path, name, upright())
    photos = tmp_path / "photos"
    for name, content in {
        "cut.jpg": (photos / "cut.jpg").read_bytes()[:700],
        "broken.png": b"\x89PNG\r\n\x1a\nno more",
        "empty.png": b"",
        "huge.png": HUGE,
        "program.png": POSTSCRIPT,
    }.items():
        (photos / name).write_bytes(content)
    return {
        "cut": "truncated",
        "broken": "none of AVIF, BMP",
        "empty": "none of AVIF, BMP",
        "huge": "169,000,000 pixels, and 67,108,864 are the limit",
        "program": "none of AVIF, BMP",
    }


def test_images_that_cannot_be_shown_have_cards_that_say_so(
    tmp_path, show, broken, capsys, monkeypatch
):
    started = tmp_path / "started"
    (tmp_path / "bin").mkdir()
    for name in ("gs", "gswin64c", "djpeg"):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\ntouch {started}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    write_csv(tmp_path / "picks.csv", "id", "good", *broken)
    good, *cards = show("--images", "photos", "--classes", "a,b")["cards"]
    assert image_of(good["picture"]).size == (160, 80)
    for card, (id_, words) in zip(cards, broken.items(), strict=True):
        assert card["id"] == id_ and card["picture"].keys() == {
            "width",
            "height",
            "flaw",
        }
        flaw = card["picture"]["flaw"]
        assert flaw.startswith(f"photos/{id_}.") and words in flaw, flaw
    told = capsys.readouterr().out
    assert "cannot be shown: 5 of 6" in told and "first: photos/cut.jpg" in told
    assert not started.exists()


def test_a_page_without_any_image_is_refused(tmp_path, show, broken, capsys):
    write_csv(tmp_path / "picks.csv", "id", *broken)
    message = refused(show, capsys, "--images", "photos", "--classes", "a,b")
    assert message.startswith("no image can be shown: photos/cut.jpg cannot be read")


def test_a_neighbor_that_cannot_be_shown_says_so(tmp_path, show, broken):
    np.save(tmp_path / "pool.npy", np.eye(2))
    write_csv(tmp_path / "ids.txt", "good", "cut")
    write_csv(tmp_path / "labels.csv", "id,label", "cut,a")
    write_csv(tmp_path / "picks.csv", "id", "good")
    pool = ("--pool", "pool.npy", "--ids", "ids.txt", "--labels", "labels.csv")
    (card,) = show("--images", "photos", "--classes", "a,b", *pool)["cards"]
    assert card["neighbor"]["label"] == "a"
    assert "photos/cut.jpg" in card["neighbor"]["picture"]["flaw"]


def test_pixels_are_counted_as_they_are_decoded(tmp_path, show, monkeypatch):
    monkeypatch.setattr(thumbnails, "MOST_PIXELS", 200 * 100)
    save_photo(tmp_path, "large.png", upright())
    save_photo(tmp_path, "larger.png", upright().resize((201, 100)))
    save_photo(tmp_path, "larger.jpg", upright().resize((800, 400)))  # at a quarter
    write_csv(tmp_path / "picks.csv", "id", "large", "larger.png", "larger.jpg")
    cards = show("--images", "photos", "--classes", "a,b", "--thumbnail", "50")["cards"]
    assert ["flaw" in card["picture"] for card in cards] == [False, True, False]
    assert image_of(cards[2]["picture"]).size == (50, 25)
    assert brightness(cards[2]["picture"])[0] < 60


def test_only_files_in_formats_that_are_read_are_images(tmp_path, show):
    save_photo(tmp_path, "a.jpg", upright())
    for name in ("a.pdf", "a.eps", "a.ps", "a.wmf", "a.svg"):
        (tmp_path / "photos" / name).write_bytes(POSTSCRIPT)
    write_csv(tmp_path / "picks.csv", "id", "a")
    (card,) = show("--images", "photos", "--classes", "a,b")["cards"]
    assert brightness(card["picture"])[0] < 60


def test_names_of_files_may_be_spelled_in_either_form_of_unicode(tmp_path, show):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    save_photo(tmp_path, f"{decomposed}.png", upright())
    for id_ in (composed, f"{composed}.png", decomposed, f"{decomposed}.png"):
        write_csv(tmp_path / "picks.csv", "id,predicted", f"{id_},{composed}")
        classes = f"{decomposed},b"
        (card,) = show("--images", "photos", "--classes", classes)["cards"]
        assert card["id"] == id_ and card["predicted"] == decomposed
        assert "flaw" not in card["picture"]


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
