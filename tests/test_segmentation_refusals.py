"""Segmentation studies refuse in one sentence and leave nothing half-written."""

import shutil

import numpy as np
import pytest
from PIL import Image
from scene_files import save, write_cityscapes
from scene_runs import SMALL_RECIPE, folder_options, isolate, refusal, write_scenes
from test_backbone import state_dict_file

from experiments import cityscapes
from experiments.segmentation import __main__ as folder_study
from experiments.segmentation import networks
from iwps_jax.method import Pixels
from iwps_jax.methods import ROWS


@pytest.fixture(scope="module", autouse=True)
def isolated(tmp_path_factory):
    with isolate(tmp_path_factory.mktemp("cache")):
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def backbone_weights(tmp_path_factory):
    return state_dict_file(tmp_path_factory.mktemp("weights") / "lite0.pth", 0)


@pytest.fixture
def photos_of_one_shape(tmp_path):
    """For runs that begin: few programs."""
    return write_scenes(tmp_path / "photos", sizes=((16, 24),))


def without(options, name):
    """The options without one and its value."""
    place = options.index(name)
    return options[:place] + options[place + 2 :]


def damage(root, kind):
    mask = root / "masks" / "photo01_mask.png"
    if kind == "wrong size":
        save(mask, np.zeros((40, 55), np.uint8))
    elif kind == "unknown ids":
        save(mask, np.full((56, 40), 7, np.uint8))
    elif kind == "missing":
        mask.unlink()
        return root / "images" / "photo01.png"
    else:
        mask.write_bytes(mask.read_bytes()[:-40])
    return mask


@pytest.mark.parametrize("kind", ["wrong size", "unknown ids", "missing", "corrupt"])
def test_bad_masks_are_named_and_nothing_is_written(
    photos, backbone_weights, tmp_path, capsys, kind
):
    shutil.copytree(photos, tmp_path / "photos")
    file = damage(tmp_path / "photos", kind)
    before = sorted(tmp_path.rglob("*"))
    options = folder_options(tmp_path / "photos", backbone_weights, tmp_path / "out")
    assert str(file) in refusal(capsys, folder_study.main, options)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["wrong size", "unknown ids", "missing", "corrupt"])
def test_bad_masks_of_cityscapes_too(tmp_path, capsys, kind):
    write_cityscapes(tmp_path / "city")
    name = "gtFine/train/bochum/bochum_000001_000019_gtFine_labelIds.png"
    mask = tmp_path / "city" / name
    if kind == "wrong size":
        save(mask, np.zeros((16, 30), np.uint8))
    elif kind == "unknown ids":
        save(mask, np.full((16, 32), 34, np.uint8))
    elif kind == "missing":
        mask.unlink()
    else:
        mask.write_bytes(mask.read_bytes()[:-40])
    options = ["--data-dir", str(tmp_path / "city"), "--out", str(tmp_path / "out")]
    said = refusal(capsys, cityscapes.main, [*options, "--weights", "none"])
    assert "bochum_000001_000019" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--masks", "--classes"])
def test_images_need_masks_and_classes(photos, tmp_path, capsys, option):
    options = folder_options(photos, "none", tmp_path / "out")
    said = refusal(capsys, folder_study.main, without(options, option))
    needs = "a folder of your own needs images, masks and classes"
    assert said == f"error: {needs}, got no {option[2:]}."
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "iwsp"], "unknown method 'iwsp': did you mean 'iwps'?"),
        (["--network", "deeplabv3_resnet5"], "deeplabv3_resnet50"),
        (["--reduction", "mena"], "mean"),
        (["--precision", "bfloat"], "bfloat16"),
        (["--dataset", "cityscape"], "cityscapes"),
        (["--holdout-images", "0"], "holdout_images must be at least 1, got 0."),
        (["--seeds", "0"], "seeds must be at least 1, got 0."),
        (["--crop-size", "100"], "crop_size must be a multiple of 8, got 100."),
        (["--parts", "3"], "parts must divide the minibatch of 4 scenes, got 3."),
        (["--learning-rate", "nan"], "learning_rate must be positive and finite"),
        (["--methods", "iwps", "iwps"], "methods must not repeat"),
        (["--images", "a", "--dataset", "cityscapes"], "--dataset folder"),
        (["--weights", "nowhere.pth"], "nowhere.pth is not there"),
        (["--holdout-siz", "5"], "--holdout-size"),
    ],
)
def test_wrong_options_are_named(photos, tmp_path, capsys, options, words):
    usual = folder_options(photos, "none", tmp_path / "out", *options)
    if "--images" in options or "--dataset" in options:
        usual = [*options, "--out", str(tmp_path / "out")]
    said = refusal(capsys, folder_study.main, usual)
    assert words in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("main", "options", "named"),
    [
        (folder_study.main, ["--images", "photos", "--masks", "masks"], "--images"),
        (folder_study.main, ["--dataset=cityscapes"], "--dataset"),
        (cityscapes.main, ["--data-dir", "city"], "--data-dir"),
    ],
)
def test_smoke_takes_no_other_data(capsys, main, options, named):
    said = refusal(capsys, main, ["--smoke", *options])
    assert f"takes no other data, got {named};" in said


def test_the_scenes_must_suffice(photos, backbone_weights, tmp_path, capsys):
    options = folder_options(photos, backbone_weights, tmp_path / "out")
    said = refusal(capsys, folder_study.main, [*options, "--rounds", "5"])
    assert "must be at most the 15 training scenes, got 3 + 3 + 5 * 2 = 16." in said
    assert not (tmp_path / "out").exists()


def test_scores_that_are_not_finite_end_a_run(
    photos_of_one_shape, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(networks.RECIPES, "efficientnet_lite0", SMALL_RECIPE)

    def broken(key, size):
        return np.float32([np.nan] * 2 + [0.0] * (size - 2))

    row = ROWS["random"]._replace(pixels=Pixels(draw=broken))
    monkeypatch.setitem(ROWS, "random", row)
    options = folder_options(photos_of_one_shape, "none", tmp_path / "out")
    options += ["--methods", "random", "--seeds", "1", "--max-epochs", "1"]
    said = refusal(capsys, folder_study.main, options)
    assert "random gave 2 scores that are not finite in round 0" in said
    assert not (tmp_path / "out" / "picks.jsonl").read_bytes()


def test_test_scenes_without_labels_end_a_run(
    photos_of_one_shape, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(networks.RECIPES, "efficientnet_lite0", SMALL_RECIPE)
    for mask in sorted((photos_of_one_shape / "masks").iterdir())[4::5]:
        with Image.open(mask) as file:
            nothing = np.full_like(np.asarray(file), 255)
        save(mask, nothing)
    options = folder_options(photos_of_one_shape, "none", tmp_path / "out")
    options += ["--methods", "random", "--seeds", "1", "--max-epochs", "1"]
    said = refusal(capsys, folder_study.main, options)
    assert said.endswith(
        "error: the test scenes must have pixels with a class, and all are ignored."
    )
