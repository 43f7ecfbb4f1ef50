"""A step on a CUDA device that is not there: torch's fake tensors have no values, but know where they are.

Whatever brings a tensor of the host and one of the GPU together fails here as it would there, and so does reading a
value, for which a GPU would have to wait.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from rule_weights import TINY, rule_network
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmark.stages import stages_of
from ttt3r_ros.camera import preprocess
from ttt3r_ros.camera.preprocess import normalize, pixel_map, resample_by_matrices
from ttt3r_ros.model import Cut3r, Filt3r, Network, NetworkConfig, Ttt3r
from ttt3r_ros.model.network import COLOR, POINTS_CAMERA, POINTS_WORLD
from ttt3r_ros.runtime.device_outputs import DeviceOutputs, packed_pose
from ttt3r_ros.runtime.tensor_tree import tensors
from ttt3r_ros.stream.alignment import scale_between
from ttt3r_ros.weights.published import reference_of

ALL = frozenset({POINTS_CAMERA, POINTS_WORLD, COLOR})
DPT = NetworkConfig(**{**TINY.to_dict(), "head_type": "dpt", "dpt_width": 24})


@pytest.fixture(scope="module")
def gpu() -> torch.device:
    """A device that is not there: of CUDA where torch was built for it, else of a backend that has only a name."""
    if torch.version.cuda:
        return torch.device("cuda:0")
    # autograd starts a thread for each device that it finds at first, and other tests could not fork this process then
    torch.ones(1, requires_grad=True).sum().backward()
    backend_registration._setup_privateuseone_for_python_backend("pretended")
    return torch.device("pretended:0")


@pytest.fixture(autouse=True)
def no_tables_without_values() -> Iterator[None]:
    preprocess._resampling_matrix.cache_clear()
    yield
    preprocess._resampling_matrix.cache_clear()


def moved(network: Network, precision: torch.dtype, gpu: torch.device) -> Network:
    """Return the network in this precision, moved to a GPU that is not there."""
    with unset_fake_temporarily():
        network.set_precision(precision, gpu)
    for module in network.modules():
        for name, value in module._parameters.items():
            if value is not None:
                there = torch.empty(value.shape, dtype=value.dtype, device=gpu)
                module._parameters[name] = nn.Parameter(there, requires_grad=False)
    return network


class OnTheHost(TorchDispatchMode):
    """Notes every operation that reads or makes a tensor in the host's memory, which would be copied from there."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        values = tree_leaves((args, kwargs, made))
        if any(isinstance(value, torch.Tensor) and value.device.type == "cpu" for value in values):
            self.seen.append(str(operation))
        return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "precision", "rules"),
    [(TINY, torch.float32, (Cut3r(), Ttt3r())), (DPT, torch.bfloat16, (Filt3r(),))],
    ids=["linear-float32", "dpt-bfloat16"],
)
def test_nothing_in_a_step_lies_on_the_host(config, precision, rules, gpu):
    network = rule_network(config)
    with FakeTensorMode(), torch.inference_mode():
        moved(network, precision, gpu)
        photo = torch.empty(60, 80, 3, dtype=torch.uint8, device=gpu)
        image = normalize(resample_by_matrices(photo, pixel_map(80, 60, image_size=64)))
        state = None
        for rule, wanted in itertools.product(rules, (set(), ALL)):
            state = state if wanted else None  # a rule's first frame, and its second
            with OnTheHost() as on_the_host:
                prediction, state = network.step(image, state, rule=rule, outputs=wanted)
                assert packed_pose(prediction, state).shape == (8,)
            assert on_the_host.seen == []
            assert {tensor.device for tensor in tensors((prediction, state))} == {gpu}
        outputs = DeviceOutputs.of(prediction, state, 1.1, None)
        assert {tensor.device for tensor in tensors(outputs)} == {gpu}
        for stage in stages_of(network, image, state).values():
            assert {tensor.device for tensor in tensors(stage())} == {gpu}


def test_the_check_sees_a_tensor_of_the_host(gpu):
    network = rule_network(TINY)
    with FakeTensorMode(), torch.inference_mode():
        moved(network, torch.float32, gpu)
        network._parameters["pose_token"] = nn.Parameter(torch.empty(network.pose_token.shape), requires_grad=False)
        with pytest.raises(RuntimeError, match="cpu"):
            network.step(torch.empty(1, 3, 48, 64, device=gpu), None)


@pytest.mark.skipif(not torch.version.cuda, reason="torch.tensor makes fake tensors for CUDA alone")
def test_the_reference_runs_there_too(gpu):
    network = rule_network(DPT)
    with FakeTensorMode(), torch.inference_mode():
        reference, state = reference_of(moved(network, torch.float32, gpu)), None
        for _ in range(2):
            found, state = reference.step(torch.empty(3, 48, 64, device=gpu), state)
        assert {tensor.device for tensor in (*found.values(), state.tokens, state.memory)} == {gpu}


def test_scales_are_compared_there(gpu):
    with FakeTensorMode(), torch.inference_mode():
        points, confidence = torch.empty(48, 64, 3, device=gpu), torch.empty(48, 64, device=gpu)
        with pytest.raises(DataDependentOutputException):  # the first thing that the host wants to know: all else ran
            scale_between(points, confidence, points, confidence)
