"""The package's face."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import ttt3r_ros
from ttt3r_ros.errors import UserError


def test_a_misspelled_name_of_weights_is_said_with_the_right_one():
    with pytest.raises(
        UserError, match="there are no weights 'smal': name a file, or 'small' for those of the package"
    ):
        ttt3r_ros.load("smal")


@pytest.mark.parametrize("path", ["missing.safetensors", "folder/missing", "~/missing"])
def test_a_missing_file_is_said(path: str):
    with pytest.raises(UserError, match=r"missing(\.safetensors)? does not exist"):
        ttt3r_ros.load(path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weights": None}, "weights must be 'small' or the path of a file, not None"),
        ({"weights": 5}, "weights must be 'small' or the path of a file, not 5"),
        ({"weights": "~no-such-user/x"}, "~no-such-user/x does not exist"),
        ({"weights": Path("~no-such-user/x")}, "~no-such-user/x does not exist"),
        ({"maxspeed": 3.0}, "there is no setting maxspeed; did you mean max_speed?"),
        ({"x": 1}, "there is no setting x; there are update_rule, "),
        ({"weights_interval": 7}, "there is no setting weights_interval; did you mean reset_interval?"),
        ({"max_speed": "fast"}, "parameter max_speed must be a number, not 'fast'"),
        ({"device": None}, "parameter device must be a string, not None"),
        ({"precision": 16}, "parameter precision must be a string, not 16"),
    ],
)
def test_wrong_arguments_are_said(arguments, words):
    with pytest.raises(UserError, match=re.escape(words)):
        ttt3r_ros.load(**arguments)


@pytest.mark.slow
def test_a_path_is_a_file(weights):
    for path in (weights, str(weights), os.fsencode(weights)):
        assert ttt3r_ros.load(path, device="cpu", max_speed=0).settings.max_speed == 0.0
