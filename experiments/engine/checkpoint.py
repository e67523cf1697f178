"""Checkpoints of a run on disk: a state and a JSON record, both or neither.

Only this module uses Orbax. A run may be killed at any moment: a checkpoint is written
under a temporary name and renamed when it is complete, and an incomplete checkpoint is
ignored and removed. Store a key as `jax.random.key_data(key)`.
"""

import json
from pathlib import Path
from typing import Any

import chex
import jax
import orbax.checkpoint as ocp

from iwps_jax.refusal import Refusal


class CheckpointError(Refusal, RuntimeError):
    """A checkpoint cannot be written, or does not fit the run."""


def open_folder(folder: str | Path) -> ocp.CheckpointManager:
    """Opens or creates a folder of numbered checkpoints; it keeps the last two."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, cleanup_tmp_directories=True, enable_async_checkpointing=False
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
        record=ocp.args.JsonSave({"record": record}),
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
    """Reads the newest complete checkpoint, or returns None if there is none.

    Args:
        manager: from `open_folder`.
        like: a pytree with the structure, shapes and types of the saved state.

    Returns:
        The step, the state and the record.

    Raises:
        CheckpointError: if the stored arrays differ from `like` in structure, shape
            or type.
    """
    step = manager.latest_step()
    if step is None:
        return None
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
    return step, restored.state, restored.record["record"]


def _shapes_and_types(tree: Any) -> dict[str, str]:
    """Path of every leaf -> what it is, in words."""
    return {
        jax.tree_util.keystr(
            path, simple=True, separator="."
        ): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(tree)
    }
