"""Camera and node on two hosts with a bad wire between them, which is cut for a while."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, node
from remote_camera import RATE
from two_hosts import ENVIRONMENT, two_hosts, why_not
from waiting import wait_until

pytestmark = pytest.mark.dds

LOSS, DELAY = 0.05, 0.03  # share and seconds, each way


class RemoteCamera:
    """The process on the other host, and what it has noted."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.notes: list[list[Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.notes.append(json.loads(line))

    def odometry(self, since: float) -> list[list[Any]]:
        """Return what came after this moment."""
        return [note for note in list(self.notes) if note[0] == "odom" and note[1] > since]

    def segments(self) -> list[int]:
        return [note[3] for note in list(self.notes) if note[0] == "diagnostics"]


@contextlib.contextmanager
def remote_camera(under: list[str]) -> Iterator[RemoteCamera]:
    command = [*under, sys.executable, str(Path(__file__).with_name("remote_camera.py"))]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{ROOT}:{ROOT / 'test'}"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        try:
            yield RemoteCamera(process)
        finally:
            assert process.stdin
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def test_odometry_returns_by_itself_after_the_wire_was_cut(weights, tmp_path, record_property):
    if reason := why_not():
        pytest.skip(reason)
    with (
        two_hosts(loss=LOSS, delay=DELAY) as hosts,
        remote_camera(["ip", "netns", "exec", hosts.camera]) as camera,
        node(
            tmp_path / "node.log",
            under=["ip", "netns", "exec", hosts.robot],
            variables=ENVIRONMENT,
            weights=weights,
            image_transport="compressed",
        ) as robot,
    ):
        wait_until(lambda: len(camera.odometry(0)) >= 20, "odometry over a bad wire")
        before = wait_until(camera.segments, "diagnostics over a bad wire")[-1]

        wait_until(lambda: all(way["lost_frames"] for way in hosts.wire.join()), "losses each way")
        carried_to_robot, _ = hosts.wire.cut()
        cut_stamp = time.time_ns()
        # the images went over this wire, not through memory that the two have in common
        assert carried_to_robot["carried_bytes"] > 20 * 1000
        wait_until(lambda: "no image has arrived on /image/compressed" in robot.text(), "word of the cut")
        assert not [note for note in camera.odometry(0) if note[2] > cut_stamp]

        joined_at, joined_stamp = time.monotonic(), time.time_ns()
        hosts.wire.join()
        wait_until(
            lambda: [note for note in camera.odometry(joined_at) if note[2] >= joined_stamp],
            "odometry after the cut",
        )
        first = next(note for note in camera.odometry(joined_at) if note[2] >= joined_stamp)
        record_property("seconds_until_odometry", round(first[1] - joined_at, 2))
        wait_until(lambda: camera.segments()[-1] > before, "a new segment in the diagnostics")
        wait_until(lambda: camera.notes[-1][:3:2] == ["diagnostics", "tracking"], "tracking in the diagnostics")
        # none of the images from within the cut has come late, and the stream goes on at its rate
        assert not [note for note in camera.odometry(0) if cut_stamp < note[2] < joined_stamp - 1e9]
        since = time.monotonic()
        wait_until(lambda: len(camera.odometry(since)) >= 2 * RATE, "odometry at the rate of the camera")
        assert "starting a new segment" in robot.text()
        assert "Traceback" not in robot.text()
