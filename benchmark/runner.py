"""Along a walk with a stream: the one loop that all benchmarks of accuracy share."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.metrics import (
    Trajectory,
    TrajectoryError,
    compare_depth,
    compare_trajectories,
    resample_depth,
)
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, Intrinsics
from ttt3r_ros.stream.estimate import DEFAULT_OUTPUTS, Estimate
from ttt3r_ros.stream.odometry import Motion
from ttt3r_ros.stream.wheels import OdometrySample

if TYPE_CHECKING:
    from ttt3r_ros.stream.segments import SegmentReader
    from ttt3r_ros.stream.stream import Stream
    from ttt3r_ros.synthetic import Sequence as Rendered

Depths = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
Result = TypeVar("Result")

_BATCH = 8  # frames rendered together


@dataclass(frozen=True)
class Frame:
    """An image of a walk, and what is true of it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        stamp_ns: when it was taken [ns].
        intrinsics: of the camera.
        T_world_camera: (4, 4) float64.
        depth: (H, W) float32 [m]; None where it has not been kept.
        T_ground_camera: (4, 4) as the stream is told it; None where it is not.
        other_odometry: what the stream is told with the image.
    """

    image: npt.NDArray[np.uint8]
    stamp_ns: int
    intrinsics: Intrinsics
    T_world_camera: FloatArray
    depth: npt.NDArray[np.float32] | None
    T_ground_camera: FloatArray | None = None
    other_odometry: Sequence[OdometrySample] = ()


@dataclass(frozen=True)
class Step:
    """What came of one frame.

    Attributes:
        frame: that it came of.
        estimate: what the network saw; None where the image was refused.
        motion: odometry; None while lost, and from a `SegmentReader`, which has none.
        lost: why it is lost, in one clause; None where it is not.
        seconds: from the image until the stream is ready for the next one [s].
        preparing: the part of it after the answer, in which the stream does what may wait until then [s].
        cpu_seconds: the processor's time for all of it, over all threads, which no other process takes a share of [s].
        is_still: whether the camera was seen to stand still.
    """

    frame: Frame
    estimate: Estimate | None
    motion: Motion | None
    lost: str | None
    seconds: float
    preparing: float
    cpu_seconds: float
    is_still: bool = False

    def depths(self) -> Depths | None:
        """See `depths_of`."""
        return depths_of(self.estimate, self.frame.depth, self.frame.intrinsics)

    def depth_ratio(self) -> float:
        """See `median_ratio`."""
        return median_ratio(self.depths())

    def abs_rel(self) -> float:
        """Return the mean relative error of the metric depth, NaN where it is not known."""
        depths = self.depths()
        return compare_depth(*depths).abs_rel if depths else float("nan")


def depths_of(estimate: Estimate | None, true: npt.NDArray[np.float32] | None, intrinsics: Intrinsics) -> Depths | None:
    """Return estimated and true depth [m] of the same pixels; None where either is not known."""
    if true is None or estimate is None or estimate.depth is None:
        return None
    return estimate.depth, resample_depth(true, intrinsics, estimate.pixel_map.intrinsics(intrinsics))


def median_ratio(depths: Depths | None) -> float:
    """Return the median of estimated over true depth, NaN where they are not known."""
    if depths is None:
        return float("nan")
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.nanmedian(depths[0] / depths[1]))


def frames_of(sequence: Rendered) -> Iterator[Frame]:
    """Render a sequence, a few frames at once."""
    for start in range(0, len(sequence), _BATCH):
        rendered = sequence.render(start, min(start + _BATCH, len(sequence)))
        for i, index in enumerate(rendered.index.tolist()):
            yield Frame(
                image=rendered.image[i].cpu().numpy(),
                stamp_ns=sequence.stamps_ns[index],
                intrinsics=sequence.intrinsics,
                T_world_camera=rendered.T_world_camera[i].cpu().double().numpy(),
                depth=rendered.depth[i].cpu().numpy(),
            )


def go_along(
    stream: Stream | SegmentReader,
    frames: Iterable[Frame],
    *,
    outputs: Set[str] = DEFAULT_OUTPUTS,
    T_base_camera: FloatArray = T_BASE_CAMERA,
) -> Iterator[Step]:
    """Feed frames to a stream, one by one, and yield what came of each before the next is taken.

    Args:
        stream: takes them.
        frames: in their order.
        outputs: to compute beside the pose.
        T_base_camera: (4, 4) mount of the camera, of which a stream is told.
    """
    from ttt3r_ros.stream.stream import Stream

    for frame in frames:
        begun, begun_cpu = time.perf_counter(), time.process_time()
        estimate: Estimate | None
        is_still = False
        if isinstance(stream, Stream):
            result = stream.process(
                frame.image,
                frame.stamp_ns,
                T_base_camera,
                frame.intrinsics,
                outputs=outputs,
                T_ground_camera=frame.T_ground_camera,
                other_odometry=frame.other_odometry,
            )
            estimate, motion, lost, is_still = result.estimate, result.motion, result.lost, result.is_still
        else:
            estimate, motion, lost = stream.read(frame.image, frame.intrinsics, outputs=outputs), None, None
        answered = time.perf_counter()
        stream.prepare()
        ended = time.perf_counter()
        cpu_seconds = time.process_time() - begun_cpu
        yield Step(frame, estimate, motion, lost, ended - begun, ended - answered, cpu_seconds, is_still)


def trajectory_error(sequence: Rendered, poses: list[FloatArray]) -> TrajectoryError:
    """Compare the poses of a sequence's first frames, (4, 4) each, with the truth."""
    stamps = sequence.stamps_ns[: len(poses)]
    truth = sequence.T_world_camera[: len(poses)].cpu().double().numpy()
    return compare_trajectories(
        Trajectory.from_transforms(stamps, poses), Trajectory.from_transforms(stamps, list(truth))
    )


def alone(what: str, work: Callable[..., Result], *arguments: object) -> Result:
    """Return the result of a call in a process of its own, so that nothing else's memory is in its figures.

    Args:
        what: it is, for the message.
        work: a function of a module.
        arguments: of it, which can be pickled, as its result can.

    Raises:
        UserError: the process ended early, or the call raised it.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except BrokenProcessPool:
            raise UserError(f"the process of {what} ended early; there may have been too little memory") from None


def resident_bytes() -> int:
    """Return how much memory this process has at present."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
