"""The full network's step at one image size, with random weights."""

from __future__ import annotations

from benchmark.gpu.findings import Findings
from benchmark.gpu.setting import Setting
from benchmark.gpu.steps import StepBench
from ttt3r_ros.weights.rule import random_network


def measure(setting: Setting, findings: Findings, which: int) -> None:
    """Measure at the size of this number."""
    device = setting.torch_device
    bench = StepBench(lambda: random_network(setting.network, device), setting.sizes[which], setting, findings)
    bench.measure(findings.seconds_left())
