"""Each fault that loses the camera, injected into a running node over DDS, and how it is found again.

The node is real but for its network, which knows where each picture was taken (see `scripted_network`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from harness import Bench, velocity_is_unknown
from in_process import InProcess, node_in_process
from nav_msgs.msg import Odometry
from scripted_network import ScriptedNetwork, along, view
from waiting import wait_until

from ttt3r_ros.ros import camera_input

pytestmark = pytest.mark.dds

SPEED = 0.02  #: metres between two pictures, a tenth of a second apart
ELSEWHERE = 200  #: from this picture on the camera is somewhere else


@pytest.fixture(scope="module")
def network() -> ScriptedNetwork:
    poses = along(SPEED)
    for T in poses[ELSEWHERE:]:
        T[0, 3] += 20.0
    return ScriptedNetwork(poses)


@pytest.fixture(scope="module")
def inside(network) -> Iterator[InProcess]:
    with node_in_process(network, max_speed=5.0, max_turn_rate=6.0, check_images="true") as inside:
        yield inside


@pytest.fixture(scope="module")
def bench(inside) -> Iterator[Bench]:
    names = ("odom", "depth/image", "points", "tf", "diagnostics")
    bench = Bench("recovery", *names)
    bench.wait_for_node()
    inside.set(frozen_timeout=0.0)
    while not all(bench.received[name] for name in names):
        bench.send_until_answered(image=view(0))
    inside.set(frozen_timeout=1.0)
    yield bench
    bench.close()


class Camera:
    """Drives from picture 0 on, in a stream that has just been made to forget everything."""

    def __init__(self, inside: InProcess, bench: Bench) -> None:
        self.inside, self.bench, self.number = inside, bench, 0
        inside.node.pipeline.reset_odometry()
        self.drive(8)

    def drive(self, count: int = 1) -> list[Odometry]:
        """Send the next pictures; return the node's answers."""
        answers = []
        for _ in range(count):
            (stamp,) = self.bench.exchange(image=view(self.number))
            answers.append(self.bench.get("odom", stamp))
            self.number += 1
        return answers

    def lose(self, image: np.ndarray | None = None) -> int:
        """Send a picture that the node must lose; return its stamp."""
        lost = self.inside.node.pipeline.lost
        stamp = self.bench.send(view(self.number) if image is None else image)
        self.number += 1
        wait_until(lambda: self.inside.node.pipeline.lost == lost + 1, "the frame to be lost")
        return stamp

    def is_said(self, words: str) -> None:
        """Check that diagnostics say what happened."""
        values = wait_until(
            lambda: words in (d := self.bench.diagnostics()).get("message", "") and d, f"'{words}' in diagnostics"
        )
        assert (values["level"], values["state"]) == ("2", "lost")

    def nothing_came_of(self, stamps: list[int]) -> None:
        for name in ("odom", "depth/image", "points", "tf"):
            assert not set(stamps) & set(self.bench.stamps(name)), name

    def is_found(self) -> None:
        wait_until(lambda: self.bench.diagnostics()["level"] == "0", "diagnostics to recover")


@pytest.fixture
def camera(inside, network, bench) -> Iterator[Camera]:
    yield Camera(inside, bench)
    network.script = None


def x_of(odometry: Odometry) -> float:
    return odometry.pose.pose.position.x


def test_images_that_show_nothing(camera, network):
    steps = network.steps
    lost = [camera.lose(np.zeros((60, 80, 3), dtype=np.uint8)) for _ in range(5)]
    camera.is_said("the image is black")
    assert network.steps == steps + 1  # it works while the first is judged, and sees no more of them
    back, then = camera.drive(2)
    camera.nothing_came_of(lost)
    assert x_of(back) == pytest.approx(13 * SPEED, abs=1e-4)
    assert velocity_is_unknown(back)
    assert back.pose.covariance[0] > 0.25 * 0.25  # half a metre per second for half a second
    assert then.twist.twist.linear.x == pytest.approx(SPEED / 0.1, abs=1e-3)
    camera.is_found()


def test_the_end_of_a_loss_is_said_where_its_beginning_was(camera, capfd):
    def said() -> list[str]:
        lines = capfd.readouterr().err.splitlines()
        return [line.partition("]: ")[2] for line in lines if "lost" in line or "tracking again" in line]

    def lose(gray: int, *, step: float = 0.1) -> None:
        for count in range(4):
            camera.bench.next_stamp += int((step - 0.1) * 1e9)
            camera.lose(np.full((60, 80, 3), gray - count, dtype=np.uint8))
        camera.drive(2)

    said()
    lose(255)
    begun, ended = said()
    assert begun.startswith("lost: the image is white")
    assert re.fullmatch(r"tracking again, \d+\.\d s after the last pose", ended)
    lose(255)
    assert said() == []  # within half a minute the same is not said again, and so neither is its end
    lose(90, step=1.0)
    begun, segment, ended = said()
    assert begun.startswith("lost: the image has no contrast")
    assert segment == (
        "lost for 4.1 s: starting a new segment; the pose goes on from the last one, without what the camera has "
        "moved since then"
    )
    assert re.fullmatch(r"tracking again, \d+\.\d s after the last pose", ended)


def test_a_camera_that_stops_and_comes_back_elsewhere(camera, monkeypatch):
    """After a gap that starts a segment anyway nothing is lost, and nothing jumps."""
    monkeypatch.setattr(camera_input, "MAX_LEAD_NS", 10**10)  # or else the test would have to wait as long
    (before,) = camera.drive()
    camera.number = ELSEWHERE
    camera.bench.next_stamp += 8_000_000_000
    (back,) = camera.drive()
    assert x_of(back) == pytest.approx(x_of(before), abs=1e-4)
    assert velocity_is_unknown(back)
    assert back.pose.covariance[0] > before.pose.covariance[0] + 1.0
    wait_until(lambda: "no image for 8." in camera.bench.diagnostics()["segment_reason"], "the segment's reason")
