"""Methods that compare rows with each other, so that their picks are unlike."""

from functools import partial

import jax

from iwps_jax.method import Method, Style
from iwps_jax.pixels import forms
from iwps_jax.pool.chunks import sample_keys
from iwps_jax.rows.lines import DOTTED
from iwps_jax.rows.predictions import MARGIN
from iwps_jax.scores import forms as scored
from iwps_jax.scores.prediction_changes import prediction_changes
from iwps_jax.selection import cover, cover_forms, herding, labeled_forms
from iwps_jax.selection import forms as selectors
from iwps_jax.selection.balanced_herding import NUM_TARGETS

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
TYPICLUST = Method(
    "typiclust",
    "TypiClust",
    about="takes the most typical row of every cluster without labels",
    use="you have few labels or none",
    page="typiclust.md",
    source="Hacohen et al. 2022. https://arxiv.org/abs/2202.02794",
    needs=("features",),
    uses=("labels",),
    select=selectors.most_typical,
    options=("seed",),
)
DROP_QUERY = Method(
    "drop_query",
    "DropQuery",
    about="takes, of the rows whose prediction changes when features are dropped, one "
    "from each of k clusters",
    use="features come from a large frozen network",
    page="drop_query.md",
    source="Gupte et al. 2024. https://arxiv.org/abs/2401.14555",
    needs=("features", "head"),
    reads=("numbers", "features"),
    score=lambda rows, model: prediction_changes(
        sample_keys(jax.random.fold_in(model.key, model.batch), rows.numbers),
        rows.features,
        *model.head,
    ),
    select=selectors.changed,
    options=("seed",),
)
CLUSTER_MARGIN = Method(
    "cluster_margin",
    "Cluster-Margin",
    about="takes, of the 10 k best rows by margin, one of each cluster by turns",
    use="rounds are very large",
    page="cluster_margin.md",
    source="Citovsky et al. 2021, Algorithm 2. https://arxiv.org/abs/2107.14263",
    needs=("features", "head"),
    reads=("logits",),
    score=MARGIN.score,
    select=selectors.clustered,
    options=("seed",),
)
MAX_HERDING = Method(
    "max_herding",
    "MaxHerding",
    about="covers the pool by a smooth kernel: always takes the row that raises the "
    "mean cover most",
    use="you have few labels or none, and features that tell classes apart",
    page="max_herding.md",
    source="Bae et al. 2024, Algorithm 1. https://arxiv.org/abs/2407.12212",
    needs=("features",),
    uses=("labels",),
    select=cover_forms.max_herding,
    held=partial(cover.numbers_held, num_targets=herding.NUM_TARGETS),
    options=("seed",),
)
UNCERTAINTY_HERDING = Method(
    "uncertainty_herding",
    "UHerding",
    about="covers the rows that Margin is unsure of, by a kernel that narrows as "
    "labels come",
    use="you do not know whether your labels are few or many",
    page="uncertainty_herding.md",
    source="Bae et al. 2025, Algorithm 1. https://arxiv.org/abs/2412.20644",
    needs=("features", "head"),
    uses=("labels", "holdout"),
    reads=("features",),
    score=scored.logits,
    select=cover_forms.uncertainty_herding,
    held=partial(cover.numbers_held, num_targets=herding.NUM_TARGETS),
    options=("seed",),
)
BALANCED_HERDING = UNCERTAINTY_HERDING._replace(
    name="balanced_herding",
    label="Balanced herding",
    about="covers the rows that Margin is unsure of, so that each class counts as much",
    use="some classes are rare, and there is no holdout set",
    page="balanced_herding.md",
    source="ours, after Bae et al. 2025. https://arxiv.org/abs/2412.20644",
    uses=("labels",),
    select=cover_forms.herd_by_rarity,
    held=partial(cover.numbers_held, num_targets=NUM_TARGETS),
    options=("rarity", "seed"),
)
PROB_COVER = Method(
    "prob_cover",
    "ProbCover",
    about="covers as many rows as possible by balls of one radius, which k-means "
    "chooses",
    use="you have few labels or none, and features that tell classes apart",
    page="prob_cover.md",
    source="Yehuda et al. 2022, Algorithm 1. https://arxiv.org/abs/2205.11320",
    needs=("features", "head"),
    uses=("labels",),
    select=cover_forms.prob_cover,
    held=lambda rows, d, classes: cover.numbers_held(
        rows, d, classes, num_targets=rows
    ),
    options=("seed",),
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
