from __future__ import annotations

import pytest
from harness import header, wait_until
from sensor_msgs.msg import CameraInfo

from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.ros import calibration
from ttt3r_ros.ros.calibration import Calibration
from ttt3r_ros.ros.conversions import camera_info_message
from ttt3r_ros.ros.notices import Notices

CAMERA = Intrinsics(70.0, 72.0, 41.0, 28.0, 80, 60)


@pytest.fixture
def subject(bench):
    return Calibration(bench.node, Notices(bench.node.get_logger()))


def test_an_uncalibrated_stream_waits_at_most_once(bench, subject, monkeypatch):
    waits = []
    monkeypatch.setattr(subject._came, "wait", waits.append)
    publisher = bench.publisher(CameraInfo, "camera_info")
    wait_until(lambda: bench.node.count_publishers("camera_info"), "the publisher to be seen")
    assert subject.camera(80, 60, rectified=True) is None
    assert subject.camera(80, 60, rectified=True) is None
    assert waits == [calibration.FIRST_WAIT]
    wait_until(publisher.get_subscription_count, "the subscription to be seen")


def test_a_camera_is_worked_out_once_per_change(bench, subject, monkeypatch):
    read = []
    monkeypatch.setattr(
        calibration,
        "camera_from_info",
        lambda info, real=calibration.camera_from_info, **options: read.append(1) or real(info, **options),
    )
    publisher = bench.publisher(CameraInfo, "camera_info")

    def heard(message: CameraInfo, focal: float):
        publisher.publish(message)
        camera = subject.camera(80, 60, rectified=True)
        return camera is not None and camera.intrinsics.fx == focal

    first = camera_info_message(CAMERA, header(1, "camera"))
    wait_until(lambda: heard(first, 70.0), "the camera")
    for stamp in range(5):
        first.header = header(stamp, "camera")
        heard(first, 70.0)
    assert len(read) == 1
    second = camera_info_message(Intrinsics(90.0, 72.0, 41.0, 28.0, 80, 60), header(9, "camera"))
    wait_until(lambda: heard(second, 90.0), "the other camera")
    assert len(read) == 2
    assert subject.camera(640, 480, rectified=True) is None  # of another size: ignored, and said
