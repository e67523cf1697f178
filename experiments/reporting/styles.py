"""Names and styles of methods and datasets for all tables and pictures.

Every method has one color, marker and line style, so that plots of several runs can be
laid side by side. Colors are from the sets of Okabe & Ito and of Paul Tol, chosen to
stay apart under the common color vision deficiencies (the tests simulate them); marker
and line style carry the same information again.

Names that are not in the table get a style that depends on which of them are drawn
together: variants of IWPS and of IWPS-app each a sequence from light to dark in the
natural order of their names, others a spare color.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from iwps_jax.methods import ROWS


class Style(NamedTuple):
    """Name and style of a method."""

    label: str
    color: str
    marker: str
    line: str | tuple = "-"
    strong: bool = False


LABELS = {name: row.label for name, row in ROWS.items()}
STYLES = {
    name: Style(row.label, *row.style[:4])
    for name, row in ROWS.items()
    if row.style is not None
}
DATASETS = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "svhn": "SVHN",
    "cifar10": "CIFAR-10",
    "digits": "Digits",
    "banking77": "Banking77",
    "clinc150": "CLINC150",
    "clinc150_domains": "CLINC150, domains",
    "hwu64": "HWU64",
    "trec": "TREC",
    "dry_bean": "Dry Bean",
    "pendigits": "Pen digits",
    "letter": "Letter",
    "satimage": "Satimage",
    "wine": "Wine",
    "digit_scenes": "Digit scenes",
    "cityscapes": "Cityscapes",
}
# Filled ones only: the white edge of a marker would cover one made of strokes.
SPARE_MARKERS = ("d", "8", ">", "h", "H", "^", "s", "D", "v", "P", "X", "<", "o", "p")
SPARE_LINE = (0, (6, 1.6, 1.2, 1.6))
SPARE_COLORS = ("#117733", "#661100", "#6699CC", "#44AA99", "#AA4466")
FAMILIES = {
    name: row.style
    for name, row in ROWS.items()
    if row.style is not None and row.style.variants
}
"""Methods with variants; a name belongs to the first family it begins with."""
VARIANTS = {"full": "full network", "on_training": "training subset"}


def styles_of(methods: Iterable[str]) -> dict[str, Style]:
    """Choose the styles of methods that are drawn together.

    Args:
        methods: names without repetition; those of the table keep their style.

    Returns:
        A style by name, in the given order. Up to 14 unknown names have markers of
        their own.

    Example:
        >>> [s.label for s in styles_of(["bald", "iwps_holdout_5"]).values()]
        ['BALD', 'IWPS, holdout 5']
    """
    methods = list(methods)
    unknown = sorted((m for m in methods if m not in STYLES), key=_natural)
    taken = {STYLES[m].marker for m in methods if m in STYLES}
    free = [m for m in SPARE_MARKERS if m not in taken] or list(SPARE_MARKERS)
    markers = {m: free[i % len(free)] for i, m in enumerate(unknown)}
    chosen = {}
    for family in (*FAMILIES, None):
        members = [m for m in unknown if _family(m) == family]
        for i, method in enumerate(members):
            color = SPARE_COLORS[i % len(SPARE_COLORS)]
            if family:
                position = i / (len(members) - 1) if len(members) > 1 else 0.5
                color = _between(FAMILIES[family].variants, position)
            line = FAMILIES[family].variants_line if family else SPARE_LINE
            chosen[method] = Style(display_name(method), color, markers[method], line)
    return {m: STYLES.get(m) or chosen[m] for m in methods}


def style_of(method: str) -> Style:
    """Return the style of a method that is drawn without other unknown ones."""
    return styles_of([method])[method]


def display_name(method: str) -> str:
    """Return the name of a method in the literature, or a readable one.

    Variants of IWPS and IWPS-app say what is different about them; other unknown names
    stay as they are.

    Example:
        >>> display_name("bald"), display_name("mine")
        ('BALD', 'mine')
        >>> display_name("iwps_app_full"), display_name("iwps_holdout_5")
        ('IWPS-app, full network', 'IWPS, holdout 5')
    """
    if method in LABELS:
        return LABELS[method]
    family = _family(method)
    if family is None:
        return method
    variant = method.removeprefix(f"{family}_")
    return f"{LABELS[family]}, {VARIANTS.get(variant, variant.replace('_', ' '))}"


def setting_name(
    dataset: str, imbalance: float | None = None, distribution: str | None = None
) -> str:
    """Name a dataset and the ratio of its smallest class to the others.

    Args:
        dataset: its short name; unknown ones stay as they are.
        imbalance: 1/10 and 10 are both "1/10"; None leaves the ratio out.
        distribution: of the classes; None for the paper's minority scheme.

    Example:
        >>> setting_name("mnist", 0.1), setting_name("cifar10", 1)
        ('MNIST, imbalance 1/10', 'CIFAR-10, balanced')
        >>> setting_name("clinc150", 100, "long_tailed")
        'CLINC150, long-tailed 1/100'
        >>> setting_name("dry_bean", 1, "natural")
        'Dry Bean, natural imbalance'
    """
    name = DATASETS.get(dataset, dataset)
    if distribution == "natural":
        return f"{name}, natural imbalance"
    if not imbalance:
        return name
    ratio = max(imbalance, 1 / imbalance)
    kind = "long-tailed" if distribution == "long_tailed" else "imbalance"
    return f"{name}, {kind} 1/{ratio:.3g}" if ratio > 1 else f"{name}, balanced"


def setting_of(about: Mapping[str, Any]) -> str:
    """Name the setting of a run, from its `config.json` or its summary."""
    return setting_name(
        about["dataset"], about.get("imbalance"), about.get("distribution")
    )


def _family(method: str) -> str | None:
    return next((f for f in FAMILIES if method.startswith(f"{f}_")), None)


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key under which "holdout_5" is before "holdout_20"."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def _between(colors: Sequence[str], position: float) -> str:
    """Interpolate linearly along hexadecimal colors; 0 is the first, 1 the last."""
    position *= len(colors) - 1
    i = min(int(position), len(colors) - 2)
    low, high = ([int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in colors[i : i + 2])
    mixed = [a + (b - a) * (position - i) for a, b in zip(low, high, strict=True)]
    return "#" + "".join(f"{round(channel):02X}" for channel in mixed)
