"""The ROS edge: nodes, messages, parameters. Nothing outside this folder imports ROS."""

import os

# Torch's threads (GNU OpenMP) wait for each other by spinning, some milliseconds long. On a robot whose cores are busy
# with other processes a spinning thread keeps the core from the very thread it waits for, and a frame takes 20 times as
# long. Spinning for some microseconds only costs an idle machine nothing; read once, when torch is loaded (ADR 7).
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
