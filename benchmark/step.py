"""Time per frame and peak memory of the network, compared with the slow reference and with the machine's floor.

    python -m benchmark.step --config full [--size 512x288] [--precision bfloat16] [--device cuda] [--json FILE]

The reference materializes every attention map, computes every head and runs in float32. Both alternate in this process,
so the ratio holds even if the machine's speed drifts. The floor is the time that the network's multiply-adds, including
those of attention, would take at the rate of one large matrix product, which is measured here: linear layers at the
rate of the precision, everything else at the rate of the number format that the network uses there. On a GPU the step
is the captured one that the node uses; it alternates with the plain one, whose stages are shown.

With OMP_NUM_THREADS=1, times on a CPU are processor times, which other programs hardly affect.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from benchmark import command, stages
from benchmark.clock import timed
from benchmark.floor import count_gflop, int8_rate, matrix_rate, memory_rate, weight_bytes
from ttt3r_ros.camera.preprocess import PixelMap, normalize, pixel_map, resample
from ttt3r_ros.errors import UserError
from ttt3r_ros.model import CUT3R_224_LINEAR, CUT3R_512_DPT, Network, Prediction, State
from ttt3r_ros.model.reference import ReferenceNetwork, ReferenceState
from ttt3r_ros.runtime.captured import CapturedStep
from ttt3r_ros.runtime.cuda_capture import CudaCapture
from ttt3r_ros.runtime.device import PRECISIONS, choose_device
from ttt3r_ros.runtime.device_outputs import DeviceOutputs
from ttt3r_ros.runtime.transfer import download
from ttt3r_ros.stream.backbone import dtype_of
from ttt3r_ros.weights.load import PACKAGED
from ttt3r_ros.weights.native_file import read_native
from ttt3r_ros.weights.published import reference_of
from ttt3r_ros.weights.rule import TINY, rule_image, rule_network

_SMALL = replace(read_native(PACKAGED).config, rgb_head=True)
CONFIGS = {
    "full": (CUT3R_512_DPT, (512, 288)),
    "full-linear": (CUT3R_224_LINEAR, (224, 224)),
    "small": (_SMALL, pixel_map(640, 480, image_size=_SMALL.image_size).size),
    "tiny": (TINY, (64, 48)),
}
STAGES = ("upload and preprocess", *stages.STAGES, "download")


@dataclass(frozen=True)
class Result:
    """One measurement; times in milliseconds, median and 95th percentile over the frames."""

    config: str
    size: str
    device: str
    precision: str
    threads: int
    step_ms: float
    step_ms_p95: float
    plain_step_ms: float | None
    naive_ms: float | None
    naive_over_step: float | None
    stages_ms: dict[str, float]
    gflop: float
    matrix_gflops_per_s: float
    arithmetic_ms: float
    weights_mb: float
    memory_gb_per_s: float
    reading_ms: float
    floor_ms: float
    step_over_floor: float
    peak_memory_mb: float


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and, if asked to, write it as JSON."""
    return command.start(_parser(), measure, report, argv, figures=asdict)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__, "device", "frames", "markdown", frames=10)
    parser.add_argument("--config", choices=CONFIGS, default="small")
    parser.add_argument("--size", help="width x height, multiples of 16 (default: as the configuration was trained)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--no-naive", action="store_true", help="skip the reference")
    return parser


@torch.inference_mode()
def measure(options: argparse.Namespace, console: Console) -> Result:
    """Run network and twin in turn."""
    device = choose_device(options.device)
    config, default_size = CONFIGS[options.config]
    width, height = _size(options.size) if options.size else default_size
    console.print(f"making {options.config} weights by rule", highlight=False)
    plain = rule_network(config).to(device)
    naive = None if options.no_naive else reference_of(plain)
    if naive:  # the twin keeps the float32 weights; the network gets a copy where it changes them
        plain = plain if options.precision == "float32" else _copy(plain)
    network = plain.set_precision(dtype_of(options.precision))
    images = [rule_image(index, height, width)[None].to(device) for index in range(4)]

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    stepper, plain_step = network.step, None
    if device.type == "cuda":
        stepper, plain_step = CapturedStep(network, CudaCapture(device), console.print).step, network.step
    state, naive_state = _warm_up(stepper, naive, images)
    times, plain_times, naive_times = [], [], []
    for frame in track(range(options.frames), description="alternating", console=console):
        image = images[frame % len(images)]
        if plain_step:
            plain_times.append(timed(partial(plain_step, image, state), device)[1])
        (_, state), seconds = timed(partial(stepper, image, state), device)
        times.append(seconds)
        if naive:
            (_, naive_state), seconds = timed(partial(naive.step, image[0], naive_state), device)
            naive_times.append(seconds)
    stages = time_stages(network, images, state, device)
    linear_gflop, other_gflop = count_gflop(network.config, height, width)
    other_rate = matrix_rate(device, network.image_norm.weight.dtype)
    rate = int8_rate() if options.precision == "int8" else other_rate
    step_ms, naive_ms = _median_ms(times), _median_ms(naive_times) if naive else None
    arithmetic_ms = (linear_gflop / rate + other_gflop / other_rate) * 1e3
    weights_mb, bandwidth = weight_bytes(network) / 1e6, memory_rate(device)
    reading_ms = weights_mb / bandwidth
    floor_ms = max(arithmetic_ms, reading_ms)
    return Result(
        config=options.config,
        size=f"{width}x{height}",
        device=str(device),
        precision=options.precision,
        threads=torch.get_num_threads(),
        step_ms=step_ms,
        step_ms_p95=1e3 * sorted(times)[max(0, round(0.95 * len(times)) - 1)],
        plain_step_ms=_median_ms(plain_times) if plain_step else None,
        naive_ms=naive_ms,
        naive_over_step=statistics.median(b / a for a, b in zip(times, naive_times, strict=True)) if naive else None,
        stages_ms=stages,
        gflop=linear_gflop + other_gflop,
        matrix_gflops_per_s=rate,
        arithmetic_ms=arithmetic_ms,
        weights_mb=weights_mb,
        memory_gb_per_s=bandwidth,
        reading_ms=reading_ms,
        floor_ms=floor_ms,
        step_over_floor=step_ms / floor_ms,
        peak_memory_mb=peak_memory_mb(device),
    )


def time_stages(network: Network, images: list[torch.Tensor], state: State, device: torch.device) -> dict[str, float]:
    """Return the median time of each stage [ms]; timed apart from the whole, since each waits for the device."""
    seconds: dict[str, list[float]] = defaultdict(list)
    height, width = images[0].shape[2:]
    mapping = PixelMap((width * 5 // 4, height * 5 // 4), (width, height), (0, 0), (width, height))
    photo = np.zeros((mapping.input_size[1], mapping.input_size[0], 3), np.uint8)
    prediction, new_state = network.step(images[0], state)
    ends = {
        "upload and preprocess": lambda: normalize(resample(photo, mapping, device)),
        "download": lambda: download(DeviceOutputs.of(prediction, new_state, 1.0, None)),
    }
    for image in images:
        for stage, work in {**ends, **stages.stages_of(network, image, state)}.items():
            seconds[stage].append(timed(work, device)[1])
    return {stage: _median_ms(seconds[stage]) for stage in STAGES}


def peak_memory_mb(device: torch.device) -> float:
    """Return the most device memory used since the network was loaded, or the process's peak on a CPU [MB]."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def report(result: Result, options: argparse.Namespace, console: Console) -> bool:
    """Print the figures."""
    rows = [("step, median", f"{result.step_ms:.1f} ms"), ("step, 95 %", f"{result.step_ms_p95:.1f} ms")]
    if result.plain_step_ms is not None:
        rows.append(("plain step, median", f"{result.plain_step_ms:.1f} ms"))
    if result.naive_ms is not None and result.naive_over_step is not None:
        rows.append(("naive twin, float32", f"{result.naive_ms:.1f} ms"))
        rows.append(("naive twin / step", f"{result.naive_over_step:.2f}"))
    rows += [
        *((f"  {stage}", f"{milliseconds:.1f} ms") for stage, milliseconds in result.stages_ms.items()),
        ("arithmetic", f"{result.gflop:.1f} GFLOP"),
        ("matrix rate of its linear layers", f"{result.matrix_gflops_per_s:.0f} GFLOP/s"),
        ("  takes at least", f"{result.arithmetic_ms:.1f} ms"),
        ("weights read", f"{result.weights_mb:.0f} MB"),
        ("memory's rate", f"{result.memory_gb_per_s:.1f} GB/s"),
        ("  takes at least", f"{result.reading_ms:.1f} ms"),
        ("floor", f"{result.floor_ms:.1f} ms"),
        ("step / floor", f"{result.step_over_floor:.2f}"),
        ("peak memory" + ("" if "cuda" in result.device else ", twin included"), f"{result.peak_memory_mb:.0f} MB"),
    ]
    title = f"{result.config} {result.size}, {result.precision} on {result.device}, {result.threads} threads"
    command.show(("", ""), rows, options, console, title=title)
    return True


def _warm_up(
    step: Callable[..., tuple[Prediction, State]], naive: ReferenceNetwork | None, images: list[torch.Tensor]
) -> tuple[State, ReferenceState | None]:
    _, state = step(images[0], None)
    _, state = step(images[1], state)
    naive_state = None
    if naive:
        _, naive_state = naive.step(images[0][0], None)
        naive_state = replace(naive_state)
    return state, naive_state


def _copy(network: Network) -> Network:
    copy = Network(network.config)
    copy.load_state_dict(network.state_dict())
    return copy.to(network.pose_token.device).eval().requires_grad_(False)


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in text.split("x"))
    except ValueError:
        raise UserError(f"--size {text} is not width x height, such as 512x288") from None
    if width <= 0 or height <= 0 or width % 16 or height % 16:
        raise UserError(f"--size {text}: both sides must be multiples of 16")
    return width, height


def _median_ms(seconds: list[float]) -> float:
    return 1e3 * statistics.median(seconds)


if __name__ == "__main__":
    sys.exit(main())
