"""Checkpoints of a run on disk: a state and a JSON record, both or neither.

The only module that knows Orbax. A run may be killed at any moment: a checkpoint is
written under a temporary name and renamed when whole, and whatever a killed run left
half-written is ignored and removed. Store a key as `jax.random.key_data(key)`.
"""

from pathlib import Path
from typing import Any

import chex
import jax
import orbax.checkpoint as ocp


class CheckpointError(RuntimeError):
    """A checkpoint that could not be written or does not fit."""


def open_folder(folder: str | Path) -> ocp.CheckpointManager:
    """Opens (and makes) a folder of numbered checkpoints, keeping the last two."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, cleanup_tmp_directories=True, enable_async_checkpointing=False
    )
    return ocp.CheckpointManager(Path(folder).absolute(), options=options)


def save(manager: ocp.CheckpointManager, step: int, state: Any, record: Any) -> None:
    """Writes checkpoint `step`: a pytree of arrays and a JSON-serializable record.

    Raises:
        CheckpointError: if that step exists already; nothing is overwritten.
    """
    saved = manager.save(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            # Orbax's JSON must be an object at the top.
            record=ocp.args.JsonSave({"record": record}),
        ),
    )
    if not saved:
        raise CheckpointError(
            f"checkpoint {step} exists already in {manager.directory}; it was kept."
        )


def restore_latest(
    manager: ocp.CheckpointManager, like: Any
) -> tuple[int, Any, Any] | None:
    """Reads the newest whole checkpoint, or returns None where there is none.

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
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    try:
        restored = manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract),
                record=ocp.args.JsonRestore(),
            ),
        )
        # Orbax itself restores another shape or type without a word.
        chex.assert_trees_all_equal_shapes_and_dtypes(restored.state, like)
    except (ValueError, AssertionError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"checkpoint {step} in {manager.directory} does not fit this run: {error}"
        ) from error
    return step, restored.state, restored.record["record"]
