from __future__ import annotations

import numpy as np
import pytest

from ttt3r_ros.ros import statistics


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(statistics.time, "monotonic", lambda: now[0])
    return now


def test_a_rate_looks_back_over_its_window(clock):
    rate = statistics.Rate()
    for _ in range(50):
        clock[0] += 0.1
        rate.count()
        assert rate.hz() <= 10.001
        if clock[0] > 101.2:
            assert rate.hz() == pytest.approx(10.0)  # whenever the first event was
    clock[0] += 5.0
    assert rate.hz() == pytest.approx(5.0, abs=0.2)
    clock[0] += 6.0
    assert rate.hz() == 0.0
    rate.count()
    for _ in range(10):  # and from there it counts anew
        clock[0] += 0.2
        rate.count()
    assert rate.hz() == pytest.approx(5.0)
    for _ in range(500):
        clock[0] += 0.2
        rate.count()
    assert rate.hz() == pytest.approx(5.0, abs=0.2)


def test_percentiles_and_learning_rate(clock):
    stream = statistics.StreamStatistics()
    empty = stream.facts()
    assert empty["frames_processed"] == "0"
    for name in ("latency_ms_p50", "latency_ms_p95", "latency_ms_p99", "beta_min", "beta_mean", "beta_max"):
        assert empty[name] == "nan"
    for milliseconds in range(1, 101):
        clock[0] += 0.01
        stream.add(milliseconds / 1000, np.array([0.2, 0.4], dtype=np.float32))
    assert stream.facts() == {
        "frames_processed": "100",
        "output_rate_hz": "99.00",
        "latency_ms_p50": "50.5",
        "latency_ms_p95": "95.0",
        "latency_ms_p99": "99.0",
        "beta_min": "0.2000",
        "beta_mean": "0.3000",
        "beta_max": "0.4000",
    }


def test_the_rate_of_stamps_is_that_of_all_intervals_but_the_longest():
    rate = statistics.StampRate()
    stamps_s = [10.0, 10.5, 11.0, 11.0, 11.5, 30.0, 30.5]  # one twice, and a gap
    found = []
    for stamp in stamps_s:
        rate.add(round(stamp * 1e9))
        found.append(rate.hz())
    assert found == [None] * 6 + [2.0]
    rate.add(round(5e9))
    assert rate.hz() == 2.0  # a jump back is no interval
    for stamp in (5.1, 5.2, 5.3, 5.4):
        rate.add(round(stamp * 1e9))
    assert rate.hz() == pytest.approx(10.0)
    for stamp in (7.0, 9.0, 11.0):
        rate.add(round(stamp * 1e9), follows_pause=True)
    assert rate.hz() == pytest.approx(10.0)
    for stamp in (
        11.2,
        11.5,
        11.7,
        12.0,
        12.2,
    ):  # most are 0.2 s apart, which is not the rate
        rate.add(round(stamp * 1e9))
    assert rate.hz() == pytest.approx(4 / 0.9)
