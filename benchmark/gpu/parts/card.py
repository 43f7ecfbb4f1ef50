"""Which card, driver and torch: what every other figure has to be read with."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch

from benchmark.gpu.findings import Findings
from benchmark.gpu.setting import Setting

#: What nvidia-smi is asked.
_SMI = (
    "name", "driver_version", "memory.total", "memory.used", "compute_mode", "power.limit", "temperature.gpu",
    "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "pcie.link.gen.current", "pcie.link.width.current",
)  # fmt: skip
_PACKAGES = ("numpy", "safetensors", "opencv-python-headless", "opencv-python", "pillow", "matplotlib", "triton", "evo")


def measure(setting: Setting, findings: Findings) -> None:
    """Look at the device, and use it once."""
    device = setting.torch_device
    looks = {"Software": _software, "Device": _device, "nvidia-smi": _smi, "First use": _first_use}
    for title, look in looks.items():
        findings.attempt(title, _look, title, look, device, findings)


def _look(title: str, look: Callable[[torch.device], dict[str, Any]], device: torch.device, findings: Findings) -> None:
    findings.add(title, {name: {"": value} for name, value in look(device).items()})


def _software(_: torch.device) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "Python": sys.version.split()[0],
        "torch": torch.__version__,
        "built for": f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU",
        "cuDNN": torch.backends.cudnn.version() or "none",  # type: ignore[no-untyped-call]  # untyped in torch
        "C compiler": next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), "none"),
        "threads of torch": torch.get_num_threads(),
        "float32 matrix products": torch.get_float32_matmul_precision(),
        "TF32 in matrix products": torch.backends.cuda.matmul.allow_tf32,
        "TF32 in convolutions": torch.backends.cudnn.allow_tf32,
        "attention": ", ".join(name for name in _attention() if name) or "as it is",
    }
    for name in _PACKAGES:
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return facts


def _attention() -> list[str]:
    """Return the kinds of attention kernels that torch may choose."""
    kinds = ("flash", "mem_efficient", "math", "cudnn")
    enabled = ((kind, getattr(torch.backends.cuda, f"{kind}_sdp_enabled", None)) for kind in kinds)
    return [kind for kind, is_enabled in enabled if is_enabled is not None and is_enabled()]


def _device(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {"name": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    found = torch.cuda.get_device_properties(device)
    names = ("name", "total_memory", "multi_processor_count", "L2_cache_size", "clock_rate", "memory_bus_width")
    facts = {name.replace("_", " "): getattr(found, name) for name in names if hasattr(found, name)}
    free, total = torch.cuda.mem_get_info(device)
    return {
        **facts,
        "compute capability": f"{found.major}.{found.minor}",
        "torch's own kernels": " ".join(torch.cuda.get_arch_list()),
        "bfloat16": torch.cuda.is_bf16_supported(),
        "memory free [MB]": free / 1e6,
        "memory [MB]": total / 1e6,
        "devices": torch.cuda.device_count(),
    }


def _smi(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda" or shutil.which("nvidia-smi") is None:
        return {"nvidia-smi": "is of no use on a CPU" if device.type != "cuda" else "is not installed"}
    number = torch.cuda.current_device() if device.index is None else device.index
    uuid = str(getattr(torch.cuda.get_device_properties(device), "uuid", ""))
    which = f"GPU-{uuid}" if uuid else str(number)  # nvidia-smi counts devices that torch may not see
    command = ["nvidia-smi", f"--id={which}", f"--query-gpu={','.join(_SMI)}", "--format=csv,noheader"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
    values = run.stdout.strip().split(", ")
    if run.returncode or len(values) != len(_SMI):
        return {"nvidia-smi": (run.stdout + run.stderr).strip()[:300] or f"ended with status {run.returncode}"}
    return dict(zip(_SMI, values, strict=True))


def _first_use(device: torch.device) -> dict[str, Any]:
    """Return what a process pays for the device before its first step."""
    begun = time.perf_counter()
    torch.zeros(1, device=device).item()
    context = time.perf_counter()
    side = 64 if device.type == "cpu" else 4096
    a = torch.randn(side, side, device=device)
    (a @ a).sum().item()
    return {"context [s]": context - begun, "first matrix product [s]": time.perf_counter() - context}
