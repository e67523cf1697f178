"""Reads the sections of a docstring as the site shows them.

A hook of the documentation's build (see mkdocs.yml), not part of the library.
"""

import griffe


class Sections(griffe.Extension):
    """Takes the section Example, which has doctests, for what Griffe calls Examples."""

    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        """Renames the section of one object's docstring."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = text.replace("\nExample:\n", "\nExamples:\n")
