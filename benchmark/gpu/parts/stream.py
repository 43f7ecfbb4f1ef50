"""The full network over a thousand frames, with a reset every hundred: do time and memory stay flat?"""

from __future__ import annotations

from benchmark.gpu.findings import Findings
from benchmark.gpu.setting import Setting
from benchmark.gpu.streams import measure_flatness, open_reader, photos
from ttt3r_ros.runtime.device import AUTO, choose_precision
from ttt3r_ros.weights.rule import random_network


def measure(setting: Setting, findings: Findings) -> None:
    device = setting.torch_device
    precision = choose_precision(AUTO, device)
    network = random_network(setting.network, device)
    reader = open_reader(network, setting, precision, reset_interval=setting.reset_interval)
    title = f"{precision}, a reset every {setting.reset_interval} frames"
    seconds = 0.8 * findings.seconds_left()
    measure_flatness(reader, photos(8, setting.camera), setting, findings, seconds, title)
