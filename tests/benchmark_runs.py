"""Runs of the benchmarks for their tests, and made-up times."""

import json

import jax

from benchmarks.measure import Timing


def timing(samples, *seconds, megabytes=None):
    """What was measured of a program that took these seconds."""
    return Timing(samples, list(seconds), None, None, None, megabytes)


def run(module, tmp_path, *options):
    """What a benchmark's `main` writes."""
    out = tmp_path / "new" / "numbers.json"
    module.main([*map(str, options), "--out", str(out)])
    written = json.loads(out.read_text())
    assert written["benchmark"] == module.__name__.removeprefix("benchmarks.")
    assert written["machine"]["jax"] == jax.__version__
    return written
