"""The old name of `experiments.iwps_batch_study`, which it runs until version 1.0.

    python -m experiments.beyond    # as python -m experiments.iwps_batch_study

Options and results are those of the new name.
"""

import sys
from collections.abc import Sequence

from experiments import iwps_batch_study


def main(arguments: Sequence[str] | None = None) -> None:
    """Says the new name and runs it."""
    print(
        "experiments.beyond is now experiments.iwps_batch_study; the old name goes in "
        "version 1.0.",
        file=sys.stderr,
    )
    iwps_batch_study.main(arguments)


if __name__ == "__main__":
    main()
