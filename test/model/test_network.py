from __future__ import annotations

import dataclasses

import pytest
import torch
from rule_weights import rule_image, rule_network
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ttt3r_ros.model import Cut3r, Filt3r, Network, NetworkConfig, Ttt3r, layers
from ttt3r_ros.model.network import COLOR, POINTS_CAMERA, POINTS_WORLD
from ttt3r_ros.weights.published import reference_of

ALL = {POINTS_CAMERA, POINTS_WORLD, COLOR}
LINEAR = NetworkConfig(
    enc_embed_dim=32,
    enc_depth=2,
    enc_num_heads=2,
    dec_embed_dim=48,
    dec_depth=4,
    dec_num_heads=3,
    state_dec_num_heads=4,
    state_size=10,
    local_mem_size=6,
    head_type="linear",
)
DPT = dataclasses.replace(LINEAR, head_type="dpt", dec_depth=5, state_pe="1d", dpt_width=24)  # 256 is published


@pytest.fixture(scope="module", params=[LINEAR, DPT], ids=["linear", "dpt"])
def network(request: pytest.FixtureRequest) -> Network:
    return rule_network(request.param)


TOLERANCE = 5e-5


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return ``max|a-b| / max|b|``."""
    return float((a - b).abs().max() / b.abs().max())


def comparable(network: Network, name: str, value: torch.Tensor) -> torch.Tensor:
    """Return where to compare: everywhere, but where the linear head's depth jumps with its sign."""
    if name == "points_camera" and network.config.head_type == "linear":
        return value[..., 2] > 1e-3
    return torch.ones(value.shape[:1], dtype=torch.bool)


def images(count: int, height: int = 48, width: int = 80) -> list[torch.Tensor]:
    return [rule_image(index, height, width)[None] for index in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(48, 80), (80, 48), (16, 16)], ids=["landscape", "portrait", "one patch"])
@pytest.mark.parametrize("rule", [Cut3r(), Ttt3r()], ids=["cut3r", "ttt3r"])
def test_agrees_with_the_twin_that_materialises_every_map(network, size, rule):
    naive, state, naive_state = reference_of(network), None, None
    with torch.inference_mode():
        for image in images(3, *size):
            ours, state = network.step(image, state, rule=rule, outputs=ALL)
            theirs, naive_state = naive.step(image[0], naive_state, rule.name)
            for name, value in theirs.items():
                mine = ours.trace.decoded.alignment if name == "alignment" else getattr(ours, name)
                keep = comparable(network, name, value)
                assert difference(mine[0][keep], value[keep]) < TOLERANCE, name
            assert difference(state.tokens[0], naive_state.tokens) < TOLERANCE
            assert difference(state.pose_memory[0], naive_state.memory) < TOLERANCE


def test_a_step_without_state_forgets_everything(network):
    first, second = images(2)
    with torch.inference_mode():
        fresh, fresh_state = network.step(second, None)
        _, state = network.step(first, None)
        network.step(second, state)
        again, again_state = network.step(second, None)
    assert torch.equal(fresh.translation, again.translation)
    assert torch.equal(fresh_state.tokens, again_state.tokens)


@pytest.mark.slow
def test_a_step_changes_neither_its_state_nor_the_network(network):
    first, second = images(2)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.inference_mode():
        _, state = network.step(first, None)
        before = state.tokens.clone(), state.pose_memory.clone()
        once, _ = network.step(second, state)
        twice, _ = network.step(second, state)
    assert torch.equal(state.tokens, before[0])
    assert torch.equal(state.pose_memory, before[1])
    assert torch.equal(once.translation, twice.translation)
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("rule", [Cut3r(), Ttt3r(), Filt3r()], ids=lambda rule: rule.name)
def test_a_batch_of_two_equals_two_singles(network, rule):
    streams = [images(3), images(6)[3:]]
    with torch.inference_mode():
        state, singles = None, [None, None]
        for frames in zip(*streams, strict=True):
            batched, state = network.step(torch.cat(frames), state, rule=rule, outputs=ALL)
            for index, image in enumerate(frames):
                single, singles[index] = network.step(image, singles[index], rule=rule, outputs=ALL)
                for name in (
                    "translation",
                    "quaternion",
                    "points_camera",
                    "confidence",
                    "points_world",
                    "learning_rate",
                ):
                    mine, theirs = getattr(batched, name)[index], getattr(single, name)[0]
                    keep = comparable(network, name, theirs)
                    assert difference(mine[keep], theirs[keep]) < TOLERANCE, name


def test_the_state_keeps_its_size(network):
    state, shapes = None, set()
    with torch.inference_mode():
        for image in images(4):
            _, state = network.step(image, state, rule=Filt3r(), outputs=set())
            shapes.add((state.tokens.shape, state.pose_memory.shape, state.carried[0].shape))
    assert len(shapes) == 1


def test_heads_that_nobody_asked_for_do_not_run(network, monkeypatch):
    ran = []
    for name in ("camera_head", "world_head", "color_head"):
        head = getattr(network, name)
        monkeypatch.setattr(head, "forward", lambda levels, run=head.forward, n=name: ran.append(n) or run(levels))
    image = images(1)[0]
    with torch.inference_mode():
        pose_only, _ = network.step(image, None, outputs=set())
        assert ran == []
        default, _ = network.step(image, None)
        assert ran == ["camera_head"]
    assert pose_only.points_camera is None
    assert default.points_world is None
    assert default.color is None
    assert default.points_camera.shape == (1, 48, 80, 3)
    assert torch.equal(pose_only.translation, default.translation)


def test_predictions_are_in_their_ranges(network):
    with torch.inference_mode():
        prediction, _ = network.step(images(1)[0], None, outputs=ALL)
    assert prediction.quaternion.norm() == pytest.approx(1.0, abs=1e-6)
    assert prediction.quaternion[0, 0] >= 0
    assert prediction.confidence.min() >= 1
    assert prediction.color.abs().max() < 1
    assert torch.equal(prediction.learning_rate, torch.ones(1, network.config.state_size))


@pytest.mark.parametrize(
    ("shape", "outputs"),
    [
        ((1, 3, 40, 48), set()),
        ((1, 1, 48, 48), set()),
        ((3, 48, 48), set()),
        ((1, 3, 48, 48), {"depth"}),
        ((1, 3, 0, 16), set()),
    ],
)
def test_impossible_requests_are_refused_in_words(network, shape, outputs):
    with pytest.raises(ValueError, match="network"):
        network.step(torch.zeros(shape), None, outputs=outputs)


def test_gradients_reach_every_parameter_that_is_used():
    network = rule_network(LINEAR).requires_grad_(True)
    state, loss = None, torch.zeros(())
    for image in images(2):
        prediction, state = network.step(image, state, rule=Cut3r(), outputs=ALL)
        for value in (prediction.translation, prediction.quaternion, prediction.points_camera, prediction.points_world):
            loss = loss + value.square().sum()
        loss = loss + prediction.confidence.sum() + prediction.confidence_world.sum() + prediction.color.square().sum()
    loss.backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.slow
def test_lower_precision_stays_near_float32():
    full, half = rule_network(LINEAR), rule_network(LINEAR).set_precision(torch.bfloat16)
    state = half_state = None
    with torch.inference_mode():
        for image in images(3):
            expected, state = full.step(image, state)
            found, half_state = half.step(image, half_state)
    assert half_state.tokens.dtype == torch.float32
    assert found.points_camera.dtype == torch.float32
    assert (found.translation - expected.translation).norm() < 0.1 * expected.translation.norm()
    assert not torch.equal(found.translation, expected.translation)


@pytest.mark.slow
def test_heads_that_were_given_up_are_refused(network):
    whole = rule_network(network.config)
    slim = rule_network(network.config).drop_world_and_color().drop_world_and_color()
    image = images(1)[0]
    with torch.inference_mode():
        expected, _ = whole.step(image, None)
        found, _ = slim.step(image, None)
        assert torch.equal(found.points_camera, expected.points_camera)
        for output in (POINTS_WORLD, COLOR):
            with pytest.raises(ValueError, match="this network"):
                slim.step(image, None, outputs={output})
    assert not any(name.startswith(("world", "color")) for name, _ in slim.named_parameters())


class Kernels(TorchDispatchMode):
    """Counts operations that write values, each about a kernel on a GPU; views and empty tensors are none."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        name = operation.overloadpacket.__name__
        writes = name.endswith("_") or operation._overloadname == "out"
        read = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        is_new = any(t.untyped_storage()._cdata not in read for t in tree_leaves(made) if isinstance(t, torch.Tensor))
        self.count += (writes or is_new) and not name.startswith(("empty", "new_empty"))
        return made


@pytest.mark.slow
def test_a_step_at_full_size_is_few_kernels(monkeypatch):
    """A large GPU computes as fast as it is given kernels. Attention is one, its result laid out as its queries."""
    monkeypatch.setattr(layers, "attend", lambda q, k, v: torch.zeros_like(q))
    with torch.device("meta"):
        network = Network(NetworkConfig())
    network.requires_grad_(False).set_precision(torch.bfloat16)
    image = torch.empty(1, 3, 288, 512, device="meta")
    with torch.no_grad(), Kernels() as kernels:
        _, state = network.step(image, None)
        kernels.count = 0
        network.step(image, state)
    assert 1000 < kernels.count < 1200


@pytest.mark.gpu
def test_a_gpu_computes_the_same(monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    # its convolutions keep 10 bits of their inputs otherwise, which moves points by up to a few per cent (ADR 19)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    cpu, gpu = rule_network(DPT), rule_network(DPT).cuda()
    state = gpu_state = None
    with torch.inference_mode():
        for image in images(3):
            expected, state = cpu.step(image, state, outputs=ALL)
            found, gpu_state = gpu.step(image.cuda(), gpu_state, outputs=ALL)
    assert difference(found.points_camera.cpu(), expected.points_camera) < 1e-3
    assert difference(found.translation.cpu(), expected.translation) < 1e-3
