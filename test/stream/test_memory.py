from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ttt3r_ros.model.network import Prediction, State
from ttt3r_ros.stream.memory import LastFrame, Memory

TRACE = SimpleNamespace()
IMAGE, POINTS, CONFIDENCE = torch.zeros(1, 3, 4, 6), torch.ones(1, 4, 6, 3), torch.ones(1, 4, 6)


def kept(points: torch.Tensor | None, confidence: torch.Tensor | None) -> LastFrame:
    nothing = torch.zeros(1, 4)
    said = Prediction(nothing[:, :3], nothing, nothing, TRACE, points_camera=points, confidence=confidence)
    return LastFrame.of(IMAGE, said)


@pytest.mark.parametrize(("points", "confidence"), [(None, None), (POINTS, None), (None, CONFIDENCE)])
def test_a_frame_keeps_what_its_missing_points_can_be_made_of(points, confidence):
    last = kept(points, confidence)
    assert last.image is IMAGE
    assert last.points is points
    assert last.confidence is confidence
    assert last.trace is TRACE


def test_a_frame_with_points_lets_go_of_the_trace():
    assert kept(POINTS, CONFIDENCE) == LastFrame(IMAGE, POINTS, CONFIDENCE, None)


def test_before_the_first_frame_there_is_no_segment_and_the_camera_is_the_world():
    memory = Memory()
    assert (memory.segment, memory.segment_frames, memory.scale, memory.focals) == (-1, 0, 1.0, ())
    assert memory.state is memory.last is memory.input_size is None
    assert np.array_equal(memory.T_world_camera, np.eye(4))
    assert np.array_equal(memory.T_world_segment, np.eye(4))


def test_two_memories_share_no_pose():
    one, other = Memory(), Memory()
    one.T_world_camera[0, 3] = one.T_world_segment[1, 3] = 5.0
    assert np.array_equal(other.T_world_camera, np.eye(4))
    assert np.array_equal(other.T_world_segment, np.eye(4))


def test_without_its_state_a_memory_keeps_all_but_the_segment():
    memory = Memory(
        state=State(torch.zeros(1, 2, 4), torch.zeros(1, 2, 8)),
        last=kept(POINTS, CONFIDENCE),
        reset_due=True,
        scale=1.5,
        first_level=0.3,
        input_size=(80, 60),
        segment=4,
        segment_frames=7,
        T_world_camera=np.diag([1.0, -1.0, -1.0, 1.0]),
        T_world_segment=np.diag([-1.0, -1.0, 1.0, 1.0]),
        focals=(50.0, 60.0),
    )
    before, after = dict(vars(memory)), vars(memory.without_state())
    gone = {"state": None, "last": None, "reset_due": False}
    assert {name: after[name] for name in gone} == gone
    assert all(after[name] is before[name] for name in before.keys() - gone.keys())
    assert all(value is before[name] for name, value in vars(memory).items())  # the old one can be returned to


def test_a_memory_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Memory().segment = 3
