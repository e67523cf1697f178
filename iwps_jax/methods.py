"""The methods: one row each, read by commands, campaigns, studies, reports and pages.

To add one, write its function and its row in `iwps_jax.rows`, and name the row here;
`iwps_jax.method` says what a row holds. Everybody else asks for a row by name,
`row_of(name)`, or uses one by its constant.
"""

from iwps_jax.method import Method
from iwps_jax.rows.boundaries import (
    DIRECT,
    GALAXY,
)
from iwps_jax.rows.coverage import (
    BADGE,
    BALANCED_HERDING,
    CLUSTER_MARGIN,
    CORESET,
    DROP_QUERY,
    FLQMI,
    MAX_HERDING,
    PROB_COVER,
    TYPICLUST,
    UNCERTAINTY_HERDING,
)
from iwps_jax.rows.look_ahead import (
    BAIT,
    BAIT_BY_CLASS,
    ERROR_REDUCTION,
    GLISTER,
    IWPS,
    IWPS_APP,
    IWPS_BATCH,
)
from iwps_jax.rows.predictions import (
    BALANCED_MARGIN,
    BALD,
    ENTROPY,
    LEAST_CONFIDENCE,
    MARGIN,
    MC_DROPOUT,
    POWER_MARGIN,
    RANDOM,
    VARIATION_RATIO,
)
from iwps_jax.rows.research import (
    IWPS_BATCH_ALONE,
    IWPS_BATCH_MARGIN,
    IWPS_FARTHEST,
    IWPS_FARTHEST_FEATURES,
    IWPS_KMEANS,
    IWPS_RESCORED,
    IWPS_VOLUME,
    IWPS_WEIGHTED,
    MARGIN_KMEANS,
    MARGIN_VOLUME,
    POOL_HERDING,
)

ROWS: dict[str, Method] = {
    row.name: row
    for row in (
        RANDOM,
        ENTROPY,
        MARGIN,
        LEAST_CONFIDENCE,
        POWER_MARGIN,
        BALANCED_MARGIN,
        MC_DROPOUT,
        VARIATION_RATIO,
        BALD,
        CORESET,
        BADGE,
        MAX_HERDING,
        UNCERTAINTY_HERDING,
        BALANCED_HERDING,
        PROB_COVER,
        TYPICLUST,
        DROP_QUERY,
        CLUSTER_MARGIN,
        FLQMI,
        GALAXY,
        DIRECT,
        BAIT,
        BAIT_BY_CLASS,
        ERROR_REDUCTION,
        GLISTER,
        IWPS_APP,
        IWPS,
        IWPS_BATCH,
        IWPS_BATCH_MARGIN,
        IWPS_BATCH_ALONE,
        IWPS_FARTHEST_FEATURES,
        IWPS_FARTHEST,
        IWPS_WEIGHTED,
        IWPS_KMEANS,
        IWPS_VOLUME,
        IWPS_RESCORED,
        MARGIN_KMEANS,
        MARGIN_VOLUME,
        POOL_HERDING,
    )
}
"""All rows by name, in the order above."""


def row_of(name: str) -> Method:
    """The row of a method.

    Raises:
        ValueError: if there is none of this name.

    Example:
        >>> row_of("bald").label
        'BALD'
    """
    if name not in ROWS:
        raise ValueError(f"method must be one of {', '.join(ROWS)}, got {name}.")
    return ROWS[name]
