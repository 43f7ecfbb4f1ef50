from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from harness import header, picture
from rich.console import Console
from rule_weights import TINY
from sensor_msgs.msg import Image

from benchmark import camera, start, start_camera, start_weights
from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.conversions import image_message
from ttt3r_ros.weights.native_file import read_native

pytestmark = pytest.mark.dds

LOG = """\
[INFO] [1700000001.250000000] [ttt3r]: loading weights of the package
[WARN] [1700000001.300000000] [ttt3r]: something else
[INFO] [1700000002.500000000] [ttt3r]: warming up on cpu in float32
[INFO] [1700000003.000000000] [ttt3r]: network ready after 1.8 s
[INFO] [1700000003.125000000] [ttt3r]: ready: listening to /image
"""


@pytest.fixture
def quick(own_environment, monkeypatch):
    """Small pictures of nothing."""

    def pictures(count: int, width: int, height: int) -> list[Image]:
        return [image_message(picture(i), "rgb8", header(0, camera.FRAME_ID)) for i in range(count)]

    monkeypatch.setattr(start_camera, "image_messages", pictures)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_start_is_told_in_phases_that_add_up(quick, weights, tmp_path, capsys):
    out = tmp_path / "start.json"
    arguments = ["--weights", str(weights), "--runs", "1", "--no-cold", "--json", str(out)]
    assert start.main([*arguments, "--param", "check_images:=false"]) == 0
    result = json.loads(out.read_text())
    assert list(result["medians"]) == ["warm"]
    medians, (run,) = result["medians"]["warm"], result["starts"]["warm"]
    assert medians["total"] == pytest.approx(sum(run[phase] for phase in start.PHASES))
    assert min(run[phase] for phase in ("imports", "weights", "warm-up", "topics", "odometry")) > 0
    assert medians["loading_over_reading"] == pytest.approx(run["weights"] / run["reading"])
    assert result["megabytes"] == pytest.approx(weights.stat().st_size / 1e6)
    printed = capsys.readouterr().out
    assert "run 1 of 1, warm" in printed
    assert all(phase in printed for phase in start.PHASES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--weights", "/nowhere/w.safetensors"], "/nowhere/w.safetensors does not exist"), (["--runs", "0"], "--runs")],
)
def test_what_cannot_be_measured_is_said_in_a_sentence(arguments, words, capsys):
    assert start.main(arguments) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert words in error


def test_the_moments_are_those_of_the_nodes_log():
    assert start.moments_of(LOG) == [1700000001.25, 1700000002.5, 1700000003.0, 1700000003.125]
    with pytest.raises(UserError, match="ready: listening"):
        start.moments_of(LOG[: LOG.index("[INFO] [1700000003.125")])


def test_a_file_just_written_is_not_cold_unless_the_kernel_lets_go_of_it(tmp_path, monkeypatch):
    file = tmp_path / "weights"
    file.write_bytes(bytes(2**20))
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: None)
    assert not start_weights.drop_from_cache(file)
    assert start_weights.seconds_to_read(file, cold=False) > 0


def test_weights_are_made_once_for_the_same_configuration(tmp_path):
    console = Console(quiet=True)
    path = start_weights.made_by_rule(TINY, tmp_path / "folder" / "tiny.safetensors", console)
    assert read_native(path).config == TINY
    made = path.stat().st_mtime_ns
    assert start_weights.made_by_rule(TINY, path, console).stat().st_mtime_ns == made
    wider = replace(TINY, state_size=12)
    start_weights.made_by_rule(wider, path, console)
    assert read_native(path).config == wider
