"""A worker that is killed in the middle loses nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from waiting import PATIENCE, wait_until

from ttt3r_ros.errors import UserError
from ttt3r_ros.protocols.engines import in_processes, on_ray


def squared(job: tuple[int, str]) -> int:
    """Return a square; the first time that 3 is asked for, the process is killed instead."""
    number, folder = job
    marker = Path(folder) / "killed"
    if number == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def killed(job: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return job


@pytest.mark.slow
def test_processes_lose_nothing(tmp_path):
    jobs = [(number, str(tmp_path)) for number in range(6)]
    found = list(in_processes(jobs, squared, 2))
    assert sorted(found) == [(job, job[0] ** 2) for job in jobs]
    assert (tmp_path / "killed").exists()


@pytest.mark.slow
def test_processes_that_always_die_are_told():
    with pytest.raises(UserError, match="die again and again"):
        list(in_processes([1], killed, 1))


@pytest.mark.slow
def test_ray_loses_nothing(tmp_path):
    pytest.importorskip("ray", reason="the optional extra ray is not installed")

    def work(job):  # Ray carries it to workers that know nothing of this file
        import os
        import signal
        from pathlib import Path

        number, folder = job
        marker = Path(folder) / "killed"
        if number == 3 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2

    jobs = [(number, str(tmp_path)) for number in range(6)]
    found = list(on_ray(jobs, work, workers=2))
    assert sorted(found) == [(job, job[0] ** 2) for job in jobs]
    assert (tmp_path / "killed").exists()


def test_a_cluster_that_is_not_there_is_told():
    pytest.importorskip("ray", reason="the optional extra ray is not installed")
    with pytest.raises(UserError, match="there is no Ray cluster at auto"):
        list(on_ray([1], abs, address="auto"))


@pytest.mark.slow
def test_a_cluster_that_runs_already_is_used_and_left_running(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray = pytest.importorskip("ray", reason="the optional extra ray is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--head",
        "--block",
        "--num-cpus=2",
        f"--port={port}",
        "--include-dashboard=false",
        "--disable-usage-stats",
    ]
    folder = tempfile.mkdtemp(prefix="ray")  # short, since the paths of its sockets may not be long
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, f"--temp-dir={folder}"]
    with (tmp_path / "log").open("w") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def work(job: int) -> int:
        return job**2

    try:
        for _ in range(2):  # the second time finds it as the first one did
            wait_for_port(port, head)
            found = list(on_ray(range(6), work, address=f"127.0.0.1:{port}"))
            assert sorted(found) == [(number, number**2) for number in range(6)]
            assert not ray.is_initialized()
            assert head.poll() is None
    finally:
        if head.poll() is None:
            os.killpg(head.pid, signal.SIGTERM)
        head.wait(timeout=PATIENCE)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    def is_open() -> bool:
        assert process.poll() is None
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    wait_until(is_open, "the cluster's head")
