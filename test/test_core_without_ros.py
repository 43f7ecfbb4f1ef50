from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

SCRIPT = """
import importlib, pkgutil, sys

class NoROS:
    ROS = ("rclpy", "tf2_", "cv_bridge", "ament_", "rcl_interfaces", "builtin_interfaces", "rosidl_", "launch")
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0].startswith(self.ROS) or name.split(".")[0].endswith(("_msgs", "_srvs", "_msgs_py")):
            raise ModuleNotFoundError(f"no ROS here: {name}")

sys.meta_path.insert(0, NoROS())
try:
    import rclpy
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the block does not work")
import ttt3r_ros
modules = pkgutil.walk_packages(ttt3r_ros.__path__, "ttt3r_ros.")
names = [module.name for module in modules if not module.name.startswith("ttt3r_ros.ros")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)

assert "gtsam" not in sys.modules, "a map that is off imports it"

import numpy as np
import ttt3r_ros
stream = ttt3r_ros.load("small", max_speed=0.0, max_turn_rate=0.0)
for seed in range(2):
    image = np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    result = stream.process(image, seed * 10**8)
assert np.isfinite(result.motion.T_odom_base).all() and np.isfinite(result.estimate.depth).all()
print(len(names))
"""


@pytest.mark.slow
def test_the_core_imports_and_works_where_no_ros_is_installed_and_without_gtsam():
    run = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 15
