"""Turns the files of a run into numbers, verdicts, pictures and pages."""
