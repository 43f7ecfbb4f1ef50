"""The demo from its command line to its files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from tum import read_tum
from waiting import wait_until

from ttt3r_ros.cli import frame_progress
from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation import demo_report
from ttt3r_ros.evaluation.run_log import RunLog
from ttt3r_ros.ros.tools import demo, play
from ttt3r_ros.ros.tools.recorder import Recorder
from ttt3r_ros.sources import open_source

pytestmark = pytest.mark.dds

KEYS = [
    "frames_in",
    "frames_out",
    "dropped",
    "lost",
    "ate_rmse_m",
    "path_length_m",
    "depth_abs_rel",
    "latency_ms_p50",
    "latency_ms_p95",
    "node_rss_mb",
]
SOURCE = "synthetic:seed=5,length=20,width=160,height=120,fps=10,motion=wheeled"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, own_handlers: None) -> None:
    """Put back what the demo sets for itself."""
    for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOG_DIR", "PYTHONUNBUFFERED"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE", ""))
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE")


@pytest.fixture
def perfect_node(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = [sys.executable, str(Path(__file__).parents[1] / "perfect_node.py"), "--ros-args"]
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    remaps = ["-r", "image:=/camera/image_raw", "-r", "camera_info:=/camera/camera_info"]
    monkeypatch.setattr(demo, "_node_command", lambda options: stand_in + remaps)


def read_ply(path: Path) -> np.ndarray:
    header, _, body = path.read_bytes().partition(b"end_header\n")
    count = next(int(line.split()[2]) for line in header.decode().splitlines() if line.startswith("element vertex"))
    points = np.frombuffer(body, dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    assert len(points) == count
    return points


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return what the live page, which does not start, was told to say."""
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(demo, "write_notice", lambda _, level, message: told.append((level, message)))
    crash = [sys.executable, "-c", "import sys; print('error: the viewer needs viser'); sys.exit(2)"]
    monkeypatch.setattr(demo, "_VIEWER", crash)
    return told


@pytest.mark.usefixtures("perfect_node", "without_clouds")
def test_the_truth_gets_perfect_marks(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    notices: list[tuple[str, str]],
) -> None:
    """Where there is no viewer, neither live nor as a file, and where other robots have a discovery server."""
    monkeypatch.setitem(sys.modules, "viser", None)
    monkeypatch.setenv("ROS_DISCOVERY_SERVER", "127.0.0.1:1")  # where there is none
    for name in ("node.log", "player.log", "view.html"):
        (tmp_path / name).write_text("of an earlier run")
    assert demo.main(["--input", SOURCE, "--output", str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics) == KEYS
    assert metrics["frames_in"] == 20
    assert 10 <= metrics["frames_out"] <= 20  # a busy machine may not hear all of them
    assert metrics["dropped"] == 20 - metrics["frames_out"]
    assert metrics["ate_rmse_m"] < 1e-3
    assert metrics["depth_abs_rel"] < 1e-4
    assert 0 < metrics["latency_ms_p50"] <= metrics["latency_ms_p95"]
    assert metrics["node_rss_mb"] == 100
    assert metrics["path_length_m"] > 0.1
    out = capsys.readouterr().out
    assert "metrics.json" in out
    assert "not available, the demo goes on without: the viewer ended" in out
    assert "no view.html: the viewer needs viser" in " ".join(out.split())
    assert not (tmp_path / "view.html").exists()
    assert notices == [
        ("ok", "all images have been played; writing the results"),
        ("ok", f"the demo is done: the results are in {tmp_path}/"),
    ]
    assert "note: not using the discovery server 127.0.0.1:1" in out
    assert "never seen a real image" not in out  # the node's weights have not, but these images are not real
    estimate, truth = read_tum(tmp_path / "trajectory.txt"), read_tum(tmp_path / "groundtruth.txt")
    assert len(truth) == 20
    assert len(estimate) == metrics["frames_out"]
    np.testing.assert_allclose(estimate.positions[0], 0.0, atol=1e-6)
    for name in ("trajectory.png", "frames.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")

    # brought back to the world the cloud is the room: nothing below its floor, and much of it on the floor
    points = read_ply(tmp_path / "cloud.ply")
    assert 1000 < len(points) <= 1_000_000
    T_world_odom = truth.transform(0)
    height = points["xyz"] @ T_world_odom[2, :3] + T_world_odom[2, 3]
    assert height.min() > -0.01
    assert (np.abs(height) < 0.01).mean() > 0.05
    assert points["rgb"].std() > 5


@pytest.fixture
def without_clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw none, which takes seconds."""
    for name in ("draw_cloud", "draw_clip"):
        monkeypatch.setattr(demo_report, name, lambda *_, **__: None)


@pytest.mark.usefixtures("perfect_node", "without_clouds")
def test_stopping_it_writes_what_there_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    notices: list[tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = demo._status

    def interrupt_after_five_poses(recorder: Recorder, player_log: Path) -> str:
        if len(recorder.recording.poses) >= 5:
            os.kill(os.getpid(), signal.SIGINT)
        return status(recorder, player_log)

    monkeypatch.setattr(demo, "_status", interrupt_after_five_poses)
    source = SOURCE.replace("length=20", "length=2000")
    for name in ("node.log", "player.log", "view.log", "metrics.json"):
        (tmp_path / name).write_text("of an earlier run")
    assert demo.main(["--input", source, "--output", str(tmp_path)]) == 0
    assert f"replacing what an earlier run has left in {tmp_path}/" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (tmp_path / "view.html").exists()  # that needs no server
    assert notices == [
        ("ended", "the demo was stopped; writing the results so far"),
        ("ended", f"the demo was stopped: the run is in {tmp_path}/view.html"),
    ]
    assert 5 <= metrics["frames_in"] < 2000
    assert 5 <= metrics["frames_out"] < 2000
    assert (tmp_path / "trajectory.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "missing.mp4"], "'missing.mp4' does not exist"),
        (["--weights", "missing.safetensors"], "missing.safetensors does not exist"),
        (["--weights", __file__], "is neither a safetensors file nor"),
        (["--param", "two_d"], "--param wants NAME:=VALUE"),
        (["--param", "two_d_mod:=true"], "has no parameter 'two_d_mod': did you mean two_d_mode?"),
        (["--input", SOURCE, "--param", "update_rule:=best"], "the node ended with exit code 2.*update_rule"),
    ],
)
def test_mistakes_end_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert demo.main([*arguments, "--no-view", "--output", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.count("error: ") == 1
    assert re.search(words, err), err


def test_a_node_that_dies_ends_it_with_its_last_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = [sys.executable, "-c", "import sys; print('about to fall'); sys.exit(3)"]
    monkeypatch.setattr(demo, "_node_command", lambda options: crash)
    assert demo.main(["--input", SOURCE, "--no-view", "--output", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "the node ended with exit code 3" in err
    assert "about to fall" in err


def test_the_pages_last_word_is_the_failure_if_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = """
import signal, sys
from pathlib import Path
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print("open http://nowhere", flush=True)
signal.sigwait([signal.SIGINT])
option, notice = sys.argv[1:]
print(option, Path(notice).read_text())
"""
    monkeypatch.setattr(demo, "_VIEWER", [sys.executable, "-c", stand_in])

    def use(error: BaseException | None = None) -> str:
        with contextlib.suppress(UserError, KeyboardInterrupt), demo._Viewer(tmp_path, tmp_path / "notice") as viewer:
            wait_until(viewer.news, "the page")
            viewer.say("ok", "the demo is done")
            if error is not None:
                raise error
        return viewer.log.read_text().splitlines()[-1]

    assert use() == "--notice ok the demo is done"
    assert use(UserError("the node fell:\n  | its log")) == "--notice error the demo has failed: the node fell"
    assert use(KeyboardInterrupt()) == "--notice error the demo has failed"


def test_files_of_others_are_never_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cloud.ply", "node.log"):
        mine = tmp_path / name
        mine.write_text("mine")
        assert demo.main(["--input", SOURCE, "--output", str(tmp_path)]) == 2
        assert f"contains {name}, which no demo wrote; choose another" in capsys.readouterr().err
        assert mine.read_text() == "mine"
        assert [file.name for file in tmp_path.iterdir()] == [name]
        mine.unlink()


def test_nothing_is_written_into_the_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rgb").mkdir()
    cv2.imwrite(str(tmp_path / "rgb/0.png"), np.zeros((60, 80, 3), np.uint8))
    for source, output in ((".", "."), (".", "rgb"), ("rgb", "rgb")):
        assert demo.main(["--input", str(tmp_path / source), "--output", str(tmp_path / output)]) == 2
        assert "is the folder of the recording itself; choose another" in capsys.readouterr().err
    assert [file.name for file in tmp_path.rglob("*")] == ["rgb", "0.png"]


@pytest.mark.usefixtures("without_clouds")
def test_images_that_follow_on_none_are_a_failure_that_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    for i in range(4):
        image = np.random.default_rng(i).integers(0, 256, (60 + i % 2, 80, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"images/{i}.png"), image)
    output = tmp_path / "out"
    output.mkdir()
    for name in ("node.log", "player.log", "view.log"):
        (output / name).write_text("of an earlier run")
    assert demo.main(["--input", str(tmp_path / "images"), "--output", str(output), "--no-view"]) == 1
    assert not (output / "view.log").exists()
    assert "error: no image follows on another (the image's size has changed)" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (metrics["frames_in"], metrics["frames_out"], metrics["latency_ms_p50"]) == (4, 4, None)


def test_it_says_what_it_waits_for_and_for_how_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, log = SimpleNamespace(recording=RunLog()), tmp_path / "player.log"
    log.write_text("video.mp4 as /camera/image_raw, 15 Hz\n")
    assert demo._status(recorder, log) == "the camera is starting"
    log.write_text("preparing all images of synthetic world 1, handheld first (--preload)\n")
    assert demo._status(recorder, log) == "the camera is preparing its images"
    monkeypatch.setattr(frame_progress, "LOG_PERIOD_S", 0.0)
    play._preload([None] * 93, 200)
    log.write_text(log.read_text() + capsys.readouterr().err)
    assert demo._status(recorder, log) == "the camera is preparing its images: 93/200"
    recorder.recording.diagnostics["frames_received"] = "1"
    assert demo._status(recorder, log) == "waiting for the node"
    assert demo._silence_s(recorder, 1) == 4 * 5.0
    recorder.recording.diagnostics["frames_lost"] = "1"
    assert demo._silence_s(recorder, 1) == 1.5
    recorder.recording.poses |= {0: np.eye(4), 10**9: np.eye(4)}
    assert demo._status(recorder, log) == "2 poses"
    recorder.recording.diagnostics["output_rate_hz"] = "9.87"
    recorder.recording.latencies_ms += [30.0, 50.0]
    assert demo._status(recorder, log) == "2 poses (9.87 a second), 40 ms after their images"
    assert demo._silence_s(recorder, None) == demo._silence_s(recorder, 3) == 4.0
    assert demo._silence_s(recorder, 2) == 1.5


def test_the_real_node_on_images_without_truth(tmp_path: Path) -> None:
    images, output = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for i, frame in enumerate(open_source(SOURCE.replace("length=20", "length=9")).frames()):
        cv2.imwrite(str(images / f"{i}.png"), cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    command = [sys.executable, "-m", "ttt3r_ros.ros.tools.demo", "--input", str(images), "--output", str(output)]
    command += ["--frames", "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((output / "metrics.json").read_text())
    assert list(metrics) == KEYS
    assert metrics["frames_in"] == 8
    assert metrics["frames_out"] == 8
    assert metrics["dropped"] == 0
    assert metrics["ate_rmse_m"] is None
    assert metrics["depth_abs_rel"] is None
    assert metrics["path_length_m"] > 0
    assert metrics["node_rss_mb"] > 50
    # eight frames may be over before a busy computer has a page
    assert re.search(r"view: +(open http://127.0.0.1:\d+|not ready)", done.stdout), done.stdout
    for name in ("trajectory.txt", "trajectory.png", "frames.png", "cloud.ply", "node.log", "player.log"):
        assert (output / name).stat().st_size > 0
    for name in ("view.html", "demo.gif", "cloud.png"):
        assert (output / name).stat().st_size > 1000
        assert name in done.stdout
    note = "the weights small.safetensors have never seen a real image"
    assert f"note: {note}" in done.stdout
    assert note in (output / "node.log").read_text()
    with Image.open(output / "demo.gif") as clip:
        assert clip.height > 360  # the note is below
    assert not (output / "groundtruth.txt").exists()
