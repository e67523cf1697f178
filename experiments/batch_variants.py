"""Variants of IWPS that pick a whole batch: what `iwps_batch` was chosen from.

They compete like methods and are named like them in `--methods`.
"""

from experiments.methods import Method, Setting

BATCH_VARIANTS: tuple[str, ...] = ()


def make_batch_variants(setting: Setting) -> dict[str, Method]:
    """All variants by name, for one network."""
    del setting
    variants: dict[str, Method] = {}
    return {name: variants[name] for name in BATCH_VARIANTS}
