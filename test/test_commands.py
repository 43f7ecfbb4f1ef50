"""The commands where a library is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE

from ttt3r_ros import __version__

ROOT = Path(__file__).parents[1]

SCRIPT = """
import sys
missing, command = sys.argv[1:3]

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
from ttt3r_ros import commands
del sys.argv[1:3]
sys.exit(getattr(commands, command)())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "command", "arguments"),
    [
        ("cv_bridge", "ttt3r", []),
        ("torch", "ttt3r", []),
        ("cv_bridge", "play", ["synthetic"]),
        ("rclpy", "demo", []),
        ("tf2_ros", "view", []),
        ("torch", "reconstruct", ["synthetic", "--output", "nowhere"]),
        ("torch", "fetch_weights", ["--check", "ttt3r_ros/data/small.safetensors"]),
    ],
)
def test_a_missing_library_is_one_sentence(missing: str, command: str, arguments: list[str]):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, missing, command, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert run.returncode == 2, run.stderr
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"error: the Python module '{missing}' is missing: ")
    assert run.stdout == (f"{command}: starting\n" if command in ("ttt3r", "play", "view") else "")


@pytest.mark.slow
def test_programs_beside_the_node_do_without_torch():
    """Which takes seconds and 200 MB."""
    script = "import sys; from ttt3r_ros.ros.tools import call, demo, play, view; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_every_command_that_is_installed_exists():
    (names,) = re.findall(r"for name in \(([^)]*)\)", (ROOT / "setup.py").read_text())
    from ttt3r_ros import commands

    for name in re.findall(r'"(\w+)"', names):
        assert callable(getattr(commands, name))


#: Calls a command twice in one process; for each call a line with its exit status and what it printed last.
CALLS = """
import contextlib, io, sys
from ttt3r_ros import commands
for name in sys.argv[1:]:
    needed = {"play": ["synthetic"], "reconstruct": ["synthetic", "--output", "out"]}.get(name, [])
    for option in ("--version", "--no-such-option"):
        sys.argv = [name, *needed, option]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                status = getattr(commands, name)()
            except SystemExit as end:
                status = end.code
        print(name, status, said.getvalue().strip().splitlines()[-1])
        assert option != "--version" or len(said.getvalue().splitlines()) == 1
"""


@pytest.mark.slow
def test_every_command_has_a_version_and_refuses_what_it_does_not_know():
    names = ["ttt3r", "play", "view", "call", "demo", "reconstruct", "evaluate", "fetch_weights"]
    command = [sys.executable, "-c", CALLS, *names]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = iter(run.stdout.splitlines())
    for name, version, unknown in zip(names, lines, lines, strict=True):
        assert version == f"{name} 0 {name} of ttt3r_ros {__version__}"
        assert unknown.startswith(f"{name} 2 ")
        assert unknown.endswith("unrecognized arguments: --no-such-option")


#: Calls programs that have a mistake in their arguments, in a process that cannot import torch.
MISTAKES = """
import contextlib, importlib, io, sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
for name in sys.argv[1:]:
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            importlib.import_module(name).main(["--no-such-option"])
        except (SystemExit, ImportError) as end:
            print(name, end)
"""

#: Parts of other programs, and programs whose arguments only torch can tell.
OTHERS = {"benchmark.bare_node", "benchmark.timed_node", "benchmark.parity", "benchmark.step", "training.confidence"}


@pytest.mark.slow
def test_benchmarks_and_training_say_mistakes_before_torch_is_loaded():
    files = [file for folder in ("benchmark", "training") for file in sorted((ROOT / folder).glob("*.py"))]
    names = {f"{file.parent.name}.{file.stem}" for file in files if '__name__ == "__main__"' in file.read_text()}
    names -= OTHERS
    assert len(names) > 20
    command = [sys.executable, "-c", MISTAKES, *sorted(names)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [f"{name} 2" for name in sorted(names)]  # the status of a wrong command line
