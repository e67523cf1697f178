"""What a method is: the parts of a row of the table `iwps_jax.methods.ROWS`.

A method *scores* rows, each by itself, and then *selects*: by default the highest
scores. Both are pure functions; whoever calls them supplies the rows and the model:

    score(rows, model) -> scores [n]
    select(key, scores, features, model, k, where) -> rows [k]

Axes: n rows of the pool, d features, m holdout samples.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Float, Int

from iwps_jax.types import AnyArray, Head, Holdout

STEPS, LEARNING_RATE = 3, 1e-3
"""T and η where nobody says otherwise, as in `iwps_last_layer`."""
RARITY = 1.0
"""γ where nobody says otherwise: each class counts about as much."""
ABSENT: Any = None  # of any type: `needs` and `reads` say what a method is given


class Rows(NamedTuple):
    """What a score reads of some rows; None in the place of all that it does not read.

    Attributes:
        numbers: where they stand in the pool, for `sample_keys`.
        features: inputs of the last layer.
        logits: its outputs.
        draws: log-probabilities under several dropout masks.
    """

    numbers: Int[AnyArray, " n"] = ABSENT
    features: Float[AnyArray, "n d"] = ABSENT
    logits: Float[AnyArray, "n classes"] = ABSENT
    draws: Float[AnyArray, "draws n classes"] = ABSENT


class Model(NamedTuple):
    """What a method knows beside the rows; None in the place of what nobody supplied.

    Attributes:
        head: the last layer.
        holdout: labeled samples that the head did not learn from.
        labeled: the samples that it learned from; a negative label marks an empty
            place.
        sample: features of `Method.sample` rows drawn at random from the pool.
        key: randomness, the same in every batch; None: that of the seed.
        seed: makes the key, and draws the sample, where these are None.
        batch: number of the batch, for what is to be drawn anew in each.
        steps: T of the look-ahead.
        learning_rate: η of the look-ahead.
        holdout_weights: how much each holdout sample says to IWPS; None: all the same.
        rarity: γ of herding, from 0 (each row counts as much) to 1 (each class does).
    """

    head: Head = ABSENT
    holdout: Holdout = ABSENT
    labeled: Holdout = ABSENT
    sample: Float[AnyArray, "s d"] = ABSENT
    key: jax.Array = ABSENT
    seed: int = 0
    batch: Int[AnyArray, ""] | int = 0
    steps: int = STEPS
    learning_rate: float = LEARNING_RATE
    holdout_weights: Float[AnyArray, " m"] = ABSENT
    rarity: float = RARITY


class Sizes(NamedTuple):
    """What the formula of a cost depends on.

    Attributes:
        holdout: N^h, holdout samples.
        steps: T of the look-ahead.
        layers: L, layers with weights.
        draws: n, dropout masks.
    """

    holdout: int
    steps: int
    layers: int
    draws: int


class Cost(NamedTuple):
    """What scoring one row costs.

    Attributes:
        formula: in forward passes C, as the supplement, §3, has it; "-" where it gives
            none.
        passes: its value for some sizes; None where there is no formula.
        branch: `branch(rows, model)`, which branch of its conditional the score takes;
            None where it has none.
        small: the branches for small steps.
    """

    formula: str = "-"
    passes: Callable[[Sizes], float] | None = None
    branch: Callable[[Rows, Model], jax.Array] | None = None
    small: tuple[int, ...] = ()


class Style(NamedTuple):
    """How a method is drawn.

    Attributes:
        color: hexadecimal.
        marker: of Matplotlib.
        line: of Matplotlib.
        strong: whether it is one of ours, drawn with a thicker line.
        variants: colors of its variants, from light to dark; none if it has no family.
        variants_line: their line.
    """

    color: str
    marker: str
    line: Any = "-"
    strong: bool = False
    variants: tuple[str, ...] = ()
    variants_line: Any = "-"


class Pixels(NamedTuple):
    """The same method for images with a class for every pixel.

    Attributes:
        score: `score(features, where, head, context, options)` of a batch of images,
            one number or one vector each, with `PixelOptions`; None if `draw` needs no
            image. The context is a key, or, if `needs_holdout`, the holdout images or
            their summary.
        summarize: `summarize(holdout images, head)`, made once a round; None if the
            score sees the images themselves.
        needs_holdout: whether the holdout images judge.
        draw: `draw(key, size)`, scores that depend on no image.
        select: `select(key, scores, k, where)`; None for the highest scores.
    """

    score: Callable | None = None
    summarize: Callable | None = None
    needs_holdout: bool = False
    draw: Callable | None = None
    select: Callable | None = None


class PixelOptions(NamedTuple):
    """What the scores of images take.

    Attributes:
        reduction: from pixels to an image.
        num_draws: dropout masks.
        dropout_rate: of each.
        steps: T of the look-ahead.
        learning_rate: η of the look-ahead.
    """

    reduction: Callable
    num_draws: int
    dropout_rate: float
    steps: int
    learning_rate: float


class Method(NamedTuple):
    """A row of the table.

    Attributes:
        name: in commands, settings and files.
        label: in reports and pages.
        about: what it does, in a clause that starts with a verb.
        use: when to take it.
        page: its page below `docs/methods`.
        source: paper, equation and address.
        needs: what somebody must supply, of `NEEDS`.
        uses: what it also looks at, of `NEEDS`, where somebody supplies it.
        reads: the fields of `Rows` that its score reads.
        score: `score(rows, model)`; None if it selects by features alone.
        quick: `quick(rows, model)`, of features of some rows of the pool, returns forms
            of the score that are sooner compiled, first the one that serves such rows:
            `form(rows, model) -> scores, holds`, where `holds` is false for rows that
            it does not serve; the last serves all. None where there are no such forms.
        select: `select(key, scores, features, model, k, where)`; None for the highest
            scores.
        candidates_per_pick: so many times k of the highest scores are enough for
            `select`; None if it must see the whole pool.
        held: `held(rows, d, classes)`, numbers that `select` keeps beside features and
            logits, if they are more than a few a row; None if not.
        most_weights: weights of the largest head that it takes; None if any.
        sample: rows of the pool, drawn at random, whose features it looks at.
        options: those of `OPTIONS` that change its picks.
        changes: `changes(features, predicted, model) -> [n, m]`: what learning a
            prediction does to the loss of each holdout sample; None for that of the
            exact look-ahead.
        pixels: the same for images; None if there is no such form.
        cost: of a score.
        style: None for a spare one.
        is_research: whether no study recommends it.
    """

    name: str
    label: str
    about: str
    use: str
    page: str
    source: str
    needs: tuple[str, ...]
    uses: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    score: Callable[[Rows, Model], jax.Array] | None = None
    quick: Callable[[Rows, Model], tuple[Callable, ...]] | None = None
    select: Callable | None = None
    candidates_per_pick: int | None = None
    held: Callable[[int, int, int], int] | None = None
    most_weights: int | None = None
    sample: int = 0
    options: tuple[str, ...] = ()
    changes: Callable | None = None
    pixels: Pixels | None = None
    cost: Cost = Cost()
    style: Style | None = None
    is_research: bool = False

    @property
    def is_scan(self) -> bool:
        """Whether its picks come from one scan of the scores, in bounded memory."""
        return self.select is None or self.candidates_per_pick is not None

    @property
    def selects_by_features(self) -> bool:
        """Whether `select` looks at features."""
        return self.select is not None and "features" in self.needs


NEEDS = ("features", "logits", "draws", "head", "holdout", "labels")
"""What a method may need: features, logits or logits of several dropout masks of the
pool's rows, the last layer, the holdout set, and the samples the head learned from."""
OPTIONS = ("steps", "learning_rate", "rarity", "seed")
