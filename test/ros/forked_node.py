"""The node as a fork of a process that has imported torch and ROS, which takes a fresh process seconds."""

from __future__ import annotations

import math
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["ttt3r_ros.ros.run", "ttt3r_ros.ros.tracking"])


class ForkedNode:
    """Has what tests use of `subprocess.Popen`."""

    def __init__(self, arguments: list[str], log: Path, folder: Path, environment: dict[str, str]) -> None:
        self._process = _FORKS.Process(target=_run, args=(arguments, log, folder, environment), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("the node", timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _run(arguments: list[str], log: Path, folder: Path, environment: dict[str, str]) -> None:
    """Do what ``python -m ttt3r_ros.ros.node`` does, in an environment of its own."""
    with log.open("ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["ttt3r", *arguments]
    import torch

    from ttt3r_ros.ros import notices
    from ttt3r_ros.ros.node import main

    notices.PERIOD_S = math.inf  # on a slow machine as well, nothing is said a second time within a test
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))  # read long ago, when torch was loaded
    main()
