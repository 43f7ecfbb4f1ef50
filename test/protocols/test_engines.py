"""A worker that is killed in the middle loses nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

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


def test_processes_lose_nothing(tmp_path):
    jobs = [(number, str(tmp_path)) for number in range(6)]
    found = list(in_processes(jobs, squared, 2))
    assert sorted(found) == [(job, job[0] ** 2) for job in jobs]
    assert (tmp_path / "killed").exists()


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
