"""The process for the graph: what it returns, and how it ends."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from waiting import PATIENCE, is_running, wait_until

from ttt3r_ros.errors import UserError
from ttt3r_ros.places.solver import NICENESS, SolverProcess


@pytest.fixture
def solver():
    solver = SolverProcess()
    yield solver
    solver.shutdown()


def test_it_works_in_a_process_of_its_own_that_is_started_late_and_gives_way(solver):
    assert solver.pid is None
    assert solver.submit(math.sqrt, 16.0).result(PATIENCE) == 4.0
    assert solver.submit(os.getpid).result(PATIENCE) == solver.pid != os.getpid()
    niceness = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)  # more there is not
    assert os.getpriority(os.PRIO_PROCESS, solver.pid) == niceness
    assert os.getsid(solver.pid) != os.getsid(0)


def test_errors_come_back_and_what_is_printed_harms_nothing(solver):
    solver.submit(print, "to the standard output").result(PATIENCE)
    with pytest.raises(ValueError, match="math domain error"):
        solver.submit(math.sqrt, -1.0).result(PATIENCE)
    assert solver.submit(math.sqrt, 4.0).result(PATIENCE) == 2.0


def test_if_it_ends_that_is_said_and_the_next_work_starts_another():
    done = threading.Event()
    solver = SolverProcess(done.set)
    try:
        with pytest.raises(UserError, match=r"graph has ended by signal 11 \(SIGSEGV\)"):
            solver.submit(signal.raise_signal, signal.SIGSEGV).result(PATIENCE)
        assert done.wait(PATIENCE)
        with pytest.raises(UserError, match="graph has ended with status 3"):
            solver.submit(os._exit, 3).result(PATIENCE)
        assert solver.submit(math.sqrt, 4.0).result(PATIENCE) == 2.0
    finally:
        solver.shutdown()


def test_closing_ends_it_at_work():
    solver = SolverProcess()
    solver.submit(math.sqrt, 1.0).result(PATIENCE)
    pid, sleeping = solver.pid, solver.submit(time.sleep, 1000)
    solver.shutdown()
    assert isinstance(sleeping.exception(PATIENCE), UserError)
    assert not Path(f"/proc/{pid}").exists()


def test_closing_ends_it_at_rest():
    solver = SolverProcess()
    solver.submit(math.sqrt, 1.0).result(PATIENCE)
    solver.shutdown(wait=False)
    assert not Path(f"/proc/{solver.pid}").exists()


def test_it_ends_with_a_parent_that_is_killed():
    code = (
        "import os, signal\nfrom ttt3r_ros.places.solver import SolverProcess\n"
        "print(SolverProcess().submit(os.getpid).result(), flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode == -signal.SIGKILL
    wait_until(lambda: not is_running(int(run.stdout)), "its end")
