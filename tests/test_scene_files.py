"""Pictures as files hold them: depth of color, transparency; the paper's network."""

import io

import numpy as np
import pytest
from PIL import Image
from some_segmenters import colored_scenes

from experiments.models import resnet_weights
from experiments.segmentation import networks
from experiments.segmentation.data.decoding import DecodeError, read_image
from experiments.segmentation.data.scenes import Scenes


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_sixteen_bits_of_gray_become_eight_in_three_channels():
    gray = np.array([[0, 255, 256], [511, 65_280, 65_535]], np.uint16)
    found = read_image(encoded(Image.fromarray(gray)))
    np.testing.assert_array_equal(found, np.repeat(gray[..., None] >> 8, 3, axis=2))


def test_a_transparent_palette_keeps_its_colors():
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 0), 1)
    found = read_image(encoded(picture, transparency=0))
    np.testing.assert_array_equal(found, [[[10, 20, 30], [200, 100, 50]]])


def test_fractions_as_pixels_are_refused():
    picture = Image.fromarray(np.ones((2, 2), np.float32))
    with pytest.raises(DecodeError, match="mode F"):
        read_image(encoded(picture, "TIFF"))


def test_the_papers_network_begins_with_the_weights_of_the_file(tmp_path, monkeypatch):
    (tmp_path / "weights").write_bytes(b"some weights")
    monkeypatch.setattr(resnet_weights, "find_resnet50", lambda _: tmp_path / "weights")
    monkeypatch.setattr(resnet_weights, "load_resnet50", lambda path: path.name)
    options = networks.Options(4, "float32", "none", 100)
    make = networks.RECIPES["deeplabv3_resnet50"].make
    source = colored_scenes(2)
    names = ("sky", "road")
    colors = np.zeros((2, 3), np.uint8)
    scenes = Scenes("two", source, source, names, names, colors, None, "here", "0" * 64)
    random = make(scenes, options)
    pretrained = make(scenes, options._replace(weights=None))
    assert random.identity == {"weights": "random"}
    assert len(pretrained.identity["weights"]) == 64
    for inputs in (random, pretrained):
        assert inputs.is_augmented and inputs.max_side == 100
        assert inputs.side_multiple == inputs.segmenter.stride
