"""How much of a file this process holds in memory."""

from __future__ import annotations

from pathlib import Path


def resident_bytes(path: Path) -> int:
    """Return what a file's mappings in this process take, as `top` counts it."""
    total, counted = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:  # the first line of a mapping
            counted = line.endswith(str(path))
        elif counted and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
    return total
