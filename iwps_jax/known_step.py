"""Look-aheads by the one form that a pool's steps need, chosen before it is compiled.

The forms of `iwps_last_layer` in one program take several times as long to compile as
one of them. Which one is told on the host, by a bound that some rows of the pool give,
and checked for every row while it runs.
"""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jaxtyping import Bool, Float

from iwps_jax import checks
from iwps_jax.method import Model, Rows
from iwps_jax.scores import lookahead, step_forms
from iwps_jax.scores.weights import checked_weights

ROOM = 1.5
"""Other rows of the pool may go so many times as far as those that were looked at."""

Form = Callable[[Rows, Model], tuple[jax.Array, jax.Array]]


def look_ahead_for(rows: Rows, model: Model) -> tuple[Form, ...]:
    """The form that rows like these need, and those for rows that go farther.

    These rows need no more than the bound

        |k δ| <= η T (1 - p_ŷ) (1 + ‖h‖ max_m ‖g_m‖),

    since a step towards the prediction ŷ never lowers its probability.

    Args:
        rows: features of some rows of the pool.
        model: with head and holdout set.

    Returns:
        `form(rows, model) -> scores [n], holds [n]` each; the last holds for all rows.

    Raises:
        ValueError: if steps or learning rate are out of range.
        TypeError: if they are no numbers.
    """
    checks.require_steps(model.steps, model.learning_rate)
    features, (kernel, bias), (judging, _) = rows.features, model.head, model.holdout
    with np.errstate(all="ignore"):  # a row that is not finite says nothing here
        arrays = (features, kernel, bias, judging)
        features, kernel, bias, judging = (np.asarray(a, np.float64) for a in arrays)
        logits = features @ kernel + bias
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        doubt = 1 - 1 / odds.sum(-1)
        reach = 1 + np.sqrt((features**2).sum(-1) * (judging**2).sum(-1).max())
        bounds = float(model.learning_rate) * model.steps * doubt * reach
    largest = bounds[np.isfinite(bounds)].max(initial=0)
    first = int(np.searchsorted(step_forms.ALL_RADII, ROOM * largest))
    return (_FORMS[first], *_FORMS[max(first + 1, len(_FORMS) - 2) :])


def _by(
    form: int, rows: Rows, model: Model
) -> tuple[Float[jax.Array, " n"], Bool[jax.Array, " n"]]:
    return lookahead.look_ahead_by(
        *(rows.features, *model.head, *model.holdout, model.learning_rate),
        checked_weights(model.holdout_weights, model.holdout[1]),
        steps=model.steps,
        form=form,
    )


# Made once: a program is known again by its function.
_FORMS = tuple(partial(_by, form) for form in range(len(step_forms.ALL_RADII) + 1))
