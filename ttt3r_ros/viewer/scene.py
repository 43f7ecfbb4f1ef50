"""The 3D scene: camera, paths and clouds, in the odometry frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros import colors
from ttt3r_ros.geometry import FloatArray, Intrinsics, quaternion_from_rotation

if TYPE_CHECKING:
    from viser import CameraFrustumHandle, FrameHandle, LineSegmentsHandle, PointCloudHandle, ViserServer

#: Widest image that is sent to a browser [px].
_MAX_IMAGE_PX = 320

#: Group of what the map has corrected.
CORRECTED = "/corrected"

_FRUSTUM_M = 0.25
_LINE_PX = 3.0
_LOST = (120, 120, 120)


class Scene:
    """Draws into a server's scene. Everything is in meters in the odometry frame, z up."""

    def __init__(
        self, server: ViserServer, *, point_size: float = 0.02, precision: Literal["float16", "float32"] = "float32"
    ) -> None:
        """Set up an empty scene.

        Args:
            server: where to draw.
            point_size: side of a point [m].
            precision: of the points; float16 has steps of 1 cm at 16 m and half as many bytes.
        """
        self._server, self._scene = server, server.scene
        self._point_size = point_size
        self._precision: Literal["float16", "float32"] = precision
        self._camera: CameraFrustumHandle | None = None
        self._groups: dict[str, FrameHandle] = {}
        self._placed: dict[str, FloatArray] = {}  # poses of groups
        self._lines: dict[str, LineSegmentsHandle] = {}
        self._clouds: dict[str, PointCloudHandle] = {}
        self._scene.set_up_direction("+z")
        self._scene.add_grid("/grid", 20.0, 20.0, cell_size=1.0, section_size=5.0, cell_color=(225, 225, 225))
        self._scene.add_frame("/odom", axes_length=0.3, axes_radius=0.01)

    def show_camera(
        self,
        T_odom_camera: FloatArray,
        intrinsics: Intrinsics,
        image: npt.NDArray[np.uint8] | None,
        *,
        lost: bool = False,
    ) -> None:
        """Draw the camera as a frustum.

        Args:
            T_odom_camera: (4, 4) pose in its optical frame.
            intrinsics: of the image.
            image: (H, W, 3) uint8 RGB; None keeps the last one.
            lost: draw it gray.
        """
        wxyz, position = quaternion_from_rotation(T_odom_camera[:3, :3]), T_odom_camera[:3, 3]
        fov = float(2.0 * np.arctan2(intrinsics.height / 2.0, intrinsics.fy))
        aspect = intrinsics.width * intrinsics.fy / (intrinsics.height * intrinsics.fx)
        color = _LOST if lost else colors.ESTIMATE
        picture = None if image is None else small(image)
        if self._camera is None:
            self._camera = self._scene.add_camera_frustum(
                "/camera",
                fov,
                aspect,
                scale=_FRUSTUM_M,
                thickness=2.0,
                thickness_units="screen",
                color=color,
                image=picture,
                wxyz=wxyz,
                position=position,
            )
            return
        camera = self._camera
        camera.wxyz, camera.position = wxyz, position
        camera.fov, camera.aspect, camera.color = fov, aspect, color
        if picture is not None:
            camera.image = picture

    def show_path(self, positions: FloatArray) -> None:
        """Draw the estimated path through (N, 3) positions."""
        self._show_line("/path", positions, colors.ESTIMATE)

    def show_truth(self, positions: FloatArray) -> None:
        """Draw the true path through (N, 3) positions."""
        self._show_line("/truth", positions, colors.TRUTH)

    def show_corrected(self, positions: FloatArray) -> None:
        """Draw the path that the map has corrected through (N, 3) positions in the group's frame."""
        self._show_line(f"{CORRECTED}/path", positions, colors.CORRECTED)

    def show_places(self, places: FloatArray, rejected: FloatArray) -> None:
        """Draw recognized places, and rejected ones, as (N, 2, 3) lines in the group's frame."""
        self._show_segments(f"{CORRECTED}/places", places, colors.PLACE)
        self._show_segments(f"{CORRECTED}/rejected", rejected, colors.REJECTED)

    def show_points(
        self,
        name: str,
        positions: npt.NDArray[np.float32],
        point_colors: npt.NDArray[np.uint8],
        *,
        visible: bool = True,
    ) -> None:
        """Draw (N, 3) points in (N, 3) uint8 RGB colors, instead of those that had this name before.

        Args:
            name: of the scene's node.
            positions: (N, 3) meters; N may be 0.
            point_colors: (N, 3) RGB.
            visible: whether a new node is visible at first.
        """
        known = self._clouds.get(name)
        if known is not None:
            with self._server.atomic():
                known.points, known.colors = positions, point_colors
            return
        self._clouds[name] = self._scene.add_point_cloud(
            name,
            positions,
            point_colors,
            point_size=self._point_size,
            point_shape="square",
            point_shading="flat",
            precision=self._precision,
            visible=visible,
        )

    def add_group(self, name: str) -> None:
        """Add a node whose children ``name/...`` are hidden and shown together."""
        self._groups[name] = self._scene.add_frame(name, show_axes=False)

    def place_group(self, name: str, T: FloatArray) -> None:
        """Move a group with its children to a (4, 4) pose in the odometry frame."""
        if np.array_equal(self._placed.get(name, np.eye(4)), T):
            return
        self._placed[name] = T.copy()
        handle = self._groups[name]
        with self._server.atomic():
            handle.wxyz, handle.position = quaternion_from_rotation(T[:3, :3]), T[:3, 3]

    def set_visible(self, name: str, visible: bool) -> None:
        """Show or hide a node and its children; a node that does not exist is ignored."""
        handle = self._scene.get_handle_by_name(name)
        if handle is not None:
            handle.visible = visible

    def _show_line(self, name: str, positions: FloatArray, color: tuple[int, int, int]) -> None:
        if len(positions) < 2:
            positions = np.repeat(positions, 2, axis=0) if len(positions) else np.zeros((2, 3))
        self._show_segments(name, np.stack([positions[:-1], positions[1:]], axis=1), color)

    def _show_segments(self, name: str, lines: FloatArray, color: tuple[int, int, int]) -> None:
        segments = (lines if len(lines) else np.zeros((1, 2, 3))).astype(np.float32)
        if name in self._lines and len(self._lines[name].points) == len(segments):
            self._lines[name].points = segments
            return
        visible = self._lines[name].visible if name in self._lines else True
        self._lines[name] = self._scene.add_line_segments(
            name, segments, color, thickness=_LINE_PX, thickness_units="screen", visible=visible
        )


def small(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return an (H, W, 3) image at most 320 pixels wide."""
    height, width = image.shape[:2]
    if width <= _MAX_IMAGE_PX:
        return image
    size = _MAX_IMAGE_PX, max(1, round(height * _MAX_IMAGE_PX / width))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def turned(point: tuple[float, float, float], heading: float) -> FloatArray:
    """Return a point turned about the vertical by an angle [rad]."""
    cos, sin = np.cos(heading), np.sin(heading)
    return np.array([cos * point[0] - sin * point[1], sin * point[0] + cos * point[1], point[2]])
