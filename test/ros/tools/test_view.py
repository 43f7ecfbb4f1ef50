"""The viewer as a node, and its page in a real browser."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import browser, chromium
from harness import ROOT, Bench, header, node, wait_until
from sensor_msgs.msg import CameraInfo

from ttt3r_ros import colors
from ttt3r_ros.ros.conversions import camera_info_message
from ttt3r_ros.sources import open_source

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
                process.wait(timeout=30)


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
    with node(tmp_path / "node.log", max_speed=2.0) as running, viewer(tmp_path / "view.log") as (_, url):
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
            page.click("state")  # the first of that name is in the row "reset"
            wait_until(lambda: "the recurrent state is reset; the pose continues" in running.text(), "the reset")
            page.wait_for_text("the pose continues from the last one")


def test_a_taken_port_is_no_obstacle(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with viewer(tmp_path / "view.log", "--port", str(port)) as (_, url):
            assert url.startswith("http://127.0.0.1:")
            assert not url.endswith(f":{port}")
