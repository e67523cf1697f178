"""Which releases of JAX compute these scores wrongly."""

import warnings

import jaxlib

EXCLUDED_JAXLIB = {
    "0.10.2": (
        "it silently computes wrong look-ahead scores on CPU for pools of more than a "
        "few hundred samples (jax-ml/jax#39103)"
    ),
    "0.11.0": "it crashes while compiling (jax-ml/jax#39257)",
}


def warn_if_excluded(version: str = jaxlib.__version__) -> None:
    """Warns when this release of jaxlib must not be trusted with scores."""
    if version in EXCLUDED_JAXLIB:
        warnings.warn(
            f"jaxlib {version} is excluded by iwps_jax: {EXCLUDED_JAXLIB[version]}. "
            "Install another: pip install 'jax>=0.10.1,!=0.10.2,!=0.11.0' "
            "'jaxlib>=0.10.1,!=0.10.2,!=0.11.0'.",
            RuntimeWarning,
            stacklevel=3,
        )
