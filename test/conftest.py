"""Tests have their own ROS domain and never leave this computer."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ttt3r_ros.ros.domain import free_domain

sys.path.insert(0, str(Path(__file__).parent))

# as the node does it, see docs/adr/0007: nodes under test and this process share the cores
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(free_domain())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m gpu`` look only into files that have such tests, so that they need neither ROS nor evo."""
    if config.option.markexpr != "gpu":
        return None
    files = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    return None if any("mark.gpu" in path.read_text(encoding="utf-8") for path in files) else True
