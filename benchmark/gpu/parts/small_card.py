"""Whether the full network runs on a card with less memory, which this one is made to be like."""

from __future__ import annotations

import time
from functools import partial

import torch

from benchmark.gpu.clock import spread, timed
from benchmark.gpu.findings import Findings
from benchmark.gpu.memory import MB, peak, reset_peak
from benchmark.gpu.setting import Setting
from benchmark.gpu.streams import open_reader, photos
from ttt3r_ros.model import Network
from ttt3r_ros.weights.rule import random_network

GIB = 2**30


def measure(setting: Setting, findings: Findings) -> None:
    device = setting.torch_device
    weights = random_network(setting.network, device).cpu().state_dict()  # as if loaded from a file
    reset_peak(device)
    findings.add("The card", {name: {"": value} for name, value in cap(device, setting.card_gib).items()})
    images = photos(4, setting.camera)
    for precision in ("bfloat16", "float32"):

        def run(precision: str = precision) -> None:
            with torch.device("meta"):
                network = Network(setting.network)
            network.load_state_dict(weights, assign=True)
            reset_peak(device)
            begun = time.perf_counter()
            reader = open_reader(network, setting, precision)
            ready, loading = time.perf_counter() - begun, peak(device)
            reset_peak(device)
            samples = [timed(partial(reader.read, image), device) for image in images * 3]
            findings.add(
                "Does it fit?",
                {
                    f"{precision}, until it is ready": {"": "fits", "s": ready, **loading},
                    f"{precision}, then": {"": "fits", "ms": spread([s.wall for s in samples]), **peak(device)},
                },
            )

        if not findings.attempt(precision, run):
            findings.add("Does it fit?", {precision: {"": "does not fit or fails, see below"}})


def cap(device: torch.device, gib: float) -> dict[str, float | str]:
    """Let torch have no more of a card's memory than a smaller card would leave it, and say what that is."""
    if device.type != "cuda":
        return {"memory": "not limited on a CPU"}
    torch.zeros(1, device=device)
    free, total = torch.cuda.mem_get_info(device)
    taken = total - free - torch.cuda.memory_reserved(device)  # by the driver, CUDA's context and other processes
    if total <= gib * GIB:
        return {"memory [MB]": total / MB, "taken by CUDA and others [MB]": taken / MB, "limited to": "what it has"}
    # of what others take here a small card has its share too: CUDA's context, which is most of it
    left = max(gib * GIB - taken, gib * GIB / 2)
    torch.cuda.set_per_process_memory_fraction(left / total, device)
    return {"memory [MB]": total / MB, "taken by CUDA and others [MB]": taken / MB, "left to torch [MB]": left / MB}
