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
Others may be answered beside the one that is read, but not in its place.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from iwps_jax.app.files.json_file import read_json
from iwps_jax.app.files.picks import Answer, Pick
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import ONE_CLASS, SKIP, form
from iwps_jax.refusal import Refusal, short

ID, IMAGE, CONTROL = "sample_id", "image", "choice"
NO_CONTROLS = {  # what JSON-MIN has besides
    *(ID, IMAGE, "id", "annotator", "annotation_id", "agreement", "lead_time"),
    *("created_at", "updated_at", "was_cancelled"),
}
EXACT = 2**53  # beyond, a float may stand for another whole number


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
    Studio ("was cancelled") has the answer skip. Annotations of one sample must agree,
    and so must tasks.

    Raises:
        FileError: if the file is not such an export, a task has no id, annotations or
            tasks of one sample disagree, no control is the one to read, or another is
            answered in its place; the message names the task or the controls.
    """
    tasks = _tasks_in(path)
    control = _control(path, tasks)
    _require_no_other(path, tasks, control)
    answers: dict[str, Answer] = {}
    for number, task in enumerate(tasks, start=1):
        try:
            label, annotator = _answer(task, control)
            answer = Answer(_id(task), label, number, "task", annotator=annotator)
        except ValueError as error:
            raise FileError(f"{path}: task {number} cannot be read: {error}") from error
        before = answers.get(form(answer.id))
        if before is not None and before.label != answer.label:
            raise FileError(
                f"{path}: sample {short(answer.id)} must have one answer, but task "
                f"{before.line} says {short(before.label) or 'nothing'} and task "
                f"{number} says {short(answer.label) or 'nothing'}."
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
    return _objects(task.get("annotations", task.get("completions")) or [])


def _objects(found, what="its annotations") -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(some, dict) for some in found):
        raise ValueError(f"{what} must be a list of objects, got {_told(found)}.")
    return found


def _told(value) -> str:
    return short(json.dumps(value, ensure_ascii=False))


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
            for result in itertools.chain(*_results(task)):
                (choices if _is_choice(result) else others).add(_name(result))
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
        f"one Choices control; it has {short(', '.join(sorted(choices or others)))}."
    )


def _require_no_other(path, tasks, control):
    """Refuses answers of a control that is nowhere answered beside the one to read.

    Beside it, another control asks another question; alone, it may be the same one.
    """
    beside, alone = set(), []
    for number, task in enumerate(tasks, start=1):
        if _is_min(task):
            answered = [task.keys() - NO_CONTROLS]
        else:
            each = _results(task)
            answered = [{_name(r) for r in some if _is_choice(r)} for some in each]
        for names in answered:
            if control in names:
                beside |= names
            else:
                alone += [(name, number) for name in sorted(names)]
    unread = [(name, number) for name, number in alone if name not in beside]
    if unread and beside:
        told = short(", ".join(f"{name} in task {number}" for name, number in unread))
        raise FileError(
            f"{path} has answers of {control}, which are read, and answers of other "
            f"controls alone: {told}. Rename them to {control} in the file, or take "
            "these answers out."
        )


def _is_choice(result) -> bool:
    return result.get("type") == "choices"


def _name(result) -> str:
    unnamed = CONTROL if _is_choice(result) else "another"
    return str(result.get("from_name") or unnamed)


def _results(task) -> list[list[dict[str, Any]]]:
    """The results of annotations that count, as far as they have the form of one."""
    found = task.get("annotations", task.get("completions"))
    annotations = found if isinstance(found, list) else []
    kept = [a for a in annotations if isinstance(a, dict) and not _is_cancelled(a)]
    each = [annotation.get("result") for annotation in kept]
    listed = [some for some in each if isinstance(some, list)]
    return [[result for result in some if isinstance(result, dict)] for some in listed]


def _id(task) -> str:
    data = task if ID in task else task.get("data")
    name = data.get(ID, data.get("id")) if isinstance(data, dict) else None
    if isinstance(name, float) and name.is_integer():  # 5.0, after a spreadsheet
        if abs(name) > EXACT:
            raise ValueError(f"its {ID} must be text or a whole number, got {name}.")
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
        told = short(", ".join(sorted(labels)))
        raise ValueError(f"its annotations disagree: {told}.")
    if cancelled and not kept:
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
    results = _objects(annotation.get("result"), "the result of an annotation")
    choices = [r for r in results if _is_choice(r) and _name(r) == control]
    if not choices:
        return ""
    if len(choices) > 1:
        raise ValueError(f"an annotation must have one choice, got {len(choices)}.")
    return _choice(choices[0].get("value"))


def _choice(value) -> str:
    if isinstance(value, dict):
        value = value.get("choices")
    if isinstance(value, list):
        if len(value) != 1:
            hint = f": this is multi-label. {ONE_CLASS}" if value else "."
            raise ValueError(
                f"an annotation must have one choice, got {len(value)}{hint}"
            )
        (value,) = value
    if not isinstance(value, str):
        raise ValueError(f"a choice must be text, got {_told(value)}.")
    return value.strip()
