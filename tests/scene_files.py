"""Small scenes in files, in every form that the segmentation data layer reads."""

import struct
import zipfile
import zlib

import numpy as np
from PIL import Image


def some_image(seed=0, shape=(12, 16)):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, 3), dtype=np.uint8)


def some_ids(seed=0, shape=(12, 16), ids=(0, 1, 2, 255)):
    return np.random.default_rng(seed).choice(np.array(ids, np.uint8), shape)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def write_folder(root, names, shape=(12, 16)):
    """Images and masks of three classes; what the masks hold, by name."""
    expected = {}
    for seed, name in enumerate(names):
        save(root / "images" / f"{name}.png", some_image(seed, shape))
        expected[name] = some_ids(seed, shape)
        save(root / "masks" / f"{name}.png", expected[name])
    return expected


def gray_png(values, bits):
    """A gray PNG with that many bits a sample; Pillow writes no other than 1 and 8."""
    height, width = values.shape
    rows = b""
    for row in values:
        text = "".join(f"{value:0{bits}b}" for value in row.tolist())
        text += "0" * (-len(text) % 8)
        packed = int(text, 2).to_bytes(len(text) // 8, "big")
        rows += b"\0" + packed  # no filter
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


CITIES = {"train": ("aachen", "bochum"), "val": ("lindau",)}


def write_cityscapes(root, per_city=3, ending="labelIds", shape=(16, 32)):
    """The official folders with few small scenes; label ids by split and name."""
    expected = {"train": {}, "val": {}}
    for split, cities in CITIES.items():
        for city in cities:
            for frame in range(per_city):
                seed = len(expected["train"]) + 100 * len(expected["val"])
                name = f"{city}_{frame:06d}_000019"
                ids = np.random.default_rng(seed).integers(0, 34, shape, np.uint8)
                if ending == "labelTrainIds":
                    ids = np.where(ids < 19, ids, 255).astype(np.uint8)
                expected[split][name] = ids
                save(
                    root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png",
                    some_image(seed, shape),
                )
                masks = root / "gtFine" / split / city
                save(masks / f"{name}_gtFine_{ending}.png", ids)
                # The official folders hold three more files a scene.
                save(masks / f"{name}_gtFine_color.png", some_image(seed, shape))
                (masks / f"{name}_gtFine_polygons.json").write_text("{}")
    return expected


def zip_cityscapes(root, target, compression=zipfile.ZIP_DEFLATED):
    """Both parts as the official zip files in `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for part in ("leftImg8bit", "gtFine"):
        path = target / f"{part}_trainvaltest.zip"
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("README", "as in the official file")
            for file in sorted((root / part).rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(root))
