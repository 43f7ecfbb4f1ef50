from __future__ import annotations

import subprocess
import sys

import pytest
import rclpy
from rclpy.node import Node

from ttt3r_ros.cli.parser import CommandParser
from ttt3r_ros.errors import UserError, command
from ttt3r_ros.ros.ros_arguments import parse, without_ros_arguments, without_section


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--params-file", "{folder}/missing.yaml"], "--params-file {folder}/missing.yaml: there is no such file"),
        (["--params-file", "{folder}"], "--params-file {folder}: this is a folder; name a YAML file in it"),
        (["--params-file", "{folder}/broken.yaml"], "this is not a file of ROS parameters (Error parsing"),
        (["--params-file"], "nothing follows --params-file: -p NAME:=VALUE sets a parameter, "),
        (["--params-file", ""], "--params-file : there is no such file"),
        (["--params-file", "a\nb.yaml"], "b.yaml: there is no such file"),
        (["--log-level"], "nothing follows --log-level: "),
        (["it's", "b"], "ROS has no argument it's b: "),
        (["-p", "base_frame:="], "-p base_frame:=: the value is missing; an empty string is written \"''\""),
        (["--param", "base_frame"], "--param base_frame: write NAME:=VALUE, as in device:=cpu"),
        (["-p", "camera_pose:=[1"], "-p camera_pose:=[1: write NAME:=VALUE"),
        (["-r", "image:="], "-r image:=: write FROM:=TO, names without spaces, as in image:=/camera/image_raw"),
        (["--remap", "image:=my camera"], "--remap image:=my camera: write FROM:=TO, names without spaces"),
        (
            ["-r", "__node:=front.camera"],
            "-r __node:=front.camera: write a name of letters, digits and '_' that does not",
        ),
        (
            ["-r", "ttt3r:__name:=1"],
            "-r ttt3r:__name:=1: write a name of letters, digits and '_' that does not begin with",
        ),
        (
            ["-r", "__ns:=robot1"],
            "-r __ns:=robot1: write names of letters, digits and '_' that do not begin with a digit",
        ),
        (["--remap", "__ns:=/robot-1"], "--remap __ns:=/robot-1: write names of letters, digits and '_'"),
        (["-r", "__ns:=/robot1/"], "-r __ns:=/robot1/: write names"),
        (["-r", "__ns:="], "-r __ns:=: write names"),
        (["-r", f"__ns:=/{'a' * 250}"], "a: its 251 characters are too many"),
        (["--log-level", "loud"], "--log-level loud: choose debug, info, warn, error or fatal"),
        (["image:=/camera"], "ROS has no argument image:=/camera: -p NAME:=VALUE sets a parameter, -r FROM:=TO remaps"),
    ],
)
def test_what_ros_does_not_accept_is_said_in_our_words(tmp_path, arguments, sentence):
    (tmp_path / "broken.yaml").write_text("ttt3r: {ros__parameters: [")
    with pytest.raises(UserError) as error:
        without_ros_arguments(["ttt3r", "--ros-args", *(word.format(folder=tmp_path) for word in arguments)])
    assert sentence.format(folder=tmp_path) in str(error.value)


@pytest.mark.parametrize("remap", ["__ns:=/", "__ns:=/a_1/b", "__node:=_a1", "ttt3r:__node:=cam"])
def test_a_valid_name_is_accepted(remap):
    assert without_ros_arguments(["ttt3r", "--ros-args", "-r", remap]) == ["ttt3r"]


def test_what_ros_accepts_is_removed():
    arguments = ["play", "video.mp4", "--ros-args", "-p", "device:='cpu'", "-r", "image:=/camera", "--", "--loop"]
    assert without_ros_arguments(arguments) == ["play", "video.mp4", "--loop"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--params-file", "my.yaml"], "; --params-file is for ROS: put it after --ros-args"),
        (["-p", "device:=cpu"], "; -p is for ROS: put it after --ros-args"),
        (["--fast", "image:=/camera"], ""),  # old ROS's way to remap, which still works
    ],
)
def test_a_forgotten_ros_args_is_said(capsys, arguments, hint):
    with pytest.raises(SystemExit):
        parse(CommandParser("ttt3r"), [*arguments, "--ros-args", "-r", "a:=b"])
    unknown = [word for word in arguments if ":=" not in word]
    assert capsys.readouterr().err.endswith(f"error: unrecognized arguments: {' '.join(unknown)}{hint}\n")


SECTIONS = ["/**", "**", "ttt3r", "/ttt3r", "*", "/*", "/*/ttt3r", "*/ttt3r", "/**/ttt3r", "/robot/ttt3r"]
SECTIONS += ["robot/ttt3r", "/robot/*", "/robot/**", "/robot/ttt3", "other"]


@pytest.mark.dds
@pytest.mark.parametrize("remap", [[], ["-r", "__ns:=/robot"], ["-r", "__node:=other"]])
def test_sections_are_for_the_nodes_to_which_ros_gives_them(tmp_path, remap):
    for i, section in enumerate(SECTIONS):
        (tmp_path / f"{i}.yaml").write_text(f"'{section}': {{ros__parameters: {{a: 1}}}}")
        arguments = ["--ros-args", *remap, "--params-file", str(tmp_path / f"{i}.yaml")]
        context = rclpy.Context()
        rclpy.init(args=arguments, context=context)
        node = Node("ttt3r", context=context, start_parameter_services=False, enable_rosout=False)
        sentence = without_section(arguments, node.get_fully_qualified_name())
        assert (sentence is None) == ("a" in node._parameter_overrides), section
        node.destroy_node()
        context.shutdown()


def test_files_without_a_section_for_the_node_are_said(tmp_path):
    def said(*texts: str) -> str | None:
        arguments = ["ttt3r", "--ros-args"]
        for name, text in zip("ab", texts, strict=False):
            (tmp_path / name).write_text(text)
            arguments += ["--params-file", str(tmp_path / name)]
        sentence = without_section([*arguments, "--", "--params-file", "of another"], "/ttt3r")
        return sentence and sentence.replace(f"{tmp_path}/", "")

    for_us, robots = "ttt3r: {ros__parameters: {device: cpu}}", "/robot: {ttt3r: {ros__parameters: {device: cpu}}}"
    no_effect = "no parameter in it has an effect"
    assert said() is said(for_us) is said(robots, for_us) is None
    assert said(robots) == f"a has no section for /ttt3r (it has /robot/ttt3r): {no_effect}"
    assert said("a(: {ros__parameters: {}}") == f"a has no section for /ttt3r (it has a(): {no_effect}"
    assert said("") == f"a has no section for /ttt3r (it has none): {no_effect}"
    two = said(robots, "cam: {ros__parameters: {}}")
    assert two == (
        "none of a, b has a section for /ttt3r (they have /robot/ttt3r, cam): no parameter in them has an effect"
    )


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
        (
            ["-p", "weights:=missing.pth"],
            "missing.pth does not exist: check the path (`{fetch}` gets the published weights)",
        ),
        (["-p", "mask_file:=mask.png"], "the mask mask.png cannot be read: No such file or directory"),
        (["-p", "covariance_file:=c.json"], "the covariance file c.json cannot be read: No such file or directory"),
    ],
)
def test_the_node_says_mistakes_before_torch_is_loaded(tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    sentence = sentence.format(fetch=command("fetch_weights"))
    given = [sys.executable, "-c", WITHOUT_TORCH, "--ros-args", *arguments]
    run = subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (2, f"error: {sentence}\n")
