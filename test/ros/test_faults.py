"""What breaks while the node runs: the network, the camera, the clock, TF, a subscriber; and its end at any moment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from harness import OUTPUTS, ROOT, Bench, Running, header, node, picture
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage
from waiting import PATIENCE, wait_until

from ttt3r_ros.ros import tracking, watches

pytestmark = pytest.mark.dds


def state(bench: Bench, *wanted: str) -> dict[str, str]:
    """Return what the node says of itself from now on, once it is in one of these states."""
    bench.received["diagnostics"].clear()
    return wait_until(lambda: (d := bench.diagnostics()).get("state") in wanted and d, f"the state {wanted}")


def test_a_network_that_always_fails_is_said_once_and_recovers(inside, camera, monkeypatch, capfd):
    def broken(*_args: object, **_options: object) -> None:
        raise RuntimeError("the arithmetic has failed")

    before = inside.node.pipeline.failed
    with monkeypatch.context() as patch:
        patch.setattr(inside.network, "step", broken)
        for count in range(1, 21):
            camera.send()
            wait_until(lambda count=count: inside.node.pipeline.failed == before + count, "the frame to fail")
        values = state(camera, "lost")
        assert values["level"] == "2"
        wait_until(lambda: "20 frames in a row" in camera.diagnostics()["message"], "the count")
    (said,) = [line for line in capfd.readouterr().err.splitlines() if "[ERROR]" in line]
    assert "the arithmetic has failed" in said
    assert camera.exchange(3)
    assert state(camera, "tracking")["level"] == "0"
    assert capfd.readouterr().err.count("tracking again, ") == 1


def test_an_exhausted_gpu_is_emptied_and_said(inside, camera, monkeypatch):
    held: list[weakref.ref[torch.Tensor]] = []
    alive_when_emptied: list[bool] = []

    def exhausted(*_args: object, **_options: object) -> None:
        activations = torch.zeros(1000)
        held.append(weakref.ref(activations))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patch:
        patch.setattr(inside.network, "step", exhausted)
        patch.setattr(torch.cuda, "empty_cache", lambda: alive_when_emptied.append(held[-1]() is not None))
        camera.send()
        message = state(camera, "lost")["message"]
    assert alive_when_emptied == [False]  # what the failed frame had allocated can be given back
    assert "the GPU is out of memory; if this persists, set a smaller image_size" in message
    assert camera.exchange(2)
    state(camera, "tracking")


def test_a_gpu_that_is_gone_does_not_end_the_thread(inside, camera, monkeypatch):
    def gone(*_args: object, **_options: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA error")

    def refuse() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with monkeypatch.context() as patch:
        patch.setattr(inside.network, "step", gone)
        patch.setattr(torch.cuda, "empty_cache", refuse)
        camera.send()
        state(camera, "lost")
    assert camera.exchange(2)


def test_a_camera_that_stops_and_comes_back(inside, camera, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tracking, "MISSING_AFTER", 1.0)
        (last,) = camera.exchange()
        values = state(camera, "no input")
    assert values["level"] == "1"
    assert re.search(r"no image has arrived on /image for \d+ s: /camera publishes it but", values["message"])
    segment = inside.node.pipeline.segment[0]
    with closing(Bench("restarted_camera")) as other:
        other.next_stamp = last + 10_000_000_000
        camera.send_until_answered(by=other)
        camera.next_stamp = other.next_stamp
    assert inside.node.pipeline.segment[0] > segment
    state(camera, "tracking")


def test_a_camera_that_is_too_slow_for_the_weights(inside, camera):
    camera.exchange(7, step=1.5)
    values = state(camera, "slow")
    assert values["level"] == "1"
    assert "only 0.667 images per second arrive, but these weights need at least 1 to follow" in values["message"]
    assert values["message"].endswith("raise the camera's rate, or move more slowly")
    camera.exchange(14, step=0.6)  # it takes a while until that is believed
    state(camera, "tracking")


def test_a_computer_that_is_too_slow_for_the_camera(inside, camera):
    queue = inside.node.pipeline.queue
    camera.exchange(2)
    for _ in range(7):
        dropped, idle = queue.dropped, threading.Event()
        inside.node.pipeline.between_frames(lambda _, idle=idle: idle.wait(PATIENCE))  # as a slow network does
        for count in range(1, 3):
            received = inside.node.camera_input.received
            last = camera.send(step=0.9)
            wait_until(lambda received=received: inside.node.camera_input.received > received, f"image {count}")
        wait_until(lambda dropped=dropped: queue.dropped == dropped + 1, "the first image to be dropped")
        idle.set()
        camera.get("odom", last)
    values = state(camera, "slow")
    assert values["level"] == "1"
    assert "only 0.556 of 1.11 images per second are processed, but these weights need at least 1" in values["message"]
    assert "this computer is too slow or busy" in values["message"]
    assert "raise the camera's rate" not in values["message"]
    camera.exchange(14, step=0.6)  # it takes a while until that is believed
    state(camera, "tracking")


def test_pauses_of_the_user_are_no_fault(inside, camera):
    with inside.changed(max_frame_gap=1.0):
        camera.exchange(7)
        for _ in range(8):
            inside.node.camera_input.set_enabled(False)
            inside.node.camera_input.set_enabled(True)
            camera.next_stamp += 1_500_000_000
            camera.exchange()
            assert inside.node.pipeline.segment_reason == "no image for 1.600 s"
        assert state(camera, "tracking")["level"] == "0"


def test_depth_that_is_empty_is_said_with_the_reason(inside, camera):
    (depth,) = camera.hear("depth/image")
    with inside.changed(min_confidence=1e5):
        while not camera.received["depth/image"]:
            camera.exchange()
        camera.exchange(10)
        values = state(camera, "no depth")
        assert values["level"] == "1"
        assert re.search(r"the largest confidence is [\d.]+ and min_confidence is 1e\+05; lower it", values["message"])
        inside.set(min_confidence=1.0)
        camera.exchange(2)
        state(camera, "tracking")
    camera.unlisten(depth)


def test_a_second_node_of_the_same_name(inside, camera, monkeypatch, capfd):
    monkeypatch.setattr(tracking, "LEASE_S", 0.0)
    monkeypatch.setattr(tracking, "LEAVING_S", 0.0)
    with closing(Bench("second")) as other:
        other.publisher(Odometry, "/ttt3r/odom", 10)
        values = state(camera, "ambiguous")
        assert values["level"] == "1"
        assert "2 nodes publish /ttt3r/odom (/second, /ttt3r)" in values["message"]
        assert "2 nodes publish /ttt3r/odom" in capfd.readouterr().err
    state(camera, "tracking")


def test_a_camera_that_changes_its_mind(inside, camera):
    """Size, encoding and frame from frame to frame: each is answered, with its own stamp."""
    for width, height in ((80, 60), (60, 80), (640, 480), (33, 31), (80, 60)):
        camera.exchange(2, image=picture(1, width, height))
    for frame_id in ("left", "right", "", "left"):
        camera.exchange(frame_id=frame_id)
    for encoding, size in (("mono8", 1), ("bgra8", 4), ("mono16", 2), ("rgb8", 3)):
        message = Image(height=60, width=80, encoding=encoding, step=80 * size, data=bytes(80 * 60 * size))
        stamp, camera.next_stamp = camera.next_stamp, camera.next_stamp + 100_000_000
        message.header = header(stamp, "left")
        camera.publisher(Image, "/image").publish(message)
        camera.get("odom", stamp)
    camera.exchange(3, frame_id="left")
    state(camera, "tracking")


@pytest.mark.parametrize(
    ("what", "change"),
    [("the image's size has changed", {"width": 96}), ("the images' frame_id changed from", {"frame_id": "right"})],
)
def test_images_that_alternate_are_said_with_the_reason(inside, camera, what, change):
    """Every one begins a segment, so the pose stands: that is no tracking."""
    width, frame_id = change.get("width", 80), change.get("frame_id", "left")
    for _ in range(4):
        camera.exchange(image=picture(1), frame_id="left")
        camera.exchange(image=picture(2, width), frame_id=frame_id)
    values = state(camera, "interrupted")
    assert values["level"] == "1"
    assert "of the last 10 images follow on none" in values["message"]
    assert what in values["message"]
    camera.exchange(8, frame_id="left")
    state(camera, "tracking")


def test_a_camera_that_stands_still_from_the_start_is_tracked(inside, camera):
    """No image of it is added to the segment, which is no interruption."""
    inside.node.pipeline.reset_odometry()
    picture_of_all = picture(3)
    for _ in range(12):
        camera.exchange(image=picture_of_all)
    assert inside.node.pipeline.segment[1] == 1
    state(camera, "tracking")


def test_a_simulated_clock_that_nobody_publishes_is_said(inside, camera, monkeypatch, capfd):
    monkeypatch.setattr(watches, "PATIENCE_S", 0.0)
    with inside.changed(use_sim_time=True):
        sentence = "use_sim_time is true, but nothing publishes /clock"
        wait_until(lambda: sentence in capfd.readouterr().err, "a sentence about the clock")


def test_a_simulated_clock_that_jumps(inside, camera):
    """The last time is 0, where the clock stands that nobody publishes."""
    with closing(Bench("simulation")) as simulation, inside.changed(use_sim_time=True):
        clock = simulation.publisher(Clock, "/clock", 10)
        wait_until(clock.get_subscription_count, "the node to listen to /clock")
        for seconds in (1000, 2_000_000_000, 5, 100, 0):

            def set_to(seconds: int = seconds) -> bool:
                clock.publish(Clock(clock=Time(sec=seconds)))
                return inside.node.get_clock().now().nanoseconds == seconds * 10**9

            wait_until(set_to, "the clock to be heard")
            camera.exchange(2)
        count = len(camera.received["diagnostics"])
        wait_until(lambda: len(camera.received["diagnostics"]) > count, "diagnostics of a clock that stands still")


def test_a_mount_that_tf_has_lost_stays_as_it_was(inside, camera):
    tf = camera.publisher(TFMessage, "/tf", 10)
    wait_until(tf.get_subscription_count, "the node to listen to /tf")
    mount = inside.node.pipeline.mount

    def published() -> bool:
        turned = TransformStamped(header=header(camera.next_stamp, "base_link"), child_frame_id="head")
        turned.transform.translation.z = 1.5
        turned.transform.rotation.w = 1.0
        tf.publish(TFMessage(transforms=[turned]))
        return mount.T_base("head") is not None

    wait_until(published, "the transform to arrive")
    camera.exchange(frame_id="head")
    mount.buffer.clear()
    assert mount.T_base("head") is None
    camera.exchange(2, frame_id="head")
    assert mount.used["head"][2, 3] == 1.5
    assert "head" not in mount.assumed


def test_frames_of_nowhere_are_refused_in_the_end(inside, camera, monkeypatch):
    """Each unknown frame costs a wait and a static transform: noise in frame_id must not cost them for ever."""
    mount = inside.node.pipeline.mount
    monkeypatch.setattr(mount, "assumed", {})  # what other tests have sent does not count, nor this for them
    inside.set(wait_for_transform=0.0)
    camera.send_until_answered(frame_id="noise")
    for index in range(30):
        stamp = camera.send(frame_id=f"noise_{index}")
        wait_until(
            lambda stamp=stamp: (
                stamp in camera.stamps("odom") or "most recently from" in inside.node.pipeline.health.message
            ),
            "an answer or a refusal",
        )
    assert 10 < len(mount.assumed) <= 16
    camera.exchange(2, frame_id="noise")


STALLING = """
import sys, rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
sys.path[:0] = ["test/ros", "test"]
from harness import OUTPUTS
rclpy.init()
node = Node("stalling")
def hear(name):
    return lambda message: print(name, flush=True)
for name, kind in OUTPUTS.items():
    node.create_subscription(kind, f"/wide/ttt3r/{name}", hear(name), 10)
rclpy.spin(node)
"""


def test_a_stalled_subscriber_holds_nobody_up(weights, tmp_path):
    """A reliable consumer of images and clouds is stopped in its tracks; another one goes on hearing every frame."""
    bench = Bench("healthy")
    bench.hear(*OUTPUTS, namespace="/wide")
    heard = tmp_path / "heard"
    with (
        node(
            tmp_path / "log",
            "-r",
            "__ns:=/wide",
            weights=weights,
            wait_for_transform=0.1,
            image_size=320,
            drop_frames="false",
        ),
        heard.open("w") as file,
    ):
        bench.send_until_answered("points", topic="/wide/image")
        stalling = subprocess.Popen([sys.executable, "-c", STALLING], cwd=ROOT, stdout=file)
        try:

            def both_hear() -> int:
                bench.exchange(key="points", topic="/wide/image")
                return heard.stat().st_size

            wait_until(both_hear, "the second subscriber")
            quickest = min(_seconds_per_frame(bench, 20))
            os.kill(stalling.pid, signal.SIGSTOP)
            _seconds_per_frame(bench, 20)  # which fill every queue to it
            # who waited for the stalled one would do so at every frame, for a tenth of a second at each output
            wait_until(lambda: min(_seconds_per_frame(bench, 5)) < quickest + 0.1, "a frame that nobody holds up")
            os.kill(stalling.pid, signal.SIGCONT)
            size = heard.stat().st_size

            def hears_again() -> bool:
                bench.exchange(key="points", topic="/wide/image")
                return heard.stat().st_size > size

            wait_until(hears_again, "the second subscriber to come back")
        finally:
            stalling.kill()
            stalling.wait()
            bench.close()


def _seconds_per_frame(bench: Bench, count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        begun = time.monotonic()
        bench.exchange(key="points", topic="/wide/image")
        seconds.append(time.monotonic() - begun)
    return seconds


def _is_importing_torch(running: Running) -> bool:
    return "libtorch" in Path(f"/proc/{running.process.pid}/maps").read_text()


def _says(words: str) -> Callable[[Running], bool]:
    return lambda running: words in running.text()


#: One for each of the first two handlers; the third serves wherever tests stop a node.
MOMENTS = {"importing": _is_importing_torch, "loading": _says("loading weights")}


@pytest.mark.parametrize(("moment", "how"), list(zip(MOMENTS, [signal.SIGINT, signal.SIGTERM])))
def test_it_ends_at_any_moment(weights, tmp_path, moment, how):
    with node(tmp_path / "log", "-r", "__ns:=/brief", wait="", weights=weights) as brief:
        wait_until(lambda: MOMENTS[moment](brief), moment)
        assert brief.stop(how) == 0, brief.text()
        assert "Traceback" not in brief.text()
        assert "Exception ignored" not in brief.text()


HALF_MADE = """
import os, signal, sys
from rclpy.signals import SignalHandlerGuardCondition
def init(self, *args, **options):
    print("told to end", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
SignalHandlerGuardCondition.__init__ = init
from ttt3r_ros.ros.node import main
main()
"""


def test_it_ends_quietly_in_the_midst_of_making_what_ros_needs(weights):
    command = [sys.executable, "-c", HALF_MADE, "--ros-args", "-r", "__ns:=/half", "-p", f"weights:={weights}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "told to end" in done.stdout
    assert "Exception ignored" not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


BUSY = """
import sys, time
from ttt3r_ros.stream import segments
real = segments.advance
def advance(*args, **options):  # of the camera's frames: the warm-up calls the real one
    print("busy", flush=True)
    time.sleep(600)
    return real(*args, **options)
from ttt3r_ros.ros.tracking import warm_up
segments.advance = advance
import ttt3r_ros.ros.tracking
ttt3r_ros.ros.tracking.warm_up = lambda *args: None
from ttt3r_ros.ros.node import main
main()
"""


def test_it_ends_in_the_midst_of_a_frame_that_takes_a_minute(weights, tmp_path, bench):
    log = tmp_path / "log"
    command = [sys.executable, "-c", BUSY, "--ros-args", "-r", "__ns:=/busy", "-p", f"weights:={weights}"]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, text=True)
    running = Running(process, log)
    try:
        publisher = bench.publisher(Image, "/busy/image")

        def busy() -> bool:
            if publisher.get_subscription_count():
                bench.send(topic="/busy/image")
            return "busy" in running.text().splitlines()

        wait_until(busy, "the node to be busy")
        assert running.stop(signal.SIGTERM) == 0, running.text()
        assert "Traceback" not in running.text()
    finally:
        process.kill()
