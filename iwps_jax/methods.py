"""The methods: one row each, read by commands, campaigns, studies, reports and pages.

To add one, write its function and its row; `iwps_jax.method` says what a row holds.
Everybody else asks for a row by name, `row_of(name)`, or uses one by its constant.
"""

import jax
import jax.numpy as jnp

from iwps_jax import numerics
from iwps_jax.contrib import batches
from iwps_jax.contrib import forms as research
from iwps_jax.known_step import look_ahead_for
from iwps_jax.method import Cost, Method, Style
from iwps_jax.pixels import forms
from iwps_jax.pixels.maps import pixel_bald, pixel_mc_dropout
from iwps_jax.pool.chunks import sample_keys
from iwps_jax.scores import branches
from iwps_jax.scores import forms as scored
from iwps_jax.scores.kernel import iwps_app_last_layer
from iwps_jax.scores.power_margin import power_margin
from iwps_jax.scores.predictive import (
    bald,
    entropy,
    least_confidence,
    margin,
    mc_dropout,
    variation_ratio,
)
from iwps_jax.selection import forms as selectors
from iwps_jax.selection.iwps_batch import NUM_DRAWN

DASHED, DASH_DOTTED, DOTTED = (0, (5, 1.6)), (0, (6, 1.6, 1.2, 1.6)), (0, (1.2, 1.2))
FEW, MANY = research.CANDIDATES_PER_PICK, selectors.CANDIDATES_PER_PICK
LOOK_AHEAD = ("steps", "learning_rate")
JUDGED = ("features", "head", "holdout")
BATCH = (*JUDGED, "labels")
ALJUNDI = "Aljundi et al. 2020, {}. https://arxiv.org/abs/2010.06890"
RESEARCH = "you compare ways to pick a batch"


def _uniform(key, numbers):
    return jax.vmap(numerics.uniform)(sample_keys(key, numbers))


# The rows

RANDOM = Method(
    "random",
    "Random",
    about="draws rows at random",
    use="you need a reference, or a first or a test set",
    page="random.md",
    source="",
    needs=(),
    reads=("numbers",),
    score=lambda rows, model: _uniform(model.key, rows.numbers),
    options=("seed",),
    pixels=forms.RANDOM,
    style=Style("#1A1A1A", "o", DASHED),
)
ENTROPY = Method(
    "entropy",
    "Entropy",
    about="takes the predictions with the highest entropy",
    use="you want a familiar baseline",
    page="entropy.md",
    source="Shannon 1948",
    needs=("logits",),
    reads=("logits",),
    score=lambda rows, model: entropy(rows.logits),
    pixels=forms.of_pixels(entropy),
    style=Style("#56B4E9", "s", DASHED),
)
MARGIN = Method(
    "margin",
    "Margin",
    about="takes the predictions whose second class comes closest to the first",
    use="you can spare no labels for a holdout set; the best baseline here",
    page="margin.md",
    source="Scheffer et al. 2001",
    needs=("logits",),
    reads=("logits",),
    score=lambda rows, model: margin(rows.logits),
    pixels=forms.of_pixels(margin),
    style=Style("#0072B2", "^"),
)
LEAST_CONFIDENCE = Method(
    "least_confidence",
    "Least confidence",
    about="takes the predictions with the lowest probability",
    use="you want a familiar baseline",
    page="least_confidence.md",
    source="Lewis & Gale 1994",
    needs=("logits",),
    reads=("logits",),
    score=lambda rows, model: least_confidence(rows.logits),
    pixels=forms.of_pixels(least_confidence),
)
POWER_MARGIN = Method(
    "power_margin",
    "Power-Margin",
    about="draws rows with a probability proportional to Margin's score",
    use="Margin's picks are alike, and you have no features",
    page="power_margin.md",
    source="Kirsch et al. 2023, §3. https://arxiv.org/abs/2106.12059",
    needs=("logits",),
    reads=("numbers", "logits"),
    score=lambda rows, model: power_margin(
        sample_keys(jax.random.fold_in(model.key, model.batch), rows.numbers),
        rows.logits,
    ),
    options=("seed",),
)
MC_DROPOUT = Method(
    "mc_dropout",
    "MC-Dropout",
    about="takes the highest entropy of the mean prediction over dropout masks",
    use="the network has dropout; a baseline of the paper",
    page="mc_dropout.md",
    source="Gal et al. 2017, §3. https://arxiv.org/abs/1703.02910",
    needs=("draws",),
    reads=("draws",),
    score=lambda rows, model: mc_dropout(rows.draws),
    pixels=forms.of_draws(pixel_mc_dropout),
    cost=Cost("n C", lambda sizes: sizes.draws),
    style=Style("#009E73", "v", DOTTED),
)
VARIATION_RATIO = Method(
    "variation_ratio",
    "Variation ratio",
    about="takes the rows on whose class the dropout masks disagree most",
    use="the network has dropout, and you want a count of votes",
    page="mc_dropout.md",
    source="Gal et al. 2017, §3. https://arxiv.org/abs/1703.02910",
    needs=("draws",),
    reads=("draws",),
    score=lambda rows, model: variation_ratio(rows.draws),
)
BALD = Method(
    "bald",
    "BALD",
    about="takes the rows whose label tells most about the dropout mask",
    use="labels are noisy and draws are cheap",
    page="bald.md",
    source="Houlsby et al. 2011, Eq. 2. https://arxiv.org/abs/1112.5745",
    needs=("draws",),
    reads=("draws",),
    score=lambda rows, model: bald(rows.draws),
    pixels=forms.of_draws(pixel_bald),
    style=Style("#CC79A7", "D", DASH_DOTTED),
)
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
ERROR_REDUCTION = Method(
    "error_reduction",
    "Err-Reduction",
    about="takes the rows whose label is expected to reduce the entropy of others most",
    use="you want a baseline of the paper; it is worse than Random here",
    page="error_reduction.md",
    source="Roy & McCallum 2001",
    needs=("features", "head"),
    reads=("features",),
    score=scored.error_reduction,
    sample=500,
    options=(*LOOK_AHEAD, "seed"),
    cost=Cost(branch=branches.of_error_reduction, small=branches.SMALL_ERROR_REDUCTION),
    style=Style("#BBBB66", "<", DASH_DOTTED),
)
IWPS_APP = Method(
    "iwps_app",
    "IWPS-app",
    about="approximates iwps to first order, at a fraction of its cost",
    use="you would take iwps; it costs least, and has no T and η",
    page="iwps_app.md",
    source=ALJUNDI.format("Eq. 10"),
    needs=JUDGED,
    reads=("features",),
    score=lambda rows, model: iwps_app_last_layer(
        rows.features, *model.head, *model.holdout
    ),
    changes=scored.first_order_changes,
    pixels=forms.IWPS_APP,
    cost=Cost("(1 + 1/L) C", lambda sizes: 1 + 1 / sizes.layers),
    style=Style(
        "#E69F00",
        "p",
        strong=True,
        variants=("#DCC65A", "#8F8A1F", "#3B4310"),
        variants_line=DASHED,
    ),
)
IWPS = Method(
    "iwps",
    "IWPS",
    about="lets the head learn its own prediction for each row and asks how much this "
    "would hurt the holdout set",
    use="some classes are rare, and you can hold out a few labels of each class",
    page="iwps_last_layer.md",
    source=ALJUNDI.format("Eq. 2, 3"),
    needs=JUDGED,
    reads=("features",),
    score=scored.iwps,
    quick=look_ahead_for,
    options=LOOK_AHEAD,
    pixels=forms.IWPS,
    cost=Cost(
        "(N^h + 1 + 1/L + 2 (T-1)/L) C",
        lambda sizes: (
            sizes.holdout + 1 + 1 / sizes.layers + 2 * (sizes.steps - 1) / sizes.layers
        ),
        branches.of_look_ahead,
        branches.SMALL_LOOK_AHEAD,
    ),
    style=Style(
        "#D55E00", "*", strong=True, variants=("#F5A3B5", "#C2185B", "#4A0D35")
    ),
)
IWPS_BATCH = Method(
    "iwps_batch",
    "IWPS-batch",
    about="takes, of the 10 k best rows by iwps, the k that tell most together; for "
    "pools with similar rows or rare classes",
    use="you can hold out a few labels of each class; the best here: in no setting was "
    "another method significantly better",
    page="iwps_batch.md",
    source=ALJUNDI.format("Eq. 2, 3") + " Yu et al. 2006; Ash et al. 2021, the "
    "forward step. https://arxiv.org/abs/2106.09675",
    needs=BATCH,
    reads=("features",),
    score=scored.iwps,
    quick=look_ahead_for,
    select=selectors.batch,
    candidates_per_pick=MANY,
    sample=NUM_DRAWN,
    options=(*LOOK_AHEAD, "seed"),
    style=Style("#8B1A00", "h", strong=True),
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
ROWS = {row.name: row for row in list(globals().values()) if isinstance(row, Method)}
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
