"""Methods that look for the place where one class becomes another."""

from iwps_jax.method import Method
from iwps_jax.scores import forms as scored
from iwps_jax.selection import labeled_forms as selectors

GALAXY = Method(
    "galaxy",
    "GALAXY",
    about="bisects, for a random class, where its labeled rows meet the others",
    use="classes are rare, and you compare with methods for extreme imbalance",
    page="galaxy.md",
    source="Zhang et al. 2022. https://arxiv.org/abs/2202.01402",
    needs=("features", "head", "labels"),
    reads=("features",),
    score=scored.logits,
    select=selectors.galaxy,
    options=("seed",),
)
DIRECT = Method(
    "direct",
    "DIRECT",
    about="takes the rows around the threshold that separates each class best",
    use="classes are rare or labels noisy, and you compare with methods for both",
    page="direct.md",
    source="Nuggehalli et al. 2023. https://arxiv.org/abs/2312.09196",
    needs=("features", "head", "labels"),
    reads=("features",),
    score=scored.logits,
    select=selectors.direct,
    options=("seed",),
)
