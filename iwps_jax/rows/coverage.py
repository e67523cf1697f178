"""Methods that compare rows with each other, so that their picks are unlike."""

from iwps_jax.method import Method, Style
from iwps_jax.pixels import forms
from iwps_jax.rows.lines import DOTTED
from iwps_jax.scores import forms as scored
from iwps_jax.selection import forms as selectors
from iwps_jax.selection import labeled_forms

CORESET = Method(
    "coreset",
    "Coreset",
    about="covers the pool: always takes the row farthest from all labeled rows",
    use="you want only diversity",
    page="core_set.md",
    source="Sener & Savarese 2018, Algorithm 1. https://arxiv.org/abs/1708.00489",
    needs=("features",),
    uses=("labels",),
    select=selectors.k_center,
    pixels=forms.CORESET,
    style=Style("#882255", "P"),
)
BADGE = Method(
    "badge",
    "BADGE",
    about="draws rows whose gradients are large and unlike each other",
    use="rounds are large, or the pool is balanced",
    page="badge.md",
    source="Ash et al. 2020, Algorithm 1. https://arxiv.org/abs/1906.03671",
    needs=("features", "head"),
    reads=("features",),
    score=scored.logits,
    select=selectors.badge,
    options=("seed",),
    pixels=forms.BADGE,
    style=Style("#332288", "X", DOTTED),
)
FLQMI = Method(
    "flqmi",
    "FLQMI",
    about="covers the labeled samples of rare classes with rows that are like them",
    use="some classes are rare, and a few samples of them have labels",
    page="flqmi.md",
    source="Kothawade et al. 2021. https://arxiv.org/abs/2107.00717",
    needs=("features", "head", "labels"),
    reads=("features",),
    score=scored.logits,
    select=labeled_forms.flqmi,
    options=("seed",),
)
