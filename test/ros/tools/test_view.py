"""The viewer as a node, and its page in a real browser."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
from browser import browser, chromium
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point, PoseStamped
from harness import ROOT, Bench, header, node
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as Path_
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray
from waiting import PATIENCE, send_until, wait_until

from ttt3r_ros import colors
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, Intrinsics
from ttt3r_ros.mapping.cloud import POINT_DTYPE
from ttt3r_ros.mapping.voxel_map import NO_POINTS, MapPoints
from ttt3r_ros.ros.conversions import camera_info_message, cloud_message, fill_pose, image_message, transform_message
from ttt3r_ros.ros.map_output import map_message
from ttt3r_ros.ros.tools import view
from ttt3r_ros.ros.tools.player import TRUTH_QOS
from ttt3r_ros.ros.tools.view import View, _spin
from ttt3r_ros.sources import open_source
from ttt3r_ros.viewer.notice import write_notice

pytestmark = pytest.mark.dds

SOURCE = "synthetic:seed=5,length=12,width=160,height=120,fps=10,motion=wheeled"


@contextlib.contextmanager
def viewer(log: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the viewer until the block ends; yield its process and the URL of its page."""
    command = [sys.executable, "-m", "ttt3r_ros.ros.tools.view", "--port", "0", *arguments]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, text=True)
        try:
            wait_until(lambda: "open http" in log.read_text() or process.poll() is not None, "the page")
            assert process.poll() is None, log.read_text()
            yield process, log.read_text().split("open ")[1].split()[0]
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(timeout=PATIENCE)


def show_the_world(bench: Bench) -> None:
    """Publish the frames of a synthetic camera, each after the answer to the one before."""
    for frame in open_source(SOURCE).frames():
        assert frame.calibration is not None
        info = camera_info_message(frame.calibration, header(bench.next_stamp, "camera"))
        bench.publisher(CameraInfo, "/camera_info").publish(info)
        bench.exchange(image=frame.image)


def pixels(picture: np.ndarray, color: tuple[int, int, int], tolerance: int = 40) -> int:
    return int((np.abs(picture.astype(int) - color).max(axis=2) <= tolerance).sum())


@pytest.mark.slow
def test_the_page_shows_the_node_and_its_button_reaches_it(bench: Bench, tmp_path: Path) -> None:
    chromium()
    with node(tmp_path / "node.log", max_speed=2.0) as running, viewer(tmp_path / "view.log") as (process, url):
        bench.listen_to_all()
        bench.wait_for_node()
        bench.send_until_answered(image=np.full((120, 160, 3), 90, np.uint8))
        with browser(tmp_path) as page:
            page.open(url)
            page.wait_for_text("true path")
            show_the_world(bench)
            page.wait_for_text("tracking")
            wait_until(lambda: pixels(page.picture(), colors.ESTIMATE) > 50, "the path")
            cv2.imwrite(os.environ.get("SHOT", str(tmp_path / "shot.png")), page.picture()[..., ::-1])

            def reset() -> bool:
                page.click("state")  # the first of that name is in the row "reset"
                time.sleep(1.0)
                return "the recurrent state is reset; the pose continues" in running.text()

            wait_until(reset, "the reset")
            page.wait_for_text("the pose continues from the last one")
            process.terminate()
            page.wait_for_text("view has ended; this page no longer changes")


class Shown:
    """Stands in for the page of a watched viewer: keeps what it was given last."""

    url = "http://127.0.0.1:1"

    def __init__(self, host: str, port: int, buttons: Any) -> None:
        self.buttons = buttons
        self.given: dict[str, Any] = {}
        self.watched = True
        self.begun = 0

    def begin_again(self) -> None:
        self.begun += 1

    def is_watched(self) -> bool:
        return self.watched

    def stop(self, last_state: str) -> None:
        self.given["last"] = last_state

    def wants_map(self) -> bool:
        return False

    def show_map(self, cloud: MapPoints) -> bool:
        self.given["map"] = cloud
        return False

    def place(self, T_odom_map: np.ndarray, *, points: bool) -> None:
        self.given["placed"] = T_odom_map, points

    def __getattr__(self, name: str) -> Any:
        def keep(*given: Any, **also: Any) -> None:
            self.given[name.removeprefix("show_")] = given if len(given) > 1 else given[0]

        return keep


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[View, Shown]]:
    monkeypatch.setattr(view, "LivePage", Shown)
    monkeypatch.setattr(view, "_SILENCE_S", 1.0)
    rclpy.init()
    made = View("127.0.0.1", 0, 1000, tmp_path / "notice")
    stop = threading.Event()
    thread = threading.Thread(target=_spin, args=(made, stop))
    thread.start()
    yield made, made.page
    stop.set()
    thread.join()
    made.destroy_node()
    rclpy.try_shutdown()


class StandIn:
    """Publishes as the node does, with a wall of four points two meters ahead of the camera."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.poses = bench, 0
        mount = transform_message(T_BASE_CAMERA, header(0, "base_link"), "camera")
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        bench.publisher(TFMessage, "/tf_static", latched).publish(TFMessage(transforms=[mount]))

    def publish(self, x: float, *, true_x: float | None = None) -> None:
        stamp, T = self.bench.next_stamp, np.eye(4)
        self.bench.next_stamp += 10**8
        T[0, 3] = x
        self.poses += 1
        odometry = Odometry(header=header(stamp, "odom"), child_frame_id="base_link")
        fill_pose(odometry.pose.pose, T)
        points = np.zeros((2, 2), POINT_DTYPE)
        points["x"], points["y"], points["z"] = [[-1, 1], [-1, 1]], [[-1, -1], [1, 1]], 2.0
        points["confidence"], points["rgb"] = 3.0, 0x0A141E
        depth = np.full((2, 2), 2000, np.uint16)
        if true_x is not None:
            T[:3, 3] = [100.0 + true_x, 50.0, 0.0]
            truth = Odometry(header=header(stamp, "world"), child_frame_id="base_link")
            fill_pose(truth.pose.pose, T)
            self.bench.publisher(Odometry, "/ground_truth/odom", TRUTH_QOS).publish(truth)
        path = Path_(header=odometry.header, poses=[PoseStamped()] * self.poses)
        camera = Intrinsics(1.0, 1.0, 0.5, 0.5, 2, 2)
        for topic, message in {
            "odom": odometry,
            "path": path,
            "depth/camera_info": camera_info_message(camera, header(stamp, "camera")),
            "rgb/image": image_message(np.full((2, 2, 3), 9, np.uint8), "rgb8", header(stamp, "camera")),
            "depth/image": image_message(depth, "16UC1", header(stamp, "camera")),
            "points": cloud_message(points, header(stamp, "camera")),
        }.items():
            self.bench.publisher(type(message), f"/ttt3r/{topic}", 10).publish(message)

    def diagnose(self, message: str, level: bytes = b"\x00", **values: str) -> None:
        status = DiagnosticStatus(name="ttt3r: stream", level=level, message=message)
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        self.bench.publisher(DiagnosticArray, "/diagnostics", 10).publish(DiagnosticArray(status=[status]))

    def publish_until(self, condition: Callable[[], Any], what: str, *, x: float = 0.0, **options: Any) -> None:
        send_until(lambda: self.publish(x, **options), condition, what)


def test_it_shows_what_the_node_publishes(shown: tuple[View, Shown], bench: Bench) -> None:
    _, page = shown
    node = StandIn(bench)
    node.publish_until(lambda: {"camera", "cloud", "depth", "truth", "path"} <= set(page.given), "all", true_x=0.0)
    T_odom_camera, camera, _ = page.given["camera"]
    np.testing.assert_allclose(T_odom_camera, T_BASE_CAMERA, atol=1e-9)
    assert camera.fx == 1.0
    cloud = page.given["cloud"]
    np.testing.assert_allclose(cloud.positions, [[2, 1, 1], [2, -1, 1], [2, 1, -1], [2, -1, -1]])
    assert cloud.colors[0].tolist() == [10, 20, 30]
    np.testing.assert_array_equal(page.given["depth"], np.full((2, 2), 2.0, np.float32))
    np.testing.assert_allclose(page.given["truth"], 0.0, atol=1e-9)  # it starts where the odometry does
    assert len(page.given["map"].positions) == 4
    node.publish_until(lambda: len(page.given["map"].positions) == 8, "the wall one meter farther", x=1.0)

    def says_lost() -> bool:
        node.diagnose("lost: the image is black", b"\x02")
        return "lost: the image is black" in page.given["state"]

    wait_until(says_lost, "the state")
    wait_until(lambda: "is it running?" in page.given["state"], "the silence")


def test_its_starter_has_the_last_word(shown: tuple[View, Shown], bench: Bench, tmp_path: Path) -> None:
    """And before: a node that complains, or is silent, is nothing to worry about once that is expected."""
    made, page = shown
    node = StandIn(bench)

    def diagnose(message: str) -> None:
        node.diagnose(message, b"\x01", frames_received="12", input_rate_hz="9.90")

    send_until(lambda: diagnose("no image"), lambda: "9.90 Hz" in page.given.get("state", ""), "the node's state")
    write_notice(tmp_path / "notice", "ok", "drawing <all>")
    send_until(lambda: diagnose("no image still"), lambda: "drawing &lt;all&gt;" in page.given["state"], "the notice")
    time.sleep(view._SILENCE_S + 1.0)
    for word in ("no image", "silent", "9.90 Hz"):
        assert word not in page.given["state"]
    assert "12 received" in page.given["state"]
    write_notice(tmp_path / "notice", "ok", "all is drawn")
    made.stop()
    assert "all is drawn; this page no longer changes" in page.given["last"]
    (tmp_path / "notice").unlink()
    made.stop()
    assert "view has ended; this page no longer changes" in page.given["last"]
    assert "9.90 Hz" not in page.given["last"]


def test_it_survives_a_node_that_starts_again(shown: tuple[View, Shown], bench: Bench) -> None:
    made, page = shown
    caller = next(client for client in made.clients if client.srv_name.endswith("/reset"))
    with pytest.raises(UserError, match="nobody offers /ttt3r/reset: is the node running"):
        page.buttons["reset"]["state"]()

    def serve(sentence: str, success: bool) -> Any:
        def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = success, sentence
            return response

        return bench.node.create_service(Trigger, "/ttt3r/reset", answer)

    def press() -> str:
        wait_until(caller.service_is_ready, "the service")
        return page.buttons["reset"]["state"]()

    first = StandIn(bench)
    first.publish_until(lambda: page.given.get("map") and len(page.given["map"].positions) == 4, "the map")
    first.publish_until(lambda: len(page.given["map"].positions) == 8, "more of the map", x=5.0)
    service = serve("it is reset", True)
    assert press() == "it is reset"
    bench.node.destroy_service(service)
    wait_until(lambda: not caller.service_is_ready(), "the end of the service")
    serve("the second node refuses", False)
    with pytest.raises(UserError, match="the second node refuses"):
        press()
    second = StandIn(bench)  # its path is short again: what was known lies elsewhere
    second.publish_until(lambda: len(page.given["map"].positions) == 4, "the map of the second node")
    assert page.begun == 1


def test_the_truth_stays_until_another_player_follows(shown: tuple[View, Shown], bench: Bench) -> None:
    """After the end of its player as well, to look at, though the last images of a recording may have none."""
    made, page = shown
    node = StandIn(bench)
    node.publish_until(lambda: len(page.given.get("truth", ())) >= 5, "a truth", true_x=0.0)
    bench.next_stamp += 20 * 10**9
    node.publish_until(lambda: page.given["camera"][0][0, 3] > 0.5, "poses whose truth is not known", x=1.0)

    def end() -> None:
        bench.end_publisher("/ground_truth/odom")
        wait_until(lambda: not made.count_publishers("/ground_truth/odom"), "the player to be gone")

    end()
    page.given.clear()
    last = bench.next_stamp - 10**8

    def publish_the_last() -> None:
        bench.next_stamp = last
        node.publish(0.0)

    send_until(publish_the_last, lambda: {"truth", "path"} <= set(page.given), "a node that is still busy")
    assert len(page.given["truth"]) >= 5
    bench.next_stamp = last + 60 * 10**9  # a player without truth
    node.publish_until(lambda: not len(page.given["truth"]), "the end of the truth")
    node.publish_until(lambda: len(page.given["truth"]) >= 5, "the truth of a third player", true_x=2.0)
    end()
    np.testing.assert_allclose(page.given["truth"], 0.0, atol=1e-9)
    sizes: list[int] = []

    def begins_anew() -> bool:
        sizes.append(len(page.given["truth"]))
        return sizes[-1] < max(sizes)

    node.publish_until(begins_anew, "the truth of a fourth player alone", true_x=5.0)
    node.publish_until(lambda: len(page.given["truth"]) >= 5, "more of it", true_x=5.0)
    np.testing.assert_allclose(page.given["truth"], 0.0, atol=1e-9)  # it begins where the odometry is


def test_the_nodes_own_map_goes_first(shown: tuple[View, Shown], bench: Bench) -> None:
    _, page = shown
    random = np.random.default_rng(1)
    count = 5000  # the viewer shows a thousand at most
    cloud = MapPoints(
        random.uniform(-9, 9, (count, 3)).astype(np.float32),
        np.full((count, 3), 7, np.uint8),
        np.full(count, 2.0, np.float32),
    )
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    bench.publisher(PointCloud2, "/ttt3r/map_points", latched).publish(map_message(cloud, header(1, "odom")))
    wait_until(lambda: len(page.given.get("map", NO_POINTS).positions), "the map")
    np.testing.assert_array_equal(page.given["map"].positions, cloud.positions[::5])


@pytest.mark.parametrize("ends", ["discarded", "with its node", "unseen", "replaced"])
def test_the_viewers_map_comes_back_when_the_nodes_map_ends(
    shown: tuple[View, Shown], bench: Bench, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Unless the next node has brought its own, which may be heard first."""
    _, page = shown
    first, latched = StandIn(bench), QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    one = MapPoints(np.ones((1, 3), np.float32), np.ones((1, 3), np.uint8), np.full(1, 2.0, np.float32))
    two = MapPoints(*(np.concatenate([part, part]) for part in (one.positions, one.colors, one.confidences)))
    topic = bench.publisher(PointCloud2, "/ttt3r/map_points", latched)

    def shows(count: int) -> bool:
        first.diagnose("tracking")
        is_heard = "tracking" in page.given.get("state", "")
        return is_heard and len(page.given.get("map", NO_POINTS).positions) == count

    page.watched = ends != "unseen"
    topic.publish(map_message(one, header(1, "odom")))
    first.publish_until(lambda: shows(1) or not page.watched, "the node's map")
    if ends != "discarded":
        begun = time.monotonic()
        first.publish_until(lambda: shows(4) or time.monotonic() > begun + 2.0, "the map to arrive, and to grow old")
    if ends == "discarded":
        topic.publish(map_message(NO_POINTS, header(1, "odom")))
    else:
        if ends == "replaced":
            monkeypatch.setattr(view, "_FRESH_S", math.inf)  # however long it takes to notice the restart
            topic.publish(map_message(two, header(1, "odom")))
            first.publish_until(lambda: shows(2), "the next node's map")
            first.poses = 0  # a new path is short
        bench.end_publisher("/ttt3r/path")  # the next one has another identity
        begun = time.monotonic()
        first.publish_until(lambda: shows(4) or time.monotonic() > begun + 2.0, "the restart to be noticed")
        page.watched = True
    first.publish_until(lambda: shows(2 if ends == "replaced" else 4), "the map to show")


def test_what_the_map_has_corrected_is_shown_where_the_odometry_is_in_it(
    shown: tuple[View, Shown], bench: Bench
) -> None:
    _, page = shown
    node, latched = StandIn(bench), QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    poses = [PoseStamped(), PoseStamped()]
    poses[1].pose.position.x = 4.0
    path = Path_(header=header(1, "map"), poses=poses)
    points = [Point(x=float(x)) for x in range(4)]
    lines = [Marker(ns="places", points=points), Marker(ns="rejected", action=Marker.DELETE), Marker(ns="keyframes")]
    one = MapPoints(np.ones((1, 3), np.float32), np.ones((1, 3), np.uint8), np.full(1, 2.0, np.float32))
    for topic, message in {
        "map_path": path,
        "pose_graph": MarkerArray(markers=lines),
        "map_points": map_message(one, header(1, "map")),
    }.items():
        bench.publisher(type(message), f"/ttt3r/{topic}", latched).publish(message)
    node.publish_until(lambda: len(page.given.get("map", NO_POINTS).positions) == 1, "the node's map")
    assert "corrected" not in page.given  # nobody knows where the map is

    T_map_odom = np.eye(4)
    T_map_odom[:3, 3] = [1.0, 2.0, 0.0]

    def tell() -> None:
        transform = transform_message(T_map_odom, header(bench.next_stamp, "map"), "odom")
        bench.publisher(TFMessage, "/tf", 10).publish(TFMessage(transforms=[transform]))

    def found() -> bool:
        tell()
        return {"corrected", "places", "placed"} <= set(page.given)

    node.publish_until(found, "the corrected path")
    np.testing.assert_array_equal(page.given["corrected"], [[0, 0, 0], [4, 0, 0]])
    places, rejected = page.given["places"]
    np.testing.assert_array_equal(places[:, :, 0], [[0, 1], [2, 3]])
    assert len(rejected) == 0
    T_odom_map, are_points_in_map = page.given["placed"]
    np.testing.assert_allclose(T_odom_map[:3, 3], [-1, -2, 0])
    assert are_points_in_map
    bench.next_stamp += 5 * 10**9  # the robot is lost, and nothing says where it is in the map
    node.publish_until(lambda: not len(page.given["corrected"]), "the end of what is not true anymore")
    assert not len(page.given["places"][0])


def test_a_message_that_cannot_be_shown_is_survived(
    shown: tuple[View, Shown], bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    _, page = shown
    node = StandIn(bench)
    broken = image_message(np.zeros((2, 2), np.float32), "32FC1", header(1, "camera"))
    broken.encoding = "nonsense"
    said = ""

    def is_said() -> bool:
        nonlocal said
        bench.publisher(Image, "/ttt3r/depth/image", 10).publish(broken)
        time.sleep(0.3)
        said += capfd.readouterr().err
        return "an update failed" in said

    wait_until(is_said, "word of the failure")  # whenever the page hears the topic
    for _ in range(3):
        is_said()
    node.publish_until(lambda: "cloud" in page.given, "the next frame")
    assert (said + capfd.readouterr().err).count("an update failed") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "203.0.113.7"], "check --host"),
        (["--ros-args", "-r", "nonsense"], "-r nonsense: write FROM:=TO"),
    ],
)
def test_mistakes_end_in_one_sentence(
    capsys: pytest.CaptureFixture[str], own_handlers: None, arguments: list[str], words: str
) -> None:
    assert view.main(["view", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("error: ") == 1
    assert words in err


def test_a_taken_port_is_no_obstacle(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with viewer(tmp_path / "view.log", "--port", str(port)) as (_, url):
            assert url.startswith("http://127.0.0.1:")
            assert not url.endswith(f":{port}")
            note = f"port {port} is taken, perhaps by another viewer: this page is on port {url.rpartition(':')[2]}\n"
            assert note in (tmp_path / "view.log").read_text()
