"""Stamps as cameras and bags send them, through a whole node: repeated, swapped, missing, in a loop."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from harness import Bench
from in_process import InProcess, node_in_process
from nav_msgs.msg import Odometry
from scripted_network import ScriptedNetwork, along, view
from sensor_msgs.msg import Image
from waiting import wait_until

from ttt3r_ros.camera.stamps import StampState
from ttt3r_ros.ros.conversions import nanoseconds

pytestmark = pytest.mark.dds

SPEED = 0.02  #: metres between two pictures, a tenth of a second apart
T0, TENTH, MS = 1_700_000_000 * 10**9, 10**8, 10**6


@pytest.fixture(scope="module")
def inside() -> Iterator[InProcess]:
    """A node that takes every image."""
    with node_in_process(
        ScriptedNetwork(along(SPEED)), drop_frames="false", wait_for_transform=0.0, reset_policy="never"
    ) as inside:
        yield inside


@pytest.fixture(scope="module")
def bench(inside) -> Iterator[Bench]:
    bench = Bench("camera")
    bench.listen("/ttt3r/odom", Odometry, key="odom")
    bench.listen("/diagnostics", DiagnosticArray, key="diagnostics")
    bench.publisher(Image, "/image", 100)
    bench.wait_for_node()
    bench.send_until_answered(image=view(0))
    yield bench
    bench.close()


class Camera:
    def __init__(self, inside: InProcess, bench: Bench) -> None:
        self.inside, self.bench = inside, bench
        self.begin()

    def begin(self) -> None:
        """Let the node forget all that has been."""
        self.inside.node.pipeline.reset_odometry()
        self.inside.node.camera_input._stamps = StampState()

    def send(self, stamps: Sequence[int], numbers: Sequence[int] | None = None, period: float = 0.0) -> list[Odometry]:
        """Send pictures with these stamps; return the node's answers to them."""
        before, received = len(self.bench.received["odom"]), self.inside.node.camera_input.received
        for index, stamp in enumerate(stamps):
            self.bench.send(view(index if numbers is None else numbers[index]), stamp=stamp)
            time.sleep(period)
        wait_until(lambda: self.inside.node.camera_input.received == received + len(stamps), "the images")
        expected = len(stamps) - sum(self.inside.node.camera_input.dropped_by_stamp.values())
        wait_until(lambda: len(self.bench.received["odom"]) == before + expected, "odometry")
        return self.bench.received["odom"][before:]

    def says(self, **values: str) -> None:
        wait_until(lambda: values.items() <= self.bench.diagnostics().items(), f"{values} in the diagnostics")


@pytest.fixture
def camera(inside, bench) -> Camera:
    return Camera(inside, bench)


def stamps_of(answers: Sequence[Odometry]) -> list[int]:
    return [nanoseconds(odometry.header.stamp) for odometry in answers]


def with_unknown_velocity(answers: Sequence[Odometry]) -> list[int]:
    return [index for index, odometry in enumerate(answers) if odometry.twist.covariance[0] > 1000]


def warnings(capfd) -> list[str]:
    return [line for line in capfd.readouterr().err.splitlines() if "[WARN]" in line or "[INFO]" in line]


def test_an_image_sent_twice_gives_one_pose_and_every_velocity_is_known(camera, capfd):
    once = [T0 + i * TENTH for i in range(10)]
    answers = camera.send([stamp for stamp in once for _ in "12"], [i for i in range(10) for _ in "12"])
    assert stamps_of(answers) == once
    assert with_unknown_velocity(answers) == [0]  # of the first
    assert all(o.twist.twist.linear.x == pytest.approx(SPEED / 0.1, abs=1e-3) for o in answers[1:])
    camera.says(frames_dropped_by_stamp="10", stamp_faults="10 not newer than the image before", state="tracking")
    assert ["not newer than the one before it and was dropped" in line for line in warnings(capfd)] == [True]


def test_a_looping_bag_is_one_new_segment_and_one_line(camera, inside, capfd):
    once = [T0 + i * TENTH for i in range(30)]
    answers = camera.send(once)
    said = warnings(capfd)
    answers = camera.send(once, list(range(30)))
    assert stamps_of(answers) == once[1:]  # the first one might as well have been one wrong stamp
    assert with_unknown_velocity(answers) == [0]
    assert inside.node.pipeline.segment == (1, 29)
    camera.says(frames_dropped="0")
    said = warnings(capfd)
    assert sum("time jumped back by 2.800 s: starting a new segment" in line for line in said) == 1
    assert len(said) <= 2  # and one of the image that was dropped
