from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ttt3r_ros.model.network import Prediction, State
from ttt3r_ros.runtime.device_outputs import DeviceOutputs, packed_pose, without_batch


def prediction(**dense: torch.Tensor) -> Prediction:
    return Prediction(
        translation=torch.tensor([[1.0, 2.0, 3.0]]),
        quaternion=torch.tensor([[0.5, -0.5, 0.5, -0.5]]),
        learning_rate=torch.tensor([[0.25, 0.75]]),
        trace=SimpleNamespace(),
        **dense,
    )


def state() -> State:
    return State(tokens=torch.tensor([[[1.0, -3.0], [0.0, 4.0]]]), pose_memory=torch.zeros(1, 2, 4))


def test_a_packed_pose_is_translation_quaternion_and_mean_magnitude():
    assert packed_pose(prediction(), state()).tolist() == [1, 2, 3, 0.5, -0.5, 0.5, -0.5, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_memory_that_is_no_longer_finite_has_no_magnitude(value):
    poisoned = state()
    poisoned.pose_memory[0, -1, -1] = value
    packed = packed_pose(prediction(), poisoned)
    assert torch.isnan(packed[7])
    assert packed[:7].tolist() == [1, 2, 3, 0.5, -0.5, 0.5, -0.5]


def test_a_memory_counts_only_by_being_finite():
    large = State(state().tokens, torch.full((1, 2, 4), -1e30))
    assert packed_pose(prediction(), large)[7] == 2


def test_the_scale_is_that_of_the_points_only():
    points, confidence = torch.rand(1, 2, 3, 3), 1 + torch.rand(1, 2, 3)
    planes = torch.arange(18, dtype=torch.uint8).reshape(3, 2, 3)
    said = prediction(points_camera=points, confidence=confidence)
    answer = DeviceOutputs.of(said, state(), 2.0, planes)
    assert torch.equal(answer.points, 2 * points[0])
    assert torch.equal(answer.confidence, confidence[0])
    assert torch.equal(answer.pose, packed_pose(said, state()))
    assert answer.learning_rate.tolist() == [0.25, 0.75]
    assert answer.planes is planes
    assert torch.equal(DeviceOutputs.of(said, state(), 1.0, None).points, points[0])


def test_what_was_not_asked_for_stays_none():
    answer = DeviceOutputs.of(prediction(), state(), 2.0, None)
    assert answer.points is answer.confidence is answer.planes is None


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_an_item_is_float32_before_it_is_scaled(dtype, scale):
    item = without_batch(torch.full((1, 2, 3), 40_000, dtype=dtype), scale)  # times four it is beyond float16
    assert item.dtype == torch.float32
    assert item.tolist() == (scale * torch.full((2, 3), 40_000, dtype=dtype).float()).tolist()
