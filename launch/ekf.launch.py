"""Fuse the odometry with robot_localization: ros2 launch ttt3r_ros ekf.launch.py image:=/camera/image_raw

Starts the node too, with any argument of ttt3r.launch.py. With wheels and an IMU: ekf:=ekf_wheels_imu.yaml
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
    arguments = [
        DeclareLaunchArgument(
            "ekf",
            default_value="ekf.yaml",
            description="Parameters of the filter: ekf.yaml, ekf_wheels_imu.yaml, or the full path of a file.",
        ),
        DeclareLaunchArgument("wheel_odom", default_value="wheel_odom", description="Odometry topic of the wheels."),
        DeclareLaunchArgument("imu", default_value="imu/data", description="Topic of the IMU."),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of both nodes."),
        DeclareLaunchArgument("use_sim_time", default_value="false", description="Take the time from /clock."),
    ]
    return LaunchDescription(
        [
            *arguments,
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(_share("launch", "ttt3r.launch.py")),
                # the filter broadcasts odom -> base_link
                launch_arguments=[
                    ("publish_tf", "false"),
                    ("known_arguments", " ".join(argument.name for argument in arguments)),
                ],
            ),
            Node(
                package="robot_localization",
                executable="ekf_node",
                name="ekf_filter_node",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                parameters=[
                    _share("config", LaunchConfiguration("ekf")),
                    {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)},
                ],
                remappings=[
                    ("wheel_odom", LaunchConfiguration("wheel_odom")),
                    ("imu/data", LaunchConfiguration("imu")),
                ],
            ),
        ]
    )
