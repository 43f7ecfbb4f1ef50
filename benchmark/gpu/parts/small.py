"""The small weights of the package: the same figures, and whether a GPU sees in a rendered flat what a CPU sees."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmark.gpu.clock import spread
from benchmark.gpu.findings import Findings
from benchmark.gpu.pictures import write_frames
from benchmark.gpu.setting import Setting
from benchmark.gpu.steps import StepBench
from benchmark.gpu.streams import measure_flatness, measure_latency, open_reader
from ttt3r_ros.camera.preprocess import pixel_map
from ttt3r_ros.evaluation.metrics import compare_depth, resample_depth
from ttt3r_ros.geometry import FloatArray, inverse
from ttt3r_ros.model import Network
from ttt3r_ros.runtime.device import AUTO, choose_precision
from ttt3r_ros.stream.estimate import IMAGE, POINTS, Estimate
from ttt3r_ros.synthetic import Frames, Sequence
from ttt3r_ros.weights.load import Weights, load_weights

_SEED = 701  # held out of training
_FPS = 15.0
_CPU_FRAMES = 20  # that a CPU looks at as well
_SHOWN = 6


def measure(setting: Setting, findings: Findings) -> None:
    device, weights = setting.torch_device, load_weights("")
    weights.network.eval().requires_grad_(False)

    def make() -> Network:
        return copy.deepcopy(weights.network).to(device)

    seconds = findings.seconds_left()
    config = weights.network.config
    size = pixel_map(*setting.camera, image_size=config.image_size, square=config.square_input).size
    walks: list[tuple[Sequence, Frames]] = []
    if not findings.attempt("rendering on the device", _render, setting, device, walks):
        _render(setting, torch.device("cpu"), walks)
    walk, rendered = walks[0]
    images = list(rendered.image.cpu().numpy())
    depths = rendered.depth.cpu().numpy()
    findings.attempt("accuracy", _accuracy, weights, walk, images, depths, setting, findings)
    # what compiling takes says something on a GPU alone
    StepBench(make, size, setting, findings).measure(0.3 * seconds, compiled=device.type == "cuda")
    findings.attempt("latency", measure_latency, make, images, setting, findings, 0.2 * seconds)
    interval, precision = weights.segment_frames, choose_precision(AUTO, device)

    def stay_flat() -> None:
        reader = open_reader(make(), setting, precision, reset_interval=interval)
        title = f"{precision}, a reset every {interval} frames"
        measure_flatness(reader, images, setting, findings, 0.2 * seconds, title)

    findings.attempt("a long stream", stay_flat)


def _render(setting: Setting, device: torch.device, walks: list[tuple[Sequence, Frames]]) -> None:
    width, height = setting.camera
    walk = Sequence(_SEED, setting.walk_frames, width=width, height=height, fps=_FPS, device=device)
    walks.append((walk, walk.render(0, setting.walk_frames)))


def _accuracy(
    weights: Weights,
    walk: Sequence,
    images: list[np.ndarray],
    depths: np.ndarray,
    setting: Setting,
    findings: Findings,
) -> None:
    """Compare each precision's depths with the truth, and its first frames with a CPU's."""
    T_walk_camera = walk.T_world_camera.cpu().double().numpy()
    truth = inverse(T_walk_camera[0]) @ T_walk_camera  # the reader's world is its first camera

    def estimates(device: str, precision: str, count: int) -> list[Estimate]:
        reader = open_reader(
            copy.deepcopy(weights.network),
            replace(setting, device=device),
            precision,
            reset_interval=weights.segment_frames,
        )
        return [reader.read(image, walk.intrinsics, outputs={POINTS, IMAGE}) for image in images[:count]]

    expected = estimates("cpu", "float32", _CPU_FRAMES)
    rows: dict[str, dict[str, Any]] = {}
    for precision in setting.precisions:
        found = estimates(setting.device, precision, len(images))
        target = found[0].pixel_map.intrinsics(walk.intrinsics)
        true = [resample_depth(depth, walk.intrinsics, target) for depth in depths]
        errors = [compare_depth(e.depth, t).abs_rel for e, t in zip(found, true) if e.depth is not None]
        rows[precision] = {
            "depth error AbsRel, to the truth": float(np.mean(errors)),
            "position at the end, to the truth [m]": _apart(found[-1].T_world_camera, truth[len(found) - 1]),
            "depth, to a CPU's": spread([_depth_difference(a, b) for a, b in zip(found, expected)]),
            "position, to a CPU's [m]": spread(
                [_apart(a.T_world_camera, b.T_world_camera) for a, b in zip(found, expected)]
            ),
        }
        findings.add("In a rendered flat that the weights have never seen", rows)
        if precision == choose_precision(AUTO, setting.torch_device):
            which = np.linspace(0, len(found) - 1, _SHOWN).astype(int)
            write_frames(
                findings.folder / "frames.png",
                [(found[i].image, true[i], found[i].depth) for i in which],
            )


def _apart(a: FloatArray, b: FloatArray) -> float:
    """Return the distance between two (4, 4) poses [m]."""
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3]))


def _depth_difference(found: Estimate, expected: Estimate) -> float:
    """Return the median difference of two depth images, of the expected depth."""
    assert found.depth is not None
    assert expected.depth is not None
    return float(np.median(np.abs(found.depth - expected.depth) / np.abs(expected.depth)))
