"""Recognizes places and takes drift back: keyframes, candidates, their verification, a pose graph, the map's file.

`PlaceMap` is the whole of it: frames in, the transform from the odometry's frame to the map's out. No ROS.
"""
