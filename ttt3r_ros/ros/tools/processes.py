"""Child processes that log to a file and are stopped like ROS nodes, by an interrupt."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ttt3r_ros.errors import UserError

_TAIL_LINES = 12


class ChildProcess:
    """A running child process; as a context manager, it stops the process at the end."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        """Start the process in our environment, with its output in the log; messages call it by its name."""
        self.name = name
        self.log = log
        with log.open("wb") as out:
            # in a separate session, so that only we get Ctrl-C and can stop the children in the right order
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return its exit code, None while it runs."""
        return self._process.poll()

    def raise_if_dead(self) -> None:
        """Check that the process is running.

        Raises:
            UserError: it is not; the message ends with its own error or with the end of its log.
        """
        code = self.exit_code()
        if code is not None:
            raise UserError(f"the {self.name} ended with exit code {code}: {self._last_words()}")

    def last_warning(self) -> str:
        """Return what a ROS node last warned of in its log; an empty string if of nothing."""
        log = self.log.read_text(errors="replace")
        warnings = re.findall(r"^\[(?:WARN|ERROR|FATAL)\] .*?\]: (.*)$", log, re.MULTILINE)
        return str(warnings[-1]) if warnings else ""

    def raise_if_failed(self) -> None:
        """Check that the process is running or has ended without an error.

        Raises:
            UserError: see `raise_if_dead`.
        """
        if self.exit_code() not in (None, 0):
            self.raise_if_dead()

    def stop(self, patience_s: float = 10.0) -> None:
        """Interrupt the process, wait, and kill it if it does not end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> ChildProcess:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the process."""
        self.stop()

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        for line in reversed(lines):
            if line.startswith("error: "):
                return f"{line.removeprefix('error: ')} (log: {self.log})"
        tail = "\n".join(f"  | {line}" for line in lines[-_TAIL_LINES:])
        return f"see the end of {self.log}:\n{tail}" if tail else f"it printed nothing ({self.log} is empty)"
