from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.ros.pace import ENOUGH, HOLD_NS, Pace
from ttt3r_ros.ros.statistics import SPAN_NS, StampRate

NEEDED_HZ = 5.0


class Camera:
    """A camera, and a computer that takes some of its images."""

    def __init__(self) -> None:
        self.arriving = StampRate()
        self.pace = Pace(self.arriving)
        self.now_ns = 0

    def run(self, taken: Iterable[bool], hz: float = 15.0) -> list[str | None]:
        """Take these of the next images; return what is said after each image that is taken."""
        said = []
        for is_taken in taken:
            self.now_ns += round(1e9 / hz)
            self.arriving.add(self.now_ns)
            if is_taken:
                self.pace.processed(self.now_ns, NEEDED_HZ)
                said.append(self.pace.why_slow)
        return said


def every(n: int, seconds: float, hz: float = 15.0) -> list[bool]:
    return [i % n == 0 for i in range(round(seconds * hz))]


def test_a_camera_at_the_least_rate_is_fast_enough_though_its_measured_rate_is_less() -> None:
    camera = Camera()
    assert set(camera.run([True] * 100, hz=4.83)) == {None}
    assert set(camera.run([False] + [True] * 100, hz=4.83)) == {None}
    said = camera.run([True] * 50, hz=ENOUGH * NEEDED_HZ - 0.1)[-1]
    assert said is not None
    assert said.startswith("only 4.4 images per second arrive, but these weights need at least 5 to follow the camera")


def test_a_lapse_of_a_camera_at_the_least_rate_is_not_a_slow_camera() -> None:
    camera = Camera()
    camera.run([True] * 20, hz=5.0)
    camera.now_ns += 800_000_000
    assert set(camera.run([True] * 50, hz=5.0)) == {None}


def test_a_computer_that_processes_nearly_all_images_is_not_to_blame() -> None:
    camera = Camera()
    said = camera.run([i % 50 != 0 for i in range(300)], hz=4.55)
    assert set(said) == {None}


def test_a_slow_computer_is_noticed_within_seconds_and_stays_slow_while_it_takes_some_images_fast() -> None:
    camera = Camera()
    said = camera.run(every(6, 2.5))
    assert said[-1] is not None
    assert said[-1].startswith("only 2.5 of 15 images per second are processed, but these weights need at least 5")
    bursts = [*[False] * 25, *[True] * 5]  # of a busy computer: 2.5 images a second
    assert None not in camera.run(bursts * 5)
    assert None not in camera.run([True] * 30)
    assert camera.run([True] * 105)[-1] is None


def test_the_cause_does_not_alternate() -> None:
    camera = Camera()
    camera.run([True] * 20, hz=4.0)
    for _ in range(5):
        said = camera.run([True, False] * 8, hz=8.0) + camera.run([True] * 16, hz=4.0)
        assert all(text is not None and "images per second arrive" in text for text in said)
    said = camera.run([True, False] * 40, hz=8.0)
    assert said[-1] is not None
    assert said[-1].startswith("only 4 of 8 images per second are processed")


def test_what_a_camera_leaves_out_by_itself_says_nothing_about_the_computer() -> None:
    arriving, now_ns = StampRate(), 0
    pace = Pace(arriving)
    for i in range(40):
        now_ns += 3 * 10**9 if i % 4 == 0 else 10**8
        arriving.add(now_ns, follows_break=i % 4 == 0)
        pace.processed(now_ns, NEEDED_HZ, follows_break=i % 4 == 0)
        assert pace.why_slow is None


@given(st.lists(st.booleans(), min_size=200, max_size=600))
def test_a_judgement_stands_for_some_seconds(taken: list[bool]) -> None:
    camera = Camera()
    said = camera.run(taken)
    is_slow = np.array([text is not None for text in said])
    (changes,) = np.nonzero(np.diff(is_slow))
    ends_ns = np.flatnonzero(taken)[changes + 1] * round(1e9 / 15.0)
    for begun, ended in zip(ends_ns[::2], ends_ns[1::2]):
        assert ended - begun >= min(HOLD_NS, SPAN_NS)
