"""Processes a whole recording, resuming after interruptions, and writes the results to a folder. No ROS."""
