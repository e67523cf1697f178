"""Programs of a study, compiled once for all of a file's runs, and counted."""

import contextlib
import json
from collections import Counter

import jax
import pytest

from experiments.classification import run, study, training
from experiments.engine.method import Method


class Programs:
    """Compiled programs, kept for later runs with the same settings but methods.

    `counts` says how often a study was made, `fit` or a method's score traced, and
    a method compiled or asked for. `optimized` names what runs for longer than it
    takes to optimize it: `fit` or methods.
    """

    def __init__(self, optimized=()):
        self.counts, self.kept, self.optimized = Counter(), {}, optimized

    def install(self, patch, module=run):
        """Makes runs take programs from here; only what is missing is compiled."""
        patch.setattr(module, "make_study", self.make_study)
        patch.setattr(module, "compile_acquire", self.compile_acquire)

    def make_study(self, config, *data):
        settings = {**config.settings(), "methods": None}
        key = json.dumps(settings)
        if key not in self.kept:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(training, "fit", self.counted("fit", training.fit))
                made = study.make_study(config, *data)
                with self.compiler_for("fit"):
                    made.compile_train()
            methods = {
                name: Method(self.counted(name, method.score), method.select)
                for name, method in made.methods.items()
            }
            self.kept[key] = made._replace(methods=methods)
        return self.kept[key]

    def compile_acquire(self, made, method):
        name = next(n for n, other in made.methods.items() if other is method)
        self.counts["asked for", name] += 1
        key = id(made), name
        if key not in self.kept:
            with self.compiler_for(name):
                self.kept[key] = study.compile_acquire(made, method)
        return self.kept[key]

    @contextlib.contextmanager
    def compiler_for(self, name):
        """For `with`: compiles with optimizations what is to be optimized."""
        before = jax.config.read("jax_disable_most_optimizations")
        is_quick = before and name not in self.optimized
        jax.config.update("jax_disable_most_optimizations", is_quick)
        try:
            yield
        finally:
            jax.config.update("jax_disable_most_optimizations", before)

    def counted(self, name, function):
        def count(*arguments, **options):
            self.counts["traced", name] += 1
            return function(*arguments, **options)

        return count
