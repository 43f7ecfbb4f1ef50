"""Processes every frame of a recording and collects the results."""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.camera.calibration import Calibration, Camera
from ttt3r_ros.camera.mask import Mask
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.metrics import compare_depth, resample_depth
from ttt3r_ros.evaluation.run_log import Moment
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, Intrinsics, inverse, unproject
from ttt3r_ros.mapping.cloud import depth_in_millimeters, masked_depth
from ttt3r_ros.mapping.voxel_map import VoxelMap
from ttt3r_ros.offline.findings import Findings, count, load_findings, save_findings
from ttt3r_ros.offline.kept_map import load_map, save_map
from ttt3r_ros.offline.run_folder import RunFolder
from ttt3r_ros.offline.selection import Selection
from ttt3r_ros.places.map_file import read as read_places
from ttt3r_ros.places.map_file import to_bytes as places_to_bytes
from ttt3r_ros.places.place_map import PlaceMap
from ttt3r_ros.sources import Source, SourceFrame
from ttt3r_ros.stream.estimate import DESCRIPTOR, IMAGE, POINTS, Estimate
from ttt3r_ros.stream.saved_state import from_bytes, to_bytes
from ttt3r_ros.stream.stream import CameraFrame, Stream

_log = logging.getLogger(__name__)

#: Time between two saves that a killed run can resume from [s].
SAVE_PERIOD_S = 30.0

#: Files that an interrupted run resumes from.
_FINDINGS, _STREAM, _MAP = "findings.safetensors", "stream.state.safetensors", "map.safetensors"
_PLACES = "places.safetensors"

#: Approximate number of points per frame that are added to the map.
_POINTS_PER_FRAME = 20_000
#: PNG compression level (0 to 9): halves the size at little cost in time.
_PNG_COMPRESSION = 3


@dataclass(frozen=True)
class OutputOptions:
    """What to write for every frame.

    Attributes:
        depth, rgb, cloud: whether to write depth images, the images that they belong to, and a cloud.
        min_confidence, max_depth: pixels with less confidence or more depth [m] get no depth and no point.
        undistort: remove lens distortion with the recording's calibration.
    """

    depth: bool
    rgb: bool
    cloud: bool
    min_confidence: float
    max_depth: float
    undistort: bool


class Run:
    """One run, new or resumed.

    Attributes:
        findings: results so far.
        voxel_map: map so far; None if no cloud is requested.
        place_map: places so far, which correct the drift; None if that is not requested.
        backbone: the stream's.
    """

    def __init__(
        self,
        stream: Stream,
        folder: RunFolder,
        options: OutputOptions,
        voxel_map: VoxelMap | None,
        mask: Mask | None = None,
        place_map: PlaceMap | None = None,
    ) -> None:
        self._stream, self._folder, self._options = stream, folder, options
        self.place_map, self.backbone = place_map, stream.backbone
        self.findings = Findings()
        self.voxel_map = voxel_map
        self._mask, self._masked = mask, mask  # of the images as recorded, and without distortion
        self._camera_of: tuple[Calibration, tuple[int, int]] | None = None
        self._camera: Camera | None = None

    def go_on_from(self, left: Path) -> None:
        """Resume from the files of an interrupted run.

        Raises:
            UserError: a file is damaged.
        """
        self.findings = load_findings(left / _FINDINGS)
        file = left / _STREAM
        try:
            data = file.read_bytes()
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}); start over with --overwrite") from None
        self._stream.resume(from_bytes(data, self._stream, str(file)))
        if self.voxel_map is not None:
            load_map(left / _MAP, self.voxel_map)
        if self.place_map is not None:
            self.place_map.resume(read_places(left / _PLACES, self._stream.backbone))

    def take_all(self, source: Source, selection: Selection, progress: FrameProgress, stop: threading.Event) -> bool:
        """Process all remaining frames; return True at the end of the recording, False if stopped before it.

        Raises:
            UserError: a frame cannot be read or a result cannot be written; everything before it is kept.
        """
        found, session, before = self.findings, time.monotonic(), self.findings.seconds
        saved_at = session
        try:
            for cursor, frame in selection.frames(source, found.cursor):
                if stop.is_set():
                    return False
                self._take(frame)
                found.cursor = cursor
                now = time.monotonic()
                found.seconds = before + now - session
                progress.update(selection.taken(cursor), self._detail(now - session))
                if now - saved_at > SAVE_PERIOD_S:
                    self._save()
                    saved_at = time.monotonic()
        finally:
            if found.cursor is not None:
                self._save()
        return True

    def _take(self, frame: SourceFrame) -> None:
        found = self.findings
        image, camera = self._without_distortion(frame)
        outputs = frozenset({POINTS, IMAGE} if self.place_map is None else {POINTS, IMAGE, DESCRIPTOR})
        result = self._stream.process(
            image,
            frame.stamp_ns,
            T_BASE_CAMERA,
            camera,
            outputs=outputs,
            break_reason=frame.jump,
            clock_step_ns=frame.clock_step_ns,
            mask=self._masked,
        )
        if self.place_map is not None:
            taken = CameraFrame(image, frame.stamp_ns, T_BASE_CAMERA, camera, clock_step_ns=frame.clock_step_ns)
            self.place_map.add(taken, result, lambda: None if result.estimate is None else result.estimate.dense)
            while self.place_map.work():
                pass
        if frame.T_world_camera is not None:
            found.true_poses[frame.stamp_ns] = frame.T_world_camera @ inverse(T_BASE_CAMERA)
        estimate, motion = result.estimate, result.motion
        if estimate is None or motion is None:
            found.lost.append(frame.stamp_ns)
            count(found.lost_reasons, result.lost or "no pose")
        else:
            found.poses[frame.stamp_ns] = motion.T_odom_base
            if begun := estimate.segment + 1 - found.segments:
                count(found.segment_reasons, self._stream.state.segment_reason, begun)
            found.segments = estimate.segment + 1
            found.unconnected += estimate.segment_frames == 1  # after a reset it is 2, since that begins with the last
            found.camera = estimate.intrinsics
            self._keep(frame, estimate, motion.T_odom_base @ T_BASE_CAMERA, camera)
        self._stream.prepare()

    def _keep(
        self, frame: SourceFrame, estimate: Estimate, T_odom_camera: FloatArray, camera: Intrinsics | None
    ) -> None:
        found, options = self.findings, self._options
        depth, confidence, image = estimate.depth, estimate.confidence, estimate.image
        assert depth is not None
        assert confidence is not None
        assert image is not None
        seen = masked_depth(depth, confidence, min_confidence=options.min_confidence, max_depth=options.max_depth)
        truth = None
        if frame.depth is not None and camera is not None:
            truth = resample_depth(frame.depth, camera, estimate.pixel_map.intrinsics(camera))
            error = compare_depth(seen, truth)
            if error.pixels:
                found.depth_errors.append((error.abs_rel, error.delta_125))
        name = image_name(frame.stamp_ns)
        if options.depth:
            _write_png(self._folder.depth / name, depth_in_millimeters(seen))
        if options.rgb:
            _write_png(self._folder.rgb / name, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        moment = None
        if found.moments.wants_next():
            assert estimate.intrinsics is not None
            moment = Moment(
                stamp_ns=frame.stamp_ns,
                rgb=image,
                depth=seen,
                confidence=confidence,
                true_depth=truth,
                points_odom=np.empty((0, 3), np.float32),
                colors=np.empty((0, 3), np.uint8),
                point_confidence=np.empty(0, np.float32),
                intrinsics=estimate.intrinsics,
                T_odom_camera=T_odom_camera,
            )
        found.moments.add(moment)
        if self.voxel_map is not None and estimate.intrinsics is not None:
            stride = max(1, round(math.sqrt(depth.size / _POINTS_PER_FRAME)))
            chosen = np.zeros(depth.shape, bool)
            chosen[::stride, ::stride] = np.isfinite(seen[::stride, ::stride])
            R, t = T_odom_camera[:3, :3].astype(np.float32), T_odom_camera[:3, 3].astype(np.float32)
            points = unproject(seen, estimate.intrinsics)[chosen] @ R.T + t
            self.voxel_map.insert(points, image[chosen], confidence[chosen])

    def _without_distortion(self, frame: SourceFrame) -> tuple[npt.NDArray[np.uint8], Intrinsics | None]:
        if frame.calibration is None:
            return frame.image, None
        key = frame.calibration, (frame.image.shape[1], frame.image.shape[0])
        if self._camera_of != key:
            self._camera_of, self._camera = key, self._read(*key)
            self._masked = self._mask_for(self._camera)
        if self._camera is None:
            return frame.image, None
        rectifier = self._camera.rectifier
        return rectifier.rectify(frame.image) if rectifier else frame.image, self._camera.intrinsics

    def _mask_for(self, camera: Camera | None) -> Mask | None:
        if self._mask is None or camera is None or camera.rectifier is None:
            return self._mask
        self._mask.check(camera.intrinsics.width, camera.intrinsics.height)
        return self._mask.rectified(camera.rectifier)

    def _read(self, calibration: Calibration, image_size: tuple[int, int]) -> Camera | None:
        try:
            camera = calibration.camera(rectified=not self._options.undistort, image_size=image_size)
        except UserError as error:
            if self._options.undistort:
                raise
            _log.warning("%s", error)
            return None
        if camera.warning:
            _log.warning("%s", camera.warning)
        return camera

    def _save(self) -> None:
        def fill(folder: Path) -> None:
            save_findings(folder / _FINDINGS, self.findings)
            (folder / _STREAM).write_bytes(to_bytes(self._stream))
            if self.voxel_map is not None:
                save_map(folder / _MAP, self.voxel_map)
            if self.place_map is not None:
                (folder / _PLACES).write_bytes(places_to_bytes(self.place_map.content(), self._stream.backbone))

        self._folder.save(self.findings.frames, fill)

    def _detail(self, seconds: float) -> str:
        lost = f", {len(self.findings.lost)} lost" if self.findings.lost else ""
        return f"{self.findings.frames / max(self.findings.seconds, 1e-3):.1f} Hz{lost}"


def image_name(stamp_ns: int) -> str:
    """Return the file name of a frame's image, which is its stamp in seconds."""
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}.png"


def _write_png(path: Path, image: npt.NDArray[np.integer[Any] | np.floating[Any]]) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        encoded, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION])
        assert encoded
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
