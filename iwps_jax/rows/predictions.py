"""Methods that look at each prediction by itself."""

import jax

from iwps_jax import numerics
from iwps_jax.method import Cost, Method, Style
from iwps_jax.pixels import forms
from iwps_jax.pixels.maps import pixel_bald, pixel_mc_dropout
from iwps_jax.pool.chunks import sample_keys
from iwps_jax.rows.lines import DASH_DOTTED, DASHED, DOTTED
from iwps_jax.scores import forms as scored
from iwps_jax.scores.power_margin import power_margin
from iwps_jax.scores.predictive import (
    bald,
    entropy,
    least_confidence,
    margin,
    mc_dropout,
    variation_ratio,
)
from iwps_jax.selection import labeled_forms


def _uniform(key, numbers):
    return jax.vmap(numerics.uniform)(sample_keys(key, numbers))


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
BALANCED_MARGIN = Method(
    "balanced_margin",
    "Balanced Margin",
    about="takes Margin's rows once labeled classes count as if they were as frequent",
    use="classes are imbalanced: the control for methods that look for rare ones",
    page="balanced_margin.md",
    source="Menon et al. 2021. https://arxiv.org/abs/2007.07314",
    needs=("features", "head", "labels"),
    reads=("features",),
    score=scored.logits,
    select=labeled_forms.balanced_margin,
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
