"""Reconstruct with nvblox on an NVIDIA GPU: ros2 launch ttt3r_ros nvblox.launch.py image:=/camera/image_raw

Starts the node too, with any argument of ttt3r.launch.py. Written from nvblox's documentation and never run.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def _share(*path) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare("ttt3r_ros"), *path])


def generate_launch_description() -> LaunchDescription:
    topics = {
        "camera_0/depth/image": "ttt3r/depth/image",
        "camera_0/depth/camera_info": "ttt3r/depth/camera_info",
        "camera_0/color/image": "ttt3r/rgb/image",
        "camera_0/color/camera_info": "ttt3r/rgb/camera_info",
    }
    arguments = [
        DeclareLaunchArgument(
            "nvblox_params", default_value=_share("config", "nvblox.yaml"), description="Parameters (YAML)."
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of both nodes."),
        DeclareLaunchArgument("use_sim_time", default_value="false", description="Take the time from /clock."),
    ]
    return LaunchDescription(
        [
            *arguments,
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(_share("launch", "ttt3r.launch.py")),
                launch_arguments=[("known_arguments", " ".join(argument.name for argument in arguments))],
            ),
            Node(
                package="nvblox_ros",
                executable="nvblox_node",
                name="nvblox_node",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                parameters=[
                    LaunchConfiguration("nvblox_params"),
                    {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)},
                ],
                remappings=list(topics.items()),
            ),
        ]
    )
