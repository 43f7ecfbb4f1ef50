"""The node's parameters: their names, types, ranges and meaning, declared and validated in one place."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.model.config import PATCH
from ttt3r_ros.ros.save_folder import STATE_SUFFIX, check_name
from ttt3r_ros.stream.backbone import PRECISIONS
from ttt3r_ros.stream.settings import POLICIES

AUTO = "auto"
SMALLEST_IMAGE_SIZE = 2 * PATCH


def _parameter(
    default: Any,
    description: str,
    *,
    read_only: bool = False,
    between: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    metadata = {"description": description, "read_only": read_only, "between": between, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Parameters:
    """Every parameter of the node, validated."""

    odom_frame: str = _parameter("odom", "Frame of the odometry: x forward, y left, z up (REP-105).", read_only=True)
    base_frame: str = _parameter("base_link", "Frame of the robot that odometry and TF speak of.", read_only=True)
    camera_frame: str = _parameter(
        "camera_optical_frame", "Optical frame of images that come with an empty frame_id.", read_only=True
    )
    publish_tf: bool = _parameter(True, "Broadcast odom_frame -> base_frame on /tf.")
    image_transport: str = _parameter(
        "raw",
        "Listen to 'image' (raw) or 'image/compressed' (compressed).",
        read_only=True,
        choices=("raw", "compressed"),
    )
    rectified_images: bool = _parameter(
        True,
        "Images have no lens distortion (as from image_proc). Set to false for raw images: they are then rectified "
        "with the distortion of the camera_info.",
    )
    wait_for_transform: float = _parameter(
        2.0,
        "Seconds to wait for the mount base_frame -> image frame_id in TF before a forward-looking one is assumed.",
        between=(0.0, 3600.0),
    )
    path_max_size: int = _parameter(1000, "Poses kept in ~/path; the oldest go first.", between=(1, 100_000))
    depth_encoding: str = _parameter(
        "32FC1",
        "Encoding of ~/depth/image: 32FC1 (metres, NaN = none) or 16UC1 (millimetres, 0 = none).",
        choices=("32FC1", "16UC1"),
    )
    min_confidence: float = _parameter(
        1.5, "Pixels of smaller confidence have no depth and no point (confidence is 1 or more).", between=(0.0, 1e6)
    )
    max_depth: float = _parameter(30.0, "Pixels farther away have no depth and no point [m].", between=(0.01, 10_000.0))
    point_stride: int = _parameter(
        1, "~/points keeps every point_stride-th pixel along both axes; it stays organised.", between=(1, 64)
    )
    device: str = _parameter(
        AUTO, "Where the network runs: auto (a GPU where there is one), cpu, cuda or cuda:N.", read_only=True
    )
    precision: str = _parameter(
        AUTO,
        "Number format of the weights: auto (bfloat16 on a GPU, float32 on a CPU), float32, bfloat16 or float16.",
        read_only=True,
        choices=(AUTO, *PRECISIONS),
    )
    weights: str = _parameter(
        "",
        "Weights file, .safetensors or a published .pth; empty for those that come with the package.",
        read_only=True,
    )
    image_size: int = _parameter(
        0,
        "Long side of the network's image [px]; 0 for the size the weights were trained on. "
        "A change starts a new segment.",
        between=(0, 4096),
    )
    update_rule: str = _parameter(
        "ttt3r",
        "How a frame changes the recurrent state: ttt3r, filt3r or cut3r. A change starts a new segment.",
        choices=("cut3r", "ttt3r", "filt3r"),
    )
    reset_policy: str = _parameter(
        "interval",
        "When the recurrent state is reset, pose and scale going on: never, interval (after every reset_interval "
        "frames), or adaptive (when the view has left what the state knows, or the state is no longer well).",
        choices=POLICIES,
    )
    reset_interval: int = _parameter(
        0,
        "Frames between two resets under the reset_policy interval (under adaptive: about so many); 0 for what suits "
        "the weights. Where none are wanted set reset_policy to never.",
        between=(0, 1_000_000),
    )
    drop_frames: bool = _parameter(
        True,
        "The latest frame wins: images that come while one is processed replace each other. false keeps every frame in "
        "a queue, for recordings.",
        read_only=True,
    )
    max_frame_gap: float = _parameter(
        2.0, "A longer gap between the stamps of two images starts a new segment [s].", between=(0.001, 86_400.0)
    )

    publish_map: bool = _parameter(
        False,
        "Accumulate confident points in odom_frame and publish them on ~/map_points. false lets go of the map.",
    )
    map_voxel_size: float = _parameter(
        0.05,
        "Side of the map's voxels [m], each of which has one point. A change starts the map anew.",
        between=(0.001, 100.0),
    )
    map_max_points: int = _parameter(
        1_000_000,
        "Points of the map at most; when it is full its voxels double in size. A change starts the map anew.",
        between=(1000, 20_000_000),
    )
    map_period: float = _parameter(
        2.0, "Seconds between two messages on ~/map_points, at least.", between=(0.05, 3600.0)
    )
    save_folder: str = _parameter(
        "~/.ros/ttt3r", "Folder that ~/save_state, ~/load_state and ~/save_map use; nothing else.", read_only=True
    )
    save_name: str = _parameter(
        "ttt3r", "Name of saved files, to which .state.safetensors and .ply are added: letters, digits, '-', '_', '.'."
    )
    overwrite: bool = _parameter(False, "Saving may replace existing files.")
    load_at_start: bool = _parameter(
        False, "Go on from the saved state, where there is one; where it cannot be used do not start.", read_only=True
    )

    check_images: bool = _parameter(
        True,
        "Publish nothing of images that are black, white, without contrast, blurred or frozen, and keep them from the "
        "network. false gives it every image.",
    )
    frozen_timeout: float = _parameter(
        1.0,
        "A camera that sends the same pixels, bit for bit, for longer is frozen, and nothing is published [s]. "
        "0 for never: for simulated cameras without noise, whose images repeat while the robot stands.",
        between=(0.0, 86_400.0),
    )
    max_speed: float = _parameter(
        5.0,
        "No camera here is faster: what seems so is taken for a fault and not published [m/s]; 0 for any.",
        between=(0.0, 1000.0),
    )
    max_turn_rate: float = _parameter(
        6.0,
        "No camera here turns faster: what seems so is taken for a fault and not published [rad/s]; 0 for any.",
        between=(0.0, 1000.0),
    )

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check(item.name, getattr(self, item.name), item.metadata["between"], item.metadata["choices"])
        for name in ("odom_frame", "base_frame", "camera_frame"):
            frame = getattr(self, name)
            if not frame or frame.startswith("/") or any(character.isspace() for character in frame):
                raise UserError(f"parameter {name} is {frame!r}: a frame has a name without spaces or a leading slash")
        if not self.save_folder or "\0" in self.save_folder:
            raise UserError(f"parameter save_folder is {self.save_folder!r}: name a folder")
        try:
            check_name(self.save_name + STATE_SUFFIX)
        except UserError as error:
            raise UserError(f"parameter save_name is {quoted(self.save_name)}: {error}") from error
        if self.odom_frame == self.base_frame:
            raise UserError(f"parameters odom_frame and base_frame are both {self.odom_frame!r}: they must differ")
        if 0 < self.image_size < SMALLEST_IMAGE_SIZE:
            raise UserError(
                f"parameter image_size is {self.image_size}: it must be 0 or at least {SMALLEST_IMAGE_SIZE}"
            )
        if self.device not in (AUTO, "cpu", "cuda") and not self.device.removeprefix("cuda:").isdigit():
            raise UserError(f"parameter device is {self.device!r}: choose auto, cpu, cuda or cuda:N")


def declare(node: Node) -> Parameters:
    """Declare every parameter on a node and return the values given at start.

    Raises:
        UserError: a value is of the wrong type or out of range.
    """
    values = {}
    for item in dataclasses.fields(Parameters):
        descriptor = ParameterDescriptor(
            description=item.metadata["description"],
            read_only=item.metadata["read_only"],
            dynamic_typing=True,  # the type is checked below, in words that a user understands
            additional_constraints="one of " + ", ".join(c) if (c := item.metadata["choices"]) else "",
        )
        if item.metadata["between"]:
            low, high = item.metadata["between"]
            if isinstance(item.default, int):
                descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
            else:
                descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
        given = node._parameter_overrides.get(item.name)
        if given is not None:  # rclpy would refuse it as well, with a traceback
            _check_type(item.name, given.value, item.default)
            _check(item.name, given.value, item.metadata["between"], item.metadata["choices"])
        try:
            values[item.name] = node.declare_parameter(item.name, item.default, descriptor).value
        except ParameterException as error:
            raise UserError(f"parameter {item.name} cannot be used: {error}") from error
    return Parameters(**values)


def unknown(node: Node) -> list[str]:
    """Return a sentence for each parameter that the user gave and nobody declared, which ROS ignores silently.

    To be called once the node has all its publishers and subscriptions, whose QoS parameters come with them.
    """
    known = [name for name in node._parameters if not name.startswith("qos_overrides.")]
    sentences = []
    for name in sorted(node._parameter_overrides):
        if node.has_parameter(name):
            continue
        if name.startswith("qos_overrides."):
            advice = "no topic of this node has such a QoS setting (topics are named in full, after remapping)"
        else:
            close = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {close[0]}?" if close else "no parameter has a name like that"
        sentences.append(f"parameter {quoted(name, 100)} is unknown and has no effect: {advice}")
    return sentences


@contextlib.contextmanager
def qos_overrides(node: Node) -> Iterator[None]:
    """Say in one sentence which of the user's QoS parameters a topic made in this block could not be made with.

    Raises:
        UserError: one of the user's QoS parameters cannot be used.
    """
    try:
        yield
    except (ParameterException, RuntimeError, ValueError, TypeError) as error:
        given = [f"{name} {p.value!r}" for name, p in node._parameter_overrides.items() if name.startswith("qos_over")]
        if not given or not node.context.ok():
            raise
        raise UserError(f"the QoS asked for cannot be used ({'; '.join(given)}): {first_sentence(error)}") from error


def first_sentence(error: Exception) -> str:
    """Return what an error of ROS's C libraries says, without the places in their source."""
    return " ".join(re.split(r", at /|\n", str(error))[0].split())


def with_changes(parameters: Parameters, changes: Iterable[Parameter]) -> Parameters:
    """Return the parameters with some changed; those that are not the node's own are ignored.

    Raises:
        UserError: a value is of the wrong type or out of range, or cannot change while the node runs.
    """
    own = {item.name: item for item in dataclasses.fields(Parameters)}
    values = {}
    for change in changes:
        if change.name not in own:
            continue
        item = own[change.name]
        if item.metadata["read_only"]:
            raise UserError(
                f"parameter {change.name} cannot change while the node runs; start it again with the new value"
            )
        _check_type(change.name, change.value, item.default)
        values[change.name] = change.value
    return dataclasses.replace(parameters, **values)


def _check_type(name: str, value: Any, default: Any) -> None:
    if type(value) is type(default):
        return
    wanted = {
        bool: "true or false",
        int: "a whole number",
        float: "a number with a decimal point, such as 2.0",
        str: "a text",
    }[type(default)]
    raise UserError(f"parameter {name} must be {wanted}, not {value!r}")


def _check(name: str, value: Any, between: tuple[float, float] | None, choices: tuple[str, ...]) -> None:
    if between and not between[0] <= value <= between[1]:
        raise UserError(f"parameter {name} is {value}: it must be from {between[0]:g} to {between[1]:g}")
    if choices and value not in choices:
        raise UserError(f"parameter {name} is {value!r}: choose one of {', '.join(choices)}")
