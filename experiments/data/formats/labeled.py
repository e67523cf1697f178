"""Files of texts or of rows with a class each: CSV, JSON and the older forms of UCI.

A parser takes the files of a dataset by name, as bytes, and gives a dataset; whatever
is wrong with them is a `SourceError` that names the file.
"""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence

from experiments.data.kinds import (
    TableDataset,
    TextDataset,
    table_dataset,
    text_dataset,
)
from experiments.data.official import SourceError

Files = Mapping[str, bytes]
"""What the files hold, by name."""
Parser = Callable[[str, Files, str], TextDataset | TableDataset]
"""`parse(name, files, source)` gives the dataset, or raises `SourceError`."""


def texts_in_csv(train: str, test: str, label: str) -> Parser:
    """Two CSV files with a heading: the column `text`, and one of classes."""

    def parse(name: str, files: Files, source: str) -> TextDataset:
        parts = [_pairs(path, files[path], label) for path in (train, test)]
        return text_dataset(name, *parts, source)

    return parse


def _pairs(path: str, data: bytes, label: str) -> list[tuple[str, str]]:
    heading, *rows = _cells(path, data)
    if not {"text", label} <= set(heading):
        raise SourceError(f"{path} must have the columns text and {label}.")
    columns = heading.index("text"), heading.index(label)
    pairs = []
    for number, row in enumerate(rows, 2):
        if len(row) != len(heading):
            raise SourceError(
                f"{path}, record {number}: {len(row)} cells, not {len(heading)}."
            )
        pairs.append((row[columns[0]], row[columns[1]]))
    return _not_empty(path, pairs)


def clinc_json(path: str, outside: str = "oos") -> Parser:
    """The JSON of CLINC150: lists of [text, intent] by part.

    Training and validation examples become training examples, in this order. Those out
    of scope, of the parts whose names begin with `outside`, have no class of their own:
    they are the outliers.
    """

    def parse(name: str, files: Files, source: str) -> TextDataset:
        try:
            parts = {
                part: [(str(text), str(intent)) for text, intent in examples]
                for part, examples in json.loads(files[path]).items()
            }
            train, test = [*parts["train"], *parts["val"]], parts["test"]
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise SourceError(
                f"{path} must hold lists of [text, intent] by the names train, val and "
                f"test ({type(error).__name__}: {error})."
            ) from None
        outliers = [
            text
            for part, examples in parts.items()
            if part.startswith(outside)
            for text, _ in examples
        ]
        pairs = (_not_empty(path, part) for part in (train, test))
        return text_dataset(name, *pairs, source, outliers=outliers)

    return parse


def in_domains(parse: Parser, path: str) -> Parser:
    """A dataset of CLINC150 with its domains as classes, from the JSON that has them.

    The file lists the intents of every domain.
    """

    def parse_domains(name: str, files: Files, source: str) -> TextDataset:
        by_intent = parse(name, files, source)
        try:
            domain_of = {
                intent: domain
                for domain, intents in json.loads(files[path]).items()
                for intent in intents
            }
            train, test = (
                [
                    (text, domain_of[by_intent.class_names[label]])
                    for text, label in zip(texts, labels, strict=True)
                ]
                for texts, labels in (
                    (by_intent.train_texts, by_intent.train_labels),
                    (by_intent.test_texts, by_intent.test_labels),
                )
            )
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise SourceError(
                f"{path} must list the intents of every domain "
                f"({type(error).__name__}: {error})."
            ) from None
        outliers = by_intent.outliers
        return text_dataset(name, train, test, source, outliers=outliers)

    return parse_domains


def trec(train: str, test: str) -> Parser:
    """The two files of TREC: `COARSE:fine question` a line, in Latin-1.

    The class is the coarse one.
    """

    def parse(name: str, files: Files, source: str) -> TextDataset:
        parts = []
        for path in (train, test):
            pairs = []
            for number, line in enumerate(_lines(path, files[path], "latin-1"), 1):
                kind, _, question = line.partition(" ")
                coarse, colon, _ = kind.partition(":")
                if not (coarse and colon and question.strip()):
                    raise SourceError(
                        f"{path}, line {number}: must be COARSE:fine and a question."
                    )
                pairs.append((question.strip(), coarse))
            parts.append(_not_empty(path, pairs))
        return text_dataset(name, *parts, source)

    return parse


def table_in_csv(path: str, label: str) -> Parser:
    """One CSV file with a heading; every fifth row of a class is a test row."""

    def parse(name: str, files: Files, source: str) -> TableDataset:
        heading, *rows = _cells(path, files[path])
        if heading.count(label) != 1 or len(set(heading)) != len(heading):
            raise SourceError(
                f"{path} must have columns of different names, {label} among them."
            )
        at = heading.index(label)
        split = [
            _split_row(path, number, row, at, len(heading))
            for number, row in enumerate(rows, 2)
        ]
        columns = heading[:at] + heading[at + 1 :]
        return _table(path, name, columns, split, [], source)

    return parse


def table_of_uci(
    train: str,
    test: str | None,
    columns: Sequence[str],
    *,
    label_at: int = -1,
    delimiter: str | None = ",",
    num_train: int | None = None,
    class_names: Mapping[str, str] | None = None,
) -> Parser:
    """Files without a heading, a row a line.

    Args:
        train: name of the file of the training rows.
        test: name of that of the test rows; without it, or where it is not there, the
            first `num_train` rows are for training or, without a number, every fifth
            row of a class is a test row.
        columns: names of the columns, without the class.
        label_at: position of the class in a row.
        delimiter: what is between cells; None for white space.
        num_train: as `test` says.
        class_names: names of the classes in the files; by default those there.
    """

    def parse(name: str, files: Files, source: str) -> TableDataset:
        parts = []
        for path in (train, test):
            if path not in files:
                continue
            split = []
            for number, line in enumerate(_lines(path, files[path]), 1):
                cells = [cell.strip() for cell in line.split(delimiter)]
                row = _split_row(path, number, cells, label_at, len(columns) + 1)
                split.append((row[0], _named(path, row[1], class_names)))
            parts.append(split)
        if len(parts) == 1:
            size = num_train or len(parts[0])
            parts = [parts[0][:size], parts[0][size:]]
        return _table(train, name, columns, *parts, source)

    return parse


def _named(path: str, label: str, names: Mapping[str, str] | None) -> str:
    if names is None:
        return label
    if label not in names:
        raise SourceError(f"{path} has the class {label}, not {', '.join(names)}.")
    return names[label]


def _table(path, name, columns, train, test, source) -> TableDataset:
    _not_empty(path, train)
    dataset = table_dataset(name, columns, train, test, source)
    if not len(dataset.test_labels):
        raise SourceError(f"{path} must have five rows of a class at least.")
    return dataset


def _split_row(path, number, cells, at, width) -> tuple[list[str], str]:
    """The cells of a row without its class, and the class."""
    if len(cells) != width:
        raise SourceError(f"{path}, row {number}: {len(cells)} cells, not {width}.")
    cells = list(cells)
    label = cells.pop(at).strip()
    return [cell.strip() for cell in cells], label


def fold_of_csv(folder: str, text: str) -> Callable[[bytes], bytes]:
    """Makes one CSV file of those of a folder in a zip archive, sorted by text.

    A file is named after its class; its cells are separated by semicolons.

    Args:
        folder: end of the path of the files' folder.
        text: their column of texts.
    """

    def extract(archive: bytes) -> bytes:
        pairs = []
        try:
            with zipfile.ZipFile(io.BytesIO(archive)) as members:
                for member in members.namelist():
                    where, _, name = member.rpartition("/")
                    if where.endswith(folder) and name.endswith(".csv"):
                        content = members.read(member).decode()
                        table = csv.DictReader(io.StringIO(content), delimiter=";")
                        label = name.removesuffix(".csv")
                        pairs += [(row[text], label) for row in table]
        except (zipfile.BadZipFile, OSError, KeyError, ValueError) as error:
            raise SourceError(f"the archive cannot be read ({error}).") from None
        made = io.StringIO(newline="")
        writer = csv.writer(made)
        writer.writerow(("text", "intent"))
        writer.writerows(sorted(pairs))
        return made.getvalue().encode()

    return extract


def _cells(path: str, data: bytes) -> list[list[str]]:
    """The records of a CSV file, its heading first."""
    try:
        rows = list(csv.reader(io.StringIO(_text(path, data), newline=""), strict=True))
    except csv.Error as error:
        raise SourceError(f"{path} is not a CSV file: {error}.") from None
    rows = [row for row in rows if row]
    if len(rows) < 2:
        raise SourceError(f"{path} must have a heading and rows.")
    return rows


def _lines(path: str, data: bytes, encoding: str = "utf-8") -> list[str]:
    # Not splitlines, which also ends a line at marks that a text may contain.
    lines = _text(path, data, encoding).replace("\r\n", "\n").split("\n")
    return [line for line in lines if line.strip()]


def _text(path: str, data: bytes, encoding: str = "utf-8") -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not text in {encoding}: {error}.") from None


def _not_empty(path: str, pairs: list) -> list:
    if not pairs:
        raise SourceError(f"{path} has no examples.")
    return pairs
