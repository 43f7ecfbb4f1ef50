"""What several tests of weights files expect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from ttt3r_ros.errors import UserError
from ttt3r_ros.model import Network
from ttt3r_ros.weights.checkpoint import load_network


def assert_equal(a: Network, b: Network) -> None:
    assert a.config == b.config
    ours, theirs = a.state_dict(), b.state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert value.dtype == theirs[key].dtype
        assert torch.equal(value, theirs[key]), key


def refusal(path: Path) -> str:
    """Return the sentence with which a file is refused, without its path: a test's folder bears the test's words."""
    with pytest.raises(UserError) as caught:
        load_network(path)
    return one_sentence(caught.value).replace(str(path), "FILE")


def one_sentence(error: UserError) -> str:
    text = str(error)
    assert text
    assert text.isprintable(), text  # one line, and nothing for a terminal to act upon
    assert len(text) < 700
    assert not re.search(r"[.!?] [A-Z]", text), text
    assert not text.endswith(".")
    return text
