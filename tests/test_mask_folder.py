"""Folders of images and masks: read as they are, and refused with every reason."""

import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from scene_files import gray_png, save, some_ids, some_image, write_folder

from experiments.segmentation.data.datasets import load
from experiments.segmentation.data.mask_folder import class_names
from experiments.segmentation.data.scenes import IGNORE, SceneError

NAMES = [f"{letter}" for letter in "abcdefghij"]


def load_folder(root, classes="sky,sea,land", **options):
    return load(
        "folder",
        images=root / "images",
        masks=root / "masks",
        classes=classes,
        **options,
    )


def refusal(root, **options):
    before = sorted(root.rglob("*"))
    with pytest.raises(SceneError) as caught:
        load_folder(root, **options)
    assert sorted(root.rglob("*")) == before
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path, NAMES)
    return tmp_path


def test_every_fifth_scene_is_a_test_scene(tmp_path):
    expected = write_folder(tmp_path, NAMES)
    scenes = load_folder(tmp_path, background="sea")
    assert scenes.train_names == tuple("abcdfghi")
    assert (len(scenes.train), len(scenes.test)) == (8, 2)
    for source, names in ((scenes.train, "abcdfghi"), (scenes.test, "ej")):
        for position, name in enumerate(names):
            image, mask = source[position]
            np.testing.assert_array_equal(image, some_image(NAMES.index(name)))
            np.testing.assert_array_equal(mask, expected[name])
            assert image.dtype == mask.dtype == np.uint8
            assert tuple(source.sizes[position]) == mask.shape
    assert scenes.class_names == ("sky", "sea", "land")
    assert scenes.background == 1
    assert scenes.name == tmp_path.resolve().joinpath("images").name
    assert scenes.colors.shape == (3, 3)


def test_named_test_part_and_subfolders(tmp_path):
    write_folder(tmp_path, ["x/a", "y/a", "b"])
    write_folder(tmp_path / "test", ["c"])
    scenes = load_folder(
        tmp_path,
        test_images=tmp_path / "test" / "images",
        test_masks=tmp_path / "test" / "masks",
    )
    assert scenes.train_names == ("b", "x/a", "y/a")
    assert len(scenes.test) == 1


def test_names_of_masks_and_hidden_files(tmp_path):
    write_folder(tmp_path, NAMES)
    masks = tmp_path / "masks"
    (masks / "a.png").rename(masks / "a_mask.png")
    (masks / "b.png").rename(masks / "b_labels.PNG")
    # An image whose own name ends like that of a mask.
    (masks / "c.png").rename(masks / "c_mask.png")
    images = tmp_path / "images"
    (images / "c.png").rename(images / "c_mask.png")
    (images / "._a.png").write_bytes(b"left by another system")
    (images / "notes.txt").write_text("no image")
    assert load_folder(tmp_path).train_names[:3] == ("a", "b", "c_mask")


@pytest.mark.parametrize("inside", [".", "masks"])
def test_masks_beside_or_below_their_images(tmp_path, inside):
    for seed, name in enumerate("abcde"):
        save(tmp_path / f"{name}.png", some_image(seed))
        save(tmp_path / inside / f"{name}_mask.png", some_ids(seed))
    scenes = load("folder", images=tmp_path, masks=tmp_path / inside, classes=3)
    assert scenes.train_names == tuple("abcd")
    np.testing.assert_array_equal(scenes.train[1].mask, some_ids(1))


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "bmp", "tif", "webp", "PNG"])
def test_kinds_of_images(folder, suffix):
    (folder / "images" / "a.png").unlink()
    options = {"lossless": True} if suffix == "webp" else {}
    smooth = np.full((12, 16, 3), (200, 100, 50), np.uint8)
    save(folder / "images" / f"a.{suffix}", smooth, **options)
    image = load_folder(folder).train[0].image
    assert np.abs(image.astype(int) - smooth).max() <= (3 if "jp" in suffix else 0)


def test_gray_transparent_palette_and_16_bit_images_become_rgb(folder):
    gray = some_image()[..., 0]
    kinds = {
        "a": Image.fromarray(gray),
        "b": Image.fromarray(np.dstack([gray, gray, gray, gray])),
        "c": Image.fromarray(gray).convert("P"),
        "d": Image.fromarray(gray.astype(np.uint16) * 256 + 7),
        "f": Image.fromarray(np.dstack([gray, gray])),
    }
    for name, image in kinds.items():
        image.save(folder / "images" / f"{name}.png")
    train = load_folder(folder).train
    for position in range(5):
        np.testing.assert_array_equal(train[position].image, np.dstack([gray] * 3))


STORED = {  # what lies in a file of an orientation whose picture is upright
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("turned", ["images masks", "images", "masks"])
def test_images_and_masks_lie_as_their_files_say(folder, orientation, turned):
    upright = {"images": some_image(0), "masks": some_ids(0)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in turned.split():
        stored = np.ascontiguousarray(STORED[orientation](upright[kind]))
        save(folder / kind / "a.png", stored, exif=exif)
    image, mask = load_folder(folder).train[0]
    np.testing.assert_array_equal(image, upright["images"])
    np.testing.assert_array_equal(mask, upright["masks"])


def test_turned_masks_of_16_bits_and_of_a_palette(folder):
    upright, exif = some_ids(0), Image.Exif()
    exif[0x0112] = 3
    turned = np.ascontiguousarray(np.rot90(upright, 2))
    palette = Image.fromarray(turned).copy()
    palette.putpalette(list(range(256)) * 3)
    for image in (Image.fromarray(turned.astype(np.uint16)), palette):
        image.save(folder / "masks" / "a.png", exif=exif)
        np.testing.assert_array_equal(load_folder(folder).train[0].mask, upright)


def test_a_class_that_no_training_mask_has_is_refused(tmp_path):
    for seed, name in enumerate(NAMES):
        save(tmp_path / "images" / f"{name}.png", some_image(seed))
        save(tmp_path / "masks" / f"{name}.png", some_ids(seed, ids=(0, 255)))
    message = refusal(tmp_path, classes="ground,object", ignore=255)
    assert "object has none, as they hold only 0, 255" in message
    assert "as in masks of 0 and 255, write 1 in its place" in message
    for name in "ej":  # of the test part
        save(tmp_path / "masks" / f"{name}.png", some_ids(0, ids=(0, 1)))
    assert "object has none" in refusal(tmp_path, classes="ground,object")
    save(tmp_path / "masks" / "a.png", some_ids(0, ids=(0, 1)))
    assert len(load_folder(tmp_path, classes="ground,object").train) == 8


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_small_file_of_a_huge_image_is_refused(folder, kind):
    content = bytearray((folder / kind / "a.png").read_bytes())
    content[16:24] = struct.pack(">II", 13000, 13000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (folder / kind / "a.png").write_bytes(content)
    message = refusal(folder)
    assert "a.png: it has more than 67,108,864 pixels: scale it down" in message


def test_a_program_named_like_an_image_is_not_run(folder):
    (folder / "images" / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n")
    (folder / "images" / "b.pdf").write_bytes(
        b"%PDF-1.4"
    )  # beside b.png: not looked at
    assert "a.png: it cannot be read (not an image in any known" in refusal(folder)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_exif_orientation_is_honored(folder, suffix):
    upright = some_image(0, (12, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    (folder / "images" / "a.png").unlink()
    save(folder / "images" / f"a.{suffix}", np.rot90(upright).copy(), exif=exif)
    np.testing.assert_array_equal(load_folder(folder).train[0].image, upright)


def test_kinds_of_masks(folder):
    ids = some_ids(ids=(0, 1, 2))
    masks = folder / "masks"
    palette = Image.fromarray(ids).copy()
    palette.putpalette([9, 9, 9, 80, 0, 0, 0, 200, 0])
    assert palette.mode == "P"
    palette.save(masks / "a.png")
    palette.save(masks / "b.png", bits=2)
    Image.fromarray(ids.astype(np.uint16)).save(masks / "c.png")
    (masks / "d.png").write_bytes(gray_png(ids, 2))
    (masks / "f.png").write_bytes(gray_png(ids, 4))
    (masks / "g.png").write_bytes(gray_png(ids, 16))
    (masks / "h.png").write_bytes(gray_png(ids % 2, 1))
    train = load_folder(folder).train
    for position in range(6):
        np.testing.assert_array_equal(train[position].mask, ids)
    np.testing.assert_array_equal(train[6].mask, ids % 2)


def test_values_to_ignore(folder):
    ids = np.arange(192, dtype=np.uint16).reshape(12, 16) % 3 + 40_000
    ids[0] = 0
    ids[1] = 1
    Image.fromarray(ids).save(folder / "masks" / "a.png")
    ignore = (255, 40_000, 40_001, 40_002, 0)
    mask = load_folder(folder, ignore=ignore).train[0].mask
    assert set(mask[1]) == {1}
    assert set(np.delete(mask, 1, axis=0).ravel()) == {IGNORE}
    assert "unknown class ids 40000, 40001, 40002" in refusal(folder)


def test_classes(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("sky\nthe sea\n\n")
    assert class_names(str(path)) == ("sky", "the sea")
    for text, match in (
        ("sky,sky", "class 1 is 'sky'"),
        ("sky,,sea", "class 1 is ''"),
        ("1", "2 to 255 classes, got 1"),
        (256, "2 to 255 classes, got 256"),
        ("nowhere.txt", "'nowhere.txt', which is no file"),
        ("²", "'²', which is no file"),
        ("a" * 400, "which is no file"),
    ):
        with pytest.raises(SceneError, match=match):
            class_names(text)


def test_identity_follows_the_data_and_nothing_else(folder, tmp_path_factory):
    first = load_folder(folder).sha256
    copy = tmp_path_factory.mktemp("copy")
    write_folder(copy, NAMES)
    palette = Image.open(copy / "masks" / "a.png")
    palette.putpalette(list(range(256)) * 3)
    palette.save(copy / "masks" / "a.png")  # the same classes in other bytes
    assert load_folder(copy).sha256 == first
    assert load_folder(folder, ignore=(1, 255)).sha256 != first
    save(copy / "masks" / "a.png", some_ids(7))
    assert load_folder(copy).sha256 != first
    write_folder(copy, NAMES)
    save(copy / "images" / "a.png", some_image(7))
    assert load_folder(copy).sha256 != first
    write_folder(copy, NAMES)
    for part in ("images", "masks"):
        (copy / part / "a.png").rename(copy / part / "aa.png")
    assert load_folder(copy).sha256 != first


# What is wrong is named, all of it at once


def test_all_problems_are_named_at_once(folder):
    images, masks = folder / "images", folder / "masks"
    (masks / "a.png").unlink()
    (images / "b.png").unlink()
    save(masks / "c.png", some_ids(0, (16, 12)))
    save(masks / "d.png", np.full((12, 16), 3, np.uint8))
    data = (masks / "e.png").read_bytes()
    (masks / "e.png").write_bytes(data[: len(data) // 2])
    data = (images / "f.png").read_bytes()
    (images / "f.png").write_bytes(data[: len(data) // 2])
    (images / "g.png").write_bytes(b"no image at all")
    save(masks / "h.png", some_image())
    save(images / "i.bmp", some_image())
    message = refusal(folder)
    for pattern in (
        rf"images without a mask \(1\): {images}/a.png\.",
        rf"masks without an image \(1\): {masks}/b.png\.",
        rf"{masks}/c.png has 12x16 pixels, {images}/c.png has 16x12 pixels",
        rf"{masks}/d.png: unknown class ids 3",
        rf"{masks}/e.png: it cannot be read",
        rf"damaged images \(2\): {images}/f.png: it cannot be read .*{images}/g.png: ",
        rf"{masks}/h.png: a mask is a PNG .*; got RGB",
        rf"files of the same name \(1\): {images}/i.bmp and {images}/i.png",
    ):
        assert re.search(pattern, message), (pattern, message)


def test_long_lists_are_cut(folder):
    for name in "abcdefg":
        (folder / "masks" / f"{name}.png").unlink()
    message = refusal(folder)
    assert "images without a mask (7): " in message
    assert "e.png; and 2 others." in message
    assert "f.png" not in message


def test_two_masks_for_one_image(folder):
    save(folder / "masks" / "a_mask.png", some_ids())
    assert "a.png and" in refusal(folder) or "a_mask.png and" in refusal(folder)


def test_a_jpeg_is_no_mask_whatever_its_name(folder):
    save(folder / "masks" / "a.png", some_ids(), format="JPEG")
    assert "a.png: a mask is a PNG" in refusal(folder)
    assert "got a JPEG file" in refusal(folder)


def test_empty_missing_and_too_small_folders(tmp_path):
    assert "images must be a folder" in refusal(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    assert "folder without images" in refusal(tmp_path)
    save(tmp_path / "images" / "a.png", some_image())
    assert "folder without PNG masks" in refusal(tmp_path)
    write_folder(tmp_path, "abcd")
    assert "at least 5 scenes" in refusal(tmp_path)


def test_options_that_make_no_sense(folder):
    assert "go together" in refusal(folder, test_images=folder / "images")
    assert "did you mean 'sea'" in refusal(folder, background="seas")
    assert "got 70000" in refusal(folder, ignore=70_000)
    (folder / "images" / "test").mkdir()
    for inside in (".", "test"):
        assert "folders side by side" in refusal(
            folder, test_images=folder / "images" / inside, test_masks=folder / "masks"
        )


def test_no_damage_of_a_file_goes_unnoticed(folder):
    """Any cut, any flipped bit: refused, or the pixels are what they were."""
    whole = load_folder(folder)
    for part in ("images", "masks"):
        path = folder / part / "a.png"
        data, rng = path.read_bytes(), np.random.default_rng(0)
        damaged = [data[:cut] for cut in rng.integers(0, len(data) - 1, 12)]
        for place in rng.integers(0, len(data), 12):
            flipped = bytes([data[place] ^ 16])
            damaged.append(data[:place] + flipped + data[place + 1 :])
        refused = 0
        for bad in damaged:
            path.write_bytes(bad)
            try:
                scene = load_folder(folder).train[0]
            except SceneError as error:
                assert str(path) in str(error)
                refused += 1
                continue
            for found, expected in zip(scene, whole.train[0], strict=True):
                np.testing.assert_array_equal(found, expected)
        assert refused >= 20
        path.write_bytes(data)


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "tif", "webp"])
def test_half_an_image_is_refused(folder, suffix):
    (folder / "images" / "a.png").unlink()
    path = save(folder / "images" / f"a.{suffix}", some_image())
    data = path.read_bytes()
    load_folder(folder)
    path.write_bytes(data[: len(data) // 2])
    assert f"damaged images (1): {path}: it cannot be read" in refusal(folder)


def test_files_that_change_during_a_run_are_named(folder):
    train = load_folder(folder).train
    save(folder / "masks" / "a.png", some_ids(0, (4, 4)))
    with pytest.raises(SceneError, match="files of a were of 16x12 pixels"):
        train[0]
    (folder / "images" / "b.png").unlink()
    with pytest.raises(SceneError, match="b.png was good when the run began"):
        train[1]
