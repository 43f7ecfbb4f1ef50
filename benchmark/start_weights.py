"""The weights file of a start: made where it is missing, read, and dropped from the page cache."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from rich.console import Console

from ttt3r_ros.cli.progress import byte_progress
from ttt3r_ros.model import NetworkConfig

_CHUNK = 2**23  # bytes
_PROBES = 16


def made_by_rule(config: NetworkConfig, path: Path, console: Console) -> Path:
    """Return a weights file of this configuration, made by the tests' rule unless it is there already."""
    from ttt3r_ros.weights.checkpoint import save_network
    from ttt3r_ros.weights.native_file import read_native

    path = path.resolve()
    if path.is_file() and read_native(path).config == config:
        return path
    from ttt3r_ros.weights.rule import rule_network

    console.print("making weights by rule", highlight=False)
    network = rule_network(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(4 * value.numel() for value in network.state_dict().values())
    with byte_progress(f"writing {path.name}", size, console) as progress:
        save_network(network, path, provenance={"source": "rule"}, progress=lambda done, _: progress(done))
    return path


def seconds_to_read(path: Path, *, cold: bool) -> float:
    """Return how long a read of the whole file takes, from the disk or from the page cache, the better of two.

    The first may pay for more than that: a virtual machine's host takes back memory that nothing is kept in.
    """
    seconds = []
    for _ in range(2):
        if cold:
            drop_from_cache(path)
        seconds.append(_read(path))
    return min(seconds)


def drop_from_cache(path: Path) -> bool:
    """Ask the kernel to drop a file from its page cache; return whether it has."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size = path.stat().st_size
        return not any(_is_cached(file.fileno(), i * size // _PROBES) for i in range(_PROBES))


def _read(path: Path) -> float:
    chunk, begun = bytearray(_CHUNK), time.monotonic()
    with path.open("rb", buffering=0) as file:
        while file.readinto(chunk):
            pass
    return time.monotonic() - begun


def _is_cached(descriptor: int, offset: int) -> bool:
    """Return whether a byte can be had without the disk; true where the file system cannot tell."""
    try:
        os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT)
    except OSError as error:
        return error.errno != errno.EAGAIN
    return True
