"""Tasks for Label Studio, and the answers that it exports.

We write a task as `{"data": {"sample_id": ..., "image": ...}, "predictions": [...]}`.
The interface has one control, as in Label Studio's template for image classification:

    <View>
      <Image name="image" value="$image"/>
      <Choices name="choice" toName="image"> <Choice value="cat"/> ... </Choices>
    </View>

Exports may be JSON (tasks with annotations, which old versions call completions) or
JSON-MIN (one record per annotation). They are read as Label Studio's own converter
reads them: a cancelled annotation counts only where there is no other, and drafts and
predictions not at all. Beyond that, an annotation that is marked as ground truth
outweighs the others. A Choices control of another name is read if it is the only one.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from iwps_jax.app.files.json_file import read_json
from iwps_jax.app.files.picks import Answer, Pick
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import SKIP, form
from iwps_jax.refusal import Refusal

ID, IMAGE, CONTROL = "sample_id", "image", "choice"
NO_CONTROLS = {  # what JSON-MIN has besides
    *(ID, IMAGE, "id", "annotator", "annotation_id", "agreement", "lead_time"),
    *("created_at", "updated_at", "was_cancelled"),
}


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

    A task without an annotation has no answer. A task that everybody skipped in Label
    Studio ("was cancelled") has the answer skip. Annotations of one sample must agree.

    Raises:
        FileError: if the file is not such an export, a task has no id, two tasks have
            the same id, annotations disagree, or no control is the one to read; the
            message names the task or the controls.
    """
    tasks = _tasks_in(path)
    control = _control(path, tasks)
    answers: dict[str, Answer] = {}
    for number, task in enumerate(tasks, start=1):
        try:
            label, annotator = _answer(task, control)
            answer = Answer(_id(task), label, number, "task", annotator=annotator)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = error.args[0] if type(error) is ValueError else repr(error)
            raise FileError(
                f"{path}: task {number} cannot be read: {reason}"
            ) from error
        before = answers.get(form(answer.id))
        if before is not None and (not _is_min(task) or before.label != answer.label):
            raise FileError(
                f"{path}: sample {answer.id} must have one answer, but task "
                f"{before.line} says {before.label or 'nothing'} and task {number} "
                f"says {answer.label or 'nothing'}."
            )
        answers.setdefault(form(answer.id), answer)
    return list(answers.values())


def _tasks_in(path) -> list[dict[str, Any]]:
    tasks = read_json(path)
    if not isinstance(tasks, list) or not all(isinstance(t, dict) for t in tasks):
        raise FileError(f"{path} must hold a list of tasks, as Label Studio exports.")
    return tasks


def _is_min(task) -> bool:
    return ID in task or not {"annotations", "completions", "data"} & task.keys()


def _annotations(task) -> list[Any]:
    found = task.get("annotations", task.get("completions"))
    return found if isinstance(found, list) else []


def _control(path, tasks) -> str:
    """The name of the control that holds the answers.

    Raises:
        FileError: if none is ours, and there is not just one Choices control; where a
            file has answers of other controls alone, they are named.
    """
    choices: set[str] = set()
    others: set[str] = set()
    for task in tasks:
        if not _is_min(task):
            for result in _results(task):
                is_choice = result.get("type") == "choices"
                name = result.get("from_name") or (CONTROL if is_choice else "another")
                (choices if is_choice else others).add(str(name))
        elif CONTROL in task:
            choices.add(CONTROL)
        else:  # it does not say which names are those of controls
            others |= task.keys() - NO_CONTROLS
    if CONTROL in choices or not (choices or others):
        return CONTROL
    if len(choices) == 1:
        return choices.pop()
    raise FileError(
        f"{path} must have answers of a Choices control called {CONTROL}, or of only "
        f"one Choices control; it has {', '.join(sorted(choices or others))}."
    )


def _results(task) -> list[dict[str, Any]]:
    """The results of all its annotations, as far as they have the form of one."""
    each = [a.get("result") for a in _annotations(task) if isinstance(a, dict)]
    listed = [some for some in each if isinstance(some, list)]
    return [result for some in listed for result in some if isinstance(result, dict)]


def _id(task) -> str:
    data = task if ID in task else task.get("data", {})
    name = data.get(ID, data.get("id"))
    if isinstance(name, float) and name.is_integer():  # 5.0, after a spreadsheet
        name = int(name)
    is_name = isinstance(name, str | int) and not isinstance(name, bool)
    if not is_name or not str(name).strip():
        raise ValueError(f"its data has no {ID}.")
    return str(name).strip()


def _answer(task, control) -> tuple[str, str]:
    """Label and annotators of a task; empty if there is none."""
    if _is_min(task):
        label = _choice(task[control]) if control in task else ""
        return label, _annotator(task.get("annotator"))
    cancelled = [a for a in _annotations(task) if _is_cancelled(a)]
    kept = [a for a in _annotations(task) if not _is_cancelled(a)]
    truths = [a for a in kept if a.get("ground_truth") or a.get("honeypot")]
    labels: dict[str, list[str]] = {}
    for annotation in truths or kept:
        who = _annotator(annotation.get("completed_by"))
        labels.setdefault(_annotated(annotation, control), []).append(who)
    labels.pop("", None)
    if len(labels) > 1:
        raise ValueError(f"its annotations disagree: {', '.join(sorted(labels))}.")
    if not labels and cancelled:
        labels = {SKIP: [_annotator(a.get("completed_by")) for a in cancelled]}
    if not labels:
        return "", ""
    ((label, people),) = labels.items()
    return label, ", ".join(dict.fromkeys(filter(None, people)))


def _is_cancelled(annotation) -> bool:
    return bool(annotation.get("was_cancelled") or annotation.get("skipped"))


def _annotator(who) -> str:
    """A number or an e-mail address, whichever the version writes."""
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    return "" if who is None else str(who)


def _annotated(annotation: dict[str, Any], control) -> str:
    choices = [
        r
        for r in annotation["result"]
        if r.get("type") == "choices" and r.get("from_name", CONTROL) == control
    ]
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
    return value.strip()
