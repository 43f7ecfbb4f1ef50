from __future__ import annotations

import math

import pytest
import torch

from ttt3r_ros.errors import UserError
from ttt3r_ros.model.update import RULES, Cut3r, Filt3r, Seen, Ttt3r, blend, can_carry, rule_by_name


def seen(proposal: torch.Tensor, alignment: torch.Tensor) -> Seen:
    return Seen(torch.zeros_like(proposal), proposal, alignment)


def test_rules_are_found_by_name():
    assert [rule_by_name(name) for name in ("cut3r", "ttt3r", "filt3r")] == [Cut3r(), Ttt3r(), Filt3r()]
    with pytest.raises(UserError, match="choose one of ttt3r, filt3r, cut3r"):
        rule_by_name("ttt4r")


def test_cut3r_takes_everything_and_ttt3r_the_sigmoid():
    proposal, alignment = torch.randn(1, 3, 4), torch.tensor([[-2.0, 0.0, 2.0]])
    assert Cut3r().learning_rate(seen(proposal, alignment), ())[0].tolist() == [[1.0, 1.0, 1.0]]
    rate, _ = Ttt3r().learning_rate(seen(proposal, alignment), ())
    assert rate[0].tolist() == pytest.approx([1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-2))])


def test_blend_moves_each_token_by_its_own_rate():
    state, proposal = torch.zeros(1, 3, 2), torch.full((1, 3, 2), 8.0)
    blended = blend(state, proposal, torch.tensor([[0.0, 0.25, 1.0]]))
    assert blended[0].tolist() == [[0.0, 0.0], [2.0, 2.0], [8.0, 8.0]]


def test_filt3r_follows_its_equations_by_hand():
    """Three frames of one token that moves by 1, then by 3, in plain Python."""
    rule, alignment = Filt3r(), torch.zeros(1, 1)
    carried = rule.start(seen(torch.zeros(1, 1, 1), alignment))
    variance, mean, position = 1.5, None, 0.0
    for step in (1.0, 3.0, 0.0):
        position += step
        mean = step if mean is None else 0.95 * mean + 0.05 * step
        mean = max(mean, 0.01)
        noise = 0.02 + 0.48 / (1 + math.exp(-20 * (step / (mean + 1e-6) - 3)))
        predicted = variance + noise
        gain = min(max(predicted / (predicted + 1 + 1e-6), 0.01), 0.99)
        variance = (1 - gain) ** 2 * predicted + gain**2
        rate, carried = rule.learning_rate(seen(torch.full((1, 1, 1), position), alignment), carried)
        assert rate.item() == pytest.approx(gain, rel=1e-5)
        assert carried[0].item() == pytest.approx(variance, rel=1e-5)


def test_filt3r_learns_more_where_the_proposal_moves_more():
    rule = Filt3r()
    carried = rule.start(seen(torch.zeros(1, 20, 2), torch.zeros(1, 20)))
    still, moved = torch.zeros(1, 20, 2), torch.zeros(1, 20, 2)
    moved[0, 3] = 5.0
    _, carried = rule.learning_rate(seen(still + 0.01, torch.zeros(1, 20)), carried)
    rate, _ = rule.learning_rate(seen(moved, torch.zeros(1, 20)), carried)
    assert rate[0].argmax() == 3
    assert rate.min() >= 0.01
    assert rate.max() <= 0.99


def test_filt3r_without_what_it_carries_says_so():
    with pytest.raises(ValueError, match="start a new segment"):
        Filt3r().learning_rate(seen(torch.zeros(1, 1, 1), torch.zeros(1, 1)), ())


@pytest.mark.parametrize("name", RULES)
def test_a_rule_knows_what_it_can_have_carried(name):
    rule, shape = rule_by_name(name), (1, 5, 3)
    frame = seen(torch.randn(shape), torch.randn(shape[:2]))
    carried = rule.start(frame)
    for _ in range(3):
        assert can_carry(rule, carried, shape)
        assert not can_carry(rule, (*carried, torch.zeros(2)), shape)
        assert not carried or not can_carry(rule, carried, (1, 6, 3))
        _, carried = rule.learning_rate(frame, carried)
