"""Names of what the node publishes, below its own, for the node and those who listen to it."""

from __future__ import annotations

from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

ODOM, PATH = "odom", "path"
RGB, RGB_INFO = "rgb/image", "rgb/camera_info"
DEPTH, DEPTH_INFO = "depth/image", "depth/camera_info"
CONFIDENCE, POINT_CLOUD = "confidence/image", "points"
MAP_POINTS = "map_points"
LOCALIZATION_POSE, MAP_PATH, POSE_GRAPH = "localization_pose", "map_path", "pose_graph"

STATE_DEPTH = 10  #: history depth of odometry and path, for consumers that synchronize by stamp
DENSE_DEPTH = 5  #: history depth of images and clouds
#: Topics of every frame, with their type and history depth.
TOPICS = {
    ODOM: (Odometry, STATE_DEPTH),
    PATH: (Path, STATE_DEPTH),
    RGB: (Image, DENSE_DEPTH),
    RGB_INFO: (CameraInfo, DENSE_DEPTH),
    DEPTH: (Image, DENSE_DEPTH),
    DEPTH_INFO: (CameraInfo, DENSE_DEPTH),
    CONFIDENCE: (Image, DENSE_DEPTH),
    POINT_CLOUD: (PointCloud2, DENSE_DEPTH),
}
