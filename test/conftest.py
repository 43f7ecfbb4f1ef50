"""Tests have their own ROS domain and never leave this computer."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ttt3r_ros.ros.domain import free_domain

sys.path.insert(0, str(Path(__file__).parent))

# as the node does it, see docs/adr/0007: nodes under test and this process share the cores
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(free_domain())
