"""The scores as a row of the table of methods holds them, `Method.score`.

    score(rows, model) -> scores [n]

`iwps_jax.method` says what the arguments are.
"""

from iwps_jax.scores.error_reduction import expected_entropy_reduction
from iwps_jax.scores.head import head_logits
from iwps_jax.scores.kernel import gradient_kernel, iwps_app_last_layer
from iwps_jax.scores.lookahead import iwps_last_layer


def logits(rows, model):
    """No score: the head's outputs, for selectors that need them all."""
    return head_logits(rows.features, *model.head)


def error_reduction(rows, model):
    """How much the entropy of a sample of the pool falls."""
    return expected_entropy_reduction(
        rows.features, *model.head, model.sample, **_look_ahead(model)
    )


def iwps(rows, model):
    """IWPS where only the last layer learns."""
    return iwps_last_layer(
        *(rows.features, *model.head, *model.holdout),
        holdout_weights=model.holdout_weights,
        **_look_ahead(model),
    )


def iwps_app(rows, model):
    """Its first order."""
    return iwps_app_last_layer(
        *(rows.features, *model.head, *model.holdout),
        holdout_weights=model.holdout_weights,
    )


def first_order_help(rows, model):
    """How much learning the prediction would help the holdout set, to first order."""
    return -iwps_app(rows, model)


def first_order_changes(features, predicted, model):
    """`Method.changes` per unit of step length."""
    known = model.head, features, predicted, *model.holdout
    return -gradient_kernel(_apply_head, *known)


def _look_ahead(model):
    return {"steps": model.steps, "learning_rate": model.learning_rate}


def _apply_head(head, features):
    return head_logits(features, *head)
