"""What a node waits for: from a camera's image to arrays on the host, with the full network at random weights."""

from __future__ import annotations

from benchmark.gpu.findings import Findings
from benchmark.gpu.setting import Setting
from benchmark.gpu.streams import measure_latency, photos
from ttt3r_ros.weights.rule import random_network


def measure(setting: Setting, findings: Findings) -> None:
    device, images = setting.torch_device, photos(8, setting.camera)
    measure_latency(
        lambda: random_network(setting.network, device), images, setting, findings, 0.7 * findings.seconds_left()
    )
