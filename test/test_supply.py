"""What the package is built on: pinned with hashes, licensed, and no more of it in the node than it needs."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "requirements"
LISTS = sorted(REQUIREMENTS.glob("*.txt"))

sys.path.insert(0, str(REQUIREMENTS))

import licenses  # noqa: E402  # the line above finds it


def requirements(path: Path) -> list[str]:
    """Return the requirements of a file, each in one line with its hashes."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_everything_is_pinned_with_hashes(path):
    found = requirements(path)
    assert found
    for requirement in found:
        assert re.match(r"[a-z0-9-]+==[\w.+]+ ", requirement), requirement
        hashes = re.findall(r"--hash=(\S+)", requirement)
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", item) for item in hashes), requirement


def test_every_list_of_wishes_has_its_pins():
    for wishes in REQUIREMENTS.glob("*.in"):
        pinned = set(licenses.pins(wishes.stem))
        for line in wishes.read_text().splitlines():
            if name := re.match(r"[a-z][a-z0-9-]*", line):
                assert name[0] in pinned, f"{name[0]} of {wishes.name} is not resolved: run `make lock`"


def test_the_torch_without_cuda_is_the_same_torch():
    (version,) = licenses.pins("torch")["torch"]
    assert licenses.pins("torch-cpu") == {"torch": [f"{version}+cpu"]}
    known = re.search(r"^# known: (.*)$", (REQUIREMENTS / "torch-cpu.txt").read_text(), flags=re.MULTILINE)
    assert known
    (requirement,) = requirements(REQUIREMENTS / "torch-cpu.txt")
    assert requirement.count("--hash=") == len(known[1].split())


def test_what_is_installed_is_what_is_pinned():
    pinned: dict[str, set[str]] = {}
    for path in LISTS:
        for name, versions in licenses.pins(path.stem).items():
            pinned.setdefault(name, set()).update(versions)
    if not Path(sys.prefix, "fingerprint").exists():
        pytest.skip("this is not the environment that requirements/install.sh makes")
    for name in (
        "torch",
        "numpy",
        "opencv-python-headless",
        "safetensors",
        "ros-rclpy",
        "evo",
        "rosbags",
    ):
        assert metadata.version(name) in pinned[name]


def test_a_folder_with_the_packages_name_does_not_hide_it(tmp_path: Path):
    """As the clone does from the folder above it."""
    if not Path(sys.prefix, "fingerprint").exists():
        pytest.skip("this is not the environment that requirements/install.sh makes")
    (tmp_path / "ttt3r_ros").mkdir()
    command = [sys.executable, "-c", "import ttt3r_ros; print(ttt3r_ros.__version__)"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_setup_says_how_far_it_has_unpacked(tmp_path: Path):
    names = "installed|tick|condense"
    functions = f"source <(sed -nE '/^({names})[(][)] [{{]/,/^[}}]/p' requirements/install.sh)"
    command = ["bash", "-euo", "pipefail", "-c", f"{functions}; venv={tmp_path}; tick 0.2 | condense"]
    (packages := tmp_path / "lib" / "python3" / "site-packages").mkdir(parents=True)
    (packages / "pip-26.dist-info").mkdir()
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as setup:
        assert setup.stdin
        assert setup.stdout
        said = iter(setup.stdout)
        setup.stdin.write("Collecting one\nInstalling collected packages: one, two, three\n")
        setup.stdin.flush()
        assert next(said).strip() == "unpacking 3 packages, which takes a minute or two"
        assert next(said).strip() == "0 of 3 packages unpacked"
        (packages / "one-1.dist-info").mkdir()
        assert any(line.strip() == "1 of 3 packages unpacked" for line in said)
        setup.stdin.close()
        assert all("unpacked" in line for line in said)
    assert setup.returncode == 0


def test_the_licenses_are_listed_and_up_to_date():
    if not Path(sys.prefix, "share", "rclpy", "package.xml").exists():
        pytest.skip("the ROS packages' licenses are read from the pip environment")
    listed = licenses.TARGET.read_text()
    for name in licenses.LISTS:
        for package, versions in licenses.pins(name).items():
            assert f"| {package} | {', '.join(versions)} |" in listed, f"run `make licenses`: {package} is not listed"
            assert licenses.license_of(package), package


@pytest.mark.slow
def test_the_node_imports_nothing_that_it_does_not_need():
    script = "import sys, ttt3r_ros.ros.run, ttt3r_ros.ros.tracking; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = set(run.stdout.split())
    core = {f"ttt3r_ros.{name}" for name in ("stream.segments", "stream.odometry", "weights.load")}
    assert {"torch", "rclpy", *core} <= modules
    imported = {name.partition(".")[0] for name in modules}
    # evo is under the GPL; the others are heavy, and for the demo, the player and the tests
    assert not imported & {"evo", "matplotlib", "pandas", "scipy", "seaborn", "rosbags", "rich", "pytest", "hypothesis"}
