"""The package's face."""

from __future__ import annotations

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
