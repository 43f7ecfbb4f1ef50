"""Make Nav2's costmap from the cloud: ros2 launch ttt3r_ros costmap.launch.py image:=/camera/image_raw

Starts the node too, with any argument of ttt3r.launch.py but namespace. The costmap runs alone here, to look at; to
navigate, copy the layer in config/costmap.yaml into your local_costmap.
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
    use_sim_time = {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}
    arguments = [
        DeclareLaunchArgument(
            "costmap_params", default_value=_share("config", "costmap.yaml"), description="Parameters (YAML)."
        ),
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
                package="nav2_costmap_2d",
                executable="nav2_costmap_2d",
                # without both, it is /costmap/costmap on Humble and /costmap since Jazzy
                name="costmap",
                namespace="costmap",
                output="screen",
                parameters=[LaunchConfiguration("costmap_params"), use_sim_time],
            ),
            Node(
                package="nav2_lifecycle_manager",
                executable="lifecycle_manager",
                name="lifecycle_manager_costmap",
                output="screen",
                parameters=[
                    # a costmap alone has no bond
                    {"autostart": True, "bond_timeout": 0.0, "node_names": ["/costmap/costmap"], **use_sim_time}
                ],
            ),
        ]
    )
