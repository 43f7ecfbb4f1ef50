from __future__ import annotations

import itertools
import math

import pytest
import torch

from ttt3r_ros.errors import UserError
from ttt3r_ros.model.config import UPDATE_RULES
from ttt3r_ros.model.update import (
    RULES,
    Brake,
    Cut3r,
    Filt3r,
    Gain,
    Recal3r,
    RuleInput,
    Ttt3r,
    blend,
    can_carry,
    rule_by_name,
)


def seen(proposal: torch.Tensor, alignment: torch.Tensor) -> RuleInput:
    return RuleInput(torch.zeros_like(proposal), proposal, alignment)


def test_rules_are_found_by_name():
    names = ("cut3r", "ttt3r", "filt3r", "recal3r", "recal3r_pressure", "gain", "brake")
    rules = [Cut3r(), Ttt3r(), Filt3r(), Recal3r(), Recal3r(pressure=True), Gain(), Brake()]
    assert [rule_by_name(name) for name in names] == rules
    with pytest.raises(UserError, match=f"choose one of {', '.join(RULES)}$"):
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


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def naive_recal3r(frames: list[RuleInput], pressure: bool = False) -> list[list[float]]:
    """Return β of every frame after the first, token by token as the paper's equations read; no batches."""
    initial, fatigue, rates = frames[0].tokens[0].tolist(), [0.0] * frames[0].tokens.shape[1], []
    for frame in frames[1:]:
        deviations = [math.dist(token, start) for token, start in zip(frame.tokens[0].tolist(), initial)]
        low, high = min(deviations), max(deviations)
        row = []
        for m, deviation in enumerate(deviations):
            d = 0.0 if high == low else (deviation - low) / (high - low)
            rho = 1 - d
            reliability = rho * (2 * rho - 1) ** 2
            gate = sigmoid(frame.alignment[0, m].item())
            written = gate * math.exp(-fatigue[m]) if pressure else gate
            fatigue[m] = 0.95 * fatigue[m] + 0.05 * gate
            row.append((1 - reliability) * 0.1 + reliability * written)
        rates.append(row)
    return rates


def naive_gain(frames: list[RuleInput]) -> list[list[float]]:
    return [[0.4 * sigmoid(a) for a in frame.alignment[0].tolist()] for frame in frames[1:]]


def naive_brake(frames: list[RuleInput]) -> list[list[float]]:
    rates = []
    for before, frame in itertools.pairwise(frames):
        row = []
        for m, a in enumerate(frame.alignment[0].tolist()):
            push = [x - y for x, y in zip(frame.proposal[0, m].tolist(), frame.tokens[0, m].tolist())]
            last = [x - y for x, y in zip(before.proposal[0, m].tolist(), before.tokens[0, m].tolist())]
            cosine = sum(x * y for x, y in zip(push, last)) / (math.hypot(*push) * math.hypot(*last))
            row.append(sigmoid(-cosine) * sigmoid(a))
        rates.append(row)
    return rates


TWINS = {
    "recal3r": naive_recal3r,
    "recal3r_pressure": lambda frames: naive_recal3r(frames, pressure=True),
    "gain": naive_gain,
    "brake": naive_brake,
}


@pytest.mark.parametrize("name", TWINS)
def test_a_rule_follows_its_equations_token_by_token(name):
    """Five frames of a segment, the state moved by the rule itself."""
    rule, generator = rule_by_name(name), torch.Generator().manual_seed(3)
    tokens = torch.randn(1, 7, 4, generator=generator)
    frames: list[RuleInput] = []
    found, carried = [], ()
    for _ in range(5):
        proposal, alignment = torch.randn(1, 7, 4, generator=generator), torch.randn(1, 7, generator=generator)
        frames.append(RuleInput(tokens, proposal, alignment))
        if len(frames) == 1:
            rate, carried = torch.ones(1, 7), rule.start(frames[0])
        else:
            rate, carried = rule.learning_rate(frames[-1], carried)
            found.append(rate[0].tolist())
        tokens = blend(tokens, proposal, rate)
    for ours, theirs in zip(found, TWINS[name](frames), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_recal3r_takes_tokens_that_deviate_equally_as_reliable():
    frame = RuleInput(torch.zeros(1, 3, 2), torch.ones(1, 3, 2), torch.tensor([[-1.0, 0.0, 1.0]]))
    rate, _ = Recal3r().learning_rate(frame, Recal3r().start(frame))
    assert rate[0].tolist() == pytest.approx([sigmoid(-1), 0.5, sigmoid(1)])


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e6])
def test_a_learning_rate_is_above_0_and_at_most_1(name, scale):
    rule, tokens = rule_by_name(name), torch.zeros(2, 6, 4)
    frames = [RuleInput(tokens, scale * torch.randn(2, 6, 4), 3 * torch.randn(2, 6)) for _ in range(3)]
    carried = rule.start(frames[0])
    for frame in frames[1:]:
        rate, carried = rule.learning_rate(frame, carried)
        assert rate.shape == (2, 6)
        assert (rate > 0).all()
        assert (rate <= 1).all()


@pytest.mark.parametrize("name", RULES)
def test_sequences_of_a_batch_do_not_touch_each_other(name):
    rule = rule_by_name(name)
    frames = [RuleInput(torch.randn(2, 6, 4), torch.randn(2, 6, 4), torch.randn(2, 6)) for _ in range(3)]
    alone = [
        [RuleInput(f.tokens[i : i + 1], f.proposal[i : i + 1], f.alignment[i : i + 1]) for f in frames] for i in (0, 1)
    ]
    rates = []
    for part in (frames, *alone):
        carried = rule.start(part[0])
        for frame in part[1:]:
            rate, carried = rule.learning_rate(frame, carried)
        rates.append(rate)
    torch.testing.assert_close(rates[0], torch.cat(rates[1:]))


def test_command_lines_list_the_rules_that_there_are():
    assert tuple(RULES) == UPDATE_RULES
