"""Installs the ROS packages that PyPI lacks into the running virtual environment: see README.md.

A package that can already be imported is skipped. The rest is installed as one distribution, so that
``pip uninstall ttt3r-ros-underlay`` removes it.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import compilers
import interfaces

HERE = Path(__file__).parent
DISTRIBUTION = "ttt3r-ros-underlay"
TF2_MSGS = interfaces.MessagePackage(
    "tf2_msgs", "0.1.0", HERE / "tf2_msgs", ("geometry_msgs", "std_msgs", "builtin_interfaces")
)
PYTHON_PIECES = ("tf2_ros", "cv_bridge", "sensor_msgs_py")


def main() -> int:
    """Installs what is missing. Returns the exit status."""
    if sys.prefix == sys.base_prefix:
        print("error: run this with the Python of a virtual environment; it installs nowhere else", file=sys.stderr)
        return 2
    try:
        install()
    except subprocess.CalledProcessError as error:
        print(
            f"error: {Path(error.cmd[0]).name} failed while installing the underlay:\n{error.output}", file=sys.stderr
        )
        return 1
    return 0


def install() -> None:
    """Replaces any earlier underlay in this environment by one with the packages that are missing now.

    Raises:
        subprocess.CalledProcessError: A compiler or pip failed; ``output`` holds what it said.
    """
    missing = [name for name in (TF2_MSGS.name, *PYTHON_PIECES) if not _is_real(name)]
    _pip("uninstall", "--yes", DISTRIBUTION)
    if not missing:
        return
    with tempfile.TemporaryDirectory(dir=sys.prefix, prefix="underlay-") as folder:
        stage = Path(folder)
        (stage / "site").mkdir()
        for name in missing:
            if name in PYTHON_PIECES:
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(HERE / "python" / name, stage / "site" / name, ignore=ignored)
        if TF2_MSGS.name in missing:
            _build_tf2_msgs(stage)
        shutil.copy(HERE / "distribution.py", stage / "setup.py")
        _say(f"installing {', '.join(missing)}")
        _pip("install", "--no-build-isolation", "--no-deps", "--no-index", "--no-cache-dir", str(stage))


def _is_real(name: str) -> bool:
    """Returns whether ``name`` can be imported from elsewhere than an earlier underlay, and prints it if so."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or spec.origin in _files_of_earlier_underlay():
        return False
    _say(f"{name} is already installed in {Path(spec.origin).parent} and is left unchanged")
    return True


def _files_of_earlier_underlay() -> set[str]:
    try:
        return {str(file.locate()) for file in metadata.files(DISTRIBUTION) or ()}
    except metadata.PackageNotFoundError:
        return set()


def _build_tf2_msgs(stage: Path) -> None:
    chosen = compilers.find_on_system()
    if chosen is None:
        _say("found no C++ compiler; downloading one (90 MB) for this step, which takes a minute or two")
        chosen = compilers.install_from_pypi(stage / "compiler")
    _say(f"generating tf2_msgs and compiling it with {Path(chosen.cpp[0]).name}")
    interfaces.build(TF2_MSGS, chosen, stage / "work", stage / "prefix", stage / "site")


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _say(sentence: str) -> None:
    print(f"underlay: {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
