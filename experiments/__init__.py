"""The studies: runnable modules around the functions of `iwps_jax`."""

import os

# When XLA loads a program that an earlier run kept, it complains at length that the
# processor lacks "features" which are but tuning hints of its own. What really fails
# is raised as an exception in any case. Read once, when JAX is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
