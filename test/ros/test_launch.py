"""What the launch file starts, with a stand-in for ROS's launch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from launch_stand_in import launch
from scipy.spatial.transform import Rotation

from ttt3r_ros.ros.parameters import Parameters
from ttt3r_ros.ros.topics import MAP_POINTS, ODOM, TOPICS

ROOT = Path(__file__).parents[2]
CONSUMERS = {
    "ekf.launch.py": "robot_localization",
    "rtabmap.launch.py": "rtabmap_slam",
    "costmap.launch.py": "nav2_costmap_2d",
    "laserscan.launch.py": "depthimage_to_laserscan",
    "nvblox.launch.py": "nvblox_ros",
}
#: An argument of each consumer that the node's launch file has not.
OWN_ARGUMENTS = {
    "ekf.launch.py": "wheel_odom",
    "rtabmap.launch.py": "localization",
    "costmap.launch.py": "costmap_params",
    "laserscan.launch.py": "optical_frame",
    "nvblox.launch.py": "nvblox_params",
}


#: Parameters that the consumers' sources declare (nav2_costmap_2d: humble, jazzy, kilted, lyrical; nvblox: March 2026);
#: others would be ignored without a word.
DECLARED = {
    "costmap.yaml": "global_frame robot_base_frame update_frequency publish_frequency rolling_window width height "
    "resolution robot_radius plugins",
    "costmap.yaml voxel_layer": "plugin enabled origin_z z_resolution z_voxels max_obstacle_height mark_threshold "
    "observation_sources",
    "costmap.yaml voxel_layer ttt3r": "topic data_type marking clearing min_obstacle_height max_obstacle_height "
    "obstacle_min_range obstacle_max_range raytrace_min_range raytrace_max_range",
    "costmap.yaml inflation_layer": "plugin cost_scaling_factor inflation_radius",
    "nvblox.yaml": "global_frame num_cameras use_tf_transforms use_depth use_color use_lidar voxel_size "
    "map_clearing_frame_id map_clearing_radius_m",
}


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
    launched = launch(
        monkeypatch,
        *(f"{name}:={value}" for name, value in given.items()),
        "publish_tf:=false",
        "localization_only:=true",
    )
    overrides = parameters(launched)
    assert overrides == {**given, "publish_tf": False, "localization_only": True, "use_sim_time": False}
    del overrides["use_sim_time"]
    assert Parameters(**overrides).base_frame == "robot1/base"
    assert not launched.warnings


def test_topics_namespace_and_log_level(monkeypatch):
    launched = launch(monkeypatch, "image:=/front/image", "namespace:=/robot1", "log_level:=debug")
    node = launched.nodes["ttt3r_ros"]
    assert node["remappings"] == [["image", "/front/image"], ["camera_info", "/front/camera_info"]]
    assert node["namespace"] == "/robot1"
    assert node["arguments"] == ["--ros-args", "--log-level", "robot1.ttt3r:=debug"]


@pytest.mark.parametrize(
    ("given", "camera_info"),
    [
        ([], "camera_info"),
        (["image:=image_raw"], "camera_info"),
        (["image:=/image_raw"], "/camera_info"),
        (["image:=front/image_rect"], "front/camera_info"),
        (["image:=/camera/color/image_raw", "image_transport:=compressed"], "/camera/color/camera_info"),
        (["image:=/camera/image_raw", "camera_info:=/calibration"], "/calibration"),
    ],
)
def test_one_argument_finds_a_camera_and_its_calibration(monkeypatch, given, camera_info):
    remappings = launch(monkeypatch, *given).nodes["ttt3r_ros"]["remappings"]
    assert dict(remappings)["camera_info"] == camera_info


@pytest.mark.parametrize(
    ("given", "fixed"),
    [
        ([], []),
        (["odom_frame:=visual"], ["--fixed-frame", "visual"]),
        (["frame_prefix:=robot1/"], ["--fixed-frame", "robot1/odom"]),
        (["frame_prefix:=robot1/", "odom_frame:=robot1/o"], ["--fixed-frame", "robot1/o"]),
        (["publish_map_frame:=true"], ["--fixed-frame", "map"]),
        (["publish_map_frame:=true", "frame_prefix:=robot1/", "map_frame:=house"], ["--fixed-frame", "robot1/house"]),
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


def ours(value: Any) -> set[str]:
    """Return the node's topics that parameters name."""
    if isinstance(value, dict):
        return set().union(*(ours(item) for item in value.values()))
    return {value.lstrip("/")} if isinstance(value, str) and value.lstrip("/").startswith("ttt3r/") else set()


def values_of(file: str) -> dict[str, Any]:
    """Return the parameters in a file that a launch file names."""
    assert file.startswith("/share/ttt3r_ros/config/")
    document = yaml.safe_load((ROOT / file.removeprefix("/share/ttt3r_ros/")).read_text())
    (node,) = document.values()
    return node["ros__parameters"]


def test_every_launch_file_is_tried():
    assert {path.name for path in (ROOT / "launch").glob("*.launch.py")} == {"ttt3r.launch.py", *CONSUMERS}


@pytest.mark.parametrize("file", ["ttt3r.launch.py", *CONSUMERS])
def test_consumers_start_with_the_node_and_take_its_arguments(monkeypatch, file):
    remaps = {
        "image": "/front/image", "camera_info": "/calibration", "robot_odom": "/odom", "robot_imu": "/imu/data",
    }  # fmt: skip
    given = [f"{name}:={topic}" for name, topic in remaps.items()]
    launched = launch(monkeypatch, *given, "camera_pose:=0.1 0 0.3 0 0 0", "use_sim_time:=true", file=file)
    remapped = dict(launched.nodes["ttt3r_ros"]["remappings"])
    assert [remapped[name] for name in ("image", "camera_info", "~/wheel_odom", "~/imu")] == [*remaps.values()]
    assert parameters(launched)["camera_pose"] == "0.1 0 0.3 0 0 0"
    for started in launched.nodes.values():
        assert started["parameters"][-1]["use_sim_time"] is True
    assert not launched.warnings


@pytest.mark.parametrize("file", CONSUMERS)
@pytest.mark.parametrize("given", [[], ["ekf:=ekf_wheels_imu.yaml", "localization:=true"]])
def test_consumers_listen_to_topics_that_exist(monkeypatch, file, given):
    consumer = launch(monkeypatch, *given, file=file).nodes[CONSUMERS[file]]
    topics = {to for _, to in consumer.get("remappings", []) if to.startswith("ttt3r/")}
    topics |= ours(values_of(consumer["parameters"][0]))
    assert topics
    assert topics <= {f"ttt3r/{topic}" for topic in (*TOPICS, MAP_POINTS)}


@pytest.mark.parametrize("file", ["ekf.yaml", "ekf_wheels_imu.yaml"])
def test_the_filter_alone_broadcasts_the_robots_pose(monkeypatch, file):
    launched = launch(monkeypatch, f"ekf:={file}", file="ekf.launch.py")
    assert parameters(launched)["publish_tf"] is False
    values = values_of(launched.nodes["robot_localization"]["parameters"][0])
    assert values["publish_tf"] is True
    assert (values["odom_frame"], values["base_link_frame"]) == (Parameters().odom_frame, Parameters().base_frame)
    inputs = {values[name.removesuffix("_config")]: used for name, used in values.items() if name.endswith("_config")}
    assert all(len(used) == 15 for used in inputs.values())
    pose, twist = inputs[f"ttt3r/{ODOM}"][:6], inputs[f"ttt3r/{ODOM}"][6:12]
    assert all(twist)
    assert not any(pose)  # it drifts without the filter knowing it
    assert "sensor_timeout" not in values


@pytest.mark.parametrize("file", ["ekf.yaml", "ekf_wheels_imu.yaml"])
def test_the_process_noise_is_a_covariance(file):
    noise = np.reshape(values_of(f"/share/ttt3r_ros/config/{file}")["process_noise_covariance"], (15, 15))
    assert np.count_nonzero(noise) == 15
    assert (np.diag(noise) > 0).all()


def test_rtabmap_localizes_in_a_kept_map_or_starts_a_new_one(monkeypatch):
    new = launch(monkeypatch, file="rtabmap.launch.py").nodes["rtabmap_slam"]
    kept = launch(monkeypatch, "localization:=true", file="rtabmap.launch.py").nodes["rtabmap_slam"]
    assert new["arguments"] == ["--delete_db_on_start"]
    assert kept["arguments"] == []
    assert kept["parameters"][1]["Mem/IncrementalMemory"] == "false"
    values = values_of(new["parameters"][0])
    assert all(isinstance(value, str) for name, value in values.items() if "/" in name)  # as RTAB-Map demands


def test_the_scan_looks_where_the_camera_looks(monkeypatch):
    """The optical frame's z axis is the scan's x, its -x the scan's y."""
    nodes = launch(monkeypatch, "optical_frame:=lens", file="laserscan.launch.py").nodes
    arguments = nodes["tf2_ros"]["arguments"]
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    R_optical_scan = Rotation.from_quat([float(given[name]) for name in ("--qx", "--qy", "--qz", "--qw")]).as_matrix()
    np.testing.assert_allclose(R_optical_scan, [[0, -1, 0], [0, 0, -1], [1, 0, 0]], atol=1e-12)
    assert given["--frame-id"] == "lens"
    values = values_of(nodes["depthimage_to_laserscan"]["parameters"][0])
    assert given["--child-frame-id"] == values["output_frame"]


@pytest.mark.parametrize("group", DECLARED)
def test_parameters_are_those_that_the_consumer_declares(group):
    file, *names = group.split()
    values = values_of(f"/share/ttt3r_ros/config/{file}")
    for name in names:
        values = values[name]
    groups = {key.removeprefix(group).strip() for key in DECLARED if key.startswith(group)}
    assert set(values) - groups <= set(DECLARED[group].split())


@pytest.mark.parametrize(("file", "own"), OWN_ARGUMENTS.items())
def test_arguments_of_the_consumer_are_no_mistake_and_misspelt_ones_are_said(monkeypatch, file, own):
    """Without `known_arguments`, the node's file would take the consumer's for misspelt ones of its own."""
    assert not launch(monkeypatch, f"{own}:=true", file=file).warnings
    assert launch(monkeypatch, "camera_poze:=0 0 1 0 0 0", f"{own[:-1]}:=true", file=file).warnings == [
        "the launch argument 'camera_poze' is unknown and has no effect: did you mean camera_pose?",
        f"the launch argument '{own[:-1]}' is unknown and has no effect: did you mean {own}?",
    ]


def test_the_lifecycle_manager_finds_the_costmap(monkeypatch):
    """Since Jazzy, nav2_costmap_2d alone would be /costmap, and its manager would wait for /costmap/costmap."""
    nodes = launch(monkeypatch, file="costmap.launch.py").nodes
    costmap, manager = nodes["nav2_costmap_2d"], nodes["nav2_lifecycle_manager"]
    assert manager["parameters"][0]["node_names"] == [f"/{costmap['namespace']}/{costmap['name']}"]
