from __future__ import annotations

import subprocess
import sys

import pytest

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.ros_arguments import without_ros_arguments


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--params-file", "{folder}/missing.yaml"], "--params-file {folder}/missing.yaml: there is no such file"),
        (["--params-file", "{folder}"], "--params-file {folder}: this is a folder; name a YAML file in it"),
        (["--params-file", "{folder}/broken.yaml"], "this is not a file of ROS parameters (Error parsing"),
        (["--params-file"], "nothing follows --params-file: -p NAME:=VALUE sets a parameter, "),
        (["-p", "base_frame:="], "-p base_frame:=: the value is missing; an empty string is written \"''\""),
        (["--param", "base_frame"], "--param base_frame: write NAME:=VALUE, as in device:=cpu"),
        (["-p", "camera_pose:=[1"], "-p camera_pose:=[1: write NAME:=VALUE"),
        (["-r", "image:="], "-r image:=: write FROM:=TO, names without spaces, as in image:=/camera/image_raw"),
        (["--remap", "image:=my camera"], "--remap image:=my camera: write FROM:=TO, names without spaces"),
        (["--log-level", "loud"], "--log-level loud: choose debug, info, warn, error or fatal"),
        (["image:=/camera"], "ROS has no argument image:=/camera: -p NAME:=VALUE sets a parameter, -r FROM:=TO remaps"),
    ],
)
def test_what_ros_does_not_accept_is_said_in_our_words(tmp_path, arguments, sentence):
    (tmp_path / "broken.yaml").write_text("ttt3r: {ros__parameters: [")
    with pytest.raises(UserError) as error:
        without_ros_arguments(["ttt3r", "--ros-args", *(word.format(folder=tmp_path) for word in arguments)])
    assert sentence.format(folder=tmp_path) in str(error.value)


def test_what_ros_accepts_is_removed():
    arguments = ["play", "video.mp4", "--ros-args", "-p", "device:='cpu'", "-r", "image:=/camera", "--", "--loop"]
    assert without_ros_arguments(arguments) == ["play", "video.mp4", "--loop"]


#: Runs the node in a process that cannot import torch.
WITHOUT_TORCH = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
from ttt3r_ros.ros.node import main
main()
"""


@pytest.mark.dds
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--params-file", "missing.yaml"], "--params-file missing.yaml: there is no such file"),
        (["-p", "max_depth:=far"], "parameter max_depth must be a number, not 'far'"),
        (["-p", "weights:=missing.pth"], "missing.pth does not exist; get the published weights with `fetch_weights`"),
    ],
)
def test_the_node_says_mistakes_before_torch_is_loaded(tmp_path, arguments, sentence):
    command = [sys.executable, "-c", WITHOUT_TORCH, "--ros-args", *arguments]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (2, f"error: {sentence}\n")
