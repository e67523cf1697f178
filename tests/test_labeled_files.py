"""Texts and tables from small files in the published forms."""

import hashlib
import io
import zipfile

import labeled_files
import numpy as np
import pytest
from labeled_files import csv_bytes, some_texts, write

from experiments.data import datasets, files, prepare
from experiments.data.file_facts import FILES
from experiments.data.files import FileFacts, Published
from experiments.data.formats.labeled import fold_of_csv, texts_in_csv
from experiments.data.kinds import TABLE, TEXTS, training_samples

TWO = [("x", "b"), ("ÿ, 'q'", "a")]


@pytest.fixture(autouse=True)
def said(tmp_path, monkeypatch):
    """No network, an empty cache, and what was said to standard error."""
    monkeypatch.setenv("IWPS_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(prepare, "PROBE_SECONDS", 0.2)
    sentences = []
    monkeypatch.setattr(prepare, "say", sentences.append)
    return sentences


def lines(rows, delimiter=","):
    return "".join(f"{delimiter.join(map(str, row))}\n" for row in rows).encode()


# Every published form


def test_banking77_is_two_csv_files(tmp_path, said):
    parts = some_texts(3), [("line\none", "a_b"), ('"quoted", yes', "e_f")]
    names = ("banking77_train.csv", "banking77_test.csv")
    heading = ("text", "category")
    made = {n: csv_bytes(heading, p) for n, p in zip(names, parts, strict=True)}
    found = datasets.load("banking77", write(tmp_path / "data" / "text", made).parent)
    assert found.kind == TEXTS and found.class_names == ("a_b", "c_d", "e_f")
    assert found.train_texts == tuple(text for text, _ in parts[0])
    assert found.test_texts == ("line\none", '"quoted", yes')
    assert found.train_labels.tolist() == [0, 1] * 3
    assert found.test_labels.tolist() == [0, 2]
    assert "which is not the official data: sha256 of banking77_train" in found.source
    assert said == [f"Using {found.source}"]


def test_clinc150_has_intents_domains_and_outliers(tmp_path):
    folder = write(tmp_path, labeled_files.clinc_files())
    intents = datasets.load("clinc150", folder)
    assert intents.class_names == ("balance", "oven", "transfer")
    assert len(intents.train_texts) == 3 * 4 + 3  # training, then validation
    assert intents.train_texts[-1] == "later 0, about oven"
    assert intents.outliers == ("what is this", "who are you")
    assert not {*intents.outliers} & {*intents.train_texts, *intents.test_texts}
    domains = datasets.load("clinc150_domains", folder)
    assert domains.class_names == ("banking", "kitchen")
    assert domains.train_texts == intents.train_texts
    expected = [
        labeled_files.INTENTS[intents.class_names[label]]
        for label in intents.test_labels
    ]
    assert [domains.class_names[label] for label in domains.test_labels] == expected
    assert domains.sha256 != intents.sha256


def test_trec_is_read_as_latin_1(tmp_path):
    train = "DESC:manner How is caf\xe9 made ?\nHUM:ind Who ?\n".encode("latin-1")
    files_ = {"train_5500.label": train, "TREC_10.label": b"HUM:gr Which group ?\n"}
    found = datasets.load("trec", write(tmp_path, files_))
    assert found.class_names == ("DESC", "HUM")
    assert found.train_texts == ("How is caf\xe9 made ?", "Who ?")
    assert found.test_labels.tolist() == [1]


def test_dry_bean_keeps_every_fifth_bean_of_a_class_for_tests(tmp_path):
    rows = [(i, i / 10, "AB"[i % 2]) for i in range(20)]
    csv_file = csv_bytes(("Area", "Extent", "Class"), rows)
    found = datasets.load("dry_bean", write(tmp_path, {"dry_bean.csv": csv_file}))
    assert found.kind == TABLE and found.class_names == ("A", "B")
    assert found.test_rows["Area"].tolist() == [8, 9, 18, 19]
    assert found.test_labels.tolist() == [0, 1, 0, 1]
    assert found.train_rows.dtype.names == ("Area", "Extent")
    assert training_samples(found, [1]) == ["Area 1, Extent 0.1"]


def test_pendigits_has_an_official_test_part_or_does_without(tmp_path):
    def part(num, first):
        return [[*range(i, i + 16), (first + i) % 10] for i in range(num)]

    folder = write(tmp_path, {"pendigits.tra": lines(part(100, 0), ", ")})
    alone = datasets.load("pendigits", folder)
    assert len(alone.train_labels) == 80 and len(alone.test_labels) == 20
    assert alone.class_names == tuple("0123456789")
    write(folder, {"pendigits.tes": lines(part(30, 5))})
    both = datasets.load("pendigits", folder)
    assert len(both.train_labels) == 100 and len(both.test_labels) == 30
    assert both.train_rows.dtype.names[:3] == ("x1", "y1", "x2")
    assert both.test_labels.tolist()[:3] == [5, 6, 7]


def test_letter_has_its_class_first(tmp_path):
    rows = [("TIA"[i % 3], *range(i, i + 16)) for i in range(30)]
    folder = write(tmp_path, {"letter-recognition.data": lines(rows)})
    found = datasets.load("letter", folder)
    assert found.class_names == ("A", "I", "T")
    assert "x-box" in found.train_rows.dtype.names
    assert (len(found.train_labels), len(found.test_labels)) == (24, 6)
    assert "the official letter has 16000 and 4000" in found.source


def test_satimage_names_its_classes(tmp_path):
    rows = [[*range(i, i + 36), label] for i, label in enumerate((1, 7, 3))]
    made = {"sat.trn": lines(rows, " "), "sat.tst": lines(rows[:1], " ")}
    found = datasets.load("satimage", write(tmp_path, made))
    assert found.class_names == ("grey soil", "red soil", "very damp grey soil")
    assert found.train_labels.tolist() == [1, 2, 0]
    made["sat.trn"] = lines([[*range(36), 6]], " ")
    with pytest.raises(datasets.DatasetError, match="sat.trn has the class 6, not 1"):
        datasets.load("satimage", write(tmp_path, made))


def test_a_column_with_a_word_has_categories():
    rows = [(("1", "red"), "a"), (("2.5", "7"), "b")]
    table = datasets.kinds.table_dataset("some", ("n", "c"), rows, rows[:1], "here.")
    assert table.train_rows["n"].tolist() == [1, 2.5]
    assert table.train_rows["c"].tolist() == ["red", "7"]
    assert training_samples(table, [1]) == ["n 2.5, c 7"]


def test_hwu64_is_made_of_a_fold_of_its_archive():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        for path, answers in (
            ("top/KFold_1/trainset/b.csv", ["zeta", "it's, eta"]),
            ("top/KFold_1/trainset/a.csv", ["mu"]),
            ("top/KFold_1/testset/csv/a.csv", ["other"]),
            ("top/KFold_10/trainset/a.csv", ["other"]),
        ):
            table = "".join(f'1;"{answer}"\n' for answer in answers)
            members.writestr(path, f"id;answer\n{table}")
    made = fold_of_csv("KFold_1/trainset", "answer")(archive.getvalue())
    assert made == b'text,intent\r\n"it\'s, eta",b\r\nmu,a\r\nzeta,b\r\n'
    with pytest.raises(files.SourceError, match="the archive cannot be read"):
        fold_of_csv("KFold_1/trainset", "answer")(b"no archive")


# Damage


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("dry_bean", {"dry_bean.csv": b""}, "dry_bean.csv must have a heading and"),
        ("dry_bean", {"dry_bean.csv": b"a,b\n1,2\n"}, "different names, Class among"),
        ("dry_bean", {"dry_bean.csv": b"a,Class\n1,2,3\n"}, "row 2: 3 cells, not 2"),
        ("dry_bean", {"dry_bean.csv": b"a,Class\n\xff,2\n"}, "is not text in utf-8"),
        ("clinc150", {"clinc150_full.json": b"{}"}, "KeyError: 'train'"),
        ("clinc150", {"clinc150_full.json": b"[1"}, "JSONDecodeError"),
        ("clinc150", {"clinc150_full.json": b"[1]"}, "AttributeError"),
        (
            "trec",
            {"train_5500.label": b"DESC How\n", "TREC_10.label": b"A:b c\n"},
            "train_5500.label, line 1: must be COARSE:fine and a question",
        ),
        ("letter", {"letter-recognition.data": b"A,1\n"}, "row 1: 2 cells, not 17"),
        ("dry_bean", {"dry_bean.csv": b"a,Class\n1,2\n"}, "must have five rows of"),
        (
            "banking77",
            {
                "banking77_train.csv": b"text,category\nonly\n",
                "banking77_test.csv": b"text,category\na,b\n",
            },
            "banking77_train.csv, record 2: 1 cells, not 2",
        ),
        (
            "banking77",
            {
                "banking77_train.csv": b"text,label\na,b\n",
                "banking77_test.csv": b"text,category\na,b\n",
            },
            "banking77_train.csv must have the columns text and category",
        ),
    ],
)
def test_damage_is_named(tmp_path, name, content, words):
    with pytest.raises(datasets.DatasetError, match=words):
        datasets.load(name, write(tmp_path, content))


def test_what_is_nowhere_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(datasets.DatasetError) as caught:
        datasets.load("clinc150", tmp_path)
    message = str(caught.value)
    assert "clinc150_full.json is not there" in message
    assert "a download from https://raw.githubusercontent.com/clinc" in message
    assert "give --data-dir a folder with clinc150_full.json" in message
    with pytest.raises(datasets.DatasetError, match="there is no such folder"):
        datasets.load("clinc150", tmp_path / "absent")


# A download


def some_facts(tmp_path, digests=None, **options):
    made = {
        "t.csv": csv_bytes(("text", "label"), some_texts(3)),
        "e.csv": csv_bytes(("text", "label"), some_texts(1)),
    }
    folder = write(tmp_path / "served", made)
    known = digests or [hashlib.sha256(data).hexdigest() for data in made.values()]
    published = tuple(
        Published(
            name, (folder / name).as_uri(), (digest,) if digest else (), **options
        )
        for name, digest in zip(made, known, strict=True)
    )
    parse = texts_in_csv("t.csv", "e.csv", "label")
    return FileFacts("some", TEXTS, published, (6, 2), parse)


def test_a_download_is_kept(tmp_path):
    facts, tried = some_facts(tmp_path), []
    first = files.load(facts, None, tried)
    assert "from a download from file://" in first.source and len(tried) == 1
    for name in ("t.csv", "e.csv"):
        (tmp_path / "served" / name).unlink()
    again = files.load(facts, None, [])
    assert "the cache folder" in again.source
    assert again._replace(source="", train_labels=0, test_labels=0) == first._replace(
        source="", train_labels=0, test_labels=0
    )
    np.testing.assert_array_equal(again.train_labels, first.train_labels)


def test_a_download_that_is_not_the_published_one_is_refused(tmp_path):
    tried = []
    assert files.load(some_facts(tmp_path, ["0" * 64, None]), None, tried) is None
    assert (
        "sha256 of t.csv is" in tried[-1]
        and "official file is 000000000000" in tried[-1]
    )
    assert not (tmp_path / "cache").exists()


def test_without_a_digest_the_numbers_of_examples_decide(tmp_path):
    facts = some_facts(tmp_path, [None, None])
    assert files.load(facts, None, []) is not None
    tried = []
    more = facts._replace(name="more", counts=(7, 2))
    assert files.load(more, None, tried) is None
    assert "it has 6 train and 2 test examples; the official more has 7" in tried[-1]


def test_a_damaged_cache_is_downloaded_anew(tmp_path):
    facts = some_facts(tmp_path)
    files.load(facts, None, [])
    (tmp_path / "cache" / "datasets" / "some" / "t.csv").write_bytes(b"cut off")
    tried = []
    assert "a download" in files.load(facts, None, tried).source
    assert "sha256 of t.csv" in tried[0]


def test_a_hash_depends_on_texts_labels_and_their_order():
    def sha256(train, test=TWO):
        return datasets.kinds.text_dataset("some", train, test, "").sha256

    others = [TWO[::-1], [("xÿ", "b"), (", 'q'", "a")], [*TWO, TWO[0]]]
    others.append([(TWO[0][0], "a"), TWO[1]])
    assert len({sha256(TWO), *map(sha256, others), sha256(TWO, TWO[::-1])}) == 6
    assert sha256(TWO) == sha256(list(TWO))


def test_every_row_says_where_its_files_are_from():
    for name, facts in FILES.items():
        assert facts.name == name and datasets.KINDS[name] == facts.kind
        for file in facts.files:
            assert file.url.startswith("https://")
            assert all(len(digest) == 64 for digest in file.sha256)
