"""`iwps next`: hand out the samples to label next.

    iwps next --k 50

This writes the samples to a file, best first, with their predicted class and an empty
column `label`. No sample is handed out twice, so each of several people can take a
batch. The next command hands out again all samples that have no answer:

    iwps next --unanswered
"""

import argparse

from iwps_jax.app.campaign import ask, folder, unanswered_of
from iwps_jax.app.commands import answers, batch_files, exit_status
from iwps_jax.app.commands.processes import use_all_cores
from iwps_jax.pool.sources import PoolError
from iwps_jax.refusal import refusing


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--k", type=int, help="how many samples")
    which.add_argument(
        "--unanswered",
        action="store_true",
        help="hand out again all samples that have no answer",
    )
    batch_files.add_output(parser)
    answers.add_campaign(parser)
    answers.add_wait(parser)


def run(options: argparse.Namespace) -> int:
    """Asks, writes, and keeps what was asked; returns the exit status."""
    return exit_status.run(lambda: _next(options))


def _next(options):
    batch_files.check_output(options)
    use_all_cores()
    with folder.locked(options.campaign, wait=options.wait):
        if options.unanswered:
            state = folder.read_record(options.campaign)
            written = batch_files.hand_out_again(state, options)
        else:
            before = folder.read(options.campaign)
            with refusing(PoolError, MemoryError):
                state, _ = ask(before, batch_files.num_left(before, options.k))
            written = batch_files.hand_out(before, state, options)
    if not options.unanswered:
        waiting = len(unanswered_of(before))
        if waiting:
            print(f"{waiting} samples of earlier batches have no answer yet.")
        if before.head is None:
            print("Drawn at random, because fewer than two classes have labels.")
    batch_files.say(written)
