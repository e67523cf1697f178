"""`iwps embed` of photos: ids, upright images, what is skipped, links."""

import hashlib
import os
from pathlib import Path

import numpy as np
from embed_runs import OWN, embedded, run, save, some_photos
from embed_runs import folder as folder
from PIL import Image

from iwps_jax.app.embedding.photos import open_photos


def test_photos_become_a_pool(folder, capsys):
    some_photos()
    features, ids, about = embedded("photos", "--backbone", "own:colors")
    assert ids == ["b.jpg", *(f"deep/er/{n}.png" for n in range(3))]
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[1], [250, 0, 0, 6, 4])
    assert about["kind"] == "images" and about["rows"] == 4
    assert about["source"] == {"folder": str(folder / "photos")}
    assert about["backbone"]["name"] == "own:colors"
    digest = hashlib.sha256(OWN.encode()).hexdigest()
    assert about["backbone"]["module"] == digest
    assert {p.name for p in (folder / "pool").iterdir()} == {
        *("pool.npy", "ids.txt", "source.json")
    }
    assert "4 rows of 5 features of images in pool" in capsys.readouterr().out


def test_what_is_no_image_is_skipped_with_its_reason(folder, capsys):
    some_photos()
    (folder / "secret.png").write_bytes((folder / "photos/b.jpg").read_bytes())
    (folder / "photos/a.png").write_bytes(b"no image")
    (folder / "photos/link.png").symlink_to(folder / "secret.png")
    (folder / "photos/notes.md").write_text("no image either")
    os.symlink(folder, folder / "photos/up")
    _, ids, about = embedded("photos", "--backbone", "own:colors")
    assert len(ids) == 4 and about["skipped"] == 2
    text = (folder / "pool/skipped.csv").read_text()
    assert "link.png,it is a link that leads out of the folder" in text
    assert "or damaged" in text and "notes.md" not in text
    assert "Samples that could not be used: 2; pool/skipped.csv" in (
        capsys.readouterr().out
    )


def test_a_photo_is_turned_upright_and_loses_its_transparency(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    save("photos/turned.jpg", (9, 9, 9), (40, 20), exif=exif)
    Image.new("RGBA", (6, 4), (0, 0, 0, 0)).save("photos/clear.png")
    Image.new("I;16", (6, 4), 700).save("photos/deep.png")
    Image.new("CMYK", (6, 4)).save("photos/print.jpg")
    samples = {s.id: s.value for s in open_photos(folder / "photos", None).samples(0)}
    assert samples["turned.jpg"].size == (20, 40)
    assert samples["clear.png"].getpixel((0, 0)) == (255, 255, 255)
    assert {image.mode for image in samples.values()} == {"RGB"}


def test_names_that_are_no_text_and_pipes_are_skipped(folder):
    some_photos()
    broken = os.fsencode(folder / "photos/a") + b"\xff.png"
    Path(os.fsdecode(broken)).write_bytes(b"")
    os.mkfifo(folder / "photos/pipe.png")
    _, ids, about = embedded("photos", "--backbone", "own:colors")
    assert len(ids) == 4 and about["skipped"] == 2
    listed = (folder / "pool/skipped.csv").read_text("utf-8")
    assert 'a\\udcff.png,"its name must be Unicode' in listed
    assert "pipe.png,it is no file" in listed


def test_links_inside_the_folder_add_no_rows(folder):
    some_photos()
    (folder / "photos/a.jpg").symlink_to("b.jpg")
    (folder / "photos/aa").symlink_to("deep")
    (folder / "photos/blob").write_bytes((folder / "photos/b.jpg").read_bytes())
    (folder / "photos/c.jpg").symlink_to("blob")
    _, ids, _ = embedded("photos", "--backbone", "own:colors")
    assert ids == ["b.jpg", "c.jpg", *(f"deep/er/{n}.png" for n in range(3))]
    listed = (folder / "pool/skipped.csv").read_text()
    assert listed == "id,reason\na.jpg,it is a link to b.jpg\n"


def test_another_target_of_a_link_is_another_photo(folder, monkeypatch):
    some_photos()
    (folder / "photos/blob").write_bytes((folder / "photos/b.jpg").read_bytes())
    (folder / "photos/a.jpg").symlink_to("blob")
    before = open_photos(folder / "photos", None).digest
    (folder / "photos/blob").write_bytes(b"other")
    assert open_photos(folder / "photos", None).digest != before


def test_after_a_run_without_a_usable_sample_nothing_blocks_the_next(folder):
    (folder / "photos").mkdir()
    (folder / "photos/a.png").write_bytes(b"no image")
    assert run("photos", "--backbone", "own:colors") == 2
    save("photos/b.png", (9, 9, 9))
    assert embedded("photos", "--backbone", "own:colors")[1] == ["b.png"]


def test_deep_images_have_one_scale(folder):
    """Their brightness is a feature: 1/256 of 16 bits, whatever else is in an image."""
    (folder / "photos").mkdir()
    for name, value in (("dark", 700), ("light", 60_000)):
        Image.new("I;16", (2, 2), value).save(f"photos/{name}.png")
    Image.fromarray(np.array([[0, 65_535]], ">u2").view()).save("photos/edges.tif")
    Image.new("F", (2, 2), 0.2).save("photos/float.tif")
    Image.new("F", (2, 2), 7.0).save("photos/wild.tif")
    Image.fromarray(np.array([[np.nan, 0]], np.float32)).save("photos/nan.tif")
    Image.new("I", (2, 2), -3).save("photos/below.tif")
    samples = {s.id: s for s in open_photos(folder / "photos", None).samples(0)}
    seen = {id_: np.asarray(s.value)[0, -1, 0] for id_, s in samples.items() if s.value}
    expected = {"dark.png": 2, "light.png": 234, "edges.tif": 255, "float.tif": 51}
    assert seen == expected
    assert samples["wild.tif"].flaw == "its values must be from 0 to 1"
    assert samples["nan.tif"].flaw == "its values must be from 0 to 1"
    assert samples["below.tif"].flaw == "its values must be from 0 to 65,535"
