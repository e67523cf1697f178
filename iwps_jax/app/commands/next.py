"""`iwps next`: hand out the samples to label next.

    iwps next --k 50

writes them with their predicted class and an empty column `label`, best first. No
sample is handed out twice, whoever asks: several people take a batch each. What was
asked for and never answered can be handed out again:

    iwps next --unanswered
"""

import argparse

from iwps_jax.app.campaign import ask, folder, unanswered_of
from iwps_jax.app.commands import answers, batch_files, exit_status
from iwps_jax.app.commands.processes import use_all_cores


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--k", type=int, help="how many")
    which.add_argument(
        "--unanswered",
        action="store_true",
        help="all that were asked for and have no answer, once more",
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
            state, _ = ask(before, batch_files.num_left(before, options.k))
            written = batch_files.hand_out(before, state, options)
    if not options.unanswered:
        waiting = len(unanswered_of(before))
        if waiting:
            print(f"{waiting} samples asked for before have no answer yet.")
        if before.head is None:
            print("Drawn at random: no two classes are labeled yet.")
    batch_files.say(written)
