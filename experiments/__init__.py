"""Runnable studies: `python -m experiments.<study>`, each a short table of settings."""
