"""Which branch of its conditional a score takes on some rows.

The exact look-aheads of the last layer have cheaper forms for small steps; what they
cost depends on the form. Each function takes `Rows` and a `Model` and returns the
branch's number.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Int

from iwps_jax.method import Model, Rows
from iwps_jax.scores import entropy_change, error_reduction, head, step_forms

SMALL_LOOK_AHEAD = tuple(range(len(step_forms.SERIES)))
"""The branches of `of_look_ahead` for small |k δ|."""
SMALL_ERROR_REDUCTION = tuple(range(len(entropy_change.FORMS) - 1))
"""The branches of `of_error_reduction` for small |k δ|."""


def of_look_ahead(rows: Rows, model: Model) -> Int[jax.Array, ""]:
    """The branch that `iwps_last_layer` takes."""
    features, judging = map(jnp.asarray, (rows.features, model.holdout.features))
    deltas = jax.vmap(_displace(model))(features, _logits(rows, model))
    reach = head.reach(features, judging)
    return step_forms.form_of_step(deltas, reach)


def of_error_reduction(rows: Rows, model: Model) -> Int[jax.Array, ""]:
    """The branch that `expected_entropy_reduction` takes for a few classes."""
    couplings = head.couplings(*map(jnp.asarray, (rows.features, model.sample)))
    largest = error_reduction.largest_change(
        couplings, steps=model.steps, learning_rate=model.learning_rate
    )
    return entropy_change.form_of_step(largest)


def _displace(model):
    return partial(
        head.displacement,
        steps=model.steps,
        learning_rate=jnp.asarray(model.learning_rate),
    )


def _logits(rows, model):
    return head.head_logits(rows.features, *model.head)
