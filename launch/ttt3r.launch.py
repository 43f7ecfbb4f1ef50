"""Start the node `ttt3r` and optionally RViz: ros2 launch ttt3r_ros ttt3r.launch.py image:=/camera/image_raw"""

import difflib

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

#: Arguments that are also parameters of the node. Empty ones do not override the parameters file.
PARAMETERS = (
    "weights",
    "device",
    "image_transport",
    "odom_frame",
    "base_frame",
    "camera_frame",
    "frame_prefix",
    "camera_pose",
    "publish_tf",
    "autostart",
    "publish_map_frame",
    "map_frame",
    "load_map_at_start",
    "localization_only",
)
BOOLEANS = ("publish_tf", "autostart", "publish_map_frame", "load_map_at_start", "localization_only")
#: What the robot knows: topics of the node and the arguments that remap them.
ROBOT_TOPICS = {"~/wheel_odom": "robot_odom", "~/imu": "robot_imu"}
ARGUMENTS = {
    "image": ("image", "Image topic of the camera."),
    "camera_info": (
        "",
        "CameraInfo topic of the camera; empty: camera_info beside the image, as drivers publish it. Without one the "
        "focal length is estimated.",
    ),
    "robot_odom": ("", "Odometry topic of the robot's wheels or legs, for the node's scale; empty: ~/wheel_odom."),
    "robot_imu": ("", "Topic of the robot's IMU, for the node's level; empty: ~/imu."),
    "weights": ("", "Weights file: .safetensors, or a published .pth; empty: as in the parameters file."),
    "device": (
        "",
        "Where the network runs: auto (a GPU if there is one), cpu, cuda or cuda:N; empty: as in the parameters file.",
    ),
    "image_transport": (
        "",
        "Subscribe to the topic image (raw) or image/compressed (compressed); empty: as in the parameters file.",
    ),
    "odom_frame": ("", "Frame of the odometry: x forward, y left, z up; empty: as in the parameters file."),
    "base_frame": ("", "Frame of the robot; empty: as in the parameters file."),
    "camera_frame": ("", "Optical frame of images whose frame_id is empty; empty: as in the parameters file."),
    "frame_prefix": (
        "",
        "Prefix of these frames, as in robot_state_publisher: robot1/ turns odom into robot1/odom. For several "
        "robots on one /tf; empty: as in the parameters file.",
    ),
    "camera_pose": (
        "",
        "Mount of the camera if TF has none: x y z roll pitch yaw of the camera (x forward, y left, z up) in "
        "base_frame [m, rad], published on /tf_static at once; empty: as in the parameters file.",
    ),
    "publish_tf": (
        "",
        "Broadcast odom_frame -> base_frame on /tf. Set to false if another node (robot_localization) broadcasts it; "
        "empty: as in the parameters file.",
    ),
    "autostart": (
        "",
        "Configure and activate at startup. Set to false if a lifecycle manager (such as Nav2's) does that; empty: as "
        "in the parameters file.",
    ),
    "publish_map_frame": (
        "",
        "Recognize places, take the odometry's drift back, and broadcast map_frame -> odom_frame on /tf. Needs GTSAM "
        "4.3 and Python 3.11 or newer; empty: as in the parameters file.",
    ),
    "map_frame": ("", "Frame of the map of places, with publish_map_frame; empty: as in the parameters file."),
    "load_map_at_start": (
        "",
        "Load the saved map of places at startup if it exists; empty: as in the parameters file.",
    ),
    "localization_only": (
        "",
        "Find the camera in a loaded map of places without adding anything to it; empty: as in the parameters file.",
    ),
    "namespace": ("", "Namespace of the node; one per robot or camera."),
    "use_sim_time": ("false", "Take the time from /clock."),
    "log_level": ("info", "debug, info, warn, error or fatal."),
    "rviz": ("false", "Start RViz with a view of TF, path, cloud, map, depth and confidence."),
    "params_file": (None, "Parameters of the node (YAML)."),
}


#: What a launch file that includes this one says of its own arguments: their names.
KNOWN = "known_arguments"


def _share(*path: str) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare("ttt3r_ros"), *path])


def _warn_of_unknown(context):
    """Name arguments that have no effect; launch itself ignores them silently."""
    given = {argument.partition(":=")[0] for argument in context.argv if ":=" in argument}
    known = {*ARGUMENTS, *context.launch_configurations.get(KNOWN, "").split()}
    unknown = set(context.launch_configurations) - known - {KNOWN}
    if not unknown <= given:  # another launch file, which does not say so, includes this one
        return
    for name in sorted(unknown):
        close = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {close[0]}?" if close else "parameters of the node go into params_file"
        get_logger("ttt3r.launch.py").warning(f"the launch argument '{name}' is unknown and has no effect: {advice}")


def _beside(image: str) -> str:
    """Return the topic of the camera_info that belongs to an image topic, as image_transport names it."""
    return image.rpartition("/")[0] + "/camera_info" if "/" in image else "camera_info"


def _nodes(context):
    """Return the node, and RViz if wanted."""
    _warn_of_unknown(context)
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    overrides = {
        name: ParameterValue(LaunchConfiguration(name), value_type=bool if name in BOOLEANS else str)
        for name in PARAMETERS
        if given[name]
    }
    use_sim_time = {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}
    view = ["-d", _share("config", "ttt3r.rviz")]
    has_map = given["publish_map_frame"].lower() == "true"
    fixed = (given["map_frame"] or "map") if has_map else (given["odom_frame"] or "odom")
    if has_map or given["frame_prefix"] or given["odom_frame"]:
        prefix = "" if fixed.startswith(given["frame_prefix"]) else given["frame_prefix"]
        view += ["--fixed-frame", prefix + fixed]
    logger = ".".join([*given["namespace"].strip("/").split("/"), "ttt3r"]).lstrip(".")
    return [
        Node(
            package="ttt3r_ros",
            executable="ttt3r",
            name="ttt3r",
            namespace=given["namespace"],
            output="screen",
            emulate_tty=True,
            parameters=[given["params_file"], {**overrides, **use_sim_time}],
            remappings=[
                ("image", given["image"]),
                ("camera_info", given["camera_info"] or _beside(given["image"])),
                *((topic, given[name]) for topic, name in ROBOT_TOPICS.items() if given[name]),
            ],
            arguments=["--ros-args", "--log-level", f"{logger}:={given['log_level']}"],
        ),
        Node(
            package="rviz2",
            executable="rviz2",
            namespace=given["namespace"],
            arguments=view,
            parameters=[use_sim_time],
            condition=IfCondition(LaunchConfiguration("rviz")),
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    name,
                    default_value=_share("config", "ttt3r.yaml") if default is None else default,
                    description=description,
                )
                for name, (default, description) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=_nodes),
        ]
    )
