"""ttt3r_ros: odometry, metric depth and a coloured point cloud from one camera."""

__version__ = "0.1.0"
