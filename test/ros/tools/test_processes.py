"""Children of real programs: how they start, how their death is told, and how they are ended."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from waiting import wait_until

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.tools.processes import ChildProcess

#: Says that it is ready, then what it is told to end by; without a buffer, which a signal would find half written.
ORDERLY = """
import os, signal, sys, time
def end(number, frame):
    os.write(1, b"ended by " + signal.Signals(number).name.encode())
    sys.exit(0)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, end)
os.write(1, b"ready\\n")
while True:
    time.sleep(0.1)
"""
DEAF = ORDERLY.replace("end)", "signal.SIG_IGN)")


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[[str], ChildProcess]]:
    """Return a function that starts a Python program; nothing of it outlives the test."""
    children: list[ChildProcess] = []

    def start(program: str) -> ChildProcess:
        log = tmp_path / f"{len(children)}.log"
        children.append(ChildProcess("helper", [sys.executable, "-c", program], log))
        return children[-1]

    yield start
    for child in children:
        child.stop(0.0)


def ready(child: ChildProcess) -> ChildProcess:
    wait_until(lambda: "ready" in child.log.read_text(), "the child to get ready")
    return child


def ended(child: ChildProcess) -> ChildProcess:
    wait_until(lambda: child.exit_code() is not None, "the child to end")
    return child


def last_words(child: ChildProcess) -> str:
    with pytest.raises(UserError) as error:
        ended(child).raise_if_dead()
    return str(error.value)


def test_all_it_prints_is_in_its_log_and_nothing_of_an_earlier_one(tmp_path):
    log = tmp_path / "log"
    log.write_text("of yesterday")
    program = "import sys; print('said', flush=True); print('complained', file=sys.stderr)"
    with ChildProcess("helper", [sys.executable, "-c", program], log) as child:
        assert ended(child).exit_code() == 0
    assert log.read_text().split() == ["said", "complained"]


def test_it_has_our_environment_no_input_and_a_session_of_its_own(start, monkeypatch, input_of_ours):
    monkeypatch.setenv("OF_THIS_TEST", "inherited")
    child = start(
        "import os, sys; print(os.environ['OF_THIS_TEST'], repr(sys.stdin.read()), os.getpid(), os.getsid(0))"
    )
    assert ended(child).log.read_text().split() == ["inherited", "''", str(child.pid), str(child.pid)]
    assert child.pid != os.getsid(0)


@pytest.fixture
def input_of_ours() -> Iterator[None]:
    """Somebody has typed something for this process."""
    reading, writing = os.pipe()
    os.write(writing, b"typed")
    os.close(writing)
    before = os.dup(0)
    os.dup2(reading, 0)
    yield
    os.dup2(before, 0)
    os.close(before)
    os.close(reading)


def test_a_child_that_has_ended_well_is_dead_but_has_not_failed(start):
    child = start("")
    assert last_words(child) == f"the helper ended with exit code 0: it printed nothing ({child.log} is empty)"
    child.raise_if_failed()


def test_its_last_own_error_is_passed_on(start):
    child = start("print('error: an earlier one\\nerror: the disk is full\\nbye\\n'); raise SystemExit(2)")
    words = f"the helper ended with exit code 2: the disk is full (log: {child.log})"
    assert last_words(child) == words
    with pytest.raises(UserError, match=re.escape(words)):
        child.raise_if_failed()


def test_without_an_error_of_its_own_the_end_of_its_log_is_shown(start):
    child = start(r"print(*range(20), '', 'no error: here', sep='\n'); raise SystemExit(3)")
    first, *rest = last_words(child).splitlines()
    assert first == f"the helper ended with exit code 3: see the end of {child.log}:"
    assert rest == [f"  | {line}" for line in [*range(9, 20), "no error: here"]]


def test_a_log_that_is_no_text_is_shown_as_well(start):
    child = start(r"import sys; sys.stdout.buffer.write(b'\xff\xfe fell'); raise SystemExit(1)")
    assert last_words(child).endswith("  | \ufffd\ufffd fell")


def test_a_child_that_was_killed_has_failed(start):
    child = ready(start(ORDERLY))
    assert child.exit_code() is None
    child.raise_if_dead()
    child.raise_if_failed()
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(UserError, match="the helper ended with exit code -9"):
        ended(child).raise_if_failed()


def test_it_is_interrupted_and_waited_for(start):
    child = ready(start(ORDERLY))
    child.stop()
    assert child.exit_code() == 0
    assert child.log.read_text().splitlines() == ["ready", "ended by SIGINT"]
    child.stop()  # once more changes nothing
    assert child.exit_code() == 0


def test_who_does_not_listen_is_killed(start):
    child = ready(start(DEAF))
    begun = time.monotonic()
    child.stop(patience_s=0.3)
    assert time.monotonic() - begun >= 0.3
    assert child.exit_code() == -signal.SIGKILL


def test_it_ends_with_its_block_whatever_happens_there(tmp_path):
    def use_it() -> None:
        with ChildProcess("helper", [sys.executable, "-c", ORDERLY], tmp_path / "log") as child:
            children.append(ready(child))
            raise KeyboardInterrupt

    children: list[ChildProcess] = []
    with pytest.raises(KeyboardInterrupt):
        use_it()
    assert children[0].exit_code() == 0


def test_the_last_warning_of_a_node_is_found_in_its_log(start):
    program = "print('[INFO] [1.5] [ttt3r]: ready')"
    assert ended(start(program)).last_warning() == ""
    program += "\nprint('[WARN] [1.6] [ttt3r]: small: 3x3')\nprint('[INFO] [1.7] [ttt3r]: bye')"
    assert ended(start(program)).last_warning() == "small: 3x3"
