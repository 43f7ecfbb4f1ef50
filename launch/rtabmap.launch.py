"""Map, close loops and localize with RTAB-Map: ros2 launch ttt3r_ros rtabmap.launch.py image:=/camera/image_raw

Starts the node too, with any argument of ttt3r.launch.py. Publish the camera's mount (camera_pose:=...): with the
assumed one the grid is useless.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition, UnlessCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def _share(*path) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare("ttt3r_ros"), *path])


def _text(value: str) -> ParameterValue:
    """Keep launch from reading the text as a bool: RTAB-Map's own parameters are strings."""
    return ParameterValue(value, value_type=str)


def _rtabmap(condition, parameters: dict, arguments: list) -> Node:
    topics = {
        "rgb/image": "ttt3r/rgb/image",
        "rgb/camera_info": "ttt3r/rgb/camera_info",
        "depth/image": "ttt3r/depth/image",
        "odom": "ttt3r/odom",
    }
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    return Node(
        package="rtabmap_slam",
        executable="rtabmap",
        name="rtabmap",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[LaunchConfiguration("rtabmap_params"), {"use_sim_time": use_sim_time, **parameters}],
        remappings=list(topics.items()),
        arguments=arguments,
        condition=condition,
    )


def generate_launch_description() -> LaunchDescription:
    localization = LaunchConfiguration("localization")
    arguments = [
        DeclareLaunchArgument(
            "rtabmap_params", default_value=_share("config", "rtabmap.yaml"), description="Parameters (YAML)."
        ),
        DeclareLaunchArgument(
            "localization",
            default_value="false",
            description="Localize in the map of an earlier run (~/.ros/rtabmap.db, or the database_path in "
            "rtabmap_params); false deletes it and starts a new map.",
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
            _rtabmap(UnlessCondition(localization), {}, ["--delete_db_on_start"]),
            _rtabmap(
                IfCondition(localization),
                {"Mem/IncrementalMemory": _text("false"), "Mem/InitWMWithAllNodes": _text("true")},
                [],
            ),
        ]
    )
