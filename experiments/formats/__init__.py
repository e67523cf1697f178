"""Readers of the forms in which datasets are published; one file per format."""
