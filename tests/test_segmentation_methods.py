"""Segmentation methods: contracts of all, and who judges for IWPS."""

import functools

import jax
import numpy as np
import pytest
import reference
import reference_pixels
from some_segmenters import (
    NUM_CLASSES,
    NUM_FEATURES,
    STRIDE,
    UNEVEN,
    ListSource,
    colored_scenes,
    small_segmenter,
)

import iwps_jax
from experiments.segmentation.data import loading
from experiments.segmentation.data.scenes import IGNORE, Scene
from experiments.segmentation.methods import (
    METHODS,
    RATE_VARIANTS,
    REDUCTIONS,
    SceneView,
    Setting,
    make_methods,
)

SEGMENTER = small_segmenter(dropout_rate=0.1)
NUM_POOL, NUM_HOLDOUT, ACQUIRE_SIZE = 11, 14, 4
PER_IMAGE = {"coreset": NUM_FEATURES, "badge": NUM_FEATURES * NUM_CLASSES}
BY_IWPS = ("iwps", "iwps_app", *RATE_VARIANTS)
LOOK_AHEAD = {"steps": 3, "learning_rate": 0.1}  # one of the ablation's lengths


@functools.cache
def methods(**changes):
    setting = Setting(
        segmenter=SEGMENTER,
        num_classes=NUM_CLASSES,
        acquire_size=ACQUIRE_SIZE,
        **LOOK_AHEAD,
        holdout_images=None,
        app_holdout_images=10,
        reduction="mean",
    )
    return make_methods(setting._replace(**changes))


@functools.cache
def variables():
    return SEGMENTER.init(jax.random.key(7))


@functools.cache
def scenes():
    """The pool, and after it the holdout scenes."""
    return colored_scenes(NUM_POOL + NUM_HOLDOUT)


@functools.cache
def even_scenes():
    """The same of one shape: a batch of it is one program."""
    return colored_scenes(NUM_POOL + NUM_HOLDOUT, sizes=((8, 12),), seed=4)


class View:
    """What a run shows to the methods, and which holdout rows they asked for."""

    def __init__(self, source=None, chunk_size=4, num_threads=0, noise=False):
        self.source = source or scenes()
        self.chunk_size, self.num_threads, self.noise = chunk_size, num_threads, noise
        self.asked = []

    def batches(self, ids):
        for batch in loading.padded_batches(
            self.source,
            ids,
            max_side=None,
            side_multiple=STRIDE,
            batch_size=self.chunk_size,
            num_threads=self.num_threads,
        ):
            if self.noise:
                images = np.random.default_rng(0).integers(0, 256, batch.images.shape)
                is_filler = (batch.rows < 0)[:, None, None, None]
                images = np.where(is_filler, images, batch.images).astype(np.uint8)
                batch = batch._replace(images=images)
            yield batch

    def holdout(self, rows):
        self.asked.append(np.asarray(rows).tolist())
        return self.batches(NUM_POOL + np.asarray(rows))

    def pool(self):
        return self.batches(range(NUM_POOL))

    def as_view(self):
        return SceneView(
            pool=self.pool,
            num_pool=NUM_POOL,
            holdout=self.holdout,
            num_holdout=NUM_HOLDOUT,
        )


class OneShape(View):
    """Reads only the scenes of the first shape; the others' scores stay zero."""

    def pool(self):
        batches = list(super().pool())
        shape = batches[0].images.shape
        return [batch for batch in batches if batch.images.shape == shape]


class NoScene(View):
    """Reads no scene of the pool, to show who is asked for a judgment."""

    def pool(self):
        return []


def scores_of(name, view=None, seed=0, **changes):
    view = view or View()
    method = methods(**changes)[name]
    return method.score(jax.random.key(seed), variables(), view.as_view())


def picks_of(name, scores, labeled=()):
    where = ~np.isin(np.arange(NUM_POOL), labeled)
    return np.asarray(methods()[name].select(jax.random.key(1), scores, where))


@functools.cache
def usual_scores(name):
    return even_scores(name) if name in RATE_VARIANTS else scores_of(name)


@functools.cache
def even_scores(name):
    return scores_of(name, View(even_scenes()))


ALL = pytest.mark.parametrize("name", [*METHODS, *RATE_VARIANTS])


@ALL
def test_a_score_is_finite_and_one_row_a_scene(name):
    scores = usual_scores(name)
    assert isinstance(scores, np.ndarray)  # on the host, like the pool
    per_image = (PER_IMAGE[name],) if name in PER_IMAGE else ()
    assert scores.shape == (NUM_POOL, *per_image)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores, axis=0)) == NUM_POOL


@ALL
def test_picks_are_distinct_and_were_not_labeled(name):
    labeled = [0, 3, 5]
    picks = picks_of(name, usual_scores(name), labeled)
    assert picks.shape == (ACQUIRE_SIZE,)
    assert len(set(picks.tolist())) == ACQUIRE_SIZE
    assert not set(picks.tolist()) & set(labeled)
    assert picks.min() >= 0 and picks.max() < NUM_POOL


@pytest.mark.parametrize("name", METHODS)
def test_chunks_threads_and_fillers_change_nothing(name):
    expected = usual_scores(name)
    found = scores_of(name, View(num_threads=3, noise=True))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)
    np.testing.assert_array_equal(picks_of(name, found), picks_of(name, expected))

    view = OneShape(chunk_size=1)
    rows = np.concatenate([batch.rows for batch in view.pool()])
    assert 5 < len(rows) < NUM_POOL
    found = scores_of(name, view)
    np.testing.assert_allclose(found[rows], expected[rows], rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", METHODS)
def test_labels_of_the_pool_are_never_seen(name):
    rng = np.random.default_rng(0)
    scrambled = ListSource(
        Scene(image, rng.choice([0, 1, 2, IGNORE], mask.shape).astype(np.uint8))
        if index < NUM_POOL
        else Scene(image, mask)
        for index, (image, mask) in enumerate(scenes().scenes)
    )
    found = scores_of(name, View(scrambled))
    np.testing.assert_array_equal(found, usual_scores(name))


@pytest.mark.parametrize("name", ["iwps_app", "iwps"])
def test_labels_of_the_holdout_are_seen(name):
    """Only those of pixels that have one."""
    others = ListSource(
        Scene(image, np.where(mask == IGNORE, IGNORE, (mask + 1) % NUM_CLASSES))
        for image, mask in scenes().scenes
    )
    found = scores_of(name, View(others))
    assert np.abs(found - usual_scores(name)).min() > 1e-6


@pytest.mark.parametrize("name", METHODS)
def test_the_key_decides_only_what_is_random(name):
    again, other = scores_of(name), scores_of(name, seed=1)
    np.testing.assert_array_equal(again, usual_scores(name))
    is_random = name in ("random", "mc_dropout", "bald", "iwps_app")
    assert (other == again).all() != is_random


def test_draws_are_the_same_networks_for_all_scenes():
    """Two scenes alike get one score, wherever they are."""
    source = colored_scenes(NUM_POOL, sizes=((8, 12),)).scenes
    source[8] = source[1]
    view = View(ListSource([*source, *scenes().scenes[NUM_POOL:]]))
    for name in ("mc_dropout", "bald"):
        scores = scores_of(name, view)
        np.testing.assert_allclose(scores[8], scores[1], rtol=1e-6)


# The judges of IWPS.


def judges(name, number, seed=0):
    view = NoScene(even_scenes())
    option = "app_holdout_images" if name == "iwps_app" else "holdout_images"
    scores_of(name, view, seed, **{option: number})
    (rows,) = view.asked
    return rows


@pytest.mark.parametrize("name", ["iwps_app", "iwps"])
def test_judges_are_drawn_anew_for_every_key(name):
    drawn = [judges(name, 5, seed) for seed in range(4)]
    for rows in drawn:
        assert len(set(rows)) == 5 and set(rows) <= set(range(NUM_HOLDOUT))
    assert len({tuple(rows) for rows in drawn}) == 4
    assert judges(name, 5) == drawn[0]


@pytest.mark.parametrize("name", ["iwps_app", "iwps"])
@pytest.mark.parametrize("number", [None, NUM_HOLDOUT, 99])
def test_all_judge_where_no_part_is_asked_for(name, number):
    assert judges(name, number) == list(range(NUM_HOLDOUT))


def test_ten_judge_for_iwps_app_and_all_for_iwps():
    view = NoScene()
    for name in BY_IWPS:
        scores_of(name, view)
    assert [len(rows) for rows in view.asked] == [NUM_HOLDOUT, 10, *[NUM_HOLDOUT] * 4]
    for name in set(METHODS) - set(BY_IWPS):
        scores_of(name, view)
    assert len(view.asked) == len(BY_IWPS)


# The same as the library called directly.


@jax.jit
def features_of(images):
    return SEGMENTER.features(variables(), images)


def as_arrays(source):
    images, masks = (np.stack(arrays) for arrays in zip(*source.scenes, strict=True))
    return features_of(images), masks


def iwps_of_the_library(pool, judges):
    """Each judge is enlarged as if alone, and weighs as many pixels as it has labels.

    One judge after another: judges of a shape share a program.
    """
    head, total, pixels = SEGMENTER.head(variables()), 0.0, 0
    features = features_of(pool.images)
    for batch in judges:
        counts = batch.labels != IGNORE
        scores = iwps_jax.iwps_pixel_head(
            features,
            pool.where,
            *head,
            features_of(batch.images),
            np.where(counts, batch.labels, 0),
            counts,
            **LOOK_AHEAD,
        )
        total += np.float64(scores) * counts.sum()
        pixels += counts.sum()
    return total / pixels


HOLDOUT_IDS = range(NUM_POOL, NUM_POOL + NUM_HOLDOUT)


def test_iwps_is_that_of_the_library():
    (pool,) = View(even_scenes()).batches(range(4))
    judges = View(even_scenes(), chunk_size=1).batches(HOLDOUT_IDS)
    expected = iwps_of_the_library(pool, judges)
    np.testing.assert_allclose(even_scores("iwps")[:4], expected, rtol=1e-5)


def test_iwps_app_is_that_of_the_library():
    features, masks = as_arrays(even_scenes())
    labels = masks[NUM_POOL:]
    head = SEGMENTER.head(variables())
    gradient = iwps_jax.pixel_head_gradient(
        features[NUM_POOL:],
        np.where(labels == IGNORE, 0, labels),
        labels != IGNORE,
        *head,
    )
    expected = iwps_jax.iwps_app_pixel_head(
        features[:NUM_POOL], np.ones_like(masks[:NUM_POOL], bool), *head, gradient
    )
    view = View(even_scenes(), chunk_size=3)
    found = scores_of("iwps_app", view, app_holdout_images=None)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_uneven_judges_are_those_of_the_library_one_by_one():
    pool = next(View().pool())
    assert len(set(pool.rows)) == 4
    expected = iwps_of_the_library(pool, View(chunk_size=1).batches(HOLDOUT_IDS))
    np.testing.assert_allclose(usual_scores("iwps")[pool.rows], expected, rtol=1e-4)


def test_step_lengths_of_the_ablation():
    lengths = [name.removeprefix("iwps_rate_") for name in RATE_VARIANTS]
    assert lengths == ["0.001", "0.01", "0.1", "1"]
    np.testing.assert_array_equal(usual_scores("iwps_rate_0.1"), even_scores("iwps"))
    small, large = (usual_scores(f"iwps_rate_{r}") for r in ("0.001", "0.01"))
    # Ten times the length, about ten times the change.
    np.testing.assert_allclose(10 * small, large, rtol=0.1, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "reductions"), [("entropy", REDUCTIONS), ("bald", ("mean", "highest"))]
)
def test_reductions_differ(name, reductions):
    large = View(colored_scenes(NUM_POOL, sizes=((24, 32),)))  # four regions
    found = {r: scores_of(name, large, reduction=r) for r in reductions}
    for scores in found.values():
        assert scores.shape == (NUM_POOL,) and np.isfinite(scores).all()
    assert len({scores.tobytes() for scores in found.values()}) == len(reductions)
    # The mean of the highest pixels, or of the best region, is no less than of all.
    for which in {"highest", "region"} & set(reductions):
        assert (found[which] >= found["mean"] * (1 - 1e-5)).all()


def test_uneven_scenes_are_scored_as_if_alone():
    assert len({scenes()[i].mask.shape for i in range(NUM_POOL)}) == len(set(UNEVEN))
    for row in (1, 2, 4):
        (batch,) = View(chunk_size=1).batches([row])
        kernel, _ = map(np.asarray, SEGMENTER.head(variables()))
        logits = np.asarray(features_of(batch.images)) @ kernel
        fine = reference_pixels.enlarge(np.float64(logits), STRIDE)[0]
        height, width = scenes()[row].mask.shape
        probs = reference.softmax(fine)[:height, :width]
        expected = -(probs * np.log(probs)).sum(-1).mean()
        assert usual_scores("entropy")[row] == pytest.approx(expected, rel=1e-5)
