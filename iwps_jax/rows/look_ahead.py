"""Methods that ask how a label would change the head."""

from functools import partial

from iwps_jax.known_step import look_ahead_for
from iwps_jax.method import Cost, Method, Style
from iwps_jax.pixels import forms
from iwps_jax.rows.lines import DASH_DOTTED, DASHED
from iwps_jax.scores import branches
from iwps_jax.scores import forms as scored
from iwps_jax.selection import forms as selectors
from iwps_jax.selection.bait import MOST_WEIGHTS, numbers_held
from iwps_jax.selection.iwps_batch import NUM_DRAWN

ASH = "Ash et al. 2021, Algorithm 1. https://arxiv.org/abs/2106.09675"
LOOK_AHEAD = ("steps", "learning_rate")
JUDGED = ("features", "head", "holdout")
ALJUNDI = "Aljundi et al. 2020, {}. https://arxiv.org/abs/2010.06890"

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
    score=scored.iwps_app,
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
    needs=(*JUDGED, "labels"),
    reads=("features",),
    score=scored.iwps,
    quick=look_ahead_for,
    select=selectors.batch,
    candidates_per_pick=selectors.CANDIDATES_PER_PICK,
    sample=NUM_DRAWN,
    options=(*LOOK_AHEAD, "seed"),
    style=Style("#8B1A00", "h", strong=True),
)
BAIT = Method(
    "bait",
    "BAIT",
    about="takes the rows whose Fisher information, together, leaves least uncertainty "
    "about the pool",
    use="you want a strong rival without a holdout set; for heads of at most 4,000 "
    "weights",
    page="bait.md",
    source=ASH,
    needs=("features", "head"),
    uses=("labels",),
    select=selectors.least_trace,
    held=partial(numbers_held, by_class=False),
    most_weights=MOST_WEIGHTS,
)
BAIT_BY_CLASS = BAIT._replace(
    name="bait_by_class",
    label="BAIT by class",
    about="is bait without the information that classes share",
    use="you would take bait, and the head has more weights",
    select=selectors.least_trace_by_class,
    held=partial(numbers_held, by_class=True),
    most_weights=None,
)
GLISTER = Method(
    "glister",
    "GLISTER",
    about="takes the rows whose predictions, learned together, would help the holdout "
    "set most",
    use="you want the rival that also chooses with a holdout set",
    page="glister.md",
    source="Killamsetty et al. 2021, GLISTER-ACTIVE. https://arxiv.org/abs/2012.10630",
    needs=JUDGED,
    reads=("features",),
    score=scored.first_order_help,
    select=selectors.ascent,
)
