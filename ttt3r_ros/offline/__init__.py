"""A recording put through the stream from end to end, in pieces if need be, and what is left in a folder. No ROS."""
