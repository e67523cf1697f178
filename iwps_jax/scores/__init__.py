"""Acquisition scores: pure functions from arrays to one number per candidate.

Bigger means label it first. A module is a family:

    lookahead         IWPS: exact T-step look-ahead, judged by a holdout set
    dense             the same on all layers of a fully connected network, fast
    kernel            IWPS-app: its first order, a product of gradients
    predictive        entropy, margin, ..., BALD: from predictions alone
    error_reduction   expected error reduction
    head              the closed-form update of a linear head, shared by the above
    pixel_lookahead   IWPS of images, on the last layer of a segmentation network
    pixel_kernel      IWPS-app of images there, and the gradients it needs
    pixel_maps        uncertainties of pixels, reduced to one score an image
    reductions        from the pixels of an image to one number
    pixel_head        that layer: its maps, checks and gradient, shared by the above
    network           checks and gradients of a whole network, shared by the above
"""
