"""What the experiments offer to users of a clone keeps the library's conventions."""

import pytest
from test_signatures import EMPTY, functions_of, parameters

from experiments.classification import training
from experiments.engine import checkpoint
from experiments.models import classifiers

PUBLIC = functions_of((training, checkpoint, classifiers))


@pytest.mark.parametrize("name", PUBLIC)
def test_key_comes_first_and_defaults_are_keyword_only(name):
    assert PUBLIC[name].__doc__
    for position, parameter in enumerate(parameters(PUBLIC[name])):
        assert parameter.name != "key" or position == 0
        assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is not EMPTY:
            assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.annotation is not EMPTY
