"""A process of its own for the graph, since GTSAM holds the interpreter's lock while it solves (docs/adr/0048).

Begun with the first work. It ends with this process, however that ends: it works on what comes through its standard
input, and that closes.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from ttt3r_ros.errors import UserError

#: Added to the process's niceness: frames come first.
NICENESS = 10

_SERVE = "from ttt3r_ros.places.solver import serve; serve()"


class SolverProcess(Executor):
    """Runs functions of modules in a process of its own, one after the other.

    If that process ends, the future of what it worked on holds a UserError, and the next work starts another one.

    Attributes:
        seconds: that the last work took.
    """

    def __init__(self, on_done: Callable[[], object] = lambda: None) -> None:
        """Prepare; nothing is started yet.

        Args:
            on_done: called from another thread when some work is done, or has failed.
        """
        self._on_done = on_done
        self._thread = ThreadPoolExecutor(1, "solver")  # waits for the process
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed, self._closing = False, threading.Lock()
        self.seconds = 0.0

    @property
    def pid(self) -> int | None:
        """Number of the process; None before it is started."""
        return None if self._process is None else self._process.pid

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function with these arguments, after those submitted before."""
        future = self._thread.submit(self._call, fn, args, kwargs)
        future.add_done_callback(lambda _: self._on_done())
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the process, whatever it is working on."""
        with self._closing:
            self._is_closed, process = True, self._process
        if process is not None:
            process.kill()
            process.wait()
        self._thread.shutdown(wait=wait, cancel_futures=cancel_futures)  # what waits fails at once

    def _call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        process, begun = self._process or self._start(), time.monotonic()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((fn, args, kwargs), process.stdin)
            process.stdin.flush()
            is_done, result = pickle.load(process.stdout)  # from our own process
        except (OSError, EOFError, pickle.UnpicklingError):
            self._process = None
            process.kill()
            status = process.wait()
            with contextlib.suppress(OSError):  # what it has not read
                process.stdin.close()
            process.stdout.close()
            how = f"with status {status}"
            if status < 0:
                how = f"by signal {-status} ({signal.Signals(-status).name})"
            raise UserError(f"the process that solves the map's graph has ended {how}") from None
        self.seconds = time.monotonic() - begun
        if not is_done:
            raise result
        return result

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        with self._closing:
            if self._is_closed:
                raise UserError("the map has been closed")
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # a terminal's Ctrl-C is for the node
            )
        return self._process


def serve() -> None:
    """Do the work that comes through the standard input until that is closed."""
    os.nice(NICENESS)
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not come between the results
    while True:
        try:
            fn, args, kwargs = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = True, fn(*args, **kwargs)
        except Exception as error:
            answer = False, error
        try:
            pickle.dump(answer, results)
            results.flush()
        except BrokenPipeError:
            return
