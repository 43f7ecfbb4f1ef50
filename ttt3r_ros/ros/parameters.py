"""The node's parameters: declared as settings (see `ttt3r_ros.settings`), and passed to and from ROS here."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from ttt3r_ros.camera.mask import MaskSettings, read_mask
from ttt3r_ros.errors import UserError, quoted, what_was_meant
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, T_from_rpy
from ttt3r_ros.mapping.cloud import DepthSettings
from ttt3r_ros.places.settings import MapSettings as PlaceSettings
from ttt3r_ros.ros.ros_arguments import first_sentence
from ttt3r_ros.ros.save_folder import PLACES_SUFFIX, check_name
from ttt3r_ros.settings import Declaration, Settings, declarations, parameter
from ttt3r_ros.stream.covariance_file import read_covariance
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings

#: Largest number in a camera_pose [m, rad].
MAX_CAMERA_POSE = 1000.0


@dataclass(frozen=True, kw_only=True)
class FrameSettings(Settings):
    """Names of coordinate frames, and settings for TF."""

    title: ClassVar[str] = "frames (REP-103, REP-105)"

    odom_frame: str = parameter("odom", "Frame of the odometry: x forward, y left, z up.", read_only=True)
    base_frame: str = parameter(
        "base_link", "Frame of the robot; its pose is published as odometry and TF.", read_only=True
    )
    map_frame: str = parameter("map", "Frame of the map of places, with publish_map_frame.", read_only=True)
    ground_frame: str = parameter(
        "base_footprint",
        "Frame on the ground that the robot stands on, z up. Where TF has it, the camera's height above it tells the "
        "scale. Empty to disable.",
        read_only=True,
    )
    camera_frame: str = parameter(
        "camera_optical_frame", "Optical frame of images whose frame_id is empty.", read_only=True
    )
    frame_prefix: str = parameter(
        "",
        "Prefix of these frames, as in robot_state_publisher: robot1/ turns odom into robot1/odom. For several "
        "robots on one /tf.",
        read_only=True,
    )
    camera_pose: str = parameter(
        "",
        "Mount of the camera if TF has none: x y z roll pitch yaw of the camera (x forward, y left, z up) in "
        "base_frame [m, rad], published on /tf_static at once; empty to wait for TF, and then to assume zeros.",
        read_only=True,
    )
    publish_tf: bool = parameter(
        True,
        "Broadcast odom_frame -> base_frame on /tf. Set to false if another node (robot_localization) broadcasts it.",
    )
    wait_for_transform: float = parameter(
        2.0,
        "How long to wait for the mount base_frame -> image frame_id in TF before assuming a forward-looking camera.",
        unit="s",
        range=(0.0, 3600.0),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        prefix = self.frame_prefix
        if prefix.startswith("/") or any(character.isspace() for character in prefix):
            raise UserError(f"parameter frame_prefix is {prefix!r}: use one without spaces or a leading slash")
        for name in ("odom_frame", "base_frame", "map_frame", "ground_frame", "camera_frame"):
            frame = getattr(self, name)
            if (
                (not frame and name != "ground_frame")
                or frame.startswith("/")
                or any(character.isspace() for character in frame)
            ):
                raise UserError(f"parameter {name} is {frame!r}: use a name without spaces or a leading slash")
            if frame and not frame.startswith(prefix):
                object.__setattr__(self, name, prefix + frame)
        if self.odom_frame == self.base_frame:
            raise UserError(f"parameters odom_frame and base_frame are both {self.odom_frame!r}: they must differ")
        if self.map_frame in (self.odom_frame, self.base_frame):
            raise UserError(
                f"parameter map_frame is {self.map_frame!r}, and so is odom_frame or base_frame: they must differ"
            )
        _ = self.T_base_camera  # raises an exception if the camera_pose is invalid

    @property
    def T_base_camera(self) -> FloatArray | None:
        """The (4, 4) mount in `camera_pose`, with optical axes; None if that is empty.

        Raises:
            UserError: it is not six numbers.
        """
        words = self.camera_pose.replace(",", " ").split()
        if not words:
            return None
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            numbers = []
        if len(numbers) != 6 or not all(map(math.isfinite, numbers)):
            raise UserError(
                f"parameter camera_pose is {quoted(self.camera_pose)}: give six numbers, x y z [m] roll pitch yaw "
                "[rad], as in '0.1 0 0.3 0 0 0'"
            )
        if max(map(abs, numbers)) > MAX_CAMERA_POSE:
            raise UserError(
                f"parameter camera_pose is {quoted(self.camera_pose)}: no number of it, in meters and radians, may be "
                f"larger than {MAX_CAMERA_POSE:g}"
            )
        return T_from_rpy(numbers[:3], *numbers[3:]) @ T_BASE_CAMERA


@dataclass(frozen=True, kw_only=True)
class InputSettings(Settings):
    """How images are received."""

    title: ClassVar[str] = "input"

    image_transport: str = parameter(
        "raw",
        "Subscribe to the topic image (raw) or image/compressed (compressed).",
        read_only=True,
        choices=("raw", "compressed"),
    )
    rectified_images: bool = parameter(
        True,
        "The images have no lens distortion (as from image_proc). Set to false for raw images, which are then "
        "undistorted with the camera_info (plumb_bob, rational_polynomial, equidistant).",
    )
    drop_frames: bool = parameter(
        True,
        "Process only the latest frame: while a frame is processed, each new image replaces the one that waits. false "
        "queues every frame, for recordings.",
        read_only=True,
    )


@dataclass(frozen=True, kw_only=True)
class OutputSettings(Settings):
    """What is published, in addition to the depth settings."""

    title: ClassVar[str] = "output"

    depth_encoding: str = parameter(
        "32FC1",
        "Encoding of ~/depth/image: 32FC1 (meters, NaN = none) or 16UC1 (millimeters, 0 = none).",
        choices=("32FC1", "16UC1"),
    )
    point_stride: int = parameter(
        1, "Use every n-th pixel along both axes for ~/points; the cloud stays organized.", range=(1, 64)
    )
    path_max_size: int = parameter(
        1000, "Maximum number of poses in ~/path; the oldest are removed first.", range=(1, 100_000)
    )


@dataclass(frozen=True, kw_only=True)
class MapSettings(Settings):
    """The accumulated map."""

    title: ClassVar[str] = "accumulated map on ~/map_points"

    publish_map: bool = parameter(
        False, "Accumulate confident points in odom_frame and publish them on ~/map_points; false discards the map."
    )
    map_voxel_size: float = parameter(
        0.05,
        "Voxel size of the map; each voxel holds one point. Changing it restarts the map.",
        unit="m",
        range=(0.001, 100.0),
    )
    map_max_points: int = parameter(
        1_000_000,
        "Maximum number of points in the map (a million take about 70 MB); when it is full, its voxels double in size. "
        "Changing it restarts the map.",
        range=(1000, 20_000_000),
    )
    map_period: float = parameter(
        2.0, "Minimum time between two messages on ~/map_points.", unit="s", range=(0.05, 3600.0)
    )


@dataclass(frozen=True, kw_only=True)
class MapFrameSettings(Settings):
    """Whether there is a map of places; `PlaceSettings` says how it grows."""

    title: ClassVar[str] = "map of places: map_frame -> odom_frame"

    publish_map_frame: bool = parameter(
        False,
        "Recognize places, take the odometry's drift back, and broadcast map_frame -> odom_frame on /tf. Needs GTSAM "
        "4.3 and Python 3.11 or newer.",
        read_only=True,
    )
    load_map_at_start: bool = parameter(
        False,
        "Load the saved map of places at startup if it exists; the node does not start if that file cannot be used.",
        read_only=True,
    )


@dataclass(frozen=True, kw_only=True)
class FileSettings(Settings):
    """Where the services save and load."""

    title: ClassVar[str] = "files of ~/save_state, ~/load_state, ~/save_map and ~/load_map"

    save_folder: str = parameter(
        "",
        "Folder for saved files; the services neither read nor write outside it. Empty for ttt3r in the folder "
        "ROS_HOME (~/.ros).",
        read_only=True,
    )
    save_name: str = parameter(
        "ttt3r",
        "Name of saved files without .state.safetensors, .places.safetensors and .ply: letters, digits, '-', '_', '.'.",
    )
    overwrite: bool = parameter(False, "Allow saving to replace existing files.")
    load_at_start: bool = parameter(
        False,
        "Load the saved state at startup if it exists; the node does not start if that file cannot be used.",
        read_only=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if "\0" in self.save_folder:
            raise UserError(f"parameter save_folder is {self.save_folder!r}: set it to the path of a folder")
        try:
            check_name(self.save_name + PLACES_SUFFIX)  # the longest
        except UserError as error:
            raise UserError(f"parameter save_name is {quoted(self.save_name)}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class LifecycleSettings(Settings):
    """The states of a managed node."""

    title: ClassVar[str] = "managed node"

    autostart: bool = parameter(
        True,
        "Configure and activate at startup. Set to false if a lifecycle manager (such as Nav2's) does that.",
        read_only=True,
    )


@dataclass(frozen=True, kw_only=True)
class Parameters(
    FrameSettings,
    InputSettings,
    MaskSettings,
    StreamSettings,
    NetworkSettings,
    DepthSettings,
    OutputSettings,
    MapSettings,
    MapFrameSettings,
    PlaceSettings,
    FileSettings,
    LifecycleSettings,
):
    """Every parameter of the node, validated."""

    def check_files(self) -> None:
        """Check the files that parameters name, as far as that is possible without torch, which takes seconds to load.

        Raises:
            UserError: one of them cannot be used.
        """
        self.check_weights_file()
        read_covariance(self.covariance_file, warn=lambda _: None)
        read_mask(self.mask_file)


#: The groups of `Parameters`, in the order in which users see them.
GROUPS: tuple[type[Settings], ...] = Parameters.__bases__


def declare(node: Node) -> Parameters:
    """Declare every parameter on a node and return the values given at startup.

    Raises:
        UserError: a value is of the wrong type or out of range.
    """
    values: dict[str, Any] = {}
    for item in (item for group in GROUPS for item in declarations(group)):
        given = node._parameter_overrides.get(item.name)
        # checked here, because rclpy refuses values with a traceback, and also refuses integers for doubles
        values[item.name] = item.default if given is None else item.checked(given.value)
        try:
            node.declare_parameter(item.name, values[item.name], _descriptor(item), ignore_override=True)
        except ParameterException as error:
            raise UserError(f"parameter {item.name} cannot be used: {error}") from error
    return Parameters(**values)


def _descriptor(item: Declaration) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=item.description,
        read_only=item.read_only,
        additional_constraints="one of " + ", ".join(item.choices) if item.choices else "",
    )
    if item.range and isinstance(item.default, int):
        low, high = item.range
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    elif item.range:
        low, high = item.range
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    return descriptor


def no_such_parameter(name: str, known: Iterable[str]) -> str:
    """Return a sentence on a name that no parameter of a node has, whose parameters have the known names."""
    return f"parameter {quoted(name, 100)} is unknown: {_advice(name, known)}"


def _advice(name: str, known: Iterable[str]) -> str:
    own = [other for other in known if not other.startswith("qos_overrides.")]
    return what_was_meant(name, own) or "no parameter has a similar name"


def unknown(node: Node) -> list[str]:
    """Return a sentence for each parameter that the user set but the node did not declare; ROS ignores those silently.

    Call this once the node has created its publishers and subscriptions, because they declare their QoS parameters.
    """
    sentences = []
    for name in sorted(node._parameter_overrides):
        if node.has_parameter(name):
            continue
        if name.startswith("qos_overrides."):
            advice = "no topic of this node has this QoS setting (use the full topic name, after remapping)"
        else:
            advice = _advice(name, node._parameters)
        sentences.append(f"parameter {quoted(name, 100)} is unknown and has no effect: {advice}")
    return sentences


def without_effect(parameters: Parameters) -> list[str]:
    """Return a sentence for each parameter that the user set but another one disables."""
    sentences = []
    if parameters.localization_only and not parameters.publish_map_frame:
        sentences.append("parameter localization_only has no effect, since publish_map_frame is false")
    if parameters.reset_interval and parameters.reset_policy == "never":
        sentences.append("parameter reset_interval has no effect, since reset_policy is never")
    return sentences


@contextlib.contextmanager
def qos_overrides(node: Node) -> Iterator[None]:
    """Report in one sentence which of the user's QoS parameters made it impossible to create a topic in this block.

    Raises:
        UserError: one of the user's QoS parameters cannot be used.
    """
    try:
        yield
    except (ParameterException, RuntimeError, ValueError, TypeError) as error:
        given = [f"{name} {p.value!r}" for name, p in node._parameter_overrides.items() if name.startswith("qos_over")]
        if not given or not node.context.ok():
            raise
        raise UserError(f"the QoS overrides cannot be used ({'; '.join(given)}): {first_sentence(error)}") from error


def with_changes(parameters: Parameters, changes: Iterable[Parameter]) -> Parameters:
    """Return the parameters with some changed; changes to other parameters than the node's own are ignored.

    Raises:
        UserError: a value is of the wrong type or out of range, or cannot change while the node runs.
    """
    own = {item.name: item for item in declarations(Parameters)}
    values = {}
    for change in changes:
        if change.name not in own:
            continue
        if own[change.name].read_only:
            raise UserError(
                f"parameter {change.name} cannot change while the node is running; restart the node with the new value"
            )
        values[change.name] = own[change.name].checked(change.value)
    return dataclasses.replace(parameters, **values)


def with_whole_numbers_as_floats(changes: Iterable[Parameter]) -> list[Parameter]:
    """Return the changes with integers converted to doubles for parameters that are doubles, as in ``max_depth 8``."""
    doubles = {item.name for item in declarations(Parameters) if isinstance(item.default, float)}
    return [
        Parameter(change.name, Parameter.Type.DOUBLE, float(change.value))
        if change.name in doubles and change.type_ == Parameter.Type.INTEGER
        else change
        for change in changes
    ]
