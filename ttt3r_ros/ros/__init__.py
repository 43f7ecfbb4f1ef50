"""The ROS edge: nodes, messages, parameters. Nothing outside this folder imports ROS."""
