"""Valid files, some of each kind that a reader takes."""

import csv
import io
import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save

from iwps_jax.app.campaign import ask, folder, start, tell
from tests.fuzz.edits import one_of
from tests.torch_bytes import contiguous_bytes

ROWS = 6
CLASSES = ("cat", "dög", "owl")
NAMES = ("a", "b 1", "ü/2.png", "7", "x-9", "=1")
FLOATS, NUMBERS = ("f2", "f4", "f8"), ("f2", "f4", "f8", "i1", "i4", "i8", "u2", "?")


def array(rng, dtypes=NUMBERS, shape=None):
    if shape is None:
        shape = tuple(rng.integers(1, 4, int(rng.integers(0, 4))).tolist())
    order = one_of(rng, "CF")
    return np.asarray(
        rng.integers(0, 2, shape).astype(one_of(rng, dtypes)), order=order
    )


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(rng, **arrays):
    file = io.BytesIO()
    one_of(rng, (np.savez, np.savez_compressed))(file, **arrays)
    return file.getvalue()


def any_npy(rng):
    if rng.random() < 0.2:
        return {"a.npy": npy(np.array(NAMES).astype(one_of(rng, ("U", "U9"))))}
    return {"a.npy": npy(array(rng))}


def any_npz(rng):
    arrays = {"features": array(rng), "labels": array(rng), "x": array(rng)}
    return {"a.npz": npz(rng, **dict(list(arrays.items())[: int(rng.integers(1, 4))]))}


def any_safetensors(rng):
    arrays = {"features": array(rng), "labels": array(rng)}
    some = dict(list(arrays.items())[: int(rng.integers(1, 3))])
    return {
        "a.safetensors": save({k: np.ascontiguousarray(v) for k, v in some.items()})
    }


def pool(rng):
    return {"pool.npy": npy(array(rng, ("f2", "f4", "f8", "i4"), (ROWS, 3)))}


def head(rng):
    kernel, bias = array(rng, FLOATS, (4, 3)), array(rng, FLOATS, (3,))
    return {"head.npz": npz(rng, kernel=kernel, bias=bias)}


def holdout(rng):
    labels = rng.integers(0, 3, ROWS).astype(one_of(rng, ("u1", "i4", "i8", "u8")))
    features = array(rng, FLOATS, (ROWS, 4))
    return {"holdout.npz": npz(rng, features=features, labels=labels)}


def lines(rng, names):
    end = one_of(rng, ("\n", "\r\n"))
    return (end.join(names) + one_of(rng, ("", end))).encode()


def table(rng, columns):
    file = io.StringIO(newline="")
    rows = csv.writer(file, lineterminator=one_of(rng, ("\n", "\r\n")))
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    return file.getvalue().encode(one_of(rng, ("utf-8", "utf-8-sig", "utf-16")))


def ids_txt(rng):
    return {"ids.txt": lines(rng, NAMES)}


def ids_csv(rng):
    return {"ids.csv": table(rng, {"id": NAMES, "other": range(ROWS)})}


def ids_npy(rng):
    if rng.random() < 0.3:
        return {"ids.npy": npy(np.array([5, 3, 9, 0, 1, 2], one_of(rng, ("u1", "i8"))))}
    names = np.array(NAMES)
    if rng.random() < 0.5:
        names = np.char.encode(names, "utf-8")
    return {"ids.npy": npy(names)}


def classes(rng):
    return {"classes.txt": lines(rng, CLASSES)}


def answers(rng):
    labels = [one_of(rng, (*CLASSES, "", "skip")) for _ in NAMES]
    return {"answers.csv": table(rng, {"id": NAMES, "label": labels})}


def picks(rng):
    scores = rng.random(ROWS).round(3)
    columns = {"id": NAMES, "row": range(ROWS), "score": scores, "label": [""] * ROWS}
    return {"picks.csv": table(rng, columns)}


def label_studio(rng):
    choices = [one_of(rng, CLASSES) for _ in NAMES]
    if rng.random() < 0.5:
        tasks = [
            {"id": number, "sample_id": name, "choice": choice}
            for number, (name, choice) in enumerate(zip(NAMES, choices, strict=True))
        ]
        return {"export.json": json.dumps(tasks).encode()}
    tasks = [
        {
            "id": number,
            "data": {"sample_id": name, "image": "https://a.example/1"},
            "annotations": [
                {
                    "was_cancelled": False,
                    "result": [
                        {
                            "from_name": "choice",
                            "to_name": "image",
                            "type": "choices",
                            "value": {"choices": [choice]},
                        }
                    ],
                }
            ],
        }
        for number, (name, choice) in enumerate(zip(NAMES, choices, strict=True))
    ]
    return {"export.json": json.dumps(tasks, ensure_ascii=False).encode()}


def image(rng):
    mode = one_of(rng, ("RGB", "L", "RGBA", "1", "P", "I;16", "LA", "CMYK"))
    suffix, kinds = one_of(
        rng,
        (
            ("png", ("RGB", "L", "RGBA", "1", "P", "I;16", "LA")),
            ("jpg", ("RGB", "L", "CMYK")),
            ("gif", ("P", "L")),
            ("bmp", ("RGB", "L", "1")),
            ("tiff", ("RGB", "L", "I;16")),
            ("webp", ("RGB", "RGBA")),
        ),
    )
    mode = mode if mode in kinds else kinds[0]
    size = int(rng.integers(1, 90)), int(rng.integers(1, 90))
    file = io.BytesIO()
    Image.new(mode, size, int(rng.integers(200)) if len(mode) == 1 else None).save(
        file, {"jpg": "jpeg"}.get(suffix, suffix)
    )
    return {f"image.{suffix}": file.getvalue()}


def torch_file(rng):
    arrays = {
        "kernel": array(rng, ("<f4", "<f8", "<f2"), (2, 3)),
        "bias": array(rng, ("<f4", "<i8"), (3,)),
    }
    arrays = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    return {"weights.pth": contiguous_bytes(arrays, as_archive=bool(rng.integers(2)))}


@cache
def _campaign():
    """A campaign in which one class is labeled, so that nothing is fitted."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 3)).astype(np.float32)
    state = start(
        *(features, features[:4], np.arange(4) % 2),
        **{"classes": ("a", "ü"), "ids": [f"s{i}" for i in range(40)]},
        method="random",
    )
    for _ in range(2):
        state, asked = ask(state, 3)
        state = tell(state, asked, ["ü", "skip", None])
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        np.save(here / "pool.npy", features)
        (here / "ids.txt").write_text("\n".join(state.task.ids) + "\n")
        paths = folder.Paths(here / "pool.npy", here / "ids.txt")
        folder.create(here / "campaign", paths, state)
        return {
            path.relative_to(here).as_posix(): path.read_bytes()
            for path in sorted(here.rglob("*"))
            if path.is_file()
        }


def campaign(rng):
    del rng
    return dict(_campaign())
