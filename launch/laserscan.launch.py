"""Make a laser scan from the depth: ros2 launch ttt3r_ros laserscan.launch.py image:=/camera/image_raw

Starts the node too, with any argument of ttt3r.launch.py. The camera must look level: the scan lies in its plane.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

#: From the optical frame (z forward) to the frame of the scan (x forward, z up), xyzw.
ROTATION = ("0.5", "-0.5", "0.5", "0.5")


def _share(*path) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare("ttt3r_ros"), *path])


def generate_launch_description() -> LaunchDescription:
    use_sim_time = {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}
    rotation = [text for pair in zip(("--qx", "--qy", "--qz", "--qw"), ROTATION, strict=True) for text in pair]
    arguments = [
        DeclareLaunchArgument(
            "laserscan_params", default_value=_share("config", "laserscan.yaml"), description="Parameters (YAML)."
        ),
        DeclareLaunchArgument(
            "optical_frame", default_value="camera_optical_frame", description="frame_id of the camera's images."
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes."),
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
                package="tf2_ros",
                executable="static_transform_publisher",
                namespace=LaunchConfiguration("namespace"),
                arguments=[
                    "--frame-id",
                    LaunchConfiguration("optical_frame"),
                    "--child-frame-id",
                    "ttt3r_scan",
                    *rotation,
                ],
                parameters=[use_sim_time],
            ),
            Node(
                package="depthimage_to_laserscan",
                executable="depthimage_to_laserscan_node",
                name="depthimage_to_laserscan",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                parameters=[LaunchConfiguration("laserscan_params"), use_sim_time],
                remappings=[("depth", "ttt3r/depth/image"), ("depth_camera_info", "ttt3r/depth/camera_info")],
            ),
        ]
    )
