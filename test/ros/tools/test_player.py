"""The camera that plays frames, in this process; `test_play` tests the program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
from harness import Bench, header, picture, pose_of, subscribers
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage
from waiting import wait_until

from ttt3r_ros.camera.calibration import Calibration, Distortion
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, Intrinsics, T_from_pose, inverse, twist_between
from ttt3r_ros.ros.conversions import camera_info_message, matrix_from_transform
from ttt3r_ros.ros.tools import player as player_module
from ttt3r_ros.ros.tools.player import TRUTH_TOPIC, CameraOptions, Player, image_to_publish
from ttt3r_ros.sources import SourceFrame

pytestmark = pytest.mark.dds

CAMERA = Intrinsics(70.0, 72.0, 41.0, 28.0, 80, 60)
STAMP = 1_700_000_000_123_456_789
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def make_player() -> Iterator[Callable[..., Player]]:
    players: list[Player] = []

    def make(*arguments: str, **options: Any) -> Player:
        rclpy.init(args=["--ros-args", *arguments])
        players.append(Player(CameraOptions(**options)))
        return players[-1]

    yield make
    for player in players:
        player.destroy_node()
    rclpy.try_shutdown()


def listen(bench: Bench, player: Player) -> None:
    """Listen to all of a frame."""
    bench.listen("camera/image_raw", Image, key="image")
    bench.listen("camera/camera_info", CameraInfo, key="info")
    bench.listen("ground_truth/odom", Odometry, key="truth")
    bench.listen("ground_truth/depth/image", Image, key="depth")
    wait_until(lambda: player.is_heard(with_truth=True), "the player to be heard")
    wait_until(lambda: subscribers(player, "/camera/camera_info"), "somebody to hear the camera_info")


def play(player: Player, frame: SourceFrame, stamp: int = STAMP) -> None:
    player.publish(image_to_publish(frame.image, player.options), frame, stamp)


def test_a_frame_comes_whole_with_one_stamp_and_the_image_last(make_player, bench):
    player = make_player(frame_id="lens", base_frame="robot")
    listen(bench, player)
    depth = np.arange(4800, dtype=np.float32).reshape(60, 80)
    depth[0, 0] = np.nan
    distortion = Distortion("equidistant", (0.1, 0.2, 0.3, 0.4))
    play(player, SourceFrame(picture(1), 5, Calibration.of(CAMERA, distortion), np.eye(4), depth))
    image, info, truth, true_depth = (bench.get(name, STAMP) for name in ("image", "info", "truth", "depth"))
    for name in ("info", "truth", "depth"):
        assert bench.sent_at[name, STAMP] <= bench.sent_at["image", STAMP], name
    assert {message.header.frame_id for message in (image, info, true_depth)} == {"lens"}
    assert (truth.header.frame_id, truth.child_frame_id) == ("world", "robot")
    assert (image.encoding, image.width, image.height, image.step) == ("rgb8", 80, 60, 240)
    assert bytes(image.data) == picture(1).tobytes()
    assert true_depth.encoding == "32FC1"
    assert bytes(true_depth.data) == depth.tobytes()
    assert (info.distortion_model, list(info.d)) == ("equidistant", [0.1, 0.2, 0.3, 0.4])
    undistorted = camera_info_message(CAMERA, header(STAMP, "lens"))
    assert (list(info.k), list(info.p)) == (list(undistorted.k), list(undistorted.p))


def test_a_recorded_calibration_is_published_as_it_is(make_player, bench):
    player = make_player()
    listen(bench, player)
    P = (40.0, 0.0, 30.0, 0.0, 0.0, 41.0, 20.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    recorded = Calibration.of(CAMERA, Distortion("plumb_bob", (0.1, 0.2, 0.0, 0.0, 0.0)))
    recorded = replace(recorded, P=P, binning=(2, 1), region=(4, 6, 40, 30))
    play(player, SourceFrame(picture(1), 5, recorded))
    assert Calibration.from_message(bench.get("info", STAMP)) == recorded


def test_what_is_not_known_is_not_published(make_player, bench):
    player = make_player()
    listen(bench, player)
    play(player, SourceFrame(picture(1), 5))
    play(player, SourceFrame(picture(2), 6, Calibration.of(CAMERA)), STAMP + 1)
    bench.get("image", STAMP + 1)
    info = bench.get("info", STAMP + 1)
    assert info == camera_info_message(CAMERA, header(STAMP + 1, "camera_optical_frame"))
    assert bench.stamps("info") == [STAMP + 1]
    assert not bench.received["truth"]
    assert not bench.received["depth"]


@pytest.mark.parametrize("T_base_camera", [None, T_from_pose([0.1, 0.0, 0.4], [0.5, -0.4, 0.4, -0.5])])
def test_the_truth_is_the_motion_of_what_the_camera_is_mounted_on(make_player, bench, T_base_camera):
    """By default of its body. The twist is zero where it is not known: at first, and where stamps have jumped back."""
    player = make_player(**({} if T_base_camera is None else {"T_base_camera": T_base_camera}))
    listen(bench, player)
    poses = [T_from_pose([0.1 * i, 0.2, 0.3 * i], [1.0, 0.0, 0.05 * i, 0.0]) for i in range(4)]
    stamps = [STAMP, STAMP + 250_000_000, STAMP - 1_000_000_000, STAMP - 750_000_000]
    for stamp, T_world_camera in zip(stamps, poses):
        play(player, SourceFrame(picture(1), 5, T_world_camera=T_world_camera), stamp)
    bodies = [pose @ inverse(T_BASE_CAMERA if T_base_camera is None else T_base_camera) for pose in poses]
    for i, stamp in enumerate(stamps):
        truth = bench.get("truth", stamp)
        np.testing.assert_allclose(pose_of(truth), bodies[i], atol=1e-12)
        linear, angular = twist_between(bodies[i - 1], bodies[i], 0.25) if i % 2 else (np.zeros(3), np.zeros(3))
        velocity, turn = truth.twist.twist.linear, truth.twist.twist.angular
        np.testing.assert_allclose([velocity.x, velocity.y, velocity.z], linear, atol=1e-12)
        np.testing.assert_allclose([turn.x, turn.y, turn.z], angular, atol=1e-12)


def test_who_comes_late_hears_all_of_the_truth(make_player, bench):
    player = make_player()
    stamps = [STAMP + i for i in range(50)]
    for stamp in stamps:
        play(player, SourceFrame(picture(1), 5, T_world_camera=np.eye(4)), stamp)
    heard: list[int] = []
    bench.node.create_subscription(
        Odometry, TRUTH_TOPIC, lambda message: heard.append(message.header.stamp.nanosec), LATCHED
    )
    wait_until(lambda: len(heard) == 50, "the truth of before")
    assert heard == [stamp % 10**9 for stamp in stamps]


@pytest.mark.parametrize("order", [("odom", "depth/image"), ("depth/image", "odom")])
def test_it_is_heard_when_all_that_matters_is(make_player, bench, order):
    player = make_player("-r", "__ns:=/robot")
    assert player.image_topic == "/robot/camera/image_raw"
    assert not player.is_heard()
    bench.listen(player.image_topic, Image)
    wait_until(player.is_heard, "the images' subscriber")
    kinds = {"odom": Odometry, "depth/image": Image}
    for name in order:
        assert not player.is_heard(with_truth=True)
        topic = f"/robot/ground_truth/{name}"
        bench.listen(topic, kinds[name])
        wait_until(lambda topic=topic: subscribers(player, topic), f"a subscriber of {topic}")
    assert player.is_heard(with_truth=True)


def test_compressed_images_are_jpeg(make_player, bench):
    player = make_player("-r", "camera/image_raw/compressed:=/front/compressed", compressed=True)
    assert player.image_topic == "/front/compressed"
    bench.listen("/front/compressed", CompressedImage, key="image")
    wait_until(player.is_heard, "the subscriber")
    smooth = np.full((60, 80, 3), (200, 100, 50), np.uint8)
    play(player, SourceFrame(smooth, 5))
    message = bench.get("image", STAMP)
    assert message.format == "rgb8; jpeg compressed bgr8"
    assert message.header == header(STAMP, "camera_optical_frame")
    bgr = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(bgr[..., ::-1], smooth, atol=2)


def test_an_image_too_large_for_jpeg_is_said_in_one_sentence(make_player):
    player = make_player(compressed=True)
    with pytest.raises(UserError, match=r"^an image of 70000x2 pixels cannot be compressed as jpeg$"):
        image_to_publish(np.zeros((2, 70_000, 3), np.uint8), player.options)


def test_time_is_told_only_if_that_is_wanted(make_player, bench):
    bench.listen("/clock", Clock)
    player = make_player(publish_clock=True)
    wait_until(lambda: subscribers(player, "/clock"), "the subscriber")
    player.publish_clock(STAMP)
    wait_until(lambda: bench.received["/clock"], "the time")
    assert bench.received["/clock"][0].clock == header(STAMP, "").stamp


def test_without_clock_and_mount_their_topics_stay_free(make_player):
    player = make_player()
    player.publish_clock(STAMP)
    topics = {name for name, _ in player.get_publisher_names_and_types_by_node("play", "/")}
    assert topics.isdisjoint({"/clock", "/tf", "/tf_static"})


def test_the_mount_is_of_the_cameras_body(make_player, bench):
    make_player(publish_mount=True, frame_id="lens", base_frame="robot")
    heard: list[TFMessage] = []
    bench.node.create_subscription(TFMessage, "/tf_static", heard.append, LATCHED)
    wait_until(lambda: heard, "the mount")
    (transform,) = heard[0].transforms
    assert (transform.header.frame_id, transform.child_frame_id) == ("robot", "lens")
    np.testing.assert_allclose(matrix_from_transform(transform.transform), T_BASE_CAMERA, atol=1e-12)


def test_a_mount_on_a_robot_is_published_as_it_is(make_player, bench):
    T_base_camera = T_from_pose([0.1, 0.0, 0.4], [0.5, -0.4, 0.4, -0.5])
    make_player(publish_mount=True, T_base_camera=T_base_camera)
    heard: list[TFMessage] = []
    bench.node.create_subscription(TFMessage, "/tf_static", heard.append, LATCHED)
    wait_until(lambda: heard, "the mount")
    np.testing.assert_allclose(matrix_from_transform(heard[0].transforms[0].transform), T_base_camera, atol=1e-12)


@pytest.mark.parametrize("best_effort", [True, False])
def test_images_are_waited_for_where_somebody_says_that_they_came(make_player, monkeypatch, best_effort):
    player = make_player(best_effort=best_effort)
    infos = player.get_publishers_info_by_topic
    wait_until(lambda: len(infos(player.image_topic)) == 1, "earlier players to be gone")
    (info,) = infos(player.image_topic)
    assert info.qos_profile.reliability == (
        ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
    )
    done: list[tuple[str, float]] = []
    images = SimpleNamespace(wait_for_all_acked=lambda limit: done.append(("heard", limit.nanoseconds * 1e-9)))
    with monkeypatch.context() as patch:
        patch.setattr(player, "_images", images)
        patch.setattr(player_module, "time", SimpleNamespace(sleep=lambda seconds: done.append(("slept", seconds))))
        player.flush(2.5)
    assert done == [*([] if best_effort else [("heard", 2.5)]), ("slept", 0.5)]
