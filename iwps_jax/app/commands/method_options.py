"""The options of `iwps score` that its methods look at, and which of them they need."""

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path

from iwps_jax import methods
from iwps_jax.app.commands import inputs
from iwps_jax.app.options import Flag
from iwps_jax.method import Method
from iwps_jax.refusal import Refusal

COLUMN_OF_TEXT = 66
LOOK_AHEAD = " and --explain"
OPTION_OF = {
    "features": "pool",
    "draws": "logits",
    "head": "head",
    "holdout": "holdout",
    "labels": "training_set",
}
"""Which option supplies what a method needs; --pool and --head also give logits."""
OPTIONAL = {"steps": LOOK_AHEAD, "learning_rate": LOOK_AHEAD, "rarity": ""}
"""The options that methods do not need, each with who else looks at it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodOptions(inputs.Files):
    """What methods look at."""

    method: str | None = None
    """one method, or several as a,b,c (default: iwps_batch with --training-set, iwps
    with --head and --holdout, margin otherwise)"""
    training_set: Path | None = None
    """the samples that the head was trained on, for methods that need them: .npz or
    .safetensors with features [n, d] and labels [n]"""
    explain: Flag = False
    """also write the columns hurts and hurts_by"""
    steps: int | None = None
    """T, the number of steps of the look-ahead (default: 3)"""
    learning_rate: float | None = None
    """η, the learning rate of the look-ahead (default: 1e-3)"""
    rarity: float | None = None
    """your aim, for balanced_herding: 1 for accuracy on rare classes as on others, 0
    for accuracy on samples as frequent as in the pool, or between (default: 1)"""
    seed: int = 0
    """seed of the methods that draw"""
    folder: Path | None = None
    """checkpoint folder; rerun the same command to resume"""


def about_methods() -> str:
    """The methods, each with what it does and the options that it needs."""
    rows = methods.ROWS.values()
    return "\n".join(
        [
            *(_about(row) for row in rows if not row.is_research),
            "    module:function   calls your own function, which returns a score",
            "",
            "Research alternatives, which no study recommends:",
            "",
            *(_about(row) for row in rows if row.is_research),
        ]
    )


def _about(row: Method) -> str:
    flags = [flag(name) for name in options_of(row, has_logits=False)]
    needs = f"; needs {', '.join(flags)}" if flags else ""
    if "logits" in row.needs:
        needs += ", or --logits instead of --pool"
    if row.uses:
        used = ", ".join(flag(OPTION_OF[use]) for use in row.uses)
        needs += f"; also looks at {used} where it is given"
    about = textwrap.wrap(row.about + needs, width=COLUMN_OF_TEXT)
    head, *rest = about if len(row.name) < 17 else ["", *about]
    lines = [f"    {row.name:<18}{head}", *(" " * 22 + line for line in rest)]
    return "\n".join(line.rstrip() for line in lines)


def options_of(row: Method, *, has_logits: bool) -> list[str]:
    """The options without which a method cannot pick."""
    needed = [OPTION_OF[need] for need in row.needs if need in OPTION_OF]
    if "logits" in row.needs and not has_logits:
        needed.append("head")
    return needed


def flag(name: str) -> str:
    """How an option is written."""
    return f"--{name.replace('_', '-')}"


def require_needs(options: MethodOptions, name: str, why: str = "") -> None:
    """Refuses a method that lacks an option it needs; others' are left alone.

    Args:
        options: of the command.
        name: of the method.
        why: how it came to be this method, if nobody named it.
    """
    if name not in methods.ROWS:
        return
    has_logits = options.logits is not None
    needed = options_of(methods.ROWS[name], has_logits=has_logits)
    missing = [flag(need) for need in needed if getattr(options, need) is None]
    if missing:
        about = f"--method {name} {why}".rstrip()
        raise Refusal(f"{about} needs {' and '.join(missing)}.")


def require_effect(options: MethodOptions, names: Sequence[str]) -> None:
    """Refuses an option that none of these methods looks at."""
    rows = methods.ROWS.values()
    for option, also in OPTIONAL.items():
        takers = [row.name for row in rows if option in row.options]
        is_given = getattr(options, option) is not None
        if is_given and not (also and options.explain):
            _require_one(names, takers, option, also=also)
    if options.training_set is not None:
        takers = [row.name for row in rows if "labels" in (*row.needs, *row.uses)]
        hint = ": use --labeled to name rows that must not be picked"
        _require_one(names, takers, "training_set", hint=hint)
    if options.folder is not None:
        takers = [row.name for row in rows if row.is_scan]
        if not any(":" in name or name in takers for name in names):
            raise Refusal(
                "--folder keeps what is finished of a scan, but "
                f"{', '.join(names)} does not scan the pool."
            )


def _require_one(names, takers, option, *, also="", hint=""):
    if not {*takers} & {*names}:
        raise Refusal(
            f"{flag(option)} applies only to {', '.join(takers)}{also}, not to "
            f"{', '.join(names)}{hint}."
        )
