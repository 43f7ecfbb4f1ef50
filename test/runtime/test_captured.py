from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
import torch
from replay import Rerun
from rule_weights import TINY, rule_image, rule_network

from ttt3r_ros.model import Cut3r, Filt3r, Network, NetworkConfig, State, Ttt3r
from ttt3r_ros.model.network import COLOR, POINTS_CAMERA, POINTS_WORLD
from ttt3r_ros.model.update import RULES
from ttt3r_ros.runtime.captured import CapturedStep, CaptureError, Step
from ttt3r_ros.runtime.cuda_capture import CudaCapture
from ttt3r_ros.runtime.tensor_tree import cloned, layout, tensors

ALL = frozenset({POINTS_CAMERA, POINTS_WORLD, COLOR})
DPT = NetworkConfig(**{**TINY.to_dict(), "head_type": "dpt", "dpt_width": 24})


@pytest.fixture(scope="module", params=[TINY, pytest.param(DPT, marks=pytest.mark.slow)], ids=["linear", "dpt"])
def network(request: pytest.FixtureRequest) -> Network:
    return rule_network(request.param)


def image(index: int, height: int = 48, width: int = 64) -> torch.Tensor:
    return rule_image(index, height, width)[None]


def unheard(sentence: str) -> None:
    raise AssertionError(f"a warning: {sentence}")


def captured(network: Network, **options: int) -> tuple[CapturedStep, Rerun]:
    rerun = Rerun()
    return CapturedStep(network, rerun, unheard, **options), rerun


def assert_same(found: object, expected: object) -> None:
    assert layout(found) == layout(expected)
    for a, b in zip(tensors(found), tensors(expected), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "rule"),
    [*((TINY, rule) for rule in RULES.values()), (DPT, RULES["filt3r"])],
    ids=[*RULES, "filt3r-dpt"],
)
def test_a_replayed_step_is_the_plain_one(config, rule):
    """Over segments, with changing outputs and images of two sizes in turn."""
    network = rule_network(config)
    ours, rerun = captured(network, max_graphs=32)
    with torch.inference_mode():
        for height, width in ((48, 64), (64, 32), (48, 64)):
            state = expected_state = None
            for index, outputs in enumerate((ALL, {POINTS_CAMERA}, set(), {POINTS_CAMERA}, {POINTS_CAMERA})):
                frame = image(index, height, width)
                expected, expected_state = network.step(frame, expected_state, rule=rule, outputs=outputs)
                found, state = ours.step(frame, state, rule=rule, outputs=outputs)
                assert_same((found, state), (expected, expected_state))
    assert rerun.replayed == 15
    assert rerun.recorded == (8 if isinstance(rule, Filt3r) else 6)


@pytest.mark.slow
def test_nothing_that_was_returned_changes_later(network):
    ours, _ = captured(network)
    state, kept = None, []
    for index, outputs in enumerate((ALL, ALL, set(), ALL)):
        step = ours.step(image(index), state, rule=Filt3r(), outputs=outputs)
        kept.append((step, cloned(step)))
        state = step[1]
    for step, as_it_was in kept:
        assert_same(step, as_it_was)


def test_an_earlier_state_can_be_put_back(network):
    ours, _ = captured(network)
    _, first = ours.step(image(0), None)
    once, second = ours.step(image(1), first)
    ours.step(image(2), second)
    again, _ = ours.step(image(1), first)
    assert_same(again, once)


def test_what_a_step_is_given_stays_as_it_is(network):
    ours, _ = captured(network)
    frame, (_, state) = image(1), ours.step(image(0), None, rule=Filt3r())
    before = cloned((frame, state))
    for _ in range(2):
        ours.step(frame, state, rule=Filt3r())
    assert_same((frame, state), before)


@pytest.mark.slow
def test_every_kind_of_step_is_recorded_once(network):
    ours, rerun = captured(network, max_graphs=32)
    _, state = ours.step(image(0), None)
    for _ in range(2):
        ours.step(image(1), None)
        ours.step(image(1), state)
        ours.step(image(1), state, rule=Ttt3r(), outputs={POINTS_CAMERA})  # as by default
    assert rerun.recorded == 2
    ours.step(image(1), state, rule=Cut3r())
    ours.step(image(1), state, outputs=set())
    ours.step(image(1, 64, 48), state)
    assert rerun.recorded == 5
    _, second = ours.step(image(0), None, rule=Filt3r())
    _, third = ours.step(image(0), second, rule=Filt3r())
    assert rerun.recorded == 7
    ours.step(image(0), third, rule=Filt3r())  # now that there is a mean of the change
    ours.step(image(0), third, rule=Filt3r())
    assert rerun.recorded == 8
    ours.step(image(0), third, rule=Filt3r(ema=0.1))  # a rule's constants are in the recording
    assert rerun.recorded == 9


def test_recordings_are_bounded_and_those_in_use_stay(network):
    ours, rerun = captured(network, max_graphs=2)
    sizes = {name: image(0, 16, width) for name, width in (("a", 16), ("b", 32), ("c", 48))}
    for name, recorded in (("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("b", 4), ("a", 4), ("c", 5)):
        ours.step(sizes[name], None)
        assert rerun.recorded == recorded, name


def test_tables_that_the_network_lets_go_of_live_as_long_as_their_recording():
    network = rule_network(TINY)
    ours, _ = captured(network, max_graphs=1)
    with torch.inference_mode():
        network.step(image(0), None)
    ours.step(image(0), None)
    tables = [weakref.ref(table) for table in network.rotary.made]
    network.rotary._made.clear()
    assert tables
    assert all(table() is not None for table in tables)
    ours.step(image(0, 16, 16), None)
    assert all(table() is None for table in tables)


@pytest.mark.parametrize("error", [CaptureError("an operation is not permitted"), torch.cuda.OutOfMemoryError("full")])
def test_what_cannot_be_recorded_is_computed_plainly_and_said_once(network, error):
    said, attempts, rerun = [], [], Rerun()

    def capture(run: object) -> object:
        attempts.append(run)
        if len(attempts) > 1:
            raise error
        return rerun(run)

    ours = CapturedStep(network, capture, said.append)
    state = expected_state = None
    with torch.inference_mode():
        for index in range(4):
            expected, expected_state = network.step(image(index), expected_state)
            found, state = ours.step(image(index), state)
            assert_same((found, state), (expected, expected_state))
        ours.step(image(0), None)
    assert (len(attempts), rerun.replayed) == (2, 1)
    assert len(said) == 1
    assert str(error) in said[0]


@pytest.mark.slow
def test_memory_that_is_too_small_for_the_plain_step_is_the_callers_matter(monkeypatch):
    network, said = rule_network(TINY), []
    ours = CapturedStep(network, Rerun(), said.append)
    step = network.step

    def exhausted(*_args: object, **_options: object) -> Step:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(network, "step", exhausted)
    for _ in range(2):
        with pytest.raises(torch.cuda.OutOfMemoryError):
            ours.step(image(0), None)
    monkeypatch.setattr(network, "step", step)
    with torch.inference_mode():
        assert_same(ours.step(image(0), None), network.step(image(0), None))
    assert len(said) == 1


def test_impossible_requests_are_refused_as_by_the_network(network):
    ours, rerun = captured(network)
    with pytest.raises(ValueError, match="multiples of 16"):
        ours.step(image(0, 40, 48), None)
    with pytest.raises(ValueError, match="no output named depth"):
        ours.step(image(0), None, outputs={"depth"})
    ours.step(image(0), None)
    assert rerun.replayed == 1


# --- what only a GPU can tell ---


def needs_gpu(test: Callable[..., None]) -> Callable[..., None]:
    absent = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    return pytest.mark.gpu(absent(test))


def on_gpu(warn: Callable[[str], object], precision: torch.dtype = torch.float32) -> tuple[Network, CapturedStep]:
    network = rule_network(DPT).cuda().set_precision(precision)
    return network, CapturedStep(network, CudaCapture(torch.device("cuda")), warn)


def assert_near(found: object, expected: object, tolerance: float) -> None:
    assert layout(found) == layout(expected)
    for a, b in zip(tensors(found), tensors(expected), strict=True):
        assert (a.float() - b.float()).abs().max() <= tolerance * b.float().abs().max().clamp(min=1e-3)


@needs_gpu
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_a_graph_computes_what_the_plain_step_does(rule, precision, tolerance):
    network, ours = on_gpu(unheard, precision)
    kept: list[tuple[Step, Step]] = []
    with torch.inference_mode():
        for height, width in ((48, 64), (64, 32), (48, 64)):
            state: State | None = None
            for index, outputs in enumerate((ALL, {POINTS_CAMERA}, set(), {POINTS_CAMERA})):
                frame = image(index, height, width).cuda()
                # from the same state each time, so that rounding does not add up
                expected = network.step(frame, state, rule=rule, outputs=outputs)
                found = ours.step(frame, state, rule=rule, outputs=outputs)
                assert_near(found, expected, tolerance)
                kept.append((found, cloned(found)))
                state = found[1]
    for step, as_it_was in kept:
        assert_same(step, as_it_was)


@needs_gpu
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_neither_step_waits_for_the_gpu(precision):
    network, ours = on_gpu(unheard, precision)
    frames = [image(index).cuda() for index in range(4)]
    with torch.inference_mode():
        for step in (network.step, ours.step):
            for may_wait in (True, False):  # the first time tables are made and steps recorded
                torch.cuda.set_sync_debug_mode("default" if may_wait else "error")
                try:
                    state = None
                    for frame in frames:
                        _, state = step(frame, state, rule=Filt3r(), outputs=ALL)
                finally:
                    torch.cuda.set_sync_debug_mode("default")


@needs_gpu
def test_a_step_that_waits_cannot_be_recorded_and_is_computed_plainly(monkeypatch):
    said: list[str] = []
    network, ours = on_gpu(said.append)
    stream, read_heads = torch.cuda.current_stream(), network.read_heads

    def waiting(trace, learning_rate, outputs):
        assert torch.isfinite(learning_rate).all().item()
        return read_heads(trace, learning_rate, outputs)

    monkeypatch.setattr(network, "read_heads", waiting)
    state = None
    with torch.inference_mode():
        for index in range(3):
            expected = network.step(image(index).cuda(), state)
            found = ours.step(image(index).cuda(), state)
            assert_near(found, expected, 1e-4)
            state = found[1]
    assert len(said) == 1
    assert torch.cuda.current_stream() == stream


@needs_gpu
def test_the_memory_of_recordings_that_went_is_used_again():
    network = rule_network(TINY).cuda()
    ours = CapturedStep(network, CudaCapture(torch.device("cuda")), unheard, max_graphs=2)
    reserved = []
    for _ in range(6):
        for width in (32, 48, 64):
            ours.step(image(0, 48, width).cuda(), None)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[-1] <= reserved[1] + 8 * 2**20
