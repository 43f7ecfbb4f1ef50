"""The folders of ROS where the user has no home folder, or one that cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from harness import ROOT, node, picture
from waiting import PATIENCE

from ttt3r_ros.ros.home import make_room_for_logs, ros_home


@pytest.fixture(autouse=True)
def own_log_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_LOG_DIR", "")  # is put back after the test, whatever that sets
    monkeypatch.delenv("ROS_LOG_DIR")


def test_the_home_of_ros(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ROS_HOME", "")
    assert ros_home() == tmp_path / ".ros"
    monkeypatch.setenv("ROS_HOME", "/elsewhere")
    assert ros_home() == Path("/elsewhere")


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HOME": "{here}"}, ".ros/log"),
        ({"HOME": "/nowhere/at/all", "ROS_HOME": "{here}/ros"}, "ros/log"),
        ({"ROS_HOME": "{here}/ros"}, "ros/log"),
        ({"HOME": "{here}", "ROS_LOG_DIR": "~/log"}, "log"),
        ({"ROS_LOG_DIR": "{here}/log"}, "log"),
    ],
)
def test_a_folder_that_ros_can_use_is_left_to_it(nobody, monkeypatch, capsys, tmp_path, variables, folder):
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(here=tmp_path))
    before = dict(os.environ)
    make_room_for_logs()
    assert dict(os.environ) == before
    assert (tmp_path / folder).is_dir()  # as ROS makes it
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "note: neither ROS_HOME nor HOME is set; ROS logs to "),
        ({"HOME": "{here}/file"}, "note: {here}/file/.ros/log cannot be written; ROS logs to "),
        ({"HOME": "/proc/nowhere"}, "note: /proc/nowhere/.ros/log cannot be written; ROS logs to "),
    ],
)
def test_otherwise_ros_logs_to_a_folder_of_its_own(nobody, monkeypatch, capsys, tmp_path, variables, words):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(here=tmp_path))
    make_room_for_logs()
    folder = Path(os.environ["ROS_LOG_DIR"])
    assert folder.parent == tmp_path
    assert folder.is_dir()
    assert capsys.readouterr().err == f"{words.format(here=tmp_path)}{folder}\n"


#: Runs a module as a user who is on no list of users and has no home folder.
NOBODY = """
import os, runpy, sys
for name in ("HOME", "ROS_HOME", "ROS_LOG_DIR"):
    os.environ.pop(name, None)
import pwd
def unknown(_number):
    raise KeyError
pwd.getpwuid = unknown
del sys.argv[: sys.argv.index("-m") + 1]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.mark.dds
def test_the_node_starts_and_plays_without_a_home_folder(weights, tmp_path):
    under = [sys.executable, "-c", NOBODY]
    with node(tmp_path / "log", "-r", "__ns:=/nobody", weights=weights, under=under) as started:
        text = started.text()
        assert started.stop() == 0
    assert "note: neither ROS_HOME nor HOME is set; ROS logs to " in text
    assert "error" not in text.lower()
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture(i))
    command = [*under, "-m", "ttt3r_ros.ros.tools.play", str(tmp_path), "--no-wait-for-subscriber"]
    played = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert played.returncode == 0, played.stderr
    assert "published 2 frames" in played.stdout
    assert "Traceback" not in played.stderr
