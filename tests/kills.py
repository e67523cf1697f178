"""Kills the commands of a campaign before each of their file operations.

    python -m tests.kills --times 100

A command runs in a process of its own and kills itself (SIGKILL) before its first file
operation, then before its second, and so on: files opened for writing, written, synced,
renamed, linked, removed, truncated; folders made. Then the campaign must be one that a
person can go on with: no answer is lost, no sample is handed out twice, no file of the
killed process is left after the next command, and the same work can be done. The exit
status is 1 if one of these does not hold.
"""

import contextlib
import csv
import dataclasses
import io
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from iwps_jax import command_line
from iwps_jax.__main__ import main as iwps
from iwps_jax.app.campaign import folder, labels_of, unanswered_of
from iwps_jax.app.campaign.state import batches_of
from iwps_jax.app.commands import init, label, next  # noqa: F401  before a fork
from iwps_jax.refusal import Refusal

SIZE, K = 60, 4
COMMANDS = {
    "init": "init --pool pool.npy --holdout holdout.npz --method random",
    "next": f"next --k {K} --out new.csv",
    "label": "label answers.csv",
    "label --next": f"label answers.csv --next {K} --out new.csv",
    "upgrade": "next --unanswered --out new.csv",
}
AUDITED = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the command."""

    times: int = 100
    """how many kills of each command, at least"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Kills, and tells what it found; returns the exit status."""
    options = command_line.parse(
        Options, prog="python -m tests.kills", about=__doc__, arguments=arguments
    )
    failures = 0
    for name in COMMANDS:
        kills, faults = kill_often(name, options.times)
        print(f"{name}: {kills} kills, {len(faults)} faults", flush=True)
        for fault in faults:
            print(f"  {fault}")
        failures += len(faults)
    return int(failures > 0)


def kill_often(name: str, times: int) -> tuple[int, list[str]]:
    """Kills a command before each operation, in turn, until it was killed so often.

    Args:
        name: one of `COMMANDS`.
        times: how often; one round is always finished.

    Returns:
        How often it was killed, and what was wrong afterwards.
    """
    kills, faults = 0, []
    with tempfile.TemporaryDirectory() as base:
        _prepare(Path(base), name)
        while kills < times:
            number = 1
            while True:
                with tempfile.TemporaryDirectory() as copy:
                    shutil.copytree(base, copy, dirs_exist_ok=True)
                    if not _run(copy, COMMANDS[name], kill_at=number):
                        break
                    fault = _fault(Path(copy), name)
                kills += 1
                faults += [f"before operation {number}: {fault}"] if fault else []
                number += 1
    return kills, faults


def _prepare(base: Path, name: str) -> None:
    """A folder in which the command can run."""
    rng = np.random.default_rng(0)
    pool = rng.normal(size=(SIZE, 3)).astype(np.float32)
    np.save(base / "pool.npy", pool)
    np.savez(base / "holdout.npz", features=pool[:4], labels=np.arange(4) % 2)
    if name == "upgrade":
        made = Path(__file__).parent / "campaign_0_6_0"
        shutil.copytree(made, base, dirs_exist_ok=True)
        return
    if name == "init":
        return
    _run(base, COMMANDS["init"])
    _run(base, f"next --k {K} --out old.csv")
    answers = [(row["id"], "1") for row in _batch(base / "old.csv")]
    with (base / "answers.csv").open("w") as file:
        file.write("id,label\n" + "".join(f"{i},{told}\n" for i, told in answers))


def _run(where: str | Path, command: str, kill_at: int = 0) -> bool:
    """Runs a command in a process; whether it was killed."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return True
        if os.WEXITSTATUS(status) != 0:
            raise RuntimeError(f"iwps {command} ended with {status}.")
        return False
    try:
        os.chdir(where)
        silent = io.StringIO()
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            if kill_at:
                _kill_before(kill_at)
            iwps(command.split())
    except SystemExit as end:
        os._exit(int(end.code or 0))
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    os._exit(71)


def _kill_before(number: int) -> None:
    """Makes this process kill itself before its file operation of this number."""
    count = 0

    def operate():
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event, arguments):
        is_write = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in AUDITED or (is_write and str(arguments[0]) != os.devnull):
            operate()

    def counted(real: Callable) -> Callable:
        def call(*arguments):
            operate()
            return real(*arguments)

        return call

    for name in ("write", "fsync", "ftruncate", "replace"):
        setattr(os, name, counted(getattr(os, name)))
    sys.addaudithook(watch)


# What must hold after a kill


def _fault(where: Path, name: str) -> str | None:
    """What is wrong after a kill, or nothing."""
    try:
        if name == "init":
            _check_init(where)
        elif name == "next":
            _check_next(where)
        elif name == "upgrade":
            _check_upgrade(where)
        else:
            _check_label(where)
        left = [str(p.relative_to(where)) for p in where.rglob("*.half")]
        left += [p.name for p in where.glob(".campaign*")]
        assert not left, f"leftovers: {left}"
    except (AssertionError, Refusal, RuntimeError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _check_init(where):
    """There is a whole campaign, or none, and then there can be one."""
    campaign = where / "campaign"
    if not campaign.exists():
        _run(where, COMMANDS["init"])
    assert folder.read_record(campaign).events == ()


def _check_next(where):
    """A batch is known before anyone has it, and can be had again."""
    campaign = where / "campaign"
    asked = {
        row for batch in batches_of(folder.read_record(campaign)) for row in batch.rows
    }
    had = {int(row["row"]) for row in _batch(where / "new.csv")}
    assert had <= asked, "a file has samples that the campaign does not know"
    _run(where, f"next --k {K} --out another.csv")
    other = {int(row["row"]) for row in _batch(where / "another.csv")}
    assert len(other) == K and not other & asked, "a sample was handed out twice"
    _run(where, "next --unanswered --out again.csv")
    again = {int(row["row"]) for row in _batch(where / "again.csv")}
    waiting = set(unanswered_of(folder.read_record(campaign)))
    assert again == waiting >= other | had, "a sample was lost"


def _check_upgrade(where):
    """A campaign of format 1 is there, or the same as one of format 2."""
    made = folder.read_record(Path(__file__).parent / "campaign_0_6_0/campaign")
    found = folder.read_record(where / "campaign")
    assert labels_of(found) == labels_of(made), "an answer was lost"
    _run(where, "next --unanswered --out again.csv")
    again = [int(row["row"]) for row in _batch(where / "again.csv")]
    assert again == unanswered_of(made), "a sample was lost"
    assert folder.format_of(where / "campaign") == 2


def _check_label(where):
    """All answers are there or none is, and then they can be given."""
    campaign = where / "campaign"
    answered = [int(row["id"]) for row in _batch(where / "answers.csv")]
    taken = [row for row in answered if row in labels_of(folder.read_record(campaign))]
    assert taken in ([], answered), f"only {taken} of {answered} were taken"
    if not taken:
        _run(where, "label answers.csv")
    labels = labels_of(folder.read_record(campaign))
    assert all(labels.get(row) == 1 for row in answered), "an answer was lost"
    _check_next(where)


def _batch(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    sys.exit(main())
