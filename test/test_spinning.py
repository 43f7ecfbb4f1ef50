from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPT = """
import os, sys
import {module}
at_torch = "torch" in sys.modules
print(os.environ["GOMP_SPINCOUNT"], at_torch)
"""


def run(module: str, **environment: str) -> list[str]:
    """Return GOMP_SPINCOUNT as a fresh process has it after importing a module, and whether torch was loaded."""
    variables = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"} | environment
    command = [sys.executable, "-c", SCRIPT.format(module=module)]
    result = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    return result.stdout.split()


def test_it_is_set_before_torch_is_loaded():
    """By the package itself, which Python imports before any module of it."""
    assert run("ttt3r_ros") == ["10000", "False"]


def test_the_users_own_setting_stays():
    assert run("ttt3r_ros", GOMP_SPINCOUNT="5") == ["5", "False"]
