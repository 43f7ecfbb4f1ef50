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


def add(rate, *stamps_s, **circumstances):
    return [rate.add(round(stamp * 1e9), **circumstances) for stamp in stamps_s]


def test_the_rate_of_stamps_is_that_of_the_last_seconds():
    rate = statistics.StampRate()
    assert add(rate, 10.0, 10.2, 10.5, 10.5) == [0, 200_000_000, 300_000_000, 0]  # one twice
    assert rate.hz() is None
    add(rate, *np.arange(10.7, 12.15, 0.2))
    assert rate.hz() == pytest.approx(10 / 2.1)
    assert add(rate, 5.0) == [0]  # a jump back is no interval
    assert add(rate, 30.0, follows_break=True) == [0]
    assert rate.hz() == pytest.approx(10 / 2.1)
    add(rate, *np.arange(30.1, 33.15, 0.1))
    assert rate.hz() == pytest.approx(10.0)  # what was longer ago is forgotten
    add(rate, 34.1)
    assert rate.hz() == pytest.approx(21 / 3)
    assert rate.hz(without_longest=True) == pytest.approx(10.0)
    add(rate, 38.1, 42.1, 46.1)
    assert add(rate, 1.7e9) == [0]  # nor is that up to the first stamp of a clock that was set
    assert rate.hz() == pytest.approx(0.25)
