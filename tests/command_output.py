"""What a command has printed, for tests of its sentences."""

import re


def words(text):
    """Output without the frame and the line breaks that the width decides."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())
