"""The node as a benchmark runs it: the time of every network step goes to a file, and a step can be made longer.

    python benchmark/timed_node.py STEPS_FILE EXTRA_SECONDS --ros-args ...

The extra seconds are slept, as a network on a GPU would let this process sleep.
"""

from __future__ import annotations

import struct
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ttt3r_ros.model.network import Network
from ttt3r_ros.ros.node import main

_RECORD = struct.Struct("ddd")  # `time.monotonic` at a step's begin, the seconds it took, and those of its processor


def read_steps(path: Path) -> npt.NDArray[np.float64]:
    """Return begin, length and processor time of every step so far, (N, 3) [s]."""
    return np.array(list(_RECORD.iter_unpack(path.read_bytes()))).reshape(-1, 3)


def _time_steps(path: Path, extra: float) -> None:
    file = path.open("ab", buffering=0)  # the node's end leaves nothing time to be flushed
    step = Network.step

    def timed(self: Network, *args: Any, **kwargs: Any) -> Any:
        begun, cpu = time.monotonic(), time.thread_time()
        result = step(self, *args, **kwargs)
        if extra:
            time.sleep(extra)
        file.write(_RECORD.pack(begun, time.monotonic() - begun, time.thread_time() - cpu))
        return result

    Network.step = timed  # type: ignore[method-assign]


if __name__ == "__main__":
    _time_steps(Path(sys.argv[1]), float(sys.argv[2]))
    main(sys.argv[3:])
