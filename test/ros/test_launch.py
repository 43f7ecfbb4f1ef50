"""What the launch file starts, with a stand-in for ROS's launch."""

from __future__ import annotations

from typing import Any

import pytest
from launch_stand_in import launch

from ttt3r_ros.ros.parameters import Parameters


def parameters(launched: Any) -> dict[str, Any]:
    """Return what overrides the file of parameters."""
    file, overrides = launched.nodes["ttt3r_ros"]["parameters"]
    assert file == "/share/ttt3r_ros/config/ttt3r.yaml"
    return overrides


def test_without_arguments_the_parameters_are_those_of_the_file(monkeypatch):
    launched = launch(monkeypatch)
    assert parameters(launched) == {"use_sim_time": False}
    assert launched.nodes.keys() == {"ttt3r_ros"}
    assert not launched.warnings


def test_arguments_that_are_parameters_reach_the_node(monkeypatch):
    given = {
        "weights": "w.safetensors", "device": "cpu", "image_transport": "compressed", "odom_frame": "visual_odom",
        "base_frame": "base", "camera_frame": "lens", "frame_prefix": "robot1/", "camera_pose": "0.1 0 0.3 0 0 0",
    }  # fmt: skip
    launched = launch(monkeypatch, *(f"{name}:={value}" for name, value in given.items()), "publish_tf:=false")
    overrides = parameters(launched)
    assert overrides == {**given, "publish_tf": False, "use_sim_time": False}
    del overrides["use_sim_time"]
    assert Parameters(**overrides).base_frame == "robot1/base"
    assert not launched.warnings


def test_topics_namespace_and_log_level(monkeypatch):
    launched = launch(monkeypatch, "image:=/front/image", "namespace:=/robot1", "log_level:=debug")
    node = launched.nodes["ttt3r_ros"]
    assert node["remappings"] == [["image", "/front/image"], ["camera_info", "camera_info"]]
    assert node["namespace"] == "/robot1"
    assert node["arguments"] == ["--ros-args", "--log-level", "robot1.ttt3r:=debug"]


@pytest.mark.parametrize(
    ("given", "fixed"),
    [
        ([], []),
        (["odom_frame:=visual"], ["--fixed-frame", "visual"]),
        (["frame_prefix:=robot1/"], ["--fixed-frame", "robot1/odom"]),
        (["frame_prefix:=robot1/", "odom_frame:=robot1/o"], ["--fixed-frame", "robot1/o"]),
    ],
)
def test_rviz_lives_in_the_time_and_the_frame_of_the_node(monkeypatch, given, fixed):
    launched = launch(monkeypatch, "rviz:=true", "use_sim_time:=true", *given)
    assert parameters(launched)["use_sim_time"] is True
    view = launched.nodes["rviz2"]
    assert view["parameters"] == [{"use_sim_time": True}]
    assert view["arguments"] == ["-d", "/share/ttt3r_ros/config/ttt3r.rviz", *fixed]


def test_unknown_arguments_are_said_with_what_was_meant(monkeypatch):
    assert launch(monkeypatch, "base_fram:=base", "max_depth:=8").warnings == [
        "the launch argument 'base_fram' is unknown and has no effect: did you mean base_frame?",
        "the launch argument 'max_depth' is unknown and has no effect: parameters of the node go into params_file",
    ]


def test_arguments_of_a_launch_file_that_includes_this_one_are_none_of_its_business(monkeypatch):
    assert not launch(monkeypatch, "robot:=1", included_with={"map": "house", "robot": "1"}).warnings
