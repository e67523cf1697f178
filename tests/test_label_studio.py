"""Label Studio's exports, as its versions write them."""

import json

import pytest

from iwps_jax.app.files.label_studio import read_exported, tasks_of
from iwps_jax.app.files.picks import Pick
from iwps_jax.app.files.unreadable import FileError


def exported(tmp_path, tasks):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks, ensure_ascii=False), encoding="utf-8")
    return [(answer.id, answer.label) for answer in read_exported(path)]


# As the JSON export of a project with the image classification template.
TASK = {
    "id": 17,
    "annotations": [
        {
            "id": 3,
            "completed_by": 1,
            "was_cancelled": False,
            "ground_truth": False,
            "lead_time": 4.2,
            "result": [
                {
                    "value": {"choices": ["Kätzchen"]},
                    "id": "Dx_aB3ISdF",
                    "from_name": "choice",
                    "to_name": "image",
                    "type": "choices",
                    "origin": "manual",
                }
            ],
        }
    ],
    "drafts": [],
    "predictions": [8],
    "data": {"sample_id": "photos/1.jpg", "image": "https://x.example/1.jpg"},
    "meta": {},
}
# As the JSON-MIN export, where `id` is the number of the task.
MIN = {
    "image": "https://x.example/1.jpg",
    "sample_id": "photos/1.jpg",
    "id": 17,
    "choice": "Kätzchen",
    "annotator": 1,
    "annotation_id": 3,
}


@pytest.mark.parametrize("task", [TASK, MIN])
def test_both_formats_say_the_same(tmp_path, task):
    assert exported(tmp_path, [task]) == [("photos/1.jpg", "Kätzchen")]


def with_annotations(*annotations):
    return {**TASK, "annotations": list(annotations)}


def test_answers_skips_and_what_is_not_answered(tmp_path):
    skipped = with_annotations({"was_cancelled": True, "result": []})
    empty = with_annotations({"result": []})
    assert exported(tmp_path, [skipped]) == [("photos/1.jpg", "skip")]
    assert exported(tmp_path, [empty]) == [("photos/1.jpg", "")]
    assert exported(tmp_path, [with_annotations()]) == [("photos/1.jpg", "")]
    assert exported(tmp_path, [{**MIN, "choice": {"choices": ["a"]}}])[0][1] == "a"
    agreeing = with_annotations(
        *TASK["annotations"], *TASK["annotations"], {"result": []}
    )
    assert exported(tmp_path, [agreeing]) == [("photos/1.jpg", "Kätzchen")]
    assert exported(tmp_path, [MIN, MIN]) == [("photos/1.jpg", "Kätzchen")]


def test_other_controls_of_the_same_interface_are_not_answers(tmp_path):
    text = {"type": "textarea", "value": {"text": ["blurred"]}}
    (annotation,) = TASK["annotations"]
    noted = with_annotations({**annotation, "result": [text, *annotation["result"]]})
    assert exported(tmp_path, [noted]) == [("photos/1.jpg", "Kätzchen")]
    only_noted = {
        **with_annotations({"result": [text]}),
        "data": {"sample_id": "b"},
    }
    assert exported(tmp_path, [noted, only_noted])[1] == ("b", "")


def annotated(label, *, control="choice", who=1, **marks):
    """An annotation as versions since 1.0 write it."""
    result = {
        **TASK["annotations"][0]["result"][0],
        **{"from_name": control, "value": {"choices": [label]}},
    }
    return {"completed_by": who, "was_cancelled": False, "result": [result], **marks}


def of_value(value):
    found = annotated("a")
    return {**found, "result": [{**found["result"][0], "value": value}]}


QUALITY = with_annotations(annotated("sharp", control="quality"))
CANCELLED = {"completed_by": 2, "was_cancelled": True, "result": []}
SKIPPED = {"completed_by": {"id": 7, "email": "bo@example.org"}, "skipped": True}
SEVERAL = {
    "skipped by one, labeled by another": ([CANCELLED, annotated("a")], "a", "1"),
    "skipped with a choice": ([annotated("b", was_cancelled=True)], "skip", "1"),
    "skipped by all": ([CANCELLED, SKIPPED], "skip", "2, bo@example.org"),
    "skipped by one, nothing chosen by another": ([CANCELLED, {"result": []}], "", ""),
    "agreeing": ([annotated("a"), annotated("a", who=3)], "a", "1, 3"),
    "the same person twice": ([annotated("a"), annotated("a")], "a", "1"),
    "ground truth": (
        [annotated("b"), annotated("a", who=2, ground_truth=True)],
        "a",
        "2",
    ),
    "ground truth of old versions": (
        [annotated("b"), annotated("a", honeypot=True)],
        "a",
        "1",
    ),
    "ground truth that was cancelled": (
        [annotated("b"), annotated("a", ground_truth=True, was_cancelled=True)],
        "b",
        "1",
    ),
    "unsure": ([annotated("Unsure")], "Unsure", "1"),
    "nothing": ([], "", ""),
}


@pytest.mark.parametrize("case", SEVERAL)
@pytest.mark.parametrize("name", ["annotations", "completions"])
def test_several_people_answer_for_one_sample(tmp_path, name, case):
    annotations, label, annotator = SEVERAL[case]
    task = {"id": 1, "data": {"sample_id": "x"}, name: annotations, "drafts": [{}]}
    task["predictions"] = [{"result": annotated("predicted")["result"]}]
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task]), encoding="utf-8")
    (answer,) = read_exported(path)
    assert answer == ("x", label, 1, "task", "", annotator)


def both_controls(label):
    """An annotation with an answer of our control, and of one for the image."""
    found = annotated(label)
    found["result"] += annotated("sharp", control="quality")["result"]
    return found


def test_the_control_is_ours_or_the_only_one(tmp_path):
    assert exported(tmp_path, [with_annotations(both_controls("a"))])[0][1] == "a"
    only = with_annotations(annotated("a", control="animal"))
    assert exported(tmp_path, [only]) == [("photos/1.jpg", "a")]
    # Where ours is there at all, another's answer is never taken for it.
    quality = {**QUALITY, "data": {"sample_id": "b"}}
    skipped = {**with_annotations(annotated("cat", control="animal", skipped=True))}
    tasks = [with_annotations(both_controls("a")), quality]
    assert exported(tmp_path, [TASK, {**skipped, "data": {"id": 1}}])[1] == (
        "1",
        "skip",
    )
    assert exported(tmp_path, tasks) == [("photos/1.jpg", "a"), ("b", "")]
    minimal = [{**MIN, "note": "x"}, {"sample_id": "b", "note": "blurred"}]
    assert exported(tmp_path, minimal) == [("photos/1.jpg", "Kätzchen"), ("b", "")]


def test_tasks_of_one_sample_must_agree(tmp_path):
    for one in (TASK, MIN):
        again = [one, {**one, "id": 18}]
        assert exported(tmp_path, again) == [("photos/1.jpg", "Kätzchen")]
    other = {**with_annotations(annotated("dog")), "id": 18}
    with pytest.raises(FileError, match="task 1 says Kätzchen and task 2 says dog"):
        exported(tmp_path, [TASK, other])


@pytest.mark.parametrize(
    ("number", "id_"), [(5.0, "5"), (5, "5"), (" 5 ", "5"), ("5.0", "5.0")]
)
def test_an_id_that_became_a_number_is_one(tmp_path, number, id_):
    assert exported(tmp_path, [{**TASK, "data": {"sample_id": number}}])[0][0] == id_
    assert exported(tmp_path, [{**MIN, "sample_id": number}])[0][0] == id_


def test_what_is_no_json_list_is_named(tmp_path):
    path = tmp_path / "export.json"
    for content, sentence in (
        ('{"id": 1}\n{"id": 2}\n', "must be JSON.*Extra data in line 2 .JSON lines"),
        ('[{"id": ' + "9" * 5000 + "}]", "a number has thousands of digits"),
        ("[" * 100_000, "lists are nested too deep"),
    ):
        path.write_text(content)
        with pytest.raises(FileError, match=sentence):
            read_exported(path)


def test_data_of_any_name_is_no_answer(tmp_path):
    assert exported(tmp_path, [{**MIN, "data": "x", "label": "y"}])[0][1] == "Kätzchen"
    assert exported(tmp_path, [{"data": {"sample_id": "a"}}]) == [("a", "")]


def test_the_datas_own_id_serves_where_there_is_no_other(tmp_path):
    assert exported(tmp_path, [{**TASK, "data": {"id": 5}}]) == [("5", "Kätzchen")]


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        ([{**TASK, "data": {"image": "a"}}], "task 1 cannot be read: .* no sample_id"),
        ([{**TASK, "data": {"sample_id": ""}}], "no sample_id"),
        ([{**TASK, "data": {"sample_id": True}}], "no sample_id"),
        ([{**TASK, "data": None}], "task 1 cannot be read"),
        ([{**TASK, "data": [1]}], "its data has no sample_id"),
        ([{**MIN, "sample_id": 1e300}], "must be text or a whole number, got 1e[+]300"),
        ([{**TASK, "annotations": 5}], "annotations must be a list of objects, got 5"),
        ([{**TASK, "annotations": [[]]}], r"list of objects, got \[\[\]\]"),
        ([with_annotations({"result": 3})], "result of an annotation must be a list"),
        ([with_annotations({"result": ["a"]})], r'a list of objects, got \["a"\]'),
        ([with_annotations({"id": 3})], "must be a list of objects, got null"),
        ([with_annotations(of_value(None))], "a choice must be text, got null"),
        ([with_annotations(of_value({"text": "a"}))], "must be text, got null"),
        ([with_annotations(of_value({"choices": [{}]}))], "must be text, got {}"),
        (
            [TASK, QUALITY, with_annotations(annotated("a", control="animal"))],
            "other controls alone: quality in task 2, animal in task 3. Rename them to",
        ),
        ([MIN, {"sample_id": "b", "animal": "cat"}], "animal in task 2"),
        ([MIN, {**MIN, "choice": "dog"}], "task 1 says Kätzchen and task 2 says dog"),
        ([{**TASK, "data": {"sample_id": 5.5}}], "no sample_id"),
        ([{**TASK, "data": {"sample_id": " "}}], "no sample_id"),
        ([{"id": 1, "choice": "cat"}], "no sample_id"),
        ([with_annotations({})], "task 1 cannot be read"),
        (
            [with_annotations({"result": [{"type": "textarea", "from_name": "note"}]})],
            "answers of a Choices control called choice, or .*; it has note",
        ),
        (
            [
                with_annotations(annotated("a", control="animal")),
                with_annotations(annotated("a", control="quality")),
            ],
            "it has animal, quality",
        ),
        ([{"id": 1, "sample_id": "x", "animal": "cat"}], "it has animal"),
        (
            [with_annotations({"result": 2 * annotated("a")["result"]})],
            "task 1 cannot be read: an annotation must have one choice, got 2",
        ),
        (
            [with_annotations(annotated("a"), annotated("b"))],
            "task 1 cannot be read: its annotations disagree: a, b",
        ),
        (
            [
                with_annotations(
                    annotated("a", ground_truth=True), annotated("b", ground_truth=True)
                )
            ],
            "disagree: a, b",
        ),
        ([with_annotations(None)], "task 1 cannot be read"),
        ([{**MIN, "choice": {"choices": []}}], "must have one choice, got 0"),
        ([{**MIN, "choice": {"choices": ["a", "b"]}}], "must have one choice, got 2"),
        ([{**MIN, "choice": 3}], "a choice must be text, got 3"),
        (TASK, "must hold a list of tasks"),
        ([17], "must hold a list of tasks"),
    ],
)
def test_what_is_no_export_is_named(tmp_path, tasks, sentence):
    with pytest.raises(FileError, match=sentence) as caught:
        exported(tmp_path, tasks)
    assert "Error" not in str(caught.value) and str(caught.value).endswith(".")


def test_no_sentence_quotes_all_of_a_long_text(tmp_path):
    long = "9" * 5000
    for tasks in (
        [{**MIN, "sample_id": long}, {**MIN, "sample_id": long, "choice": "dog"}],
        [with_annotations(annotated(long), annotated("a"))],
        [{**MIN, "choice": [[long]]}],
        [MIN, {"sample_id": "b", long: "a"}],
        [{"sample_id": "b", long: "a"}],
    ):
        with pytest.raises(FileError) as caught:
            exported(tmp_path, tasks)
        assert len(str(caught.value)) < 700


def test_tasks_have_ids_images_and_predictions():
    picks = [
        Pick("ä/a&b?.jpg", predicted="ü", confidence="0.25"),
        Pick("c.jpg"),  # drawn at random: nothing was predicted
    ]
    sure, random = json.loads(tasks_of(picks, "s3://bucket/{id}?size=1"))
    assert sure["data"] == {
        "sample_id": "ä/a&b?.jpg",
        "image": "s3://bucket/%C3%A4/a%26b%3F.jpg?size=1",
    }
    (prediction,) = sure["predictions"]
    assert prediction["score"] == 0.25
    (choice,) = prediction["result"]
    assert choice["value"] == {"choices": ["ü"]} and choice["type"] == "choices"
    assert random["predictions"] == []
