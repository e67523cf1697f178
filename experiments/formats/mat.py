"""The cropped digits of SVHN: MATLAB files as published."""

from pathlib import Path

import numpy as np

from experiments.official import Arrays, Format, SourceError

MAT_FILES = ("train_32x32.mat", "test_32x32.mat")  # "extra" is not used


def read_mat(folder: Path) -> Arrays:
    """The two MATLAB files of a folder.

    Raises:
        SourceError: a file is missing or damaged.
    """
    missing = [name for name in MAT_FILES if not (folder / name).is_file()]
    if missing:
        raise SourceError(f"{folder} lacks {', '.join(missing)}.")
    train, test = (_read_split(folder / name) for name in MAT_FILES)
    return Arrays(*train, *test)


def _read_split(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images X uint8 [32, 32, 3, n] and labels y, 1 to 10, of which 10 is digit 0."""
    from scipy.io import loadmat

    try:
        contents = loadmat(path, variable_names=("X", "y"))
        images, labels = np.asarray(contents["X"]), np.ravel(contents["y"])
    except Exception as error:  # a damaged file can fail in every way
        fault = f"{type(error).__name__}: {error}"
        raise SourceError(f"{path} cannot be read ({fault}).") from None
    if images.ndim == 3:  # MATLAB drops the last axis of a single image
        images = images[..., None]
    if images.dtype != np.uint8 or images.shape[:-1] != (32, 32, 3):
        raise SourceError(
            f"X in {path} is {images.dtype} {images.shape}, not uint8 [32, 32, 3, n]."
        )
    wrong = labels[~np.isin(labels, np.arange(1, 11))]
    if wrong.size:
        raise SourceError(f"y in {path} has the label {wrong[0]}, not only 1 to 10.")
    images = np.ascontiguousarray(images.transpose(3, 0, 1, 2))
    return images, labels.astype(np.int32) % 10


MAT = Format(
    files=f"the two official files {' and '.join(MAT_FILES)}",
    published=MAT_FILES,
    found_in=lambda folder: any((folder / name).is_file() for name in MAT_FILES),
    read=read_mat,
    encode=None,
)
