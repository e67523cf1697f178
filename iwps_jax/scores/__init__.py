"""Acquisition scores: pure functions from arrays to one number per candidate.

Bigger means label it first. A module is a family:

    lookahead         IWPS: exact T-step look-ahead, judged by a holdout set
    step_forms        its forms: which steps each serves, and how
    dense             the same on all layers of a fully connected network, fast
    kernel            IWPS-app: its first order, a product of gradients
    predictive        entropy, margin, ..., BALD: from predictions alone
    error_reduction   expected error reduction
    entropy_change    what a displacement does to an entropy, for the one above
    many_labels       the same for all labels of many classes at once
    forms             scores as the table of methods has them
    head              the closed-form update of a linear head, shared by the above
    network           checks and gradients of a whole network, shared by the above

Scores of images from their pixels are in `iwps_jax.pixels`.
"""

from iwps_jax.moved import answer_old_names

answer_old_names(__name__)
