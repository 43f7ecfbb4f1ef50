from __future__ import annotations

import pytest

from ttt3r_ros.ros import notices
from ttt3r_ros.ros.notices import MAX_KINDS, PERIOD_S, Notices, kind_of


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.info = self.warning = self.error = self.lines.append


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(notices.time, "monotonic", lambda: now[0])
    return now


def test_a_kind_is_a_sentence_without_its_numbers_but_with_its_names():
    assert kind_of("12x7 pixels of '32FC1'") == kind_of("640x480 pixels of '32FC1'")
    assert kind_of("12x7 pixels of '32FC1'") != kind_of("12x7 pixels of '64FC1'")


def test_the_same_is_said_again_after_a_while(log, clock):
    subject = Notices(log)
    for count in range(100):
        subject.warn(f"frame {count} is damaged")
    assert log.lines == ["frame 0 is damaged"]
    clock[0] += PERIOD_S + 1
    subject.warn("frame 100 is damaged")
    assert log.lines == ["frame 0 is damaged", "frame 100 is damaged"]


def test_a_flood_of_different_faults_ends(log, clock):
    subject = Notices(log)
    for count in range(1000):
        subject.error(f"no encoding '{count}'")
    assert len(log.lines) == MAX_KINDS + 1
    assert "further ones are only counted" in log.lines[-1]
    assert len(subject._logged) <= MAX_KINDS + 1
    clock[0] += PERIOD_S + 1
    subject.error("another one")
    assert log.lines[-1] == "another one"


def test_a_kind_given_holds_texts_together(log, clock):
    subject = Notices(log)
    subject.info("it failed: this", kind="failed")
    subject.info("it failed: that", kind="failed")
    assert log.lines == ["it failed: this"]
