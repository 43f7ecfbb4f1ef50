"""The player as its subscribers see it, in a process of its own."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from harness import LATCHED, Bench
from nav_msgs.msg import Odometry
from rclpy.qos import ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage
from waiting import PATIENCE, wait_until

from ttt3r_ros.geometry import T_BASE_CAMERA
from ttt3r_ros.ros.conversions import matrix_from_pose, matrix_from_transform, nanoseconds
from ttt3r_ros.ros.tools import backlog
from ttt3r_ros.ros.tools import play as play_module
from ttt3r_ros.sources import SourceFrame, open_source

pytestmark = pytest.mark.dds


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("log")))
        yield


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


@pytest.fixture
def played(
    environment: None, bench: Bench, own_handlers: None, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Play in this process while the bench listens to all of every frame; return what was said."""

    def run(*arguments: object) -> str:
        code = play_module.main(["play", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert code == 0, err
        (frames,) = re.findall(r"published (\d+) frames", out)
        wait_until(lambda: all(len(heard) >= int(frames) for heard in bench.received.values()), f"{frames} frames")
        return str(out)

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


def test_every_image_arrives_with_live_stamps_at_its_rate(
    bench: Bench, played: Callable[..., str], folder: Path, tmp_path: Path
) -> None:
    bench.listen("/camera/image_raw", Image)
    summary = tmp_path / "summary.json"
    before = time.time_ns()
    out = played(folder, "--fps", 20, "--summary", summary)
    images = bench.received["/camera/image_raw"]
    assert len(images) == 10
    first = images[0]
    assert (first.encoding, first.height, first.width, first.step) == ("rgb8", 48, 64, 192)
    assert first.header.frame_id == "camera_optical_frame"
    for i, message in enumerate(images):
        np.testing.assert_array_equal(np.frombuffer(message.data, np.uint8).reshape(48, 64, 3), picture(i))
    published = bench.stamps("/camera/image_raw")
    assert before < published[0] < published[-1] < time.time_ns()
    assert min(np.diff(published)) >= 49_999_999  # spaced as the source says; a stall only makes it more
    assert "published 10 frames" in out
    assert json.loads(summary.read_text())["frames"] == 10


def test_recorded_stamps_stay_bit_for_bit(bench: Bench, played: Callable[..., str], stamped_folder: Path) -> None:
    bench.listen("/robot/camera/image_raw", Image, ReliabilityPolicy.BEST_EFFORT)
    played(stamped_folder, "--rate", 4, "--ros-args", "-r", "__ns:=/robot")
    expected = [1_700_000_000 * 10**9 + i * 10**8 for i in range(4)]
    assert bench.stamps("/robot/camera/image_raw") == expected


def test_large_images_reach_best_effort_subscribers(bench: Bench, play: Callable[..., str], tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for i in range(30):
        cv2.imwrite(str(tmp_path / f"{i}.bmp"), np.roll(noise, i))
    bench.listen("/camera/image_raw", Image, ReliabilityPolicy.BEST_EFFORT)
    # nobody listens to a ground truth, which these images do not have
    child = play(tmp_path, "--fps", 20, "--best-effort", "--wait-for-truth-listener")
    out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, err
    assert "ground_truth" not in out
    # half of them get lost in Fast DDS's own shared memory
    wait_until(lambda: len(bench.received["/camera/image_raw"]) > 20, "most of the images")


@pytest.mark.parametrize(
    ("options", "milliseconds", "shown", "said"),
    [
        ("--loop", [0, 100, 200, 300, 1400, 1500], [0, 1, 2, 3, 0, 1], "pass 2: from the start again"),
        ("--loop --preload", [0, 100, 200, 300, 400, 500], [0, 1, 2, 3, 2, 1], "pass 2: back from the end"),
        ("--loop-restart --preload", [0, 100, 200, 300, 0, 100], [0, 1, 2, 3, 0, 1], "pass 2: from the start again"),
    ],
)
def test_looping(
    bench: Bench,
    played: Callable[..., str],
    stamped_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: str,
    milliseconds: list[int],
    shown: list[int],
    said: str,
) -> None:
    monkeypatch.setattr(play_module, "_GAP_NS", 250_000_000)
    bench.listen("/camera/image_raw", Image)
    out = played(stamped_folder, *options.split(), "--max-frames", 6, "--rate", 4)
    images = bench.received["/camera/image_raw"]
    assert [(stamp - 1_700_000_000 * 10**9) // 10**6 for stamp in bench.stamps("/camera/image_raw")] == milliseconds
    assert [m.data[0] // 10 for m in images] == shown
    assert [line for line in out.splitlines() if line.startswith("pass ")] == [said]
    (sentence,) = [line for line in out.splitlines() if line.startswith("--loop")]
    assert ("never jumps" in sentence) == (shown[4] == 2)


def test_where_a_loop_begins_again_live_stamps_pause_and_the_true_velocity_is_unknown(
    bench: Bench, played: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play_module, "_GAP_NS", 250_000_000)
    bench.listen("/ground_truth/odom", Odometry)
    bench.listen("/camera/image_raw", Image)
    bench.listen("/ground_truth/depth/image", Image)
    source = "synthetic:length=3,width=32,height=24,fps=10"
    played(source, "--loop", "--max-frames", 5, "--rate", 2, "--wait-for-truth-listener")
    truth = bench.received["/ground_truth/odom"]
    assert np.diff(bench.stamps("/ground_truth/odom"))[2] >= 299_999_999  # the pause, and a step
    speeds = [np.hypot(m.twist.twist.linear.x, m.twist.twist.linear.y) for m in truth]
    assert [speed > 0.0 for speed in speeds] == [False, True, True, False, True]


README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command", set(re.findall(r"^(?:\.venv/bin/|ros2 run ttt3r_ros )(play .*?) +#", README, re.MULTILINE))
)
def test_what_the_readme_plays(bench: Bench, played: Callable[..., str], command: str) -> None:
    """Over both ends of a loop: the camera goes there and back, times go on."""
    bench.listen("/camera/image_raw", Image)
    bench.listen("/ground_truth/odom", Odometry)
    small = {"synthetic": "synthetic:length=4,width=32,height=24"}
    played(*(small.get(word, word) for word in shlex.split(command)[1:]), "--max-frames", 9)
    images, truth = bench.received.values()
    assert bench.stamps("/camera/image_raw") == bench.stamps("/ground_truth/odom")
    assert min(np.diff(bench.stamps("/camera/image_raw"))) >= 66_666_666
    there_and_back = [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert [m.pose.pose for m in truth] == [truth[i].pose.pose for i in there_and_back]
    assert [m.data for m in images] == [images[i].data for i in there_and_back]
    assert images[0].data != images[1].data


@pytest.mark.parametrize(
    ("choice", "milliseconds"), [("source", [0, 100, 0, 100]), ("increasing", [0, 100, 5200, 5300])]
)
def test_a_recording_whose_time_jumps_back(
    bench: Bench,
    played: Callable[..., str],
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
        name="bag",
        rate_hz=10.0,
        length=4,
        recorded_time=True,
        has_truth=False,
        T_base_camera=None,
        frames=lambda start_s: iter(frames),
    )
    monkeypatch.setattr(play_module, "open_source", lambda *_, **__: looped)
    bench.listen("/camera/image_raw", Image)
    played("bag", "--stamps", choice, "--rate", 4)
    assert [(stamp - begin) // 10**6 for stamp in bench.stamps("/camera/image_raw")] == milliseconds


def test_clock(bench: Bench, played: Callable[..., str], stamped_folder: Path) -> None:
    bench.listen("/clock", Clock)
    bench.listen("/camera/image_raw", Image)
    played(stamped_folder, "--clock")
    clock, last = bench.received["/clock"], bench.stamps("/camera/image_raw")[-1]
    wait_until(lambda: nanoseconds(clock[-1].clock) == last, "the last time")
    times = [nanoseconds(message.clock) for message in clock]
    assert times == sorted(times)
    assert len(times) > 4  # it runs between the images as well


def test_the_synthetic_world_comes_with_truth(bench: Bench, played: Callable[..., str]) -> None:
    bench.listen("/camera/image_raw", Image)
    bench.listen("/camera/camera_info", CameraInfo)
    bench.listen("/ground_truth/odom", Odometry)
    bench.listen("/ground_truth/depth/image", Image)
    source = "synthetic:seed=2,length=6,width=96,height=64,fps=10,motion=wheeled"
    out = played(source, "--preload", "--wait-for-truth-listener")
    assert "published 6 frames" in out
    images, infos, truth, depths = bench.received.values()
    assert len(images) == len(infos) == len(truth) == 6
    first, *others = (bench.stamps(topic) for topic in bench.received)
    assert others == [first] * 3
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


@pytest.mark.parametrize(
    ("motion", "options", "is_on_floor"),
    [
        ("wheeled", ["--mount-tf"], True),
        ("inverted", ["--mount-tf", "--base-frame", "base_footprint"], True),
        ("wheeled", [], False),  # others then assume that the base is the camera
        ("handheld", ["--mount-tf"], False),
    ],
)
def test_mount_and_truth_are_of_one_base_which_is_on_the_floor_if_the_camera_is_on_a_robot(
    bench: Bench, played: Callable[..., str], motion: str, options: list[str], is_on_floor: bool
) -> None:
    for topic, kind in (("/ground_truth/odom", Odometry), ("/ground_truth/depth/image", Image)):
        bench.listen(topic, kind)
    mounts: list[TFMessage] = []
    heard = bench.node.create_subscription(TFMessage, "/tf_static", mounts.append, LATCHED)
    bench.listen("/camera/image_raw", Image)
    source = f"synthetic:length=3,width=32,height=24,fps=10,motion={motion}"
    played(source, *options, "--wait-for-truth-listener")
    bench.unlisten(heard)
    T_base_camera = T_BASE_CAMERA
    if "--mount-tf" in options:
        (mount,) = mounts[0].transforms
        T_base_camera = matrix_from_transform(mount.transform)
        assert np.allclose(T_base_camera, T_BASE_CAMERA, atol=1e-9) != is_on_floor
    for message, frame in zip(bench.received["/ground_truth/odom"], open_source(source).frames(), strict=True):
        assert frame.T_world_camera is not None
        T_world_base = matrix_from_pose(message.pose.pose)
        np.testing.assert_allclose(T_world_base @ T_base_camera, frame.T_world_camera, atol=1e-9)
        assert (abs(T_world_base[2, 3]) < 1e-9) == is_on_floor
        assert (T_world_base[2, 2] > 1 - 1e-9) == is_on_floor


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
    for late_s, preload in ((0.4, False), (0.6, True), (0.6, False)):  # of ten frames, a fifth of a second
        pacer = SimpleNamespace(wait_until_due=lambda *_: 10**9, late_ns=round(late_s * 1e9))
        monkeypatch.setattr(play_module, "Pacer", lambda rate, wait, pacer=pacer: pacer)
        arguments = ["play", str(folder), "--fps", "50", "--no-wait-for-subscriber", *["--preload"] * preload]
        assert play_module.main(arguments) == 0
        said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cannot keep up: ")]
        assert len(said) == (late_s > 0.5)
        assert not said or ("this computer is too busy" in said[0]) == preload
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
    bench: Bench, play: Callable[..., str], folder: Path, number: signal.Signals, heard: bool
) -> None:
    if heard:
        bench.listen("/camera/image_raw", Image)
    child = play(folder, "--loop")
    if heard:
        wait_until(lambda: bench.received["/camera/image_raw"], "an image")
    else:
        while "waiting for a subscriber" not in child.stdout.readline():
            assert child.poll() is None
    child.send_signal(number)
    out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, err
    assert "stopped" in out
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.mp4"], "'missing.mp4' does not exist"),
        (["synthetic:sed=1"], "'sed=1'"),
        (["synthetic:length=1", "--ros-args", "-r", "nonsense"], "-r nonsense: write FROM:=TO"),
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
