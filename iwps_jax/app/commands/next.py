"""`iwps next`: hand out the samples to label next.

    iwps next --k 50

This writes the samples to a file, best first, with their predicted class and an empty
column `label`. No sample is handed out twice, so each of several people can take a
batch. The next command hands out again all samples that have no answer:

    iwps next --unanswered
"""

import dataclasses
from typing import Annotated

from tyro import conf

from iwps_jax import methods
from iwps_jax.app.campaign import ask, folder, unanswered_of
from iwps_jax.app.campaign.state import batches_of
from iwps_jax.app.commands import batch_files, exit_status
from iwps_jax.app.commands.jax_settings import start_jax
from iwps_jax.app.options import Flag
from iwps_jax.pool.sources import PoolError
from iwps_jax.refusal import Refusal, refusing

ASKED = conf.create_mutex_group(required=False, title="one of these")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(batch_files.Output):
    """The options of the command."""

    k: Annotated[int | None, ASKED] = None
    """how many samples"""
    unanswered: Annotated[Flag, ASKED] = False
    """hand out again all samples that have no answer"""

    def __post_init__(self):
        """Refuses a command that asks for nothing."""
        if self.k is None and not self.unanswered:
            raise Refusal("iwps next needs --k, or --unanswered.")


def run(options: Options) -> int:
    """Asks, writes, and keeps what was asked; returns the exit status."""
    return exit_status.run(lambda: _next(options))


def _next(options: Options) -> None:
    batch_files.check_output(options)
    start_jax(options)
    with folder.locked(
        options.campaign, wait=options.wait, outputs=batch_files.folders_of(options)
    ):
        if options.k is None:
            state = folder.read_record(options.campaign)
            written = batch_files.hand_out_again(state, options)
        else:
            before = folder.read(options.campaign)
            pool = str(folder.paths_of(options.campaign).pool)
            with refusing(PoolError, MemoryError, about=pool):
                state, _ = ask(before, batch_files.num_left(before, options.k))
            written = batch_files.hand_out(before, state, options)
    if not options.unanswered:
        waiting = len(unanswered_of(before))
        if waiting:
            print(
                f"Samples of earlier batches without an answer: {waiting:,}; iwps next "
                "--unanswered writes them again."
            )
        if before.head is None:
            (first, *_) = batches_of(state)[len(batches_of(before)) :]
            name = methods.row_of(first.method).label
            print(f"Chosen by {name}, because fewer than two classes have labels.")
    batch_files.say(written)
