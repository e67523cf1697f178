"""Label Studio's exports, as its versions write them."""

import json

import pytest

from iwps_jax.app.files.arrays import FileError
from iwps_jax.app.files.label_studio import read_exported, tasks_of
from iwps_jax.app.files.picks import Pick


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
    assert exported(tmp_path, [with_annotations({"result": [text]})])[0][1] == ""


def test_the_datas_own_id_serves_where_there_is_no_other(tmp_path):
    assert exported(tmp_path, [{**TASK, "data": {"id": 5}}]) == [("5", "Kätzchen")]


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        ([{**TASK, "data": {"image": "a"}}], "task 1 cannot be read: .* no sample_id"),
        ([{**TASK, "data": {"sample_id": ""}}], "no sample_id"),
        ([{**TASK, "data": {"sample_id": True}}], "no sample_id"),
        ([{**TASK, "data": None}], "task 1 cannot be read"),
        ([TASK, {**TASK, "id": 18}], "sample photos/1.jpg must have one answer"),
        ([MIN, {**MIN, "choice": "dog"}], "task 1 says Kätzchen and task 2 says dog"),
        ([with_annotations({})], "task 1 cannot be read"),
        ([with_annotations(None)], "task 1 cannot be read"),
        ([{**MIN, "choice": {"choices": []}}], "must have one choice, got 0"),
        ([{**MIN, "choice": 3}], "a choice must be text, got 3"),
        (TASK, "must hold a list of tasks"),
        ([17], "must hold a list of tasks"),
    ],
)
def test_what_is_no_export_is_named(tmp_path, tasks, sentence):
    with pytest.raises(FileError, match=sentence):
        exported(tmp_path, tasks)


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
