from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from ttt3r_ros.evaluation.metrics import Trajectory
from ttt3r_ros.geometry import T_from_pose


def read_tum(path: Path) -> Trajectory:
    """Read a trajectory in the TUM format, ``stamp x y z qx qy qz qw``; stamps keep their nanoseconds."""
    rows = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    poses = [T_from_pose((x, y, z), (qw, qx, qy, qz)) for x, y, z, qx, qy, qz, qw in (map(float, r[1:]) for r in rows)]
    return Trajectory.from_transforms([int(Decimal(row[0]).scaleb(9)) for row in rows], poses)
