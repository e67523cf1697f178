"""Checkpoints of a run on disk: a state and a JSON record, both or neither.

Only this module uses Orbax. A run may be killed at any moment: a checkpoint is written
under a temporary name and renamed when it is complete, and an incomplete checkpoint is
ignored and removed. A digest tells whether what is read is what was written; if not,
the checkpoint before serves. Store a key as `jax.random.key_data(key)`.
"""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
import orbax.checkpoint as ocp

from iwps_jax.refusal import Refusal


class CheckpointError(Refusal, RuntimeError):
    """A checkpoint cannot be written, or does not fit the run."""


def open_folder(folder: str | Path) -> ocp.CheckpointManager:
    """Opens or creates a folder of numbered checkpoints; it keeps the last three."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=3, cleanup_tmp_directories=True, enable_async_checkpointing=False
    )
    handlers = {
        "state": ocp.StandardCheckpointHandler(),
        "record": ocp.JsonCheckpointHandler(),
    }
    return ocp.CheckpointManager(
        Path(folder).absolute(), options=options, item_handlers=handlers
    )


def save(manager: ocp.CheckpointManager, step: int, state: Any, record: Any) -> None:
    """Writes checkpoint `step`: a pytree of arrays and a JSON-serializable record.

    Raises:
        CheckpointError: if that step is not newer than the last, or if the checkpoint
            cannot be written.
        TypeError: if the record is not JSON; nothing is written.
    """
    json.dumps(record)
    arguments = ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        # Orbax's JSON must be an object at the top.
        record=ocp.args.JsonSave({"record": record, "digest": _digest(state, record)}),
    )
    try:
        saved = manager.save(step, args=arguments)
    except (OSError, ValueError, RuntimeError) as error:  # a full disk, among others
        raise CheckpointError(
            f"checkpoint {step} could not be written to {manager.directory}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if not saved:
        raise CheckpointError(
            f"checkpoint {step} is not newer than {manager.latest_step()}, the last "
            f"one in {manager.directory}; nothing was written."
        )


def restore_latest(
    manager: ocp.CheckpointManager, like: Any
) -> tuple[int, Any, Any] | None:
    """Reads the newest checkpoint, or returns None if there is none.

    A damaged one is removed with a warning if there is one before it that is whole.

    Args:
        manager: from `open_folder`.
        like: a pytree with the structure, shapes and types of the saved state.

    Returns:
        The step, the state and the record.

    Raises:
        CheckpointError: if the stored arrays differ from `like` in structure, shape
            or type, or all checkpoints are damaged.
    """
    errors: dict[int, Exception] = {}
    for step in sorted(manager.all_steps(), reverse=True):
        try:
            found = _restore(manager, step, like)
        except MemoryError:
            raise
        except Exception as error:  # of any type, whatever part of a file is damaged
            errors[step] = error
            continue
        for damaged, error in errors.items():
            warnings.warn(
                f"checkpoint {damaged} in {manager.directory} is damaged "
                f"({_first_line(error)}): removed, the run goes on from {step}.",
                stacklevel=2,
            )
            manager.delete(damaged)
        return found
    if not errors:
        return None
    step, error = max(errors.items())
    if isinstance(error, CheckpointError):
        raise error
    raise CheckpointError(
        f"checkpoint {step} in {manager.directory} cannot be read, nor one before it "
        f"({_first_line(error)}): delete the folder to begin anew."
    ) from error


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]


def _restore(manager, step, like) -> tuple[int, Any, Any]:
    stored, expected = (
        _shapes_and_types(manager.item_metadata(step).state),
        _shapes_and_types(like),
    )
    for name in sorted(stored.keys() | expected.keys()):
        found, wanted = stored.get(name, "nothing"), expected.get(name, "nothing")
        if found != wanted:
            raise CheckpointError(
                f"checkpoint {step} in {manager.directory} does not fit this run: it "
                f"holds {found} as {name or 'the state'} instead of {wanted}."
            )
    restored = manager.restore(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardRestore(
                jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
            ),
            record=ocp.args.JsonRestore(),
        ),
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(restored.state, like)
    record = restored.record["record"]
    written = restored.record.get("digest")  # earlier releases wrote none
    if written is not None and written != _digest(restored.state, record):
        raise ValueError("it is not what was written")
    return step, restored.state, record


def _digest(state: Any, record: Any) -> str:
    """A state and a record in a word."""
    told = hashlib.sha256(json.dumps(record).encode())
    for leaf in jax.tree.leaves(state):
        array = np.asarray(leaf)
        told.update(f" {array.dtype}{array.shape} ".encode() + array.tobytes())
    return told.hexdigest()


def _shapes_and_types(tree: Any) -> dict[str, str]:
    """Path of every leaf -> what it is, in words."""
    return {
        jax.tree_util.keystr(
            path, simple=True, separator="."
        ): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(tree)
    }
