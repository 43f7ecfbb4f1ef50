"""The map of places in the node: over DDS, rendered views come in and transforms go out; the network drifts as told.

The node is in this process, so that a test can wait for the map's work; only the last test needs another one.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from harness import Bench, header, node, subscribers
from in_process import NO_FILE, InProcess, node_in_process
from nav_msgs.msg import Odometry
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from safetensors.torch import load
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from tf2_ros import TransformBroadcaster, TransformException
from visualization_msgs.msg import Marker
from waiting import PATIENCE, send_until, wait_until

from benchmark.perfect_network import PerfectBackbone, drifting
from ttt3r_ros import synthetic
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, T_from_pose, inverse
from ttt3r_ros.mapping.voxel_map import MapPoints, VoxelMap
from ttt3r_ros.places import graph, place_map
from ttt3r_ros.ros import saving, tracking
from ttt3r_ros.ros.conversions import image_message, matrix_from_transform, nanoseconds, transform_message
from ttt3r_ros.ros.frame_queue import QueuedFrame
from ttt3r_ros.ros.localization import TOPICS
from ttt3r_ros.ros.mount import LATCHED
from ttt3r_ros.ros.topics import MAP_POINTS
from ttt3r_ros.stream.estimate import DESCRIPTOR
from ttt3r_ros.stream.load import LoadedBackbone
from ttt3r_ros.weights.load import load_weights

pytestmark = [pytest.mark.dds, pytest.mark.slow]

#: Every second view is shown on the first walk; the others are those of somebody who comes again.
FRAMES, FPS = 84, 6.0
#: Between two images [ns].
PERIOD_NS = round(2e9 / FPS)


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
    """A camera that shows a node the views of a walk; records what the node sends to TF."""

    def __init__(self, inside: InProcess, backbone: PerfectBackbone, patch: pytest.MonkeyPatch) -> None:
        self.inside, self.backbone = inside, backbone
        self.pipeline, self.input = inside.node.pipeline, inside.node.camera_input
        self.localization = self.pipeline.localization
        self.places = self.localization.places
        self.stamp = 10**9
        self.judged, self.sent = dict[int, bool](), set[int]()
        self.transforms: dict[int, dict[str, FloatArray]] = {}
        self._record(patch)
        self.bench = Bench("asker")
        self.bench.node.create_subscription(TFMessage, "/tf", self.note, 100)
        self.bench.wait_for_node()
        wait_until(lambda: subscribers(inside.node, "/tf") >= 2, "the bench and the node itself to listen to TF")

    def _record(self, patch: pytest.MonkeyPatch) -> None:
        """Note which images the node takes, and which it drops because of their stamps, and what it sends to TF."""
        on_image, put, send = self.input._judged, self.pipeline.queue.put, TransformBroadcaster.sendTransform

        def judged(message: Image) -> QueuedFrame | None:
            frame = on_image(message)
            if frame is None:
                self.judged.setdefault(nanoseconds(message.header.stamp), False)
            return frame

        def taken(frame: QueuedFrame) -> bool:
            is_full = put(frame)
            self.judged[frame.stamp_ns] = True
            return is_full

        def sent(broadcaster: TransformBroadcaster, transforms: list[TransformStamped]) -> None:
            send(broadcaster, transforms)
            self.sent.add(nanoseconds(transforms[0].header.stamp))

        patch.setattr(self.input, "_judged", judged)
        patch.setattr(self.pipeline.queue, "put", taken)
        patch.setattr(TransformBroadcaster, "sendTransform", sent)

    def note(self, message: TFMessage) -> None:
        if message.transforms[0].child_frame_id != "pan":
            self.transforms[nanoseconds(message.transforms[0].header.stamp)] = {
                f"{t.header.frame_id} -> {t.child_frame_id}": matrix_from_transform(t.transform)
                for t in message.transforms
            }

    def between(self, job):
        return self.pipeline.between_frames(lambda _: job()).result(PATIENCE)

    def go(
        self, frames: Sequence[int | None], *, size: int = 1, before: Callable[[int], object] = lambda _: None
    ) -> list[int]:
        """Show these views, None for a black image, each after the work that came of the one before; return stamps.

        Where time has jumped, the first image is shown twice, since it is the second one of another time that counts.
        """
        stamps = []
        for index in frames:
            image = np.zeros_like(self.backbone.images[0]) if index is None else self.backbone.images[index]
            if size != 1:
                image = cv2.resize(image, None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC)
            before(self.stamp)
            if not self._show(image):
                before(self.stamp)
                assert self._show(image)
            stamps.append(self.stamp - PERIOD_NS)
            self.settle()
        return stamps

    def _show(self, image: np.ndarray) -> bool:
        """Send an image; return whether the node has taken it, and not dropped it because of its stamp."""
        stamp = self.stamp
        self.stamp += PERIOD_NS
        send_until(
            lambda: self.bench.send(image, stamp=stamp), lambda: stamp in self.judged, "the image to arrive"
        )  # if it arrives twice, the second one is dropped without further effect
        return self.judged[stamp]

    def settle(self) -> None:
        wait_until(lambda: not len(self.pipeline.queue), "the image to be taken")
        self.between(self.places.finish)
        wait_until(lambda: self.sent <= self.transforms.keys(), "the transforms")

    def solve_again(self) -> None:
        self.between(lambda: self.places.move_axes(np.eye(4)))
        self.settle()

    def shown(self, name: str) -> Any:
        """Return what is published of the map as it is now; it is at most once a second."""
        messages = self.heard[name].messages
        messages.clear()
        self.solve_again()
        wait_until(lambda: not self.between(self.localization.work) and messages, name)
        return messages[-1]

    def call(self, service: str) -> tuple[bool, str]:
        answer = self.bench.call(Trigger, f"/ttt3r/{service}")
        return answer.success, answer.message

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
        inside = InProcess(patch, NO_FILE, publish_map_frame=True, **parameters)
        with contextlib.ExitStack() as closed:
            closed.callback(inside.close)
            walker = Walker(inside, backbone, patch)
            closed.callback(walker.bench.close)
            yield walker


@contextlib.contextmanager
def simulated_time(walked: Walker) -> Iterator[Callable[[int], None]]:
    """Let the node follow /clock until the block ends; what is returned sets that [ns]."""
    node = walked.inside.node
    clock = walked.bench.publisher(Clock, "/clock", 10)
    node.set_parameters([Parameter("use_sim_time", value=True)])

    def set_time(stamp: int) -> None:
        send_until(
            lambda: clock.publish(Clock(clock=Time(nanoseconds=stamp).to_msg())),
            lambda: node.get_clock().now().nanoseconds == stamp,
            "the time",
        )

    try:
        wait_until(clock.get_subscription_count, "the node to listen to the clock")
        yield set_time
    finally:
        node.set_parameters([Parameter("use_sim_time", value=False)])


def graph_processes() -> list[int]:
    """Return the processes that this one has started to solve graphs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"ttt3r_ros.places.solver" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


class Heard:
    """Collects what a publisher sends, and lets it believe that somebody listens."""

    def __init__(self, publisher: Publisher) -> None:
        self.messages: list = []
        publisher.publish, publisher.get_subscription_count = self.messages.append, lambda: 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("maps")


@pytest.fixture(scope="module")
def walked(backbone, folder) -> Iterator[Walker]:
    """Return the node at the end of a walk, with what it has published on the way."""
    with contextlib.ExitStack() as stack:
        walked = stack.enter_context(walker(backbone, save_folder=folder, publish_map=True, min_confidence=1.0))
        walked.close = stack.close
        publishers = {publisher.topic_name: publisher for publisher in walked.inside.node.publishers}
        walked.heard = {name: Heard(publishers[f"/ttt3r/{name}"]) for name in (*TOPICS, MAP_POINTS)}
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
    content = walked.places.content()
    first = {
        2 * stamps.index(k.stamp_ns): S.t for k, S in zip(content.keyframes, content.poses) if k.stamp_ns in stamps
    }
    nearest = min(first, key=lambda known: abs(known - index))
    then, now = first[nearest], (walked.T_map_base(stamp) @ T_base_camera)[:3, 3]
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
    path, graph_shown = walked.shown("map_path"), walked.shown("pose_graph")
    content = places.content()
    assert path.header.frame_id == "map"
    assert [nanoseconds(pose.header.stamp) for pose in path.poses] == [k.stamp_ns for k in content.keyframes]
    last = np.array([getattr(path.poses[-1].pose.position, axis) for axis in "xyz"])
    expected = (content.poses[-1].rigid @ inverse(T_BASE_CAMERA))[:3, 3]
    np.testing.assert_allclose(last, expected, atol=1e-4)
    markers = {marker.ns: marker for marker in graph_shown.markers}
    assert len(markers["keyframes"].points) == len(content.keyframes)
    assert len(markers["odometry"].points) == 2 * sum(not edge.is_place for edge in content.edges)
    assert len(markers["places"].points) == 2 * (places.counts.accepted - places.rejected)
    assert (markers["rejected"].action == Marker.DELETE) == (not places.rejected)
    facts = walked.localization.facts()
    assert facts["map_keyframes"] == str(len(content.keyframes))
    assert facts["map_localized"] == "yes"
    assert re.fullmatch(r"[\d.]+ m, [\d.]+ deg, scale [\d.]+", facts["map_correction"])
    assert facts["map_places_accepted"] == str(places.counts.accepted)


def test_a_rejected_place_is_shown_in_its_own_color(walked, monkeypatch):
    content = walked.places.content()
    index = next(index for index, edge in enumerate(content.edges) if edge.is_place)
    monkeypatch.setattr(walked.places, "content", lambda: replace(content, rejected=(index,)))
    markers = {marker.ns: marker for marker in walked.shown("pose_graph").markers}
    assert len(markers["rejected"].points) == 2
    assert markers["rejected"].color != markers["places"].color


def test_the_points_are_drawn_from_keyframes_where_these_are_now(walked, monkeypatch):
    drawn, localization = walked.pipeline.map, walked.localization
    monkeypatch.setattr("ttt3r_ros.ros.localization.REDRAW_PERIOD_S", 0.0)
    while walked.between(localization.work):
        pass
    content, expected = walked.places.content(), VoxelMap(0.05, 1_000_000)
    max_depth = walked.inside.node.get_parameter("max_depth").value
    for keyframe, pose in zip(content.keyframes, content.poses):
        points, colors, confidence = keyframe.colored_points(min_confidence=1.0, max_depth=max_depth)
        expected.insert(pose.apply(points).astype(np.float32), colors, confidence)

    def cells(points: MapPoints | None) -> set[tuple[int, ...]]:
        return set() if points is None else {tuple(cell) for cell in np.floor(points.positions / 0.05).astype(int)}

    wanted = cells(expected.points())
    wait_until(lambda: len(cells(drawn.points()) & wanted) > 0.98 * len(wanted) > 1000, "a map")
    wait_until(lambda: walked.heard[MAP_POINTS].messages, "a message")
    assert {message.header.frame_id for message in walked.heard[MAP_POINTS].messages} == {"map"}


def test_a_pose_that_is_set_moves_the_odometry_and_not_the_robot_in_the_map(walked):
    before = walked.T_map_base(*walked.go([FRAMES - 2]))
    walked.pipeline.set_pose(T_from_pose([5, -3, 0], [np.cos(0.5), 0, 0, np.sin(0.5)]), np.zeros((6, 6)))
    (stamp,) = walked.go([FRAMES - 2])
    np.testing.assert_allclose(walked.T(stamp, "odom -> base_link")[:3, 3], [5, -3, 0], atol=0.05)
    np.testing.assert_allclose(walked.T_map_base(stamp), before, atol=0.05)


def publish_mount(walked: Walker, parent: str, T_parent_camera: FloatArray) -> None:
    """Say to all, from now on, where the camera is mounted."""
    message = transform_message(T_parent_camera, header(1, parent), "camera")
    walked.bench.publisher(TFMessage, "/tf_static", LATCHED).publish(TFMessage(transforms=[message]))

    buffer = walked.pipeline.mount.buffer

    def is_known() -> bool:
        with contextlib.suppress(TransformException):
            known = buffer.lookup_transform_core(parent, "camera", Time())
            return np.allclose(matrix_from_transform(known.transform), T_parent_camera, atol=1e-6)
        return False

    wait_until(is_known, "the mount")


def test_a_mount_that_is_corrected_turns_the_odometry_and_not_the_map(walked):
    """The map's axes are those of the odometry, so they follow."""
    tilted = T_BASE_CAMERA @ T_from_pose([0, 0, 0], [np.cos(0.1), np.sin(0.1), 0, 0])
    (before,), content = walked.go([FRAMES - 2]), walked.places.content()
    publish_mount(walked, "base_link", tilted)
    (after,), moved = walked.go([FRAMES - 2]), walked.places.content()
    publish_mount(walked, "base_link", T_BASE_CAMERA)
    walked.go([FRAMES - 2])
    np.testing.assert_allclose(walked.T(after), walked.T(before), atol=1e-3)
    steps = [[a.inverse() @ b for a, b in pairwise(c.poses)] for c in (content, moved)]
    for then, now in zip(*steps):
        np.testing.assert_allclose(now.t, then.t, atol=1e-4)
    turned = moved.poses[0].R @ content.poses[0].R.T
    cameras = [walked.T(s, "odom -> base_link") @ T for s, T in ((before, T_BASE_CAMERA), (after, tilted))]
    R_map_odom = walked.T(before)[:3, :3]
    expected = R_map_odom @ (cameras[1] @ inverse(cameras[0]))[:3, :3] @ R_map_odom.T
    np.testing.assert_allclose(turned, expected, atol=1e-3)
    assert np.degrees(np.arccos((np.trace(turned) - 1) / 2)) > 10  # about the tilt of the mount


def test_the_graphs_process_may_die(walked, capfd):
    walked.solve_again()
    places, (first,) = walked.places, graph_processes()
    solved, unsolved = places.counts.solved, places.counts.unsolved
    assert os.getpriority(os.PRIO_PROCESS, first) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    os.kill(first, signal.SIGKILL)
    walked.solve_again()
    assert (places.counts.solved, places.counts.unsolved) == (solved, unsolved + 1)
    wait_until(lambda: "graph has ended by signal 9" in capfd.readouterr().err, "a word about it")
    (stamp,) = walked.go([FRAMES - 2])
    assert walked.T(stamp) is not None
    walked.solve_again()
    assert places.counts.solved == solved + 1
    assert graph_processes() != [first]


def test_a_gap_a_loop_of_a_bag_and_another_image_size_leave_the_robot_in_the_map(walked):
    """A gap may be a kidnapping, so what is known of the pose is weak, and the next recognized place is believed."""
    with simulated_time(walked) as set_time:
        set_time(walked.stamp)
        walked.go([FRAMES - 2])
        for jump, size in ((10**10, 1), (-20 * 10**9, 1), (0, 2)):
            walked.stamp += jump
            set_time(walked.stamp)
            solved, place_count = walked.places.counts.solved, walked.places.counts.accepted
            frames = range(51, 67, 2) if jump else range(65, 49, -2)  # nobody carries the camera away in no time
            stamps = walked.go(frames, size=size)
            assert all(walked.T(stamp) is not None for stamp in stamps)
            assert walked.places.counts.accepted > place_count
            assert walked.places.counts.solved > solved
            assert offset(walked, frames[-1], *walked.go([frames[-1]])) < 0.8


def test_a_reset_of_the_network_begins_a_segment_and_no_track(walked):
    def segment(stream) -> int:
        return stream.state.segments.segment

    (before,), track = walked.go([FRAMES - 2]), walked.places.content().keyframes[-1].track
    number = walked.pipeline.between_frames(segment).result(PATIENCE)
    done, said = walked.call("reset")
    assert done, said
    stamps = walked.go([FRAMES - 2, FRAMES - 4])
    assert walked.pipeline.between_frames(segment).result(PATIENCE) > number
    odometry = [walked.T(stamp, "odom -> base_link") for stamp in (before, stamps[0])]
    np.testing.assert_allclose(odometry[1], odometry[0], atol=0.05)
    assert offset(walked, FRAMES - 4, stamps[-1]) < 0.8
    assert walked.places.content().keyframes[-1].track == track


def test_simulated_time_that_stands_still_and_jumps_back_changes_nothing_of_the_map(walked, monkeypatch):
    monkeypatch.setattr("ttt3r_ros.ros.localization.SHOW_PERIOD_S", 0.05)
    poses, paths = (walked.heard[name].messages for name in ("localization_pose", "map_path"))
    with simulated_time(walked) as set_time:
        for seconds in (1000, 10):
            set_time(seconds * 10**9)
            for _ in range(2):  # the second comes after a time that the clock does not show
                paths.clear()
                wait_until(lambda: walked.go([55, 65]) and paths, "the path")
            (stamp,) = walked.go([65])
            assert nanoseconds(poses[-1].header.stamp) == stamp
            assert offset(walked, 65, stamp) < 0.8


def test_the_map_knows_where_the_camera_is_on_a_mount_that_moves(walked):
    """The camera pans on the robot by 8 degrees from image to image."""
    mounts: dict[int, FloatArray] = {}
    mount, pan = walked.pipeline.mount, walked.bench.publisher(TFMessage, "/tf", 100)

    def move(stamp_ns: int) -> None:
        half = np.radians(4 * len(mounts))
        T_base_pan = T_from_pose([0.1, 0, 0.4], [np.cos(half), 0, 0, np.sin(half)])
        mounts[stamp_ns] = T_base_pan @ T_BASE_CAMERA
        message = TFMessage(transforms=[transform_message(T_base_pan, header(stamp_ns, "base_link"), "pan")])

        def is_known() -> bool:
            pan.publish(message)
            return mount.buffer.can_transform_core("base_link", "camera", Time(nanoseconds=stamp_ns))[0]

        wait_until(is_known, "the mount's pose")

    walked.go([65])
    known = {keyframe.number for keyframe in walked.places.content().keyframes}
    publish_mount(walked, "pan", T_BASE_CAMERA)
    walked.go([65])  # nobody knows yet where the mount stands
    stamps = walked.go(range(63, 47, -2), before=move)
    assert all(walked.T(stamp) is not None for stamp in stamps)
    assert offset(walked, 49, stamps[-1], mounts[stamps[-1]]) < 0.8
    path = walked.shown("map_path").poses  # of the graph as it is solved once more for it
    content = walked.places.content()
    positions = {nanoseconds(pose.header.stamp): pose.pose.position for pose in path}
    new = [(k, S) for k, S in zip(content.keyframes, content.poses) if k.number not in known]
    assert len(new) > 2
    for keyframe, S in new:
        expected = S.rigid @ inverse(mounts[keyframe.stamp_ns])
        p = positions[keyframe.stamp_ns]
        np.testing.assert_allclose([p.x, p.y, p.z], expected[:3, 3], atol=1e-4)
    publish_mount(walked, "base_link", T_BASE_CAMERA)
    walked.go([49])  # on its own mount again


def test_a_save_and_a_load_of_state_and_an_odometry_that_starts_anew_are_found_again(walked, folder):
    saved, said = walked.call("save_state")
    assert saved, said
    assert "ttt3r.state.safetensors" in said
    for forget in ("load_state", "reset_odometry"):
        done, said = walked.call(forget)
        assert done, said
        assert said.endswith("; the map stays, and the robot has its place in it once one is recognized")
        stamps = walked.go(range(49, 73, 2))
        assert walked.T(stamps[0]) is None
        assert walked.T(stamps[0], "odom -> base_link") is not None
        known = [stamp for stamp in stamps if walked.T(stamp) is not None]
        assert known, walked.localization.facts()
        assert known == stamps[-len(known) :]  # once found, it stays so
        assert offset(walked, 71, stamps[-1]) < 0.8


def test_frames_do_not_wait_for_a_map_that_is_saved(walked, folder, monkeypatch):
    begun, go_on, answers = threading.Event(), threading.Event(), list[tuple[bool, str]]()
    to_parts = saving.places_to_parts

    def slow(*args):
        begun.set()
        assert go_on.wait(PATIENCE)
        return to_parts(*args)

    monkeypatch.setattr(saving, "places_to_parts", slow)
    service = threading.Thread(target=lambda: answers.append(walked.call("save_map")))
    service.start()
    try:
        assert begun.wait(PATIENCE)
        assert walked.T(*walked.go([71])) is not None
        assert not answers
    finally:
        go_on.set()
        service.join(PATIENCE)
    assert answers[0][0], answers
    for file in folder.glob("ttt3r.p*"):
        file.unlink()


def test_a_camera_that_leaves_no_time_between_images_leaves_the_map_a_share(walked, monkeypatch):
    worked = []
    monkeypatch.setattr(walked.pipeline.queue, "has_time", lambda: False)
    monkeypatch.setattr(walked.localization, "work", lambda: worked.append(1))

    def has_worked() -> list[int]:
        walked.between(lambda: None)  # as an image would
        return worked

    wait_until(has_worked, "a piece of work")


@pytest.fixture(scope="module")
def saved(walked) -> str:
    """Return what the node says of its saved map; the node is closed afterward."""
    done, said = walked.call("save_map")
    assert done, said
    walked.solve_again()
    (process,) = graph_processes()
    os.kill(process, signal.SIGSTOP)  # as if its work took long
    walked.close()
    return said


def test_the_graphs_process_ends_with_the_node_whatever_it_does(saved):
    assert not graph_processes()


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
        assert started.call("save_map")[0]
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
        for content, said in (
            (None, "ttt3r.places.safetensors does not exist; save a map first, or set save_name"),
            (b"no map", "is not a map of places"),
            (data[:-9], "is truncated or damaged"),
        ):
            if content is not None:
                (tmp_path / "ttt3r.places.safetensors").write_bytes(content)
            done, message = w.call("load_map")
            assert not done
            assert said in message
        assert w.call("save_map") == (False, "there is no map to save: it has no keyframe yet")
        with pytest.raises(UserError, match="there is no map yet in which a pose could be looked for"):
            w.pipeline.take_hint(np.eye(4), 1.0).result(PATIENCE)
        (tmp_path / "ttt3r.places.safetensors").write_bytes(data)
        w.pipeline.backbone.fingerprint, own = "another", w.pipeline.backbone.fingerprint
        try:
            done, message = w.call("load_map")
            assert not done
            assert "was made with other weights; use those, or make the map anew" in message
        finally:
            w.pipeline.backbone.fingerprint = own
        w.go([3])
        done, message = w.call("load_map")
        assert done
        assert "loaded the map" in message
        assert w.T(w.go([3])[0]) is None


def test_a_map_that_is_off_costs_nothing(weights, saved, bench, monkeypatch):
    """No GTSAM, no descriptor, no process, no publisher; and without GTSAM the map is refused in one sentence."""
    monkeypatch.setattr(graph, "gtsam", missing)
    with node_in_process(weights) as inside:
        assert inside.node.pipeline.localization is None
        frame = QueuedFrame(image_message(np.zeros((60, 80, 3), np.uint8), "rgb8", header(1, "camera")), 1, 0.0)
        inside.node.pipeline.queue.put(frame)
        wait_until(lambda: inside.asked, "a frame")
        assert not any(DESCRIPTOR in outputs for outputs in inside.asked)
        answer = bench.call(Trigger, "/ttt3r/load_map")
        assert not answer.success
        assert "start the node with publish_map_frame set to true" in answer.message
    threads = {thread.name for thread in threading.enumerate()}
    with pytest.raises(UserError, match="needs GTSAM"), node_in_process(weights, publish_map_frame=True):
        pass
    assert {thread.name for thread in threading.enumerate()} <= threads  # nothing goes on
    rclpy.try_shutdown()


def a_pose() -> PoseWithCovarianceStamped:
    message = PoseWithCovarianceStamped(header=header(0, "odom"))
    message.pose.pose.orientation.w = 1.0
    return message


def missing() -> None:
    raise UserError("the map needs GTSAM")


def transforms(bench: Bench, stamp: int) -> set[str]:
    return {f"{t.header.frame_id} -> {t.child_frame_id}" for t in bench.get("tf", stamp).transforms}


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
        while not (bench.received["localization_pose"] and bench.received["tf"]):
            (stamp,) = bench.exchange()
        in_map = {"map -> odom", "odom -> base_link"}
        assert transforms(bench, stamp) == in_map
        for seconds in (20, -15):  # a gap, and a bag that loops
            bench.next_stamp += seconds * 10**9
            stamp = bench.send_until_answered()  # the second image in a new time confirms it
            assert transforms(bench, stamp) == in_map
        wait_until(lambda: bench.received["map_path"], "the path")
        wait_until(lambda: bench.received["pose_graph"], "the graph")
        wait_until(lambda: bench.diagnostics().get("map_localized") == "yes", "the diagnostics")
        bench.publisher(PoseWithCovarianceStamped, "/ttt3r/set_pose").publish(a_pose())
        wait_until(lambda: "m; the path starts anew" in running.text(), "a word about the pose")
        hint.publish(PoseWithCovarianceStamped(header=header(stamp, "odom")))
        wait_until(lambda: "send it in map_frame, which is 'map'" in running.text(), "a word about the frame")
        answer = bench.call(Trigger, "/ttt3r/save_map")
        assert answer.success, answer.message
        assert bench.call(Trigger, "/ttt3r/load_map").success
        assert running.stop() == 0
    assert "Traceback" not in running.text()
