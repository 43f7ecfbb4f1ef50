"""Adds to the running virtual environment what PyPI lacks of ROS: see README.md.

Every piece is skipped where a real one can be imported. All of it goes in as one distribution, so that
``pip uninstall ttt3r-ros-underlay`` takes it out again.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from interfaces import Compilers, MessagePackage, build

HERE = Path(__file__).parent
DISTRIBUTION = "ttt3r-ros-underlay"
TF2_MSGS = MessagePackage("tf2_msgs", "0.1.0", HERE / "tf2_msgs", ("geometry_msgs", "std_msgs", "builtin_interfaces"))
PYTHON_PIECES = ("tf2_ros", "cv_bridge", "sensor_msgs_py")


class CannotInstallError(Exception):
    """A sentence for the user: what is missing, and what to do."""


def main() -> int:
    """Installs what is missing. Returns the exit status."""
    if sys.prefix == sys.base_prefix:
        print("error: run this with the python of a virtual environment: nothing else is touched", file=sys.stderr)
        return 2
    try:
        install()
    except CannotInstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def install() -> None:
    """Replaces an earlier underlay in this environment by one that holds the pieces that are missing now."""
    missing = [name for name in (TF2_MSGS.name, *PYTHON_PIECES) if not _is_real(name)]
    with tempfile.TemporaryDirectory(dir=sys.prefix, prefix="underlay-") as folder:
        stage = Path(folder)
        (stage / "site").mkdir()
        for name in missing:
            if name == TF2_MSGS.name:
                print(f"underlay: generating and compiling {name}", flush=True)
                _build_tf2_msgs(stage)
            else:
                shutil.copytree(HERE / "python" / name, stage / "site" / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "distribution.py", stage / "setup.py")
        print(f"underlay: installing {', '.join(missing) or 'nothing, everything is there'}", flush=True)
        _pip("uninstall", "--yes", DISTRIBUTION)
        if missing:
            _pip("install", "--no-build-isolation", "--no-deps", "--no-index", "--no-cache-dir", str(stage))


def _is_real(name: str) -> bool:
    """Whether ``name`` can be imported from elsewhere than an earlier underlay; says so."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return False
    try:
        ours = {str(metadata.distribution(DISTRIBUTION).locate_file(file)) for file in metadata.files(DISTRIBUTION) or ()}
    except metadata.PackageNotFoundError:
        ours = set()
    if spec.origin in ours:
        return False
    print(f"underlay: {name} is here already ({Path(spec.origin).parent}): left as it is", flush=True)
    return True


def _build_tf2_msgs(stage: Path) -> None:
    try:
        build(TF2_MSGS, find_compilers(), stage / "work", stage / "prefix", stage / "site")
    except subprocess.CalledProcessError as error:
        raise CannotInstallError(f"compiling tf2_msgs failed: {shlex.join(error.cmd[:1])} said\n{error.output}") from error


def find_compilers() -> Compilers:
    """Finds a C and a C++ compiler, $CC and $CXX first.

    Raises:
        CannotInstallError: There is none.
    """
    c = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    cpp = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not c or not cpp:
        raise CannotInstallError("no C++ compiler was found: `sudo apt install g++` (or the like) and run this again")
    return Compilers(tuple(shlex.split(c)), tuple(shlex.split(cpp)))


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        raise CannotInstallError(f"pip {arguments[0]} failed:\n{result.stdout}")


if __name__ == "__main__":
    sys.exit(main())
