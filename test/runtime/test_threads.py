"""How many threads torch uses for a network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from ttt3r_ros.runtime.threads import MIN_PARAMETERS_TO_SPLIT, choose_threads


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def layer(parameters: int, device: str = "cpu") -> nn.Module:
    module = nn.Module()
    module.weight = nn.Parameter(torch.empty(1, device=device).expand(parameters), requires_grad=False)
    return module


def test_a_small_network_runs_on_one():
    assert choose_threads(layer(MIN_PARAMETERS_TO_SPLIT - 1)) == 1
    assert torch.get_num_threads() == 1


def test_others_keep_theirs():
    assert choose_threads(layer(MIN_PARAMETERS_TO_SPLIT)) == 3
    assert choose_threads(layer(10, device="meta")) == 3


def test_the_users_own_number_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert choose_threads(layer(10)) == 3
