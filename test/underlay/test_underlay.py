"""How the underlay gets into an environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

UNDERLAY = Path(__file__).parents[2] / "underlay"


def run(code: str, **environment: str) -> str:
    """What ``code`` prints when run beside the installer, in an environment of its own."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(UNDERLAY), **environment}
    command = [sys.executable, "-B", "-c", code]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_a_package_that_is_already_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cv_bridge").mkdir()
    (tmp_path / "cv_bridge" / "__init__.py").touch()
    out = run("import install; print(install._is_real('cv_bridge'))", PYTHONPATH=f"{tmp_path}:{UNDERLAY}")
    assert out.endswith("True\n")
    assert f"cv_bridge is already installed in {tmp_path / 'cv_bridge'}" in out


def test_what_an_earlier_underlay_brought_is_replaced() -> None:
    ours = "import install; print(any(f.endswith('/cv_bridge/core.py') for f in install._files_of_earlier_underlay()))"
    if run(ours) != "True\n":
        pytest.skip("this environment has no underlay")
    assert run("import install; print(install._is_real('cv_bridge'))") == "False\n"


def test_nothing_is_installed_outside_a_virtual_environment() -> None:
    base_python = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    result = subprocess.run([base_python, "-B", UNDERLAY / "install.py"], capture_output=True, text=True, env={})
    assert result.returncode == 2
    assert result.stderr.startswith("error: run this with the Python of a virtual environment")


def test_a_compiler_that_does_not_work_is_passed_over(tmp_path: Path) -> None:
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    code = "import compilers; print(compilers.find_on_system())"
    assert str(broken) not in run(code, CXX=str(broken), CC=str(broken))
    (tmp_path / "gcc").symlink_to(broken)
    assert run(code, PATH=str(tmp_path)) == "None\n"


def test_ros_workspaces_do_not_see_the_underlay() -> None:
    assert (UNDERLAY / "COLCON_IGNORE").exists()
    assert not list(UNDERLAY.rglob("package.xml"))
