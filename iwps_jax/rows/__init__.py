"""The rows of the table of methods, by kind; `iwps_jax.methods` is the table."""
