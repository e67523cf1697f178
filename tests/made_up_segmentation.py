"""A segmentation run's folder and its scenes, with made-up numbers."""

import itertools
import json
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from made_up_run import write_lines
from PIL import Image

METHODS = (
    *("random", "entropy", "margin", "mc_dropout", "bald", "coreset", "badge"),
    *("iwps_app", "iwps"),
)
IGNORE = 255


class Scene(NamedTuple):
    image: np.ndarray
    mask: np.ndarray


def some_scenes(number=60, sizes=((64, 64),), num_classes=11):
    """Scenes of disks, one color a class, with an ignored border of 2 pixels."""
    generator = np.random.default_rng(0)
    colors = generator.integers(40, 256, (num_classes, 3))
    colors[0] = 30
    scenes = []
    for i in range(number):
        height, width = sizes[i % len(sizes)]
        y, x = np.mgrid[:height, :width]
        mask = np.zeros((height, width), np.uint8)
        for label in generator.integers(1, num_classes, 4):
            middle = generator.random(2) * (height, width)
            radius = min(height, width) * (0.1 + 0.15 * generator.random())
            mask[np.hypot(y - middle[0], x - middle[1]) < radius] = label
        noise = generator.normal(0, 25, (height, width, 3))
        image = np.clip(0.7 * colors[mask] + noise + 20, 0, 255).astype(np.uint8)
        mask[:2] = mask[-2:] = IGNORE
        scenes.append(Scene(image, mask))
    names = tuple(["background", *"0123456789"][:num_classes])
    if num_classes > 11:
        names = tuple(f"traffic class {i}" for i in range(num_classes))
    return SimpleNamespace(
        name="digit_scenes",
        train=scenes,
        class_names=names,
        colors=colors.astype(np.uint8),
        sha256="0" * 64,
        source="made up.",
    )


def predict(scene, generator, num_classes):
    """The mask with a wrong rectangle, and the ignored border predicted too."""
    predicted = np.where(scene.mask == IGNORE, 0, scene.mask)
    h, w = predicted.shape
    top, left = generator.integers(0, h // 2), generator.integers(0, w // 2)
    part = predicted[top : top + h // 3, left : left + w // 3]
    part[:] = (part + 1) % num_classes
    return predicted.astype(np.uint8)


def wrong_share(scene, predicted):
    known = scene.mask != IGNORE
    return float((predicted != scene.mask)[known].mean())


def write_segmentation_run(
    out,
    scenes,
    /,
    *,
    methods=METHODS,
    seeds=3,
    rounds=4,
    measure="foreground_miou",
    undefined=(),
    **config,
):
    """Write a finished run; classes in `undefined` have no IoU in seed 0."""
    generator = np.random.default_rng(1)
    num_classes = len(scenes.class_names)
    out.mkdir(parents=True, exist_ok=True)
    config = {
        "task": "segmentation",
        "dataset": scenes.name,
        "network": "efficientnet_lite0",
        "methods": list(methods),
        "seeds": seeds,
        "rounds": rounds,
        "acquire_size": 10,
        "initial_size": 30,
        "holdout_size": 20,
        "learning_rate": 0.01,
        "measure": measure,
        "class_names": list(scenes.class_names),
        "colors": scenes.colors.tolist(),
        "background": 0 if measure == "foreground_miou" else None,
        "scenes": {"name": scenes.name},
        "data_sha256": scenes.sha256,
    } | config
    (out / "config.json").write_text(json.dumps(config))
    metrics, picks = [], []
    for method, seed in itertools.product(methods, range(seeds)):
        better = 0.03 * methods.index(method) / len(methods)
        for r in range(rounds + 1):
            key = {"method": method, "seed": seed, "round": r}
            level = np.linspace(0.8, 0.3, num_classes) + 0.04 * r + better
            iou = (level + generator.normal(0, 0.02, num_classes)).tolist()
            foreground = float(np.mean(iou[1:]))
            for index in undefined if seed == 0 else ():
                iou[index] = None
            picking = r < rounds
            metrics.append(
                key
                | {
                    "num_labeled": 30 + 10 * r,
                    "miou": foreground + 0.01,
                    "foreground_miou": config["background"] == 0 and foreground or None,
                    "pixel_accuracy": 0.9,
                    "class_iou": iou,
                    "wrong_rate": 0.3 - 0.04 * r if picking else None,
                    "minority_rate": None,
                    "fit_seconds": 10.0 + r,
                    "score_seconds": 2.5 if picking else None,
                    "test_seconds": 1.0,
                    "compile_seconds": 0.0,
                }
            )
            if not picking:
                continue
            ids = generator.permutation(len(scenes.train))[:10].tolist()
            wrong = []
            for place, i in enumerate(ids):
                predicted = predict(scenes.train[i], generator, num_classes)
                wrong.append(wrong_share(scenes.train[i], predicted))
                if seed == 0 and place < 6:
                    folder = out / "predictions" / method
                    folder.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(predicted).save(folder / f"round{r}_{i}.png")
            picks.append(key | {"ids": ids, "wrong": wrong})
    write_lines(out / "metrics.jsonl", metrics)
    write_lines(out / "picks.jsonl", picks)
    return metrics


def small_run(out, scenes, /, **options):
    """Two methods, two seeds, one round."""
    options = {"methods": ("random", "iwps"), "seeds": 2, "rounds": 1} | options
    return write_segmentation_run(out, scenes, **options)
