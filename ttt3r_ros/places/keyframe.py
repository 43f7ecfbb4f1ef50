"""What the map keeps of a view: enough to recognize it, and to find out where from another camera looks at it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.camera.preprocess import ImageArray, PixelMap
from ttt3r_ros.geometry import FloatArray, Intrinsics
from ttt3r_ros.stream.estimate import Estimate, Float32Array

#: Depth is kept of at most so many columns of pixels, the image with at most so many [px], as a JPEG of this quality.
DEPTH_COLUMNS, IMAGE_COLUMNS, JPEG_QUALITY = 128, 640, 92


@dataclass(frozen=True)
class Keyframe:
    """A view in the map. Lengths are the odometry's meters at that moment.

    Attributes:
        number: increases with every keyframe of a map, and is never used again.
        track: of the odometry that it belongs to: another one begins where a pose says nothing of the pose before.
        segment: of the stream.
        stamp_ns: of the frame [ns].
        T_odom_camera: (4, 4) pose of the camera in the odometry's frame, optical axes.
        factor: on the network's lengths, which the depth includes.
        descriptor: (D,) float32.
        jpeg: (bytes,) uint8, the camera's image without distortion.
        pixel_map: from that image to the network's.
        intrinsics: of the network's image.
        depth: (h, w) float16, every `stride`-th pixel of the network's image from `stride // 2` on; NaN where unknown.
        confidence: (h, w) float16, >= 1.
        stride: of the depth [px].
        turns: quarter turns, counterclockwise, after which the network sees the image, see `upright`.
    """

    number: int
    track: int
    segment: int
    stamp_ns: int
    T_odom_camera: FloatArray
    factor: float
    descriptor: Float32Array
    jpeg: npt.NDArray[np.uint8]
    pixel_map: PixelMap
    intrinsics: Intrinsics
    depth: npt.NDArray[np.float16]
    confidence: npt.NDArray[np.float16]
    stride: int
    turns: int

    @property
    def image(self) -> ImageArray:
        """(H, W, 3) uint8 RGB; black, so that nothing is recognized, if a file's image cannot be decoded."""
        decoded = cv2.imdecode(self.jpeg, cv2.IMREAD_COLOR)
        if decoded is None:
            width, height = self.pixel_map.input_size
            return np.zeros((height, width, 3), np.uint8)
        return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]

    @cached_property
    def median_depth(self) -> float:
        """Median depth [m]; NaN where none is known."""
        return float(np.nanmedian(self.depth.astype(np.float32)))

    @property
    def nbytes(self) -> int:
        """Memory of its arrays."""
        return sum(a.nbytes for a in (self.descriptor, self.jpeg, self.depth, self.confidence, self.T_odom_camera))

    def points(self, pixels: FloatArray) -> FloatArray:
        """Return the (N, 3) points [m] seen at (N, 2) pixels (x, y) of the network's image; NaN where none is known.

        Depth is interpolated between its four neighbors, and NaN where they are not of one surface.
        """
        height, width = self.depth.shape
        place = (pixels - self.stride // 2) / self.stride
        column = np.clip(np.floor(place[:, 0]).astype(int), 0, width - 2)
        row = np.clip(np.floor(place[:, 1]).astype(int), 0, height - 2)
        x, y = np.clip(place[:, 0] - column, 0, 1), np.clip(place[:, 1] - row, 0, 1)
        corners = np.stack([self.depth[row + i, column + j] for i in (0, 1) for j in (0, 1)]).astype(np.float64)
        weights = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])
        depth = (weights * corners).sum(axis=0)
        with np.errstate(invalid="ignore"):
            depth[~(corners.max(axis=0) < EDGE * corners.min(axis=0))] = np.nan
        camera = self.intrinsics
        rays = np.stack([(pixels[:, 0] - camera.cx) / camera.fx, (pixels[:, 1] - camera.cy) / camera.fy], axis=1)
        return np.concatenate([rays * depth[:, None], depth[:, None]], axis=1)

    def colored_points(
        self, *, min_confidence: float, max_depth: float
    ) -> tuple[Float32Array, npt.NDArray[np.uint8], Float32Array]:
        """Return (N, 3) points [m], (N, 3) RGB colors and (N,) confidences of the pixels that are to be trusted."""
        depth, confidence = self.depth.astype(np.float32), self.confidence.astype(np.float32)
        row, column = np.nonzero((confidence >= min_confidence) & (depth <= max_depth))  # NaN compares false
        pixels = np.stack([column, row], axis=1) * self.stride + self.stride // 2
        z, camera = depth[row, column], self.intrinsics
        x, y = (pixels[:, 0] - camera.cx) / camera.fx * z, (pixels[:, 1] - camera.cy) / camera.fy * z
        image = self.image
        places = np.rint(self.pixel_map.to_input(pixels)).astype(int).clip(0, [image.shape[1] - 1, image.shape[0] - 1])
        colors = image[places[:, 1], places[:, 0]]
        return np.stack([x, y, z], axis=1).astype(np.float32), colors, confidence[row, column]


#: Neighboring pixels whose depths differ by more than this factor are not of one surface.
EDGE = 1.15


def keyframe_of(
    number: int,
    track: int,
    stamp_ns: int,
    image: ImageArray,
    estimate: Estimate,
    depth_and_confidence: tuple[Float32Array, Float32Array],
    T_odom_camera: FloatArray,
) -> Keyframe:
    """Return the keyframe of a frame.

    Args:
        number, track, stamp_ns, T_odom_camera: see `Keyframe`.
        image: (H, W, 3) uint8 RGB, the camera's, without distortion.
        estimate: with descriptor and intrinsics.
        depth_and_confidence: (h, w) float32 each, of the network's image [m].
    """
    assert estimate.descriptor is not None
    assert estimate.intrinsics is not None
    if image.shape[1] > IMAGE_COLUMNS:
        size = (IMAGE_COLUMNS, round(image.shape[0] * IMAGE_COLUMNS / image.shape[1]))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    depth, confidence = depth_and_confidence
    stride = -(-depth.shape[1] // DEPTH_COLUMNS)
    thinned = np.array(depth[stride // 2 :: stride, stride // 2 :: stride])
    thinned[~(thinned > 0) | ~(thinned < np.finfo(np.float16).max)] = np.nan
    return Keyframe(
        number=number,
        track=track,
        segment=estimate.segment,
        stamp_ns=stamp_ns,
        T_odom_camera=T_odom_camera,
        factor=estimate.scale,
        descriptor=estimate.descriptor,
        jpeg=jpeg.ravel().astype(np.uint8),
        pixel_map=replace(estimate.pixel_map, input_size=(image.shape[1], image.shape[0])),
        intrinsics=estimate.intrinsics,
        depth=thinned.astype(np.float16),
        confidence=np.clip(confidence[stride // 2 :: stride, stride // 2 :: stride], 1, 6e4).astype(np.float16),
        stride=stride,
        turns=estimate.turns,
    )
