"""Choosing the network's device and precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttt3r_ros.errors import UserError

if TYPE_CHECKING:
    import torch

AUTO = "auto"
#: Names of the number formats in which a network computes.
PRECISIONS = ("float32", "bfloat16", "float16", "int8")


def choose_device(name: str) -> torch.device:
    """Return the device of this name: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:N'.

    Raises:
        UserError: this machine has no such device.
    """
    import torch  # slow to import, and command lines only need the names above

    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"there is no device {name!r}; choose auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"there is no device {name!r}: torch sees {torch.cuda.device_count()} CUDA devices; "
            "choose cpu, or install a CUDA build of torch and its driver"
        )
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Return the precision of this name; 'auto' is bfloat16 on a GPU, float32 on a CPU."""
    if name == AUTO:
        return "bfloat16" if device.type == "cuda" else "float32"
    return name
