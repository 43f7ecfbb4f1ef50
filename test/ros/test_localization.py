"""The map of places in the node: the real pipeline, fed with rendered views whose network drifts as it is told to.

The images go straight into the pipeline's queue; only the last test needs another process.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from harness import PATIENCE, header, node, wait_until
from in_process import InProcess, node_in_process
from nav_msgs.msg import Odometry
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from safetensors.torch import load
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker

from benchmark.perfect_network import PerfectBackbone, drifting
from ttt3r_ros import synthetic
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, T_from_pose, inverse
from ttt3r_ros.mapping.voxel_map import MapPoints, VoxelMap
from ttt3r_ros.places import graph, place_map
from ttt3r_ros.ros import tracking
from ttt3r_ros.ros.conversions import image_message, matrix_from_transform, nanoseconds
from ttt3r_ros.ros.frame_queue import QueuedFrame
from ttt3r_ros.ros.localization import TOPICS
from ttt3r_ros.ros.mount import MountReading
from ttt3r_ros.stream.estimate import DESCRIPTOR
from ttt3r_ros.stream.load import LoadedBackbone
from ttt3r_ros.weights.load import load_weights

pytestmark = [pytest.mark.dds, pytest.mark.slow]

#: Every second view is shown on the first walk; the others are those of somebody who comes again.
FRAMES, FPS = 84, 6.0


@pytest.fixture(scope="module")
def backbone() -> PerfectBackbone:
    torch.set_num_threads(1)
    sequence = synthetic.Sequence(7, FRAMES, width=160, height=120, fps=FPS, motion="revisiting")
    backbone = PerfectBackbone(load_weights("").network, sequence)
    backbone.truth = backbone.poses
    poses, scales = drifting(backbone.poses, scale_per_meter=0.02, radians_per_meter=0.03)
    backbone.poses = np.stack(poses)
    backbone.depths = [depth * np.float32(scale) for depth, scale in zip(backbone.depths, scales)]
    return backbone


class Walker:
    """A node whose camera is shown the views of a walk; records what it sends to TF."""

    def __init__(self, inside: InProcess, backbone: PerfectBackbone) -> None:
        self.inside, self.backbone = inside, backbone
        self.pipeline = inside.node.pipeline
        self.localization = self.pipeline.localization
        self.places = self.localization._places if self.localization else None
        self.stamp = 10**9
        self.transforms: dict[int, dict[str, FloatArray]] = {}
        self.pipeline._outputs._tf.sendTransform = self._note

    def _note(self, transforms: Sequence) -> None:
        self.transforms[nanoseconds(transforms[0].header.stamp)] = {
            f"{t.header.frame_id} -> {t.child_frame_id}": matrix_from_transform(t.transform) for t in transforms
        }

    def between(self, job):
        return self.pipeline.between_frames(lambda _: job()).result(PATIENCE)

    def go(self, frames: Sequence[int | None], *, break_reason: str | None = None, size: int = 1) -> list[int]:
        """Show these views, None for a black image, each after the work that came of the one before; return stamps."""
        stamps = []
        for index in frames:
            image = np.zeros_like(self.backbone.images[0]) if index is None else self.backbone.images[index]
            if size != 1:
                image = cv2.resize(image, None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC)
            message = image_message(image, "rgb8", header(self.stamp, "camera"))
            frame = QueuedFrame(message, self.stamp, time.perf_counter(), break_reason)
            self.inside.node.pipeline._queue.put(frame)
            stamps.append(self.stamp)
            self.stamp += round(2e9 / FPS)
            break_reason = None
            self.settle()
        return stamps

    def settle(self) -> None:
        wait_until(lambda: not len(self.inside.node.pipeline._queue), "the image to be taken")
        wait_until(
            lambda: self.between(lambda: not self.places.has_work and self.places._solving is None), "the map's work"
        )

    def T(self, stamp: int, what: str = "map -> odom") -> FloatArray | None:
        return self.transforms[stamp].get(what)

    def T_map_base(self, stamp: int) -> FloatArray:
        return self.T(stamp) @ self.T(stamp, "odom -> base_link")


def not_asked(*_args: object) -> Iterator[None]:
    """Say nothing of two frames, as a network that cannot tell: this one drifts between any two."""
    return
    yield


@contextlib.contextmanager
def walker(backbone: PerfectBackbone, **parameters: object) -> Iterator[Walker]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place_map, "both_ways", not_asked)
        patch.setattr(tracking, "WARM_UP_SIZE", (120, 160))
        patch.setattr(tracking, "load_backbone", lambda *_, **__: LoadedBackbone(backbone, "a", 1000, "float32"))
        inside = InProcess(patch, "none", publish_map_frame=True, **parameters)
        try:
            yield Walker(inside, backbone)
        finally:
            inside.close()


class Heard:
    """Collects what a publisher sends, and lets it believe that somebody listens."""

    def __init__(self, publisher: object) -> None:
        self.messages: list = []
        self.publish, self.get_subscription_count = self.messages.append, lambda: 1
        self._publisher = publisher


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("maps")


@pytest.fixture(scope="module")
def walked(backbone, folder) -> Iterator[Walker]:
    """Return the node at the end of a walk, with what it has published on the way."""
    with contextlib.ExitStack() as stack:
        walked = stack.enter_context(walker(backbone, save_folder=folder, publish_map=True, min_confidence=0.0))
        walked.close = stack.close
        publishers = walked.localization._publishers
        walked.heard = {name: Heard(publisher) for name, publisher in publishers.items()}
        publishers |= walked.heard
        walked.stamps = walked.go(range(0, FRAMES, 2))
        yield walked


def true_pose(backbone: PerfectBackbone, index: int) -> FloatArray:
    """Return T_map_base of a view, if the map's frame is where the robot stood at the first."""
    return T_BASE_CAMERA @ inverse(backbone.truth[0]) @ backbone.truth[index] @ inverse(T_BASE_CAMERA)


def error(backbone: PerfectBackbone, index: int, T_map_base: FloatArray) -> float:
    return float(np.linalg.norm(T_map_base[:3, 3] - true_pose(backbone, index)[:3, 3]))


def offset(walked: Walker, index: int, stamp: int, T_base_camera: FloatArray = T_BASE_CAMERA) -> float:
    """Return how far in the map the camera is from where it was when it saw this view, or one beside it, first [m]."""
    stamps = walked.stamps
    first = {2 * stamps.index(k.stamp_ns): k for k in walked.places.content().keyframes if k.stamp_ns in stamps}
    nearest = min(first, key=lambda known: abs(known - index))
    then, now = walked.places._poses[first[nearest].number].t, (walked.T_map_base(stamp) @ T_base_camera)[:3, 3]
    apart = np.linalg.norm(true_pose(walked.backbone, index)[:3, 3] - true_pose(walked.backbone, nearest)[:3, 3])
    return float(np.linalg.norm(now - then) - apart)


def test_every_frame_after_the_first_says_where_odom_is_in_the_map(walked):
    assert walked.T(walked.stamps[0]) is None
    assert all(walked.T(stamp) is not None for stamp in walked.stamps[1:])
    np.testing.assert_allclose(walked.T(walked.stamps[5]), np.eye(4), atol=1e-6)  # nothing is recognized yet
    assert walked.places.counts.solved >= 1
    poses = {nanoseconds(m.header.stamp): m for m in walked.heard["localization_pose"].messages}
    assert list(poses) == walked.stamps[1:]
    last = poses[walked.stamps[-1]]
    assert last.header.frame_id == "map"
    p = last.pose.pose.position
    np.testing.assert_allclose([p.x, p.y, p.z], walked.T_map_base(walked.stamps[-1])[:3, 3], atol=1e-9)
    covariance = np.array(last.pose.covariance).reshape(6, 6)
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    assert covariance[0, 0] < poses[walked.stamps[-8]].pose.covariance[0] * 4


def test_the_corrected_pose_is_nearer_to_the_truth(backbone, walked):
    index, stamp = FRAMES - 2, walked.stamps[-1]
    assert error(backbone, index, walked.T(stamp, "odom -> base_link")) > 0.3
    assert error(backbone, index, walked.T_map_base(stamp)) < 0.5 * error(
        backbone, index, walked.T(stamp, "odom -> base_link")
    )


def test_the_map_is_shown_and_told(walked):
    places = walked.places
    walked.localization._shown.clear()  # for they are shown at most once a second
    while walked.between(walked.localization.work):
        pass
    content = places.content()
    path = walked.heard["map_path"].messages[-1]
    assert path.header.frame_id == "map"
    assert [nanoseconds(pose.header.stamp) for pose in path.poses] == [k.stamp_ns for k in content.keyframes]
    last = np.array([getattr(path.poses[-1].pose.position, axis) for axis in "xyz"])
    expected = (content.poses[-1].rigid @ inverse(T_BASE_CAMERA))[:3, 3]
    np.testing.assert_allclose(last, expected, atol=1e-9)
    markers = {marker.ns: marker for marker in walked.heard["pose_graph"].messages[-1].markers}
    assert len(markers["keyframes"].points) == len(content.keyframes)
    assert len(markers["odometry"].points) == 2 * sum(not edge.is_place for edge in content.edges)
    assert len(markers["places"].points) == 2 * (places.counts.accepted - places.rejected)
    assert (markers["rejected"].action == Marker.DELETE) == (not places.rejected)
    facts = walked.localization.facts()
    assert facts["map_keyframes"] == str(len(content.keyframes))
    assert facts["map_localized"] == "yes"
    assert re.fullmatch(r"[\d.]+ m, [\d.]+ deg, scale [\d.]+", facts["map_correction"])
    assert facts["map_places_accepted"] == str(places.counts.accepted)


def test_a_rejected_place_is_shown_in_its_own_color(walked):
    pair = next(iter(walked.places._places))
    walked.places._rejected.add(pair)
    try:
        markers = {marker.ns: marker for marker in walked.between(walked.localization._graph_message).markers}
        assert len(markers["rejected"].points) == 2
        assert markers["rejected"].color != markers["places"].color
    finally:
        walked.places._rejected.discard(pair)


def test_the_points_are_drawn_from_keyframes_where_these_are_now(walked):
    drawn, localization = walked.pipeline.map, walked.localization
    localization._redrawn_at = -np.inf
    while walked.between(localization.work):
        pass
    content, expected = walked.places.content(), VoxelMap(0.05, 1_000_000)
    max_depth = walked.pipeline._parameters.max_depth
    for keyframe, pose in zip(content.keyframes, content.poses):
        points, colors, confidence = keyframe.colored_points(min_confidence=0.0, max_depth=max_depth)
        expected.insert(pose.apply(points).astype(np.float32), colors, confidence)

    def cells(points: MapPoints | None) -> set[tuple[int, ...]]:
        return set() if points is None else {tuple(cell) for cell in np.floor(points.positions / 0.05).astype(int)}

    wanted = cells(expected.points())
    wait_until(lambda: len(cells(drawn.points()) & wanted) > 0.98 * len(wanted) > 1000, "a map")
    assert drawn._header.frame_id == "map"


def test_a_pose_that_is_set_moves_the_odometry_and_not_the_robot_in_the_map(walked):
    before = walked.T_map_base(*walked.go([FRAMES - 2]))
    walked.pipeline.set_pose(T_from_pose([5, -3, 0], [np.cos(0.5), 0, 0, np.sin(0.5)]), np.zeros((6, 6)))
    (stamp,) = walked.go([FRAMES - 2])
    np.testing.assert_allclose(walked.T(stamp, "odom -> base_link")[:3, 3], [5, -3, 0], atol=0.05)
    np.testing.assert_allclose(walked.T_map_base(stamp), before, atol=0.05)


def test_a_mount_that_is_corrected_turns_the_odometry_and_not_the_map(walked):
    """The map's axes are those of the odometry, so they follow."""
    (stamp,) = walked.go([FRAMES - 2])
    T_map_odom, content = walked.T(stamp), walked.places.content()
    tilted = T_BASE_CAMERA @ T_from_pose([0, 0, 0], [np.cos(0.1), np.sin(0.1), 0, 0])
    try:
        walked.between(lambda: walked.pipeline._remount(T_BASE_CAMERA, tilted))
        moved = walked.places.content()
        T_odom_base = walked.pipeline._stream.state.odometry.T_odom_base
        np.testing.assert_allclose(walked.localization.T_map_odom(T_odom_base @ tilted), T_map_odom, atol=1e-6)
        steps = [[a.inverse() @ b for a, b in pairwise(c.poses)] for c in (content, moved)]
        for before, after in zip(*steps):
            np.testing.assert_allclose(after.t, before.t, atol=1e-9)
        turned = moved.poses[0].R @ content.poses[0].R.T
        assert np.degrees(np.arccos((np.trace(turned) - 1) / 2)) == pytest.approx(np.degrees(0.2), abs=0.3)
    finally:
        walked.between(lambda: walked.pipeline._remount(tilted, T_BASE_CAMERA))


def test_the_graphs_process_may_die(walked, capfd):
    walked.settle()
    solver, places = walked.localization._solver, walked.places
    first, solved, unsolved = solver.pid, places.counts.solved, places.counts.unsolved
    assert first is not None
    assert os.getpriority(os.PRIO_PROCESS, first) == os.getpriority(os.PRIO_PROCESS, 0) + 10
    os.kill(first, signal.SIGKILL)
    places._is_stale = True
    walked.settle()
    assert (places.counts.solved, places.counts.unsolved) == (solved, unsolved + 1)
    wait_until(lambda: "graph has ended by signal 9" in capfd.readouterr().err, "a word about it")
    (stamp,) = walked.go([FRAMES - 2])
    assert walked.T(stamp) is not None
    places._is_stale = True
    walked.settle()
    assert places.counts.solved == solved + 1
    assert solver.pid not in (None, first)


def test_a_gap_a_loop_of_a_bag_and_another_image_size_leave_the_robot_in_the_map(walked):
    """A gap may be a kidnapping, so what is known of the pose is weak, and the next recognized place is believed."""
    for jump, size in ((10**10, 1), (-20 * 10**9, 1), (0, 2)):
        walked.stamp += jump
        solved, place_count = walked.places.counts.solved, walked.places.counts.accepted
        frames = range(51, 67, 2) if jump else range(65, 49, -2)  # nobody carries the camera away in no time
        stamps = walked.go(frames, break_reason="a gap" if jump else None, size=size)
        assert all(walked.T(stamp) is not None for stamp in stamps)
        assert walked.places.counts.accepted > place_count
        assert walked.places.counts.solved > solved
        assert offset(walked, frames[-1], *walked.go([frames[-1]])) < 0.8


def test_a_robot_that_is_lost_is_put_elsewhere_and_found_again(walked):
    """A refused image says nothing, and the next recognized place is believed, though the robot was carried to it."""
    node = walked.inside.node
    walked.go([FRAMES - 2])
    accepted, keyframes, lost = walked.places.counts.accepted, walked.places.size, walked.pipeline.lost
    node.set_parameters([Parameter("check_images", value=True)])
    black = walked.go([None, None, None])
    node.set_parameters([Parameter("check_images", value=False)])
    assert walked.pipeline.lost == lost + 3
    assert not {*black} & {*walked.transforms}
    assert walked.places.size == keyframes
    frames = range(51, 67, 2)
    stamps = walked.go(frames)
    assert all(walked.T(stamp) is not None for stamp in stamps)
    assert walked.places.counts.accepted > accepted
    assert offset(walked, frames[-1], *walked.go([frames[-1]])) < 0.8


def test_simulated_time_that_stands_still_and_jumps_back_changes_nothing_of_the_map(walked, monkeypatch):
    monkeypatch.setattr("ttt3r_ros.ros.localization.SHOW_PERIOD_S", 0.05)
    node, clock = walked.inside.node, walked.inside.node.create_publisher(Clock, "/clock", 10)
    node.set_parameters([Parameter("use_sim_time", value=True)])
    poses, paths = (walked.heard[name].messages for name in ("localization_pose", "map_path"))

    def set_time(seconds: int) -> None:
        clock.publish(Clock(clock=Time(nanoseconds=seconds * 10**9).to_msg()))
        wait_until(lambda: node.get_clock().now().nanoseconds == seconds * 10**9, "the time")

    try:
        for seconds in (1000, 10):
            set_time(seconds)
            for _ in range(2):  # the second comes after a time that the clock does not show
                paths.clear()
                wait_until(lambda: walked.go([55, 65]) and paths, "the path")
            (stamp,) = walked.go([65])
            assert nanoseconds(poses[-1].header.stamp) == stamp
            assert offset(walked, 65, stamp) < 0.8
    finally:
        node.set_parameters([Parameter("use_sim_time", value=False)])
        node.destroy_publisher(clock)


def test_the_map_knows_where_the_camera_is_on_a_mount_that_moves(walked, monkeypatch):
    """The camera pans on the robot by 8 degrees from image to image."""
    mounts: dict[int, FloatArray] = {}

    def moving(_frame: str, stamp_ns: int, _wait: float) -> MountReading:
        half = np.radians(4 * len(mounts))
        mounts[stamp_ns] = T_from_pose([0.1, 0, 0.4], [np.cos(half), 0, 0, np.sin(half)]) @ T_BASE_CAMERA
        return MountReading(mounts[stamp_ns])

    walked.go([65])
    known = {keyframe.number for keyframe in walked.places.content().keyframes}
    monkeypatch.setattr(walked.pipeline.mount, "at", moving)
    stamps = walked.go(range(63, 47, -2))
    assert all(walked.T(stamp) is not None for stamp in stamps)
    assert offset(walked, 49, stamps[-1], mounts[stamps[-1]]) < 0.8
    content = walked.places.content()
    path = walked.between(walked.localization._path_message).poses
    positions = {nanoseconds(pose.header.stamp): pose.pose.position for pose in path}
    new = [(k, S) for k, S in zip(content.keyframes, content.poses) if k.number not in known]
    assert len(new) > 2
    for keyframe, S in new:
        expected = S.rigid @ inverse(mounts[keyframe.stamp_ns])
        p = positions[keyframe.stamp_ns]
        np.testing.assert_allclose([p.x, p.y, p.z], expected[:3, 3], atol=1e-9)
    monkeypatch.undo()
    walked.go([49])  # on its own mount again


def test_a_save_and_a_load_of_state_and_an_odometry_that_starts_anew_are_found_again(walked, folder):
    saving = walked.inside.node.saving
    assert "ttt3r.state.safetensors" in saving._save_state()
    for forget in (saving._load_state, walked.pipeline.reset_odometry):
        forget()
        stamps = walked.go(range(49, 73, 2))
        assert walked.T(stamps[0]) is None
        assert walked.T(stamps[0], "odom -> base_link") is not None
        known = [stamp for stamp in stamps if walked.T(stamp) is not None]
        assert known, walked.localization.facts()
        assert known == stamps[-len(known) :]  # once found, it stays so
        assert offset(walked, 71, stamps[-1]) < 0.8


@pytest.fixture(scope="module")
def saved(walked) -> str:
    """Return what the node says of its saved map; the node is closed afterward."""
    said = walked.inside.node.saving._save_map()
    walked.close()
    return said


def test_a_saved_map_is_loaded_and_found_again_and_only_localized_in(backbone, walked, saved, folder):
    assert re.search(r"ttt3r\.places\.safetensors \(\d+ keyframes, [\d.]+ MB\) and .*ttt3r\.ply \(\d+ points\)", saved)
    options = {"save_folder": folder, "load_map_at_start": True, "localization_only": True, "overwrite": True}
    with walker(backbone, **options) as started:
        file = folder / "ttt3r.places.safetensors"
        before = file.read_bytes()
        first = started.go(range(49, 57, 2))
        assert started.T(first[0]) is None
        stamps = started.go(range(57, 73, 2))
        assert started.T(stamps[-1]) is not None, started.localization.facts()
        started.stamps = walked.stamps
        assert offset(started, 71, stamps[-1]) < 0.8
        started.inside.node.saving._save_map()
        after = load(file.read_bytes())
        for name, tensor in load(before).items():
            assert torch.equal(tensor, after[name]), name  # nothing has been added, nothing moved

        T_map_base = started.T_map_base(started.go([69, 67])[-1])  # at the view that is the last one below
        far = T_map_base.copy()
        far[0, 3] += 100.0
        started.pipeline.take_hint(far, 0.5).result(PATIENCE)
        assert started.T(started.go([69])[0]) is None
        assert all(started.T(stamp) is None for stamp in started.go(range(53, 69, 2)))  # looks there only
        started.pipeline.take_hint(T_map_base, 2.0).result(PATIENCE)
        assert started.T(started.go(range(65, 49, -2))[-1]) is not None, started.localization.facts()


def test_a_map_that_cannot_be_used_is_refused_in_a_sentence(backbone, saved, folder, tmp_path):
    data = (folder / "ttt3r.places.safetensors").read_bytes()
    with walker(backbone, save_folder=tmp_path) as w:
        saving = w.inside.node.saving
        for content, said in (
            (None, "ttt3r.places.safetensors does not exist; save a map first, or set save_name"),
            (b"no map", "is not a map of places"),
            (data[:-9], "is truncated or damaged"),
        ):
            if content is not None:
                (tmp_path / "ttt3r.places.safetensors").write_bytes(content)
            with pytest.raises(UserError, match=said):
                saving._load_map()
        with pytest.raises(UserError, match="there is no map to save: it has no keyframe yet"):
            saving._save_map()
        with pytest.raises(UserError, match="there is no map yet in which a pose could be looked for"):
            w.pipeline.take_hint(np.eye(4), 1.0).result(PATIENCE)
        (tmp_path / "ttt3r.places.safetensors").write_bytes(data)
        w.pipeline.backbone.fingerprint, own = "another", w.pipeline.backbone.fingerprint
        try:
            with pytest.raises(UserError, match="was made with other weights; use those, or make the map anew"):
                saving._load_map()
        finally:
            w.pipeline.backbone.fingerprint = own
        w.go([3])
        assert "loaded the map" in saving._load_map()
        assert w.T(w.go([3])[0]) is None


def test_a_map_that_is_off_costs_nothing(weights, saved, monkeypatch):
    """No GTSAM, no descriptor, no process, no publisher; and without GTSAM the map is refused in one sentence."""
    monkeypatch.setattr(graph, "gtsam", missing)
    with node_in_process(weights) as inside:
        assert inside.node.pipeline.localization is None
        frame = QueuedFrame(image_message(np.zeros((60, 80, 3), np.uint8), "rgb8", header(1, "camera")), 1, 0.0)
        inside.node.pipeline._queue.put(frame)
        wait_until(lambda: inside.asked, "a frame")
        assert not any(DESCRIPTOR in outputs for outputs in inside.asked)
        with pytest.raises(UserError, match="start the node with publish_map_frame set to true"):
            inside.node.saving._load_map()
    with pytest.raises(UserError, match="needs GTSAM"), node_in_process(weights, publish_map_frame=True):
        pass
    rclpy.try_shutdown()


def missing() -> None:
    raise UserError("the map needs GTSAM")


def test_tf_and_topics_are_heard_in_another_process(weights, tmp_path, bench):
    for name, kind in TOPICS.items():
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        qos = 10 if name == "localization_pose" else latched
        bench.node.create_subscription(kind, f"/ttt3r/{name}", bench.received[name].append, qos)
    bench.listen("/ttt3r/odom", Odometry, key="odom")
    bench.listen("/tf", TFMessage, key="tf")
    bench.listen("/diagnostics", DiagnosticArray, key="diagnostics")
    log, hint = tmp_path / "log", bench.publisher(PoseWithCovarianceStamped, "/initialpose")
    with node(log, weights=weights, publish_map_frame=True, save_folder=tmp_path, wait_for_transform=0.1) as running:
        bench.wait_for_node()
        stamp = bench.send_until_answered()
        while not bench.received["localization_pose"]:
            (stamp,) = bench.exchange()
        transforms = {f"{t.header.frame_id} -> {t.child_frame_id}" for t in bench.get("tf", stamp).transforms}
        assert transforms == {"map -> odom", "odom -> base_link"}
        wait_until(lambda: bench.received["map_path"], "the path")
        wait_until(lambda: bench.received["pose_graph"], "the graph")
        wait_until(lambda: bench.diagnostics().get("map_localized") == "yes", "the diagnostics")
        hint.publish(PoseWithCovarianceStamped(header=header(stamp, "odom")))
        wait_until(lambda: "send it in map_frame, which is 'map'" in running.text(), "a word about the frame")
        answer = bench.call(Trigger, "/ttt3r/save_map")
        assert answer.success, answer.message
        assert bench.call(Trigger, "/ttt3r/load_map").success
        assert running.stop() == 0
    assert "Traceback" not in running.text()
