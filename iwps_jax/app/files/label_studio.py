"""Tasks for Label Studio, and the answers that it exports.

We write a task as `{"data": {"sample_id": ..., "image": ...}, "predictions": [...]}`.
The interface has one control, as in Label Studio's template for image classification:

    <View>
      <Image name="image" value="$image"/>
      <Choices name="choice" toName="image"> <Choice value="cat"/> ... </Choices>
    </View>

Exports may be JSON (tasks with annotations) or JSON-MIN (one record per annotation).
CSV exports are not supported, because their column id holds Label Studio's ids.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from iwps_jax.app.files.json_file import read_json
from iwps_jax.app.files.picks import Answer, Pick
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import SKIP
from iwps_jax.refusal import Refusal

ID, IMAGE, CONTROL = "sample_id", "image", "choice"


def tasks_of(picks: Sequence[Pick], image_url: str) -> str:
    """The picks as tasks to import, each with its prediction.

    Args:
        picks: best first.
        image_url: address of the images; the percent-encoded id replaces `{id}` in it.

    Returns:
        JSON.

    Raises:
        Refusal: if there is no `{id}` in the URL.
    """
    require_id(image_url)
    tasks = [
        {
            "data": {
                ID: pick.id,
                IMAGE: image_url.replace("{id}", quote(pick.id, safe="/")),
            },
            "predictions": _prediction(pick),
        }
        for pick in picks
    ]
    return json.dumps(tasks, ensure_ascii=False, indent=1)


def require_id(image_url: str) -> None:
    """Refuses a URL that is the same for all samples.

    Raises:
        Refusal: if there is no `{id}` in it.
    """
    if "{id}" not in image_url:
        raise Refusal(f"the image URL must contain {{id}}, got {image_url}.")


def _prediction(pick):
    if not pick.predicted:
        return []
    choice = {
        "from_name": CONTROL,
        "to_name": IMAGE,
        "type": "choices",
        "value": {"choices": [pick.predicted]},
    }
    return [{"result": [choice], "score": float(pick.confidence)}]


def read_exported(path: str | Path) -> list[Answer]:
    """The answers of a JSON or JSON-MIN export; `line` is the number of the task.

    A task without an annotation has no answer. A task that was skipped in Label Studio
    ("was cancelled") has the answer skip. Annotations of one sample must agree.

    Raises:
        FileError: if the file is not such an export, a task has no id, two tasks have
            the same id, or annotations disagree; the message names the task.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list) or not all(isinstance(t, dict) for t in tasks):
        raise FileError(f"{path} must hold a list of tasks, as Label Studio exports.")
    answers: dict[str, Answer] = {}
    for number, task in enumerate(tasks, start=1):
        try:
            answer = Answer(_id(task), _label(task), number, "task")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = error.args[0] if type(error) is ValueError else repr(error)
            raise FileError(
                f"{path}: task {number} cannot be read: {reason}"
            ) from error
        before = answers.get(answer.id)
        if before is not None and ("annotations" in task or before[1] != answer.label):
            raise FileError(
                f"{path}: sample {answer.id} must have one answer, but task "
                f"{before.line} says {before.label or 'nothing'} and task {number} "
                f"says {answer.label or 'nothing'}."
            )
        answers.setdefault(answer.id, answer)
    return list(answers.values())


def _id(task) -> str:
    data = task.get("data", task)
    name = data.get(ID, data.get("id") if "data" in task else None)
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise ValueError(f"its data has no {ID}.")
    return str(name)


def _label(task) -> str:
    if "annotations" not in task:  # JSON-MIN
        return _choice(task[CONTROL]) if CONTROL in task else ""
    labels = {_annotated(annotation) for annotation in task["annotations"]} - {""}
    if len(labels) > 1:
        raise ValueError(f"its annotations disagree: {', '.join(sorted(labels))}.")
    return labels.pop() if labels else ""


def _annotated(annotation: dict[str, Any]) -> str:
    if annotation.get("was_cancelled"):
        return SKIP
    choices = [r for r in annotation["result"] if r.get("type") == "choices"]
    if not choices:
        return ""
    if len(choices) > 1:
        raise ValueError(f"an annotation must have one choice, got {len(choices)}.")
    return _choice(choices[0]["value"])


def _choice(value) -> str:
    if isinstance(value, dict):
        value = value["choices"]
    if isinstance(value, list):
        if len(value) != 1:
            raise ValueError(f"an annotation must have one choice, got {len(value)}.")
        (value,) = value
    if not isinstance(value, str):
        raise ValueError(f"a choice must be text, got {value!r}.")
    return value
