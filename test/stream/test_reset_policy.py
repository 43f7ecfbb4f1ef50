from __future__ import annotations

import numpy as np
import pytest
from scripted_network import ScriptedNetwork, along, view

from ttt3r_ros.geometry import T_BASE_CAMERA, Intrinsics, rotation_from_quaternion, unproject
from ttt3r_ros.stream import reset_policy
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.reset_policy import LOOK_FRAMES, LOOKS, MAX_LENGTH, MIN_LENGTH
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.stream.stream import Stream
from ttt3r_ros.stream.usual_range import ENOUGH, UsualRange

INTERVAL = StreamSettings().segment_frames


class Drive:
    """A stream under the policy 'adaptive', fed with the pictures of a scripted network."""

    def __init__(self, network: ScriptedNetwork) -> None:
        self.network = network
        settings = StreamSettings(
            reset_policy="adaptive",
            frozen_timeout=0.0,
            max_turn_rate=100.0,
            max_speed=100.0,
            correct_motion=False,
        )
        self.stream, self.sent = Stream(Backbone(network), settings), 0

    def go(self, numbers: range) -> list[int]:
        """Send pictures; return the segment of each."""
        segments = []
        for number in numbers:
            frame = self.stream.process(view(number), self.sent * 100_000_000, T_BASE_CAMERA, outputs=set())
            assert frame.lost is None
            segments.append(frame.estimate.segment)
            self.sent += 1
        return segments


def turning(radians_per_picture: float) -> list[np.ndarray]:
    poses = []
    for number in range(256):
        angle = number * radians_per_picture
        T = np.eye(4)
        T[:3, :3] = rotation_from_quaternion([np.cos(angle / 2), 0, np.sin(angle / 2), 0])
        poses.append(T)
    return poses


@pytest.mark.slow
def test_a_camera_that_drives_on_gets_new_segments_and_keeps_its_pose():
    drive = Drive(ScriptedNetwork(along(0.6)))
    segments = drive.go(range(90))
    assert segments[-1] >= 2
    assert "the view has left the segment's keyframes" in drive.stream.state.segment_reason
    lengths = np.bincount(segments)
    assert lengths[:-1].min() >= MIN_LENGTH * INTERVAL - 1  # the last one is still running
    assert drive.stream.state.odometry.T_odom_base[0, 3] == pytest.approx(89 * 0.6, rel=1e-3)


@pytest.mark.slow
def test_a_camera_that_looks_around_in_one_place_keeps_its_segment():
    there_and_back = [*range(50), *range(49, 0, -1)]
    assert MIN_LENGTH * INTERVAL < len(there_and_back) < MAX_LENGTH * INTERVAL
    drive = Drive(ScriptedNetwork(turning(0.02)))
    assert set(drive.go(there_and_back)) == {0}
    assert 1 < len(drive.stream.state.policy.keyframes) < reset_policy.MAX_KEYFRAMES


@pytest.mark.parametrize(
    ("shares", "outside"),
    [([0.4] * 5, 0), ([0.2, 0.6, 0.2, 0.6], 0), ([0.2, 0.2, 0.55], 0), ([0.2, 0.4, 0.2, 0.4, 0.2], LOOKS)],
)
def test_overlap_between_the_thresholds_neither_counts_nor_forgives(monkeypatch, shares, outside):
    monkeypatch.setattr(reset_policy, "MAX_KEYFRAMES", 0)  # no room: the segment is full
    state = reset_policy.PolicyState()
    camera = Intrinsics(60.0, 60.0, 32.0, 24.0, 64, 48)
    points = unproject(np.ones((48, 64), dtype=np.float32), camera)
    for share in shares:
        monkeypatch.setattr(reset_policy, "overlap", lambda view, others, share=share: share)
        state = reset_policy._after_look(state, np.eye(4), points, 2 * points[..., 0])
    assert state.outside == outside


@pytest.mark.slow
def test_confidence_that_collapses_begins_a_segment_once():
    drive = Drive(ScriptedNetwork(along(0.001)))
    assert set(drive.go(range(40))) == {0}
    drive.network.confidence = 1.2
    assert set(drive.go(range(40, 120))) == {0, 1}  # and what is low from the beginning is usual
    assert drive.stream.state.segment_reason == "confidence has collapsed"


@pytest.mark.slow
def test_confidence_that_dips_begins_nothing():
    drive = Drive(ScriptedNetwork(along(0.001)))
    drive.go(range(40))
    drive.network.confidence = 1.2
    drive.go(range(40, 40 + LOOK_FRAMES))
    drive.network.confidence = 3.0
    assert set(drive.go(range(50, 50 + 4 * LOOK_FRAMES))) == {0}


def test_a_learning_rate_out_of_its_range_begins_a_segment():
    drive = Drive(ScriptedNetwork(along(0.001)))
    drive.go(range(40))
    drive.network.beta = 0.9
    assert drive.go(range(40, 50))[-1] == 1
    assert drive.stream.state.segment_reason == "the learning rate has left its usual range"


@pytest.mark.slow
def test_a_segment_ends_at_last(monkeypatch):
    monkeypatch.setattr(reset_policy, "MAX_LENGTH", 0.25)
    drive = Drive(ScriptedNetwork(along(0.0)))
    assert np.bincount(drive.go(range(60))).tolist() == [25, 24, 11]
    assert drive.stream.state.segment_reason == "the segment is 25 frames long"


@pytest.mark.slow
def test_points_are_made_only_when_they_are_looked_at():
    """A camera that stands still is looked at now and then, one that turns whenever it has turned far enough."""
    standing, turning_ = Drive(ScriptedNetwork(along(0.0))), Drive(ScriptedNetwork(turning(0.05)))
    for drive, expected in ((standing, 40 // LOOK_FRAMES), (turning_, 40 // 4)):
        looks = 0
        for number in range(40):
            drive.go(range(number, number + 1))
            drive.stream.prepare()
            looks += drive.stream.state.policy.frames_since_look == 0
        assert looks == pytest.approx(expected, abs=2)


@pytest.mark.slow
def test_who_listens_changes_no_decision():
    lonely, heard = Drive(ScriptedNetwork(along(0.6))), Drive(ScriptedNetwork(along(0.6)))
    segments = lonely.go(range(60))
    assert segments[-1] > 0
    for number, segment in enumerate(segments):
        frame = heard.stream.process(view(number), number * 100_000_000, T_BASE_CAMERA)
        assert frame.estimate.segment == segment


def test_a_usual_range_needs_values_counts_outside_and_forgives():
    usual = UsualRange()
    for index in range(ENOUGH):
        usual = usual.with_value(1.0 + 0.01 * (index % 3))
    assert usual.with_value(1.2).outside == 0
    out = usual.with_value(2.0)
    assert (out.outside, out.values) == (1, usual.values)
    assert out.with_value(2.0).with_value(float("nan")).outside == 3
    assert out.with_value(1.2).outside == 1  # within, but not well within
    assert out.with_value(1.02).outside == 0
