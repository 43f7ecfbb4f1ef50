"""Segments of a stream as a node reads them: how long one waits for a frame, and whether that stays so."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmark.gpu.clock import figures, in_turns, spread, timed
from benchmark.gpu.findings import SERIES, Findings
from benchmark.gpu.memory import in_use, peak, reset_peak
from benchmark.gpu.networks import NAIVE, reference_work, refuse
from benchmark.gpu.setting import Setting
from ttt3r_ros.model import Network, Ttt3r
from ttt3r_ros.model.network import POINTS_CAMERA
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.estimate import IMAGE, POINTS
from ttt3r_ros.stream.segments import SegmentReader, warm_up

Photos = Sequence[npt.NDArray[np.uint8]]


def photos(count: int, size: tuple[int, int]) -> list[npt.NDArray[np.uint8]]:
    """Return (H, W, 3) images of noise."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8) for _ in range(count)]


def open_reader(network: Network, setting: Setting, precision: str, *, reset_interval: int = 0) -> SegmentReader:
    """Return a reader on the device that is warmed up; a step that cannot be captured is an error."""
    backbone = Backbone(network, device=setting.device, precision=precision, warn=refuse)
    warm_up(backbone, setting.camera[1], setting.camera[0])
    return SegmentReader(backbone, reset_interval=reset_interval)


def measure_latency(
    make: Callable[[], Network], images: Photos, setting: Setting, findings: Findings, seconds: float
) -> None:
    """Add tables of how long a host waits from an image to its arrays, in turns with the step and the reference.

    Args:
        make: returns a new float32 network on the device, with the same weights each time.
        images: of the camera.
        setting: of the run.
        findings: that tables are added to.
        seconds: that all of it may take; what is late goes by fewer rounds.
    """
    precisions = [name for name in setting.precisions if name != "float16"]
    for name in precisions:
        findings.attempt(name, _latency, make, images, setting, findings, seconds / len(precisions), name)


def _latency(
    make: Callable[[], Network], images: Photos, setting: Setting, findings: Findings, seconds: float, precision: str
) -> None:
    device = setting.torch_device
    reset_peak(device)
    begun = time.perf_counter()
    reader = open_reader(make(), setting, precision)
    ready, memory = time.perf_counter() - begun, peak(device)
    for image in images[:2]:
        reader.read(image)
    last, state = reader.state.last, reader.state.state
    assert last is not None
    reference = reference_work(make, [last.image] * 3)
    following = itertools.cycle(images)
    work: dict[str, Callable[[], object]] = {
        "pose, points and image": lambda: reader.read(next(following), outputs={POINTS, IMAGE}),
        "pose alone": lambda: reader.read(next(following), outputs=set()),
        "the step alone": lambda: reader.backbone.step(last.image, state, rule=Ttt3r(), outputs={POINTS_CAMERA}),
    }
    if reference:
        work[NAIVE] = reference[0]
    with torch.inference_mode():
        for each in work.values():
            timed(each, device)
        samples = in_turns(work, device, rounds=3 * setting.rounds, seconds=seconds / 2)
    rows = {name: figures(found, samples.get(NAIVE) if name != NAIVE else None) for name, found in samples.items()}
    timings = [reader.read(image, outputs={POINTS, IMAGE}).timings for image in images]
    for what in ("preprocess", "network", "download"):
        name = f"of the first row: {what}" + (", where the host waits" if what == "download" else "")
        rows[name] = {"ms": spread([1e3 * getattr(each, what) for each in timings])}
    rows["until it is ready"] = {"ms": 1e3 * ready, **memory}
    height, width = last.image.shape[2:]
    camera = "x".join(map(str, setting.camera))
    findings.add(f"{precision}, {camera} in, {width}x{height} in the network", rows)


def measure_flatness(
    reader: SegmentReader, images: Photos, setting: Setting, findings: Findings, seconds: float, title: str
) -> None:
    """Feed a reader many frames, and add what becomes of its time and memory.

    Args:
        reader: warmed up, with a reset interval.
        images: fed over and over.
        setting: says how many frames.
        findings: that tables are added to.
        seconds: after which no further frame is fed.
        title: of the table.
    """
    device, end = reader.backbone.device, time.monotonic() + seconds
    milliseconds, memory, faults, resets = [], [], 0, []
    for number in range(setting.frames):
        if time.monotonic() > end:
            break
        if 0 < reader.reset_interval <= reader.state.segment_frames:
            resets.append(number)
        begun = time.perf_counter()
        estimate = reader.read(images[number % len(images)], outputs={POINTS, IMAGE})
        milliseconds.append(1e3 * (time.perf_counter() - begun))
        faults += estimate.fault is not None
        memory.append(in_use(device))
    frames = np.arange(len(milliseconds))
    tail = frames >= len(frames) // 10  # before that the allocators settle
    usual = tail & ~np.isin(frames, resets)
    times, (allocated, reserved, host) = np.array(milliseconds), np.array(memory).T
    rows = {
        "time of a frame [ms]": _flatness(frames[usual], times[usual]),
        "memory allocated [MB]": _flatness(frames[tail], allocated[tail]),
        "memory reserved [MB]": _flatness(frames[tail], reserved[tail]),
        "the process on the host [MB]": _flatness(frames[tail], host[tail]),
        "frames": {"value": len(frames)},
        "frames with a fault": {"value": faults},
        "segments": {"value": reader.state.segment + 1},
    }
    if resets:
        rows["time of a frame after a reset [ms]"] = {"value": spread(times[resets])}
    findings.add(title, rows)
    series = {"ms": times, "device MB": allocated, "host MB": host}
    findings.add(SERIES, {title: {name: [round(float(v), 3) for v in values] for name, values in series.items()}})


def _flatness(frames: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the spread of some values, their slope, and how the last third compares with the first."""
    third = max(1, len(values) // 3)
    return {
        "value": spread(values),
        "per 1000 frames": 1000 * float(np.polyfit(frames, values, 1)[0]) if len(values) > 1 else float("nan"),
        "last third over first": float(np.median(values[-third:]) / np.median(values[:third])),
    }
