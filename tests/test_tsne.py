"""The map of the picks: a real run on digits, and the picture by itself."""

import functools
import json

import numpy as np
import pytest
from color_vision import VISION, lab_of
from kept_programs import Programs

from experiments import mnist_balanced, tsne
from experiments.classification.config import Config
from experiments.classification.splits import make_split
from experiments.data import datasets
from experiments.reporting import embedding_plot
from experiments.reporting.embedding_plot import Panel, Points, embedding_png

PROGRAMS, MAX_STEPS = Programs(), 50


def draw_small(folder):
    """Runs the command with programs that are compiled once, on a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tsne, "Config", functools.partial(Config, max_steps=MAX_STEPS))
        PROGRAMS.install(patch, tsne)
        tsne.main(["--smoke", "--background", "40", "--out", str(folder)])


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tsne")
    draw_small(folder)
    return folder


@pytest.fixture(scope="module")
def content(out):
    return json.loads((out / "tsne.json").read_text())


@pytest.fixture(scope="module")
def split():
    labels = datasets.load("digits").train_labels
    return make_split(labels, 0, base_size=20, imbalance=1, holdout_per_class=5)


@pytest.mark.full
def test_picks_are_those_of_the_studys_first_round(content, tmp_path):
    mnist_balanced.main(
        [
            *("--smoke", "--seeds", "1", "--rounds", "1", "--acquire-size", "20"),
            *("--max-steps", str(MAX_STEPS), "--methods", *tsne.METHODS),
            *("--out", str(tmp_path)),
        ]
    )
    text = (tmp_path / "picks.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["method"] for line in lines] == list(tsne.METHODS)
    for line in lines:
        drawn = content["picks"][line["method"]]
        for name in ("ids", "true", "predicted"):
            assert drawn[name] == line[name], (line["method"], name)


def test_every_group_is_what_it_says(content, split):
    pool, labels = split.pool_ids, datasets.load("digits").train_labels
    initial, others = content["initial"], content["others"]
    assert initial["ids"] == pool[split.labeled].tolist()
    assert np.bincount(initial["true"]).tolist() == [20] * 10
    assert len(others["ids"]) == len(set(others["ids"])) == 40
    assert set(others["ids"]) <= set(pool[~split.labeled].tolist())
    picked = {i for group in content["picks"].values() for i in group["ids"]}
    assert not picked & set(others["ids"])
    assert not picked & set(initial["ids"])
    for group in (initial, others, *content["picks"].values()):
        assert labels[group["ids"]].tolist() == group["true"]
        assert np.isfinite(group["coordinates"]).all()
        assert len(group["coordinates"]) == len(group["ids"])


def test_a_sample_that_two_methods_pick_has_one_place(content):
    places = {}
    for group in content["picks"].values():
        for id_, place in zip(group["ids"], group["coordinates"], strict=True):
            assert places.setdefault(id_, place) == place


def test_look_ahead_picks_are_wrong_more_often_than_random_ones(content):
    wrong = {
        name: np.not_equal(group["true"], group["predicted"]).mean()
        for name, group in content["picks"].items()
    }
    assert wrong["random"] < min(wrong["iwps"], wrong["iwps_app"])


def test_the_same_seed_gives_the_same_files(out, tmp_path):
    draw_small(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["tsne.json", "tsne.png"]
    for name in names:
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes()


def test_clusters_stay_apart_on_the_map():
    generator = np.random.default_rng(0)
    centers = 30 * np.eye(3, 60)
    labels = np.arange(90) % 3
    features = centers[labels] + generator.normal(size=(90, 60))
    places = tsne.embed(features.astype(np.float32), 0)
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(1)] == labels).all()


def pixels(png):
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def some_points(count, seed, wrong=False):
    generator = np.random.default_rng(seed)
    return Points(
        generator.normal(size=(count, 2)), np.arange(count) % 10, np.full(count, wrong)
    )


@functools.cache
def picture(num_panels=3, wrong=False, others=50, names=tuple("0123456789")):
    panels = [Panel(f"M{i}", some_points(10, i, wrong)) for i in range(num_panels)]
    return embedding_png(
        panels, some_points(30, 7), some_points(others, 8), names, "A title"
    )


@pytest.mark.parametrize("num_panels", [1, 3])
def test_the_picture_has_a_width_for_each_panel(num_panels):
    assert pixels(picture(num_panels)).shape[1] == 675 * num_panels


def test_the_picture_shows_every_class_and_who_is_wrong():
    shown = {tuple(color) for color in pixels(picture()).reshape(-1, 3)}
    for color in embedding_plot.CLASS_COLORS:
        assert tuple(bytes.fromhex(color[1:])) in shown, color
    assert (pixels(picture(wrong=True)) != pixels(picture())).any()


def test_a_picture_without_background_and_with_long_names_fits():
    names = ("Ankle boot", "T-shirt/top", *(f"Sandal {i}" for i in range(8)))
    border = pixels(picture(others=0, names=names))[:, [0, 1, -2, -1]]
    assert (border == 255).all()


@pytest.mark.parametrize("vision", VISION)
def test_classes_stay_apart_under_color_vision_deficiencies(vision):
    seen = np.array([lab_of(color, vision) for color in embedding_plot.CLASS_COLORS])
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    # Side by side, some two units are just noticeable.
    assert distance[np.triu_indices(10, 1)].min() > 20


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--seed", "1"), "seed must be in [0, 1)"),
        (("--background", "-1"), "background must be at least 0, got -1"),
        (("--dataset", "digit"), "did you mean 'digits'?"),
        (("--network", "mpl"), "did you mean 'mlp'?"),
        (("--acquire-size", "0"), "acquire_size must be at least 1, got 0"),
        (("--base-size", "1000"), "base_size must be at most"),
        (("--acquire-size", "100000"), "rounds * acquire_size must be at most"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, sentence, tmp_path, capsys):
    out = tmp_path / "never_made"
    with pytest.raises(SystemExit) as exit_:
        tsne.main(["--smoke", *arguments, "--out", str(out)])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert not out.exists()


def test_an_output_folder_that_cannot_be_made_is_refused(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(SystemExit) as exit_:
        tsne.main(["--smoke", "--out", str(file)])
    assert exit_.value.code == 2
    assert str(file) in capsys.readouterr().err
    assert file.read_text() == "mine"
