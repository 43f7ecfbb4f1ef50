"""The node as a benchmark runs it: the time of every frame's step goes to a file, and a step can be made longer.

    python -m benchmark.timed_node STEPS_FILE EXTRA_SECONDS --ros-args ...

The extra seconds are slept, as a network on a GPU would let this process sleep.
"""

from __future__ import annotations

import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ttt3r_ros.ros.node import main
from ttt3r_ros.stream.estimate import Estimate

if TYPE_CHECKING:
    from ttt3r_ros.model.network import Network
    from ttt3r_ros.stream.segments import SegmentState

_RECORD = struct.Struct("dddd")


def read_steps(path: Path) -> npt.NDArray[np.float64]:
    """Return what is known of every frame so far, (N, 4) [s].

    The columns: `time.monotonic` at the begin of the network's step, how long that took, its processor time, and how
    long it took to bring the image to it and the answer from it.
    """
    return np.array(list(_RECORD.iter_unpack(path.read_bytes()))).reshape(-1, 4)


def _time_steps(path: Path, extra: float) -> None:
    from ttt3r_ros.model.network import Network
    from ttt3r_ros.stream import segments

    file = path.open("ab", buffering=0)  # the node's end leaves nothing time to be flushed
    step, advance = Network.step, segments.advance
    times = (0.0, 0.0, 0.0)

    def timed_step(self: Network, *args: Any, **kwargs: Any) -> Any:
        nonlocal times
        begun, cpu = time.monotonic(), time.thread_time()
        result = step(self, *args, **kwargs)
        if extra:
            time.sleep(extra)
        times = begun, time.monotonic() - begun, time.thread_time() - cpu
        return result

    def timed_advance(*args: Any, **kwargs: Any) -> tuple[Estimate, SegmentState]:
        estimate, state = advance(*args, **kwargs)
        file.write(_RECORD.pack(*times, estimate.timings.preprocess + estimate.timings.download))
        return estimate, state

    Network.step = timed_step  # type: ignore[method-assign]  # this process measures nothing else
    segments.advance = timed_advance


if __name__ == "__main__":
    _time_steps(Path(sys.argv[1]), float(sys.argv[2]))
    main(sys.argv[3:])
