"""What a stream makes of a walk, kept on disk, so that a map can go along it many times without the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.walk import Walk
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray
from ttt3r_ros.stream.covariance import Covariances
from ttt3r_ros.stream.estimate import DESCRIPTOR, POINTS, Estimate, Float32Array, Timings
from ttt3r_ros.stream.odometry import Motion
from ttt3r_ros.stream.saved_state import from_bytes, to_bytes
from ttt3r_ros.stream.stream import CameraFrame, Stream, StreamResult

#: The stream's state is written after so many frames.
_SAVED_EVERY = 200


@dataclass(frozen=True)
class StreamedFrame:
    """A frame as the stream took it, and what came of it.

    Attributes:
        index: of the walk.
        frame, result: the result has pose, points, confidence and descriptor.
        seconds: of processor time that the stream took.
    """

    index: int
    frame: CameraFrame
    result: StreamResult
    seconds: float

    @property
    def T_odom_camera(self) -> FloatArray | None:
        """(4, 4) pose of the camera; None while lost."""
        return None if self.result.motion is None else self.result.motion.T_odom_base @ T_BASE_CAMERA

    def dense(self) -> tuple[Float32Array, Float32Array] | None:
        """Return points (H, W, 3) [m] and confidence (H, W)."""
        return None if self.result.estimate is None else self.result.estimate.dense


class StreamedWalk:
    """A walk and what a stream has made of it, one record a frame."""

    def __init__(self, walk: Walk, stream: Stream, folder: Path) -> None:
        """Work out nothing yet; the stream must be a new one."""
        self.walk, self._stream = walk, stream
        name = f"{walk.spec.name}_{stream.backbone.fingerprint[:12]}_2"  # 2: what a record holds
        self._file, self._state = folder / f"{name}.stream", folder / f"{name}.stream_state"
        backbone, spec = stream.backbone, walk.spec
        self._pixel_map = backbone.pixel_map(spec.width, spec.height, stream.settings.image_size)
        width, height = self._pixel_map.size
        self._intrinsics = self._pixel_map.intrinsics(walk.intrinsics)
        self._record = np.dtype(
            [
                ("is_known", np.bool_), ("segment", np.int32), ("segment_frames", np.int32), ("scale", np.float64),
                ("T_odom_base", np.float64, (4, 4)), ("added", np.float64, (2,)), ("seconds", np.float64),
                ("descriptor", np.float32, (2 * backbone.network.config.enc_embed_dim,)),
                ("points", np.float16, (height, width, 3)), ("confidence", np.float16, (height, width)),
            ]
        )  # fmt: skip

    def run(self, progress: Callable[[int], object]) -> None:
        """Take the frames that the file lacks through the stream, going on where an earlier call was stopped."""
        size, stream = self._record.itemsize, self._stream
        done = self._file.stat().st_size // size if self._file.exists() else 0
        if done >= self.walk.spec.frames:
            return
        done = 0
        if self._state.exists():
            data = self._state.read_bytes()
            done = int.from_bytes(data[:8], "little")
            stream.resume(from_bytes(data[8:], stream, str(self._state)))
        with self._file.open("ab") as file:
            file.truncate(done * size)
            for index in range(done, self.walk.spec.frames):
                file.write(self._processed(index).tobytes())
                if (index + 1) % _SAVED_EVERY == 0:
                    file.flush()
                    part = self._state.with_suffix(".part")
                    part.write_bytes((index + 1).to_bytes(8, "little") + to_bytes(stream))
                    part.replace(self._state)
                progress(index + 1)

    def _processed(self, index: int) -> np.ndarray:
        image = self.walk.image(index)
        begun = time.process_time()
        result = self._stream.process(
            image, self.walk.stamps_ns[index], camera=self.walk.intrinsics, outputs=frozenset({POINTS, DESCRIPTOR})
        )
        self._stream.prepare()
        record = np.zeros((), self._record)
        record["seconds"] = time.process_time() - begun
        estimate, motion = result.estimate, result.motion
        if estimate is not None and motion is not None:
            record["is_known"], record["T_odom_base"], record["added"] = True, motion.T_odom_base, motion.added
            for name in ("segment", "segment_frames", "scale", "descriptor"):
                record[name] = getattr(estimate, name)
            limit = float(np.finfo(np.float16).max)
            for name in ("points", "confidence"):
                record[name] = np.clip(getattr(estimate, name), -limit, limit)
        return record

    def frames(self, first: int = 0, stop: int | None = None) -> Iterator[StreamedFrame]:
        """Read the frames of a part of the walk, one by one."""
        with self._file.open("rb") as file:
            file.seek(first * self._record.itemsize)
            for index in range(first, self.walk.spec.frames if stop is None else stop):
                (record,) = np.frombuffer(file.read(self._record.itemsize), self._record)
                stamp = self.walk.stamps_ns[index]
                frame = CameraFrame(self.walk.image(index), stamp, T_BASE_CAMERA, self.walk.intrinsics)
                yield StreamedFrame(index, frame, self._result(record, stamp), float(record["seconds"]))

    def _result(self, record: np.void, stamp_ns: int) -> StreamResult:
        if not record["is_known"]:
            return StreamResult(stamp_ns, None, None, "lost")
        points, confidence = record["points"].astype(np.float32), record["confidence"].astype(np.float32)
        estimate = Estimate(
            T_world_camera=record["T_odom_base"] @ T_BASE_CAMERA,
            fault=None,
            learning_rate=np.ones(1, np.float32),
            state_level=1.0,
            segment=int(record["segment"]),
            segment_frames=int(record["segment_frames"]),
            pixel_map=self._pixel_map,
            scale=float(record["scale"]),
            timings=Timings(0.0, 0.0, 0.0),
            points=points,
            depth=np.ascontiguousarray(points[..., 2]),
            confidence=confidence,
            descriptor=record["descriptor"],
            intrinsics=self._intrinsics,
        )
        unknown = Covariances(np.zeros(6), np.zeros(6))
        metres, radians = record["added"].tolist()
        motion = Motion(record["T_odom_base"], (np.zeros(3), np.zeros(3)), unknown, added=(metres, radians))
        return StreamResult(stamp_ns, estimate, motion)
