"""`iwps next`: hand out the samples to label next.

    iwps next --k 50

writes them with their predicted class and an empty column `label`, best first. No
sample is handed out twice, whoever asks: several people take a batch each. What was
asked for and never answered can be handed out again:

    iwps next --unanswered
"""

import argparse
from typing import Any

from iwps_jax.campaign import ask, folder, unanswered_of
from iwps_jax.commands import answering, batches, ending
from iwps_jax.commands.parsing import add_command
from iwps_jax.commands.processes import use_all_cores


def add_to(commands: Any) -> None:
    """Adds the command and its options."""
    parser = add_command(
        commands,
        "next",
        run,
        summary="hand out the samples to label next",
        description=__doc__,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--k", type=int, help="how many")
    which.add_argument(
        "--unanswered",
        action="store_true",
        help="all that were asked for and have no answer, once more",
    )
    batches.add_output(parser)
    answering.add_campaign(parser)
    answering.add_wait(parser)


def run(options: argparse.Namespace) -> int:
    """Asks, writes, and keeps what was asked; returns the exit status."""
    return ending.status_of(lambda: _next(options))


def _next(options):
    batches.check_output(options)
    use_all_cores()
    with folder.locked(options.campaign, wait=options.wait):
        if options.unanswered:
            state = folder.read_record(options.campaign)
            written = batches.hand_out_again(state, options)
        else:
            before = folder.read(options.campaign)
            state, _ = ask(before, batches.num_left(before, options.k))
            written = batches.hand_out(before, state, options)
    if not options.unanswered:
        waiting = len(unanswered_of(before))
        if waiting:
            print(f"{waiting} samples asked for before have no answer yet.")
        if before.head is None:
            print("Drawn at random: no two classes are labeled yet.")
    batches.say(written)
