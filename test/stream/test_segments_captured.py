"""Segments as they work on a GPU: steps recorded, one wait for each frame, no head that is never asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from replay import Rerun
from rule_weights import TINY, rule_network
from segment_runner import photo, tiny_segments

from ttt3r_ros.model.network import POINTS_WORLD
from ttt3r_ros.model.update import RULES
from ttt3r_ros.runtime.captured import CapturedStep
from ttt3r_ros.runtime.transfer import download
from ttt3r_ros.stream import segments
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.estimate import IMAGE, POINTS
from ttt3r_ros.stream.segments import SegmentReader, last_points, warm_up

WIDTH, HEIGHT = 64, 48  # as the network takes them, so that no device resamples


def recording(rule: str, **options) -> tuple[SegmentReader, Rerun]:
    """Return segments whose steps are recorded, as a GPU's are."""
    stream, rerun, warnings = tiny_segments(update_rule=rule, **options), Rerun(), []
    stream.backbone._stepper = CapturedStep(stream.backbone.network, rerun, warnings.append)
    stream.backbone.is_captured = True
    return stream, rerun


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_warming_up_records_all_that_a_stream_needs(rule):
    (stream, rerun), said = recording(rule, reset_interval=5), []
    warm_up(stream.backbone, HEIGHT, WIDTH, stream.settings, said.append)
    assert said == [f"warming up {part} of 6" for part in range(1, 7)]
    assert rerun.recorded == (6 if rule == "filt3r" else 4)
    for seed in range(12):
        stream.read(photo(seed, WIDTH, HEIGHT), outputs={POINTS} if seed % 3 else set())
    assert rerun.recorded == (6 if rule == "filt3r" else 4)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_a_stream_of_recorded_steps_is_that_of_plain_ones(rule):
    """Over resets, with and without points, and after going back to an earlier frame."""
    plain, (recorded, _) = tiny_segments(update_rule=rule, reset_interval=4), recording(rule, reset_interval=4)
    states = []
    for seed in (*range(7), 3, 4):
        if seed == 3 and len(states) == 7:  # go back to before that frame
            plain.state, recorded.state = states[3]
        states.append((plain.state, recorded.state))
        expected, found = (
            s.read(photo(seed, WIDTH, HEIGHT), outputs={POINTS} if seed % 2 else {IMAGE}) for s in (plain, recorded)
        )
        assert np.array_equal(found.T_world_camera, expected.T_world_camera)
        assert np.array_equal(found.learning_rate, expected.learning_rate)
        for name in ("state_level", "scale", "segment"):
            assert getattr(found, name) == getattr(expected, name)
        for ours, theirs in zip(*(last_points(s.backbone, s.state) for s in (recorded, plain)), strict=True):
            assert np.array_equal(ours, theirs)


def test_a_frame_waits_once_for_the_device(monkeypatch):
    downloads = []
    monkeypatch.setattr(segments, "download", lambda tree: downloads.append(tree) or download(tree))
    stream = tiny_segments()
    for outputs in ({POINTS, IMAGE}, set()):
        stream.read(photo(0, WIDTH, HEIGHT), outputs=outputs)
    assert len(downloads) == 2


def test_heads_that_are_never_asked_stay_on_the_host():
    network = rule_network(TINY)
    on_host = Backbone(rule_network(TINY))
    elsewhere = Backbone(network, device="meta", precision="bfloat16")
    assert elsewhere.fingerprint == on_host.fingerprint
    names = {name.partition(".")[0] for name, _ in elsewhere.network.named_parameters()}
    assert "camera_head" in names
    assert not names & {"world_head", "world_transform", "color_head"}
    with pytest.raises(ValueError, match="points_world"):
        elsewhere.network.step(torch.zeros(1, 3, 48, 64, device="meta"), None, outputs={POINTS_WORLD})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rule", ["ttt3r", "filt3r"])
def test_a_gpu_is_waited_for_once_a_frame_and_sees_what_a_cpu_sees(rule, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    warnings, waits, synchronize = [], [], torch.cuda.Stream.synchronize
    on_cpu, on_gpu = (
        tiny_segments(update_rule=rule),
        tiny_segments(update_rule=rule, device="cuda", warn=warnings.append),
    )
    warm_up(on_gpu.backbone, HEIGHT, WIDTH, on_gpu.settings)

    def wait(stream: torch.cuda.Stream) -> None:
        torch.cuda.set_sync_debug_mode("default")
        waits.append(stream)
        synchronize(stream)

    monkeypatch.setattr(torch.cuda.Stream, "synchronize", wait)
    for seed in range(6):
        image, outputs = photo(seed, WIDTH, HEIGHT), {POINTS, IMAGE} if seed % 2 else {IMAGE}
        expected = on_cpu.read(image, outputs=outputs)
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = on_gpu.read(image, outputs=outputs)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert np.array_equal(found.image, expected.image)
        np.testing.assert_allclose(found.T_world_camera, expected.T_world_camera, atol=0.01)
    assert len(waits) == 6
    assert warnings == []
