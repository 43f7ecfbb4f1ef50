"""Start the node `ttt3r` and optionally RViz: ros2 launch ttt3r_ros ttt3r.launch.py image:=/camera/image_raw"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

#: Arguments that are also parameters of the node.
PARAMETERS = ("weights", "device")
ARGUMENTS = {
    "image": ("image", "Image topic of the camera."),
    "camera_info": ("camera_info", "CameraInfo topic of the camera; without one the focal length is estimated."),
    "weights": ("", "Weights file: .safetensors, or a published .pth; empty: as in the parameters file."),
    "device": (
        "",
        "Where the network runs: auto (a GPU if there is one), cpu, cuda or cuda:N; empty: as in the parameters file.",
    ),
    "namespace": ("", "Namespace of the node; one per robot or camera."),
    "use_sim_time": ("false", "Take the time from /clock."),
    "log_level": ("info", "debug, info, warn, error or fatal."),
    "rviz": ("false", "Start RViz with a view of TF, path, cloud, depth and confidence."),
}


def _share(*path: str) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare("ttt3r_ros"), *path])


def _node(context):
    """Return the node; empty arguments do not override the parameters file."""
    overrides = {
        name: ParameterValue(LaunchConfiguration(name), value_type=str)
        for name in PARAMETERS
        if LaunchConfiguration(name).perform(context)
    }
    logger = ".".join([*LaunchConfiguration("namespace").perform(context).strip("/").split("/"), "ttt3r"]).lstrip(".")
    overrides["use_sim_time"] = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    return [
        Node(
            package="ttt3r_ros",
            executable="ttt3r",
            name="ttt3r",
            namespace=LaunchConfiguration("namespace"),
            output="screen",
            emulate_tty=True,
            parameters=[LaunchConfiguration("params_file"), overrides],
            remappings=[
                ("image", LaunchConfiguration("image")),
                ("camera_info", LaunchConfiguration("camera_info")),
            ],
            arguments=["--ros-args", "--log-level", [f"{logger}:=", LaunchConfiguration("log_level")]],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value=_share("config", "ttt3r.yaml"),
                description="Parameters of the node (YAML).",
            ),
            OpaqueFunction(function=_node),
            Node(
                package="rviz2",
                executable="rviz2",
                namespace=LaunchConfiguration("namespace"),
                arguments=["-d", _share("config", "ttt3r.rviz")],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
