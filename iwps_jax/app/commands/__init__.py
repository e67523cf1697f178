"""What `python -m iwps_jax COMMAND` runs, a file a command."""
