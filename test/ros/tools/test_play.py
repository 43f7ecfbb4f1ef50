"""The player as its subscribers see it, in a process of its own."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from waiting import PATIENCE

from ttt3r_ros.ros.tools import backlog
from ttt3r_ros.ros.tools import play as play_module
from ttt3r_ros.sources import SourceFrame

pytestmark = pytest.mark.dds


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("log")))
        yield


class Listener(Node):
    """Keeps what it hears, by topic."""

    def __init__(self, context: rclpy.Context) -> None:
        super().__init__("listener", context=context)
        self.heard: dict[str, list[Any]] = {}

    def listen(self, kind: type, topic: str, *, best_effort: bool = False) -> None:
        reliability = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        self.heard[topic] = []
        self.create_subscription(kind, topic, self.heard[topic].append, QoSProfile(depth=50, reliability=reliability))


@pytest.fixture
def listener(environment: None) -> Iterator[Listener]:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Listener(context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def play(environment: None) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    children = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ttt3r_ros.ros.tools.play", *map(str, arguments)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()


def spin_until(listener: Listener, reached: Callable[[], bool], what: str) -> None:
    """Listen until something has happened, and to all that has arrived by then."""
    executor = SingleThreadedExecutor(context=listener.context)
    executor.add_node(listener)
    deadline = time.monotonic() + PATIENCE
    try:
        while not reached():
            assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE} s"
            executor.spin_once(timeout_sec=0.05)
        before, until = -1, time.monotonic() + 1.0  # a player that loops goes on for ever
        while (count := sum(map(len, listener.heard.values()))) != before and time.monotonic() < until:
            before = count
            for _ in listener.heard:  # once for each subscription
                executor.spin_once(timeout_sec=0.05)
    finally:
        executor.remove_node(listener)
        executor.shutdown()


def finish(listener: Listener, child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Listen until the player has ended; return its exit code and what it said."""
    spin_until(listener, lambda: child.poll() is not None, "the end of the player")
    out, err = child.communicate()
    return child.returncode, out, err


@pytest.fixture
def played(
    listener: Listener, own_handlers: None, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Play in this process while the listener listens; return the exit code and what was said."""

    def run(*arguments: object) -> tuple[int, str, str]:
        ended = threading.Event()
        thread = threading.Thread(target=spin_until, args=(listener, ended.is_set, "the end of the player"))
        thread.start()
        try:
            code = play_module.main(["play", *map(str, arguments)])
        finally:
            ended.set()
            thread.join()
        return (code, *capsys.readouterr())

    return run


def picture(i: int) -> np.ndarray:
    image = np.zeros((48, 64, 3), dtype=np.uint8)
    image[..., 0], image[..., 2] = 10 * i, 200
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of 10 images without times."""
    for i in range(10):
        cv2.imwrite(str(tmp_path / f"{i}.png"), cv2.cvtColor(picture(i), cv2.COLOR_RGB2BGR))
    return tmp_path


@pytest.fixture
def stamped_folder(tmp_path: Path) -> Path:
    """Return a folder of 4 images at 10 Hz, named by their time."""
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"1700000000.{i}00000.png"), cv2.cvtColor(picture(i), cv2.COLOR_RGB2BGR))
    return tmp_path


def ns(stamp: Any) -> int:
    return int(stamp.sec * 10**9 + stamp.nanosec)


def stamps(messages: list[Any]) -> list[int]:
    return [ns(m.header.stamp) for m in messages]


def test_every_image_arrives_with_live_stamps_at_its_rate(
    listener: Listener, played: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    listener.listen(Image, "/camera/image_raw")
    summary = tmp_path / "summary.json"
    before = time.time_ns()
    code, out, err = played(folder, "--fps", 20, "--summary", summary)
    assert code == 0, err
    images = listener.heard["/camera/image_raw"]
    assert len(images) == 10
    first = images[0]
    assert (first.encoding, first.height, first.width, first.step) == ("rgb8", 48, 64, 192)
    assert first.header.frame_id == "camera_optical_frame"
    for i, message in enumerate(images):
        np.testing.assert_array_equal(np.frombuffer(message.data, np.uint8).reshape(48, 64, 3), picture(i))
    published = stamps(images)
    assert before < published[0] < published[-1] < time.time_ns()
    assert min(np.diff(published)) >= 49_999_999  # spaced as the source says; a stall only makes it more
    assert "published 10 frames" in out
    assert json.loads(summary.read_text())["frames"] == 10


def test_recorded_stamps_stay_bit_for_bit(listener: Listener, played: Callable[..., Any], stamped_folder: Path) -> None:
    listener.listen(Image, "/robot/camera/image_raw", best_effort=True)
    code, _, err = played(stamped_folder, "--rate", 4, "--ros-args", "-r", "__ns:=/robot")
    assert code == 0, err
    expected = [1_700_000_000 * 10**9 + i * 10**8 for i in range(4)]
    assert stamps(listener.heard["/robot/camera/image_raw"]) == expected


def test_large_images_reach_best_effort_subscribers(
    listener: Listener, play: Callable[..., Any], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for i in range(30):
        cv2.imwrite(str(tmp_path / f"{i}.bmp"), np.roll(noise, i))
    listener.listen(Image, "/camera/image_raw", best_effort=True)
    # nobody listens to a ground truth, which these images do not have
    code, out, err = finish(listener, play(tmp_path, "--fps", 20, "--best-effort", "--wait-for-truth-listener"))
    assert code == 0, err
    assert "ground_truth" not in out
    assert len(listener.heard["/camera/image_raw"]) > 20  # half of them get lost in Fast DDS's own shared memory


@pytest.mark.parametrize(
    ("options", "milliseconds", "shown", "said"),
    [
        ("--loop", [0, 100, 200, 300, 1400, 1500], [0, 1, 2, 3, 0, 1], "pass 2: from the start again"),
        ("--loop --preload", [0, 100, 200, 300, 400, 500], [0, 1, 2, 3, 2, 1], "pass 2: back from the end"),
        ("--loop-restart", [0, 100, 200, 300, 0, 100], [0, 1, 2, 3, 0, 1], "pass 2: from the start again"),
        ("--loop-restart --preload", [0, 100, 200, 300, 0, 100], [0, 1, 2, 3, 0, 1], "pass 2: from the start again"),
    ],
)
def test_looping(
    listener: Listener,
    played: Callable[..., Any],
    stamped_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: str,
    milliseconds: list[int],
    shown: list[int],
    said: str,
) -> None:
    monkeypatch.setattr(play_module, "_GAP_NS", 250_000_000)
    listener.listen(Image, "/camera/image_raw")
    code, out, err = played(stamped_folder, *options.split(), "--max-frames", 6, "--rate", 4)
    assert code == 0, err
    images = listener.heard["/camera/image_raw"]
    assert [(stamp - 1_700_000_000 * 10**9) // 10**6 for stamp in stamps(images)] == milliseconds
    assert [m.data[0] // 10 for m in images] == shown
    assert [line for line in out.splitlines() if line.startswith("pass ")] == [said]
    (sentence,) = [line for line in out.splitlines() if line.startswith("--loop")]
    assert ("never jumps" in sentence) == (shown[4] == 2)


def test_where_a_loop_begins_again_live_stamps_pause_and_the_true_velocity_is_unknown(
    listener: Listener, played: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play_module, "_GAP_NS", 250_000_000)
    listener.listen(Odometry, "/ground_truth/odom")
    listener.listen(Image, "/camera/image_raw")
    listener.listen(Image, "/ground_truth/depth/image")
    source = "synthetic:length=3,width=32,height=24,fps=10"
    code, _, err = played(source, "--loop", "--max-frames", 5, "--rate", 2, "--wait-for-truth-listener")
    assert code == 0, err
    truth = listener.heard["/ground_truth/odom"]
    assert np.diff(stamps(truth))[2] >= 299_999_999  # the pause, and a step
    speeds = [np.hypot(m.twist.twist.linear.x, m.twist.twist.linear.y) for m in truth]
    assert [speed > 0.0 for speed in speeds] == [False, True, True, False, True]


README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", re.findall(r"^(?:\.venv/bin/|ros2 run ttt3r_ros )(play .*)$", README, re.MULTILINE))
def test_what_the_readme_plays(listener: Listener, play: Callable[..., Any], command: str) -> None:
    """Over both ends of a loop: the camera goes there and back, times go on."""
    listener.listen(Image, "/camera/image_raw")
    listener.listen(Odometry, "/ground_truth/odom")
    small = {"synthetic": "synthetic:length=4,width=32,height=24"}
    child = play(*(small.get(word, word) for word in shlex.split(command, comments=True)[1:]))
    images, truth = listener.heard.values()
    spin_until(listener, lambda: min(len(images), len(truth)) > 8 or child.poll() is not None, "the second loop")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, err
    assert stamps(images)[:9] == stamps(truth)[:9]
    assert min(np.diff(stamps(images))) >= 66_666_666
    there_and_back = [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert [m.pose.pose for m in truth[:9]] == [truth[i].pose.pose for i in there_and_back]
    assert [m.data for m in images[:9]] == [images[i].data for i in there_and_back]
    assert images[0].data != images[1].data


@pytest.mark.parametrize(
    ("choice", "milliseconds"), [("source", [0, 100, 0, 100]), ("increasing", [0, 100, 5200, 5300])]
)
def test_a_recording_whose_time_jumps_back(
    listener: Listener,
    played: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    choice: str,
    milliseconds: list[int],
) -> None:
    begin, step = 1_700_000_000 * 10**9, 10**8
    frames = [
        SourceFrame(picture(i), begin + i * step, jump=jump, shift_ns=shift * step)
        for i, (jump, shift) in enumerate([(None, 0), (None, 0), ("time jumped back by 2 s", 2), (None, 2)])
    ]
    looped = SimpleNamespace(
        name="bag", rate_hz=10.0, length=4, recorded_time=True, has_truth=False, frames=lambda start_s: iter(frames)
    )
    monkeypatch.setattr(play_module, "open_source", lambda *_, **__: looped)
    listener.listen(Image, "/camera/image_raw")
    code, _, err = played("bag", "--stamps", choice, "--rate", 4)
    assert code == 0, err
    assert [(stamp - begin) // 10**6 for stamp in stamps(listener.heard["/camera/image_raw"])] == milliseconds


def test_clock(listener: Listener, played: Callable[..., Any], stamped_folder: Path) -> None:
    listener.listen(Clock, "/clock")
    listener.listen(Image, "/camera/image_raw")
    code, _, err = played(stamped_folder, "--clock")
    assert code == 0, err
    clock = [ns(message.clock) for message in listener.heard["/clock"]]
    assert clock == sorted(clock)
    assert len(clock) > 4  # it runs between the images as well
    assert clock[-1] == stamps(listener.heard["/camera/image_raw"])[-1]


def test_the_synthetic_world_comes_with_truth(listener: Listener, play: Callable[..., Any]) -> None:
    listener.listen(Image, "/camera/image_raw")
    listener.listen(CameraInfo, "/camera/camera_info")
    source = "synthetic:seed=2,length=6,width=96,height=64,fps=10,motion=wheeled"
    child = play(source, "--preload", "--wait-for-truth-listener")
    while "and of ground_truth" not in child.stdout.readline():
        assert child.poll() is None
    spin_until(listener, lambda: listener.count_publishers("/camera/image_raw") > 0, "the camera")
    assert not listener.heard["/camera/image_raw"]  # it waits for those who listen to the truth
    listener.listen(Odometry, "/ground_truth/odom")
    listener.listen(Image, "/ground_truth/depth/image")
    code, out, err = finish(listener, child)
    assert code == 0, err
    assert "published 6 frames" in out
    images, infos, truth, depths = listener.heard.values()
    assert len(images) == len(infos) == len(truth) == 6
    assert stamps(images) == stamps(infos) == stamps(truth) == stamps(depths)
    info = infos[0]
    assert (info.width, info.height, info.distortion_model) == (96, 64, "plumb_bob")
    np.testing.assert_array_equal(np.array(info.k).reshape(3, 3), np.array(info.p).reshape(3, 4)[:, :3])
    assert (truth[0].header.frame_id, truth[0].child_frame_id) == ("world", "base_link")
    # a robot on wheels looks forward: body x is level and body z is up
    q = truth[0].pose.pose.orientation
    assert 1 - 2 * (q.x**2 + q.y**2) > 0.8
    depth = np.frombuffer(depths[0].data, np.float32).reshape(64, 96)
    assert 0.1 < np.nanmedian(depth) < 20
    p0, p5 = truth[0].pose.pose.position, truth[5].pose.pose.position
    assert np.hypot(p5.x - p0.x, p5.y - p0.y) > 0.01


@pytest.mark.usefixtures("environment", "own_handlers")
def test_a_camera_that_preloads_is_seen_when_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    events = []

    def preload(ready: Any, total: int | None) -> Any:
        items = real_preload(ready, total)
        events.append(f"{len(items)} images are ready")
        return items

    def player(options: Any) -> Any:
        events.append("the camera is advertised")
        return real_player(options)

    real_preload, real_player = play_module._preload, play_module.Player
    monkeypatch.setattr(play_module, "_say", events.append)
    monkeypatch.setattr(play_module, "_preload", preload)
    monkeypatch.setattr(play_module, "Player", player)
    source = "synthetic:length=2,width=32,height=32"
    assert play_module.main(["play", source, "--preload", "--no-wait-for-subscriber"]) == 0
    announced, *events = events
    assert announced == (
        "preparing all images of synthetic world 1, handheld first (--preload); until then, nobody sees the camera"
    )
    assert events[:2] == ["2 images are ready", "the camera is advertised"]


@pytest.mark.parametrize(("looks", "is_said"), [(0, False), (20, False), (60, True)])
def test_it_says_that_it_waits_when_those_who_are_there_would_have_been_found(
    monkeypatch: pytest.MonkeyPatch, looks: int, is_said: bool
) -> None:
    said: list[str] = []
    monkeypatch.setattr(play_module, "_say", said.append)
    answers = iter([False] * looks + [True])
    player = SimpleNamespace(
        image_topic="/camera/image_raw", options=play_module.CameraOptions(), is_heard=lambda **_: next(answers)
    )
    play_module._wait_for_subscribers(player, False, SimpleNamespace(wait=lambda _: False))
    assert [sentence.split(",")[0] for sentence in said] == is_said * ["waiting for a subscriber of /camera/image_raw"]


@pytest.mark.usefixtures("environment", "own_handlers")
def test_a_source_that_is_too_slow_is_said_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for late_s in (0.4, 0.6):  # of ten frames, a fifth of a second
        pacer = SimpleNamespace(wait_until_due=lambda *_: 10**9, late_ns=round(late_s * 1e9))
        monkeypatch.setattr(play_module, "Pacer", lambda rate, wait, pacer=pacer: pacer)
        assert play_module.main(["play", str(folder), "--fps", "50", "--no-wait-for-subscriber"]) == 0
        said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cannot keep up: ")]
        assert len(said) == (late_s > 0.5)
    assert "instead of 50 images per second" in said[0]


@pytest.mark.usefixtures("environment", "own_handlers")
def test_a_subscriber_that_never_acknowledges_neither_stops_the_images_nor_costs_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the node sets the pace: what it has not answered is kept, and waits between images are short."""
    kept, waits = [], []

    def player(options: Any) -> Any:
        made = real_player(options)
        kept.append(made._images.qos_profile.depth)
        made._images = SimpleNamespace(
            topic_name=made.image_topic,
            publish=lambda _: None,
            wait_for_all_acked=lambda limit: waits.append(limit.nanoseconds),
        )
        return made

    real_player = play_module.Player
    monkeypatch.setattr(play_module, "Player", player)
    assert play_module.main(["play", str(folder), "--fps", "50", "--follow-node", "--no-wait-for-subscriber"]) == 0
    assert kept == [backlog.AHEAD]
    *between, last = waits
    assert len(between) == len(list(folder.iterdir()))
    assert max(between) <= 0.1e9 < last


@pytest.mark.parametrize(("number", "heard"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_signals_end_it_cleanly(
    listener: Listener, play: Callable[..., Any], folder: Path, number: signal.Signals, heard: bool
) -> None:
    if heard:
        listener.listen(Image, "/camera/image_raw")
    child = play(folder, "--loop")
    if heard:
        spin_until(listener, lambda: bool(listener.heard["/camera/image_raw"]), "an image")
    else:
        while "waiting for a subscriber" not in child.stdout.readline():
            assert child.poll() is None
    child.send_signal(number)
    out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, err
    assert "stopped" in out
    assert "Traceback" not in err


def test_a_mistake_ends_the_process_with_one_sentence(play: Callable[..., Any]) -> None:
    child = play("synthetic:length=1", "--ros-args", "-r", "nonsense")
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 2
    assert "-r nonsense: write FROM:=TO" in one_error(err)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.mp4"], "'missing.mp4' does not exist"),
        (["synthetic:sed=1"], "'sed=1'"),
        (["synthetic:length=1", "--clock", "--stamps", "now"], "--clock"),
        (["synthetic", "--summary", "nowhere/summary.json"], "there is no folder nowhere for --summary"),
        (["synthetic:length=2,width=32,height=32", "--start", "9", "--no-wait-for-subscriber"], "reduce --start"),
    ],
)
@pytest.mark.usefixtures("environment", "own_handlers")
def test_mistakes_end_in_one_sentence(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert play_module.main(["play", *arguments]) == 2
    assert words in one_error(capsys.readouterr().err)


def one_error(err: str) -> str:
    """Return the only error sentence."""
    (sentence,) = [line for line in err.splitlines() if line.startswith("error: ")]
    return sentence
