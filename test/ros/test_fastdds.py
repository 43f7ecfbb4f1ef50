from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import rclpy

from ttt3r_ros.ros.fastdds import make_room_for_images

ROOT = Path(__file__).parent.parent.parent
PROFILE = str(ROOT / "ttt3r_ros" / "ros" / "fastdds.xml")
CURRENT, OLD = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
TRANSPORTS, QOS = "FASTDDS_BUILTIN_TRANSPORTS", "RMW_FASTRTPS_USE_QOS_FROM_XML"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """An environment in which nothing is configured, and which is put back."""
    for name in (CURRENT, OLD, TRANSPORTS, QOS):
        monkeypatch.setenv(name, "")  # so that it is put back as well where it has not been set
        monkeypatch.delenv(name)
    return monkeypatch


def changed_by_it() -> dict[str, str]:
    before = dict(os.environ)
    make_room_for_images()
    assert before.items() <= os.environ.items()
    return dict(os.environ.items() - before.items())


@pytest.mark.parametrize(
    ("libraries", "variable"), [((), CURRENT), (("libfastdds.so",), CURRENT), (("libfastrtps.so",), OLD)]
)
def test_the_profile_is_named_where_this_version_looks_for_it(environment, tmp_path, libraries, variable):
    for library in libraries:
        (tmp_path / library).touch()
    environment.setenv("LD_LIBRARY_PATH", f"/nowhere:{tmp_path}:")
    assert changed_by_it() == {variable: PROFILE}


@pytest.mark.parametrize("variable", [CURRENT, OLD, TRANSPORTS, QOS])
def test_what_the_user_has_configured_stays(environment, variable):
    environment.setenv(variable, "")  # which is a choice, too
    assert changed_by_it() == {}


SEGMENTS = """
from ttt3r_ros.ros.fastdds import make_room_for_images
make_room_for_images()
import rclpy
rclpy.init()
node = rclpy.create_node("roomy")
for line in open("/proc/self/maps"):
    addresses, *_, path = line.split()
    if path.startswith("/dev/shm/fast"):
        begin, end = (int(address, 16) for address in addresses.split("-"))
        print(end - begin)
"""


@pytest.mark.dds
@pytest.mark.parametrize(("chosen", "megabytes"), [({}, range(16, 20)), ({TRANSPORTS: "DEFAULT"}, range(2))])
def test_the_room_is_there(chosen, megabytes):
    if rclpy.get_rmw_implementation_identifier() != "rmw_fastrtps_cpp":
        pytest.skip("is of Fast DDS")
    environment = {**os.environ, **chosen}
    command = [sys.executable, "-c", SEGMENTS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert max(int(line) for line in done.stdout.split()) // 2**20 in megabytes
