"""Last layers fitted to features that are given, by optax.

logistic       the solver of both: multinomial logistic regression
linear_probe   the head whose penalty a holdout set chooses
calibration    the temperature at which a head is as sure as it is right
cross_fitted   heads that have each not seen a fold of the labels
"""
