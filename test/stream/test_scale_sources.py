"""Height and wheels through the whole stream: a camera before a wall 2 m away, which moves sideways."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from rule_weights import TINY, rule_network
from scripted_network import ScriptedNetwork, view

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, inverse
from ttt3r_ros.stream import scale_filter, scale_sources
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.covariance import CovarianceModel, Measured
from ttt3r_ros.stream.ground import GroundState
from ttt3r_ros.stream.saved_state import from_bytes, to_bytes
from ttt3r_ros.stream.scale_sources import HEIGHT, ODOMETRY, described
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.stream.stream import Stream, StreamResult
from ttt3r_ros.stream.wheels import OdometrySample

#: A picture of the scripted scene is one pixel of 80 beside the one before; seen 2 m away, that is so far [m].
SIDEWAYS = 2.0 / 80
STEP_NS = 100_000_000


def over_the_wall(height: float) -> np.ndarray:
    """Return T_ground_camera of a camera that looks straight down at a floor: the wall, that is, is the floor."""
    T = np.diag([1.0, -1.0, -1.0, 1.0])
    T[2, 3] = height
    return T


class Robot:
    """Goes sideways before the wall; its wheels say by how much, `longer` times what the depth says."""

    def __init__(self, path: float = 1.0, **settings: object) -> None:
        poses = []
        for number in range(256):
            T = np.eye(4)
            T[0, 3] = path * SIDEWAYS * number
            poses.append(T)
        self.stream = Stream(Backbone(ScriptedNetwork(poses)), StreamSettings(**{"check_images": False, **settings}))
        self.number, self.stamp_ns, self.way = 0, 1_000_000_000, 0.0
        self.events: list[str] = []

    def drive(
        self, frames: int, *, height: float | None = None, longer: float | None = None, late: bool = True
    ) -> list[StreamResult]:
        results = []
        for _ in range(frames):
            samples: tuple[OdometrySample, ...] = ()
            if longer is not None:
                if self.number:
                    self.way += longer * SIDEWAYS
                T_camera = np.eye(4)
                T_camera[0, 3] = self.way
                T_base = T_BASE_CAMERA @ T_camera @ inverse(T_BASE_CAMERA)
                samples = (OdometrySample(self.stamp_ns - STEP_NS // 2 * late, T_base),)
            ground = None if height is None else over_the_wall(height)
            results.append(
                self.stream.process(
                    view(self.number % 250), self.stamp_ns, T_ground_camera=ground, other_odometry=samples
                )
            )
            self.stream.prepare()
            self.events += results[-1].events
            self.number += 1
            self.stamp_ns += STEP_NS
        return results

    @property
    def says(self) -> dict[str, str]:
        return described(self.stream.state.sources)


def depth(result: StreamResult) -> float:
    assert result.estimate is not None
    assert result.estimate.depth is not None
    return float(np.median(result.estimate.depth))


def steps(results: list[StreamResult]) -> np.ndarray:
    p = np.array([result.motion.T_odom_base[:3, 3] for result in results if result.motion is not None])
    return np.linalg.norm(np.diff(p, axis=0), axis=1)


def test_without_a_source_nothing_changes():
    robot = Robot()
    results = robot.drive(10)
    assert depth(results[-1]) == pytest.approx(2.0)
    assert robot.says["scale_source"] == "the network alone"
    assert robot.stream.state.sources.start is None


def test_a_known_height_makes_the_depth_metric_without_a_jump():
    robot = Robot()
    depths = [depth(result) for result in robot.drive(60, height=2.4)]
    assert depths[0] == pytest.approx(2.0)
    assert depths[-1] == pytest.approx(2.4, rel=0.03)
    assert np.abs(np.diff(np.log(depths))).max() < 0.04
    assert robot.says["scale_source"] == HEIGHT
    assert robot.says["camera_height"] == "used"


@pytest.mark.slow
@pytest.mark.parametrize("longer", [1.2, 0.85])
def test_wheels_make_depth_and_path_metric(longer):
    robot = Robot()
    results = robot.drive(100, longer=longer)
    assert depth(results[-1]) == pytest.approx(2.0 * longer, rel=0.07)
    assert steps(results)[-30:].mean() == pytest.approx(SIDEWAYS * longer, rel=0.05)
    assert robot.says["scale_source"] == ODOMETRY


@pytest.mark.slow
def test_the_covariance_of_a_scale_that_is_known_is_smaller():
    lasting = CovarianceModel(scale=0.13, depth=0.0, depth_aside=0.0)  # of a keyframe alone, a source knows nothing
    alone, helped = (Robot(covariance=lasting).drive(100, **kind)[-1].motion for kind in ({}, {"longer": 1.0}))
    assert helped.covariances.pose[1] < 0.6 * alone.covariances.pose[1]
    assert helped.covariances.pose[1] > 0


@pytest.mark.slow
def test_with_wheels_errors_of_depth_do_not_add_up():
    model = CovarianceModel(since_keyframe_translation=0.0, network_metres_per_second=0.0)
    alone, helped = (Robot(covariance=model).drive(150, **kind)[-1].motion for kind in ({}, {"longer": 1.0}))
    assert helped.covariances.pose[1] < 0.5 * alone.covariances.pose[1]


@pytest.mark.parametrize("kind", [{"height": 2.1}, {"longer": 1.05}, {"height": 2.1, "longer": 1.05}])
def test_odometry_is_told_what_measurements_have_done_to_the_scale(monkeypatch, kind):
    """Frame by frame, the share that the filter has taken out of what it did not know, and bounded noise."""
    left, measured = [1.0], scale_filter.measured

    def watched(state, *args, **settings):
        deviations, after = measured(state, *args, **settings)
        left[-1] *= after.covariance[0, 0] / state.covariance[0, 0]
        return deviations, after

    monkeypatch.setattr(scale_filter, "measured", watched)
    robot, gains = Robot(), []
    for _ in range(40):
        left.append(1.0)
        robot.drive(1, **kind)
        told = robot.stream.state.sources.measured
        assert told.gain == pytest.approx(1.0 - left[-1])
        assert 0.0 <= told.noise <= 0.1**2 + scale_sources.LASTING**2
        assert (told.noise > 0.0) == (told.gain > 0.0)
        gains.append(told.gain)
    assert max(gains) > 0.3
    assert min(gains) == 0.0


@pytest.mark.slow
def test_two_sources_that_disagree_are_told_apart_by_the_networks_own_metres():
    robot = Robot()
    results = robot.drive(150, height=2.6, longer=1.0)
    assert any("camera height is not used" in event and re.search(r"\+(29|30|31) %", event) for event in robot.events)
    assert robot.says["scale_source"] == ODOMETRY
    assert "check ground_frame" in robot.says["camera_height"]
    assert depth(results[-1]) == pytest.approx(2.0, rel=0.06)
    robot.drive(200, height=2.0, longer=1.0)  # somebody has put the frame right
    assert any("agree again" in event for event in robot.events)
    assert robot.says["scale_source"] == f"{HEIGHT} and {ODOMETRY}"


@pytest.mark.slow
def test_wheels_that_jump_or_slip_are_passed_over():
    robot = Robot()
    robot.drive(60, longer=1.0)
    robot.way += 100.0  # begins anew, elsewhere
    robot.drive(1, longer=1.0)
    assert "jumped by" in (robot.stream.state.sources.wheels.problem or "")
    results = robot.drive(30, longer=1.4)
    assert re.search(r"off by \+[34]\d %", robot.says["wheel_odom"])
    assert steps(results).mean() == pytest.approx(SIDEWAYS, rel=0.05)
    results = robot.drive(40, longer=1.0)
    assert depth(results[-1]) == pytest.approx(2.0, rel=0.06)
    assert robot.says["wheel_odom"] == "used"


@pytest.mark.slow
def test_slip_beside_a_height_turns_nothing_over():
    robot = Robot()
    robot.drive(110, height=2.0, longer=1.0)
    results = robot.drive(60, height=2.0, longer=1.4)
    assert len(robot.stream.state.sources.apart) >= scale_sources.MIN_SAID
    assert not robot.events
    assert re.search(r"off by \+[34]\d %", robot.says["wheel_odom"])
    assert depth(results[-1]) == pytest.approx(2.0, rel=0.06)


@pytest.mark.slow
def test_a_filter_that_is_wrong_gives_in_at_last(monkeypatch):
    monkeypatch.setattr(scale_sources, "REOPEN_M", 1.5)
    robot = Robot()
    robot.drive(60, longer=1.0)
    results = robot.drive(180, longer=2.5)  # the wheels have been changed
    assert any("is believed from now on" in event for event in robot.events)
    assert depth(results[-1]) > 3.5


@pytest.mark.parametrize(
    ("height", "why"),
    [(-1.0, "cannot be"), (0.0, "cannot be"), (None, "not known above ground_frame")],
)
def test_a_height_that_cannot_be_is_said(height, why):
    robot = Robot()
    robot.drive(5, height=height)
    assert why in robot.says["camera_height"]


def test_no_floor_is_said():
    robot = Robot()
    robot.stream.process(view(0), 1, T_ground_camera=np.eye(4) @ np.diag([1.0, 1.0, 1.0, 1.0]))
    T = np.eye(4)
    T[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]  # looks ahead, at a wall
    T[2, 3] = 1.0
    for number in range(3):
        robot.stream.process(view(number), STEP_NS * (number + 1), T_ground_camera=T)
        robot.stream.prepare()
    assert robot.says["camera_height"] == "not used: no floor is in view"


def test_a_refused_frame_leaves_the_sources_but_for_what_it_brought():
    robot = Robot(check_images=True)
    robot.drive(20, longer=1.0)
    before = robot.stream.state.sources
    sample = OdometrySample(robot.stamp_ns, np.eye(4))
    result = robot.stream.process(np.zeros((60, 80, 3), np.uint8), robot.stamp_ns, other_odometry=(sample,))
    assert result.lost
    after = robot.stream.state.sources
    assert len(after.wheels.samples) in (1, len(before.wheels.samples) + 1)
    assert (after.odometry, after.height, after.start) == (before.odometry, before.height, before.start)


def saved_stream() -> Stream:
    settings = StreamSettings(max_speed=0.0, max_turn_rate=0.0, reset_interval=4)
    return Stream(Backbone(rule_network(TINY)), settings)


def feed(stream: Stream, numbers: range) -> list[StreamResult]:
    """Feed pictures that show a motion, a height, and wheels; samples come two frames late."""
    results = []
    for number in numbers:
        T = np.eye(4)
        T[0, 3] = 0.05 * number
        samples = (OdometrySample((number - 2) * STEP_NS, T),) if number > 2 else ()
        results.append(
            stream.process(view(number), number * STEP_NS, T_ground_camera=over_the_wall(1.5), other_odometry=samples)
        )
        stream.prepare()
    return results


@pytest.mark.slow
def test_a_stream_with_sources_goes_on_to_the_last_bit():
    whole, going = feed(saved_stream(), range(1, 13)), saved_stream()
    for at, until in ((1, 3), (3, 5), (5, 9), (9, 13)):
        for a, b in zip(feed(going, range(at, until)), whole[at - 1 : until - 1], strict=True):
            assert a.motion is not None
            assert b.motion is not None
            np.testing.assert_array_equal(a.motion.T_odom_base, b.motion.T_odom_base)
            np.testing.assert_array_equal(a.motion.covariances.pose, b.motion.covariances.pose)
        before, going = going, saved_stream()
        going.resume(from_bytes(to_bytes(before), going, "saved"))
        assert described(going.state.sources) == described(before.state.sources)


def test_a_saved_state_with_impossible_sources_is_refused():
    stream = saved_stream()
    feed(stream, range(1, 6))
    good = stream.state
    assert good.sources.start is not None
    for sources in (
        replace(good.sources, outvoted="somebody"),
        replace(good.sources, T_ground_camera=np.zeros((4, 4))),
        replace(good.sources, measured=Measured(1.5, 0.0)),
        replace(good.sources, wheels=replace(good.sources.wheels, samples=np.zeros((3, 8)))),
    ):
        stream.state = replace(good, sources=sources)
        with pytest.raises(UserError, match="damaged"):
            from_bytes(to_bytes(stream), stream, "saved")


def test_the_ground_is_saved_and_a_pose_that_is_set_forgets_it():
    stream = saved_stream()
    feed(stream, range(1, 6))
    good = stream.state
    assert good.ground.foot is not None
    stream.state = replace(good, ground=replace(good.ground, foot=np.zeros(2)))
    with pytest.raises(UserError, match="damaged"):
        from_bytes(to_bytes(stream), stream, "saved")
    stream.state = good
    stream.set_pose(np.eye(4))
    assert stream.state.ground == GroundState()


def test_a_gap_ends_the_stretch():
    robot = Robot()
    robot.drive(10, height=2.0)
    assert robot.stream.state.sources.start is not None
    robot.stream.start_segment("a gap")
    assert robot.stream.state.sources.start is None
