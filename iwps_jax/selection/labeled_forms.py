"""Selectors that look at the classes of labeled samples, as `Method.select` has them.

    select(key, logits, features, model, k, where) -> rows [k]

The scores are the head's logits of the pool; `iwps_jax.selection.forms` has the others.
"""

from iwps_jax.scores import balanced_margin as scores
from iwps_jax.scores.head import head_logits
from iwps_jax.selection.direct import direct as pick_by_direct
from iwps_jax.selection.galaxy import galaxy as pick_by_galaxy
from iwps_jax.selection.highest import top_rows
from iwps_jax.selection.mutual_information import facility_location_mutual_information


def galaxy(key, logits, features, model, k, where):
    """GALAXY of a batch."""
    del features
    return pick_by_galaxy(key, logits, *_samples(model), k, where)


def direct(key, logits, features, model, k, where):
    """DIRECT of a batch."""
    del features
    return pick_by_direct(key, logits, *_samples(model), k, where)


def flqmi(key, logits, features, model, k, where):
    """FLQMI with the labeled samples of rare classes."""
    return facility_location_mutual_information(
        key, features, logits, model.labeled.features, *_samples(model), k, where
    )


def balanced_margin(key, logits, features, model, k, where):
    """The highest scores of Margin with balanced classes."""
    del key, features
    balanced = scores.balanced_margin(logits, model.labeled.labels)
    return top_rows(balanced, where, k=k)


def _samples(model):
    """Logits and classes of the labeled samples."""
    return head_logits(model.labeled.features, *model.head), model.labeled.labels
