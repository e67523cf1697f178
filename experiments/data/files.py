"""Texts and tables from a few files: a folder of the user's, the cache, a download.

`load` tries these sources in this order. A file is official if it has the published
sha256; where none is known, the number of examples must be the published one. What a
download brought is kept in the cache folder, below `datasets`. Data in the user's
folder are taken as they are, and `source` says if they are not the official ones.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from experiments.data import prepare
from experiments.data.formats.labeled import Files, Parser
from experiments.data.kinds import TableDataset, TextDataset
from experiments.data.official import SourceError
from iwps_jax.atomic_write import write_atomically
from iwps_jax.cache import cache_root

LoadedDataset = TextDataset | TableDataset


class Published(NamedTuple):
    """A file of a dataset."""

    name: str  # in folders
    url: str
    sha256: tuple[str, ...] = ()  # of any form in which it is known; empty: of none
    extract: Callable[[bytes], bytes] | None = None  # makes it of what the url has
    is_needed: bool = True  # or may be missing in a folder that has the others


class FileFacts(NamedTuple):
    """Known facts about a dataset, before it is read."""

    name: str
    kind: str  # of `kinds`
    files: tuple[Published, ...]
    counts: tuple[int, int]  # training and test examples
    parse: Parser


def load(
    facts: FileFacts, data_dir: Path | None, tried: list[str]
) -> LoadedDataset | None:
    """A dataset from the first source that has it; None if none has.

    Args:
        facts: of the dataset.
        data_dir: a folder with its files, or with a folder that has them.
        tried: a sentence is appended to it for every source that has not.

    Raises:
        SourceError: the files in `data_dir` are damaged, or there is no such folder.
    """
    if data_dir is not None:
        if not data_dir.is_dir():
            raise SourceError(f"{data_dir}: there is no such folder.")
        folder = _folder_with(facts, data_dir)
        if folder is not None:
            return _load_named(facts, folder)
        tried.append(
            f"{data_dir}, the folder you named: it has no file of {facts.name}."
        )
        prepare.say(f"{data_dir} has no file of {facts.name}; trying other sources.")
    for what, read in (
        (f"the cache folder {_kept(facts)}", _read_kept),
        (f"a download from {facts.files[0].url}", _download),
    ):
        try:
            files = read(facts)
            check_official(facts, files)
            source = f"official {facts.name} files, from {what}."
            return _parse(facts, files, source)
        except SourceError as error:
            tried.append(f"{what}: {error}")
    return None


def check_official(facts: FileFacts, files: Files) -> None:
    """Raise `SourceError` unless these are the published files, as far as is known."""
    for file in facts.files:
        if file.name not in files or not file.sha256:
            continue
        found = hashlib.sha256(files[file.name]).hexdigest()
        if found not in file.sha256:
            raise SourceError(
                f"sha256 of {file.name} is {found[:12]}...; that of the official file "
                f"is {' or '.join(f'{digest[:12]}...' for digest in file.sha256)}"
            )
    if all(file.sha256 for file in facts.files if file.name in files):
        return
    dataset = facts.parse(facts.name, files, "")
    counts = len(dataset.train_labels), len(dataset.test_labels)
    is_whole = all(file.name in files for file in facts.files)
    if is_whole and counts != facts.counts:
        raise SourceError(
            f"it has {counts[0]} train and {counts[1]} test examples; the official "
            f"{facts.name} has {facts.counts[0]} and {facts.counts[1]}."
        )


def _folder_with(facts: FileFacts, folder: Path) -> Path | None:
    """The folder with all needed files: this one, or one in it, by name first."""
    below = sorted(path for path in folder.iterdir() if path.is_dir())
    for place in (folder, folder / facts.name, *below):
        if all((place / f.name).is_file() for f in facts.files if f.is_needed):
            return place
    return None


def _load_named(facts: FileFacts, folder: Path) -> LoadedDataset:
    files = _read(facts, folder)
    source = f"{facts.name} from the files in {folder}"
    try:
        check_official(facts, files)
    except SourceError as error:
        source += f", which is not the official data: {error}"
        prepare.say(f"Using {source}")
        return _parse(facts, files, source)
    missing = [file.name for file in facts.files if file.name not in files]
    if missing:
        source += f", without {', '.join(missing)}: every fifth example is for tests"
    return _parse(facts, files, f"{source}.")


def _parse(facts: FileFacts, files: Files, source: str) -> LoadedDataset:
    return facts.parse(facts.name, files, source)


def _read(facts: FileFacts, folder: Path) -> dict[str, bytes]:
    try:
        return {
            file.name: (folder / file.name).read_bytes()
            for file in facts.files
            if (folder / file.name).is_file()
        }
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error}.") from None


def _kept(facts: FileFacts) -> Path:
    return cache_root() / "datasets" / facts.name


def _read_kept(facts: FileFacts) -> dict[str, bytes]:
    files = _read(facts, _kept(facts))
    missing = [file.name for file in facts.files if file.name not in files]
    if missing:
        raise SourceError(f"{', '.join(missing)} is not there.")
    return files


def _download(facts: FileFacts) -> dict[str, bytes]:
    """Fetches all files, each address once, and keeps them if they are official."""
    urls = dict.fromkeys(file.url for file in facts.files)
    fetched = prepare.fetch_all(facts.name, urls)
    files = {
        file.name: (file.extract or bytes)(fetched[file.url]) for file in facts.files
    }
    check_official(facts, files)
    try:
        _kept(facts).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_atomically(_kept(facts) / name, data)
    except OSError as error:  # the data are in memory: nothing is lost
        prepare.say(
            f"{facts.name} could not be kept in {_kept(facts)} ({error}); the next run "
            "must fetch it again."
        )
    return files
