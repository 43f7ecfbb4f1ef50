"""The part of sensor_msgs_py that ttt3r_ros calls, for environments that lack it: see underlay/README.md."""
