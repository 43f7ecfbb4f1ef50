"""The node in this process, so that a test can see inside and break things."""

from __future__ import annotations

import dataclasses

import pytest
from harness import OUTPUTS, Bench
from waiting import wait_until

from ttt3r_ros.stream.estimate import IMAGE, POINTS
from ttt3r_ros.stream.stream import CONFIDENCE_INTERVAL, KEY_INTERVAL

pytestmark = pytest.mark.dds


@pytest.fixture(scope="module")
def listener(inside):
    bench = Bench("listener", "odom", "diagnostics")
    bench.wait_for_node()
    dense = [f"/ttt3r/{name}" for name in OUTPUTS if name not in ("odom", "path")]
    wait_until(lambda: not any(map(inside.node.count_subscribers, dense)), "listeners of other tests to be gone")
    bench.send_until_answered()
    bench.exchange()
    yield bench
    bench.close()


def test_nobody_listens_so_nothing_dense_is_computed(inside, listener):
    inside.asked.clear()
    listener.exchange(3 * CONFIDENCE_INTERVAL)
    with_points = [outputs for outputs in inside.asked if POINTS in outputs]
    assert len(inside.asked) == 3 * CONFIDENCE_INTERVAL
    assert 3 <= len(with_points) <= 3 * CONFIDENCE_INTERVAL // KEY_INTERVAL + 1  # a confidence or a keyframe is needed
    assert not any(IMAGE in outputs for outputs in inside.asked)


@pytest.mark.parametrize(
    ("topic", "needs"),
    [("depth/image", {POINTS}), ("rgb/image", {IMAGE}), ("points", {POINTS, IMAGE})],
)
def test_a_listener_gets_what_it_asks_for_and_costs_no_more(inside, listener, topic, needs):
    (subscription,) = listener.hear(topic)
    while not listener.received[topic]:
        listener.exchange()
    inside.asked.clear()
    stamps = listener.exchange(3)
    for stamp in stamps:
        listener.get(topic, stamp)
    assert all(needs <= outputs for outputs in inside.asked)
    if IMAGE not in needs:
        assert not any(IMAGE in outputs for outputs in inside.asked)
    listener.unlisten(subscription)
    wait_until(lambda: not inside.node.count_subscribers(f"/ttt3r/{topic}"), "the listener to be gone")


@pytest.mark.parametrize("poison", ["nan", "raise"])
def test_a_lost_frame_publishes_nothing_and_is_said(inside, listener, poison, monkeypatch):
    dense = listener.hear("depth/image", "points", "rgb/image")
    while not all(listener.received[name] for name in ("depth/image", "points", "rgb/image")):
        listener.exchange()
    step, segment = inside.network.step, inside.node.pipeline.segment[0]
    failed, before_lost = inside.node.pipeline.failed, inside.node.pipeline.lost

    def broken(*args, **kwargs):
        if poison == "raise":
            raise RuntimeError("the arithmetic\nhas failed")
        prediction, state = step(*args, **kwargs)
        return dataclasses.replace(prediction, translation=prediction.translation * float("nan")), state

    monkeypatch.setattr(inside.network, "step", broken)
    lost = listener.send()
    status = wait_until(lambda: (d := listener.diagnostics()).get("level") == "2" and d, "an ERROR in the diagnostics")
    assert status["state"] == "lost"
    assert ("not a number" if poison == "nan" else "the arithmetic has failed") in status["message"]
    monkeypatch.setattr(inside.network, "step", step)
    (stamp,) = listener.exchange()
    for name in ("odom", "depth/image", "points", "rgb/image"):
        listener.get(name, stamp)
        assert lost not in listener.stamps(name)
    assert inside.node.pipeline.segment[0] == segment  # one glitch costs a frame, not the state
    wait_until(lambda: listener.diagnostics()["level"] == "0", "the diagnostics to recover")
    counted = [int(listener.diagnostics()[f"frames_{name}"]) for name in ("failed", "lost")]
    assert counted == ([failed + 1, before_lost] if poison == "raise" else [failed, before_lost + 1])
    for subscription in dense:
        listener.unlisten(subscription)


def test_a_rule_and_an_interval_that_change_while_running(inside, listener):
    with inside.changed(update_rule="filt3r", reset_interval=4):
        listener.exchange(2)
        assert inside.stream.state.segments.update_rule == "filt3r"
        before = inside.node.pipeline.segment[0]
        listener.exchange(9)
        assert inside.node.pipeline.segment[0] >= before + 2
