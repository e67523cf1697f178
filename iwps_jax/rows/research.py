"""Ways to pick a batch that no study recommends."""

import jax.numpy as jnp

from iwps_jax.contrib import batches
from iwps_jax.contrib import forms as research
from iwps_jax.method import Cost
from iwps_jax.rows.coverage import BALANCED_HERDING
from iwps_jax.rows.look_ahead import ALJUNDI, IWPS, IWPS_BATCH, LOOK_AHEAD
from iwps_jax.rows.predictions import MARGIN
from iwps_jax.selection import cover_forms
from iwps_jax.selection import forms as selectors

FEW, MANY = research.CANDIDATES_PER_PICK, selectors.CANDIDATES_PER_PICK
RESEARCH = "you compare ways to pick a batch"

POOL_HERDING = BALANCED_HERDING._replace(
    name="pool_herding",
    label="Pool herding",
    about="is balanced_herding with --rarity 0: it counts rows alike, not classes",
    use="you want the accuracy on samples as frequent as in the pool",
    select=cover_forms.herd_all_alike,
    options=("seed",),
    is_research=True,
)

IWPS_BATCH_MARGIN = IWPS_BATCH._replace(
    name="iwps_batch_margin",
    label="IWPS-batch on Margin",
    about="is iwps_batch with the scores of margin",
    use=RESEARCH,
    is_research=True,
    reads=("logits",),
    score=MARGIN.score,
    quick=None,
    options=("seed",),
    style=None,
)
IWPS_BATCH_ALONE = IWPS_BATCH._replace(
    name="iwps_batch_alone",
    label="IWPS-batch without scores",
    about="is iwps_batch without a score",
    use=RESEARCH,
    is_research=True,
    reads=("numbers",),
    score=lambda rows, model: jnp.ones(len(rows.numbers), jnp.float32),
    quick=None,
    candidates_per_pick=None,
    options=("seed",),
    style=None,
)
IWPS_FARTHEST_FEATURES = IWPS._replace(
    name="iwps_farthest_features",
    label="IWPS, farthest features",
    about="takes, of the 4 k best rows by iwps, always the one whose features are "
    "farthest from the picks",
    use=RESEARCH,
    is_research=True,
    page="batches.md",
    source="Gonzalez 1985, restricted to the best rows",
    select=research.spread(batches.farthest_first, research.of_features, FEW),
    candidates_per_pick=FEW,
    pixels=None,
    cost=Cost(),
    style=None,
)
IWPS_FARTHEST = IWPS_FARTHEST_FEATURES._replace(
    name="iwps_farthest",
    label="IWPS, farthest",
    about="is iwps_farthest_features with gradients of the head for features",
    select=research.spread(batches.farthest_first, research.of_gradients, FEW),
)
IWPS_WEIGHTED = IWPS_FARTHEST._replace(
    name="iwps_weighted",
    label="IWPS, weighted",
    about="takes, of the 4 k best rows by iwps, always the largest product of score "
    "and distance to the picks",
    source="Dyer & Frieze 1985",
    select=research.spread(batches.score_weighted, research.of_gradients, FEW),
)
IWPS_KMEANS = IWPS_FARTHEST._replace(
    name="iwps_kmeans",
    label="IWPS, kmeans",
    about="draws from the 10 k best rows by iwps, far from the picks more often",
    source="Arthur & Vassilvitskii 2007, §2.2",
    select=research.spread(batches.k_means_plus_plus, research.of_gradients, MANY),
    candidates_per_pick=MANY,
    options=(*LOOK_AHEAD, "seed"),
)
IWPS_VOLUME = IWPS_FARTHEST._replace(
    name="iwps_volume",
    label="IWPS, volume",
    about="takes, of the 10 k best rows by iwps, those that span the largest volume",
    source="Chen et al. 2018, Algorithm 1. https://arxiv.org/abs/1709.05135",
    select=research.spread(batches.greedy_volume, research.of_gradients, MANY),
    candidates_per_pick=MANY,
)
IWPS_RESCORED = IWPS_FARTHEST._replace(
    name="iwps_rescored",
    label="IWPS, rescored",
    about="scores the 4 k best rows by iwps once more after every pick",
    source=ALJUNDI.format("Eq. 2, 3"),
    select=research.rescored,
)
MARGIN_KMEANS = IWPS_KMEANS._replace(
    name="margin_kmeans",
    label="Margin, k-means++",
    about="is iwps_kmeans with the scores of margin",
    needs=("features", "head"),
    reads=("logits",),
    score=MARGIN.score,
    quick=None,
    options=("seed",),
)
MARGIN_VOLUME = IWPS_VOLUME._replace(
    name="margin_volume",
    label="Margin, volume",
    about="is iwps_volume with the scores of margin",
    needs=("features", "head"),
    reads=("logits",),
    score=MARGIN.score,
    quick=None,
    options=(),
)
