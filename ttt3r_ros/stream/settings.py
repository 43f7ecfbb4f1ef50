"""What a user can set about a stream and its network, declared once (see `ttt3r_ros.settings`).

Command lines read it before they load torch, which takes seconds.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, get_args

from ttt3r_ros.errors import UserError
from ttt3r_ros.model.config import PATCH, UPDATE_RULES
from ttt3r_ros.runtime.device import AUTO, PRECISIONS
from ttt3r_ros.settings import Settings, parameter
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.weights.signature import is_published

ResetPolicy = Literal["never", "interval", "adaptive"]
POLICIES: tuple[ResetPolicy, ...] = get_args(ResetPolicy)

MIN_IMAGE_SIZE = 2 * PATCH  #: [px]


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(Settings):
    """Which network runs, where and how."""

    title: ClassVar[str] = "network"

    weights: str = parameter(
        "",
        "Weights file: .safetensors, or a published .pth; empty for the small weights of the package.",
        read_only=True,
    )
    covariance_file: str = parameter(
        "",
        "Constants of the odometry's covariance, fitted to these weights by benchmark.covariance; empty for those of "
        "the package.",
        read_only=True,
    )
    device: str = parameter(
        AUTO,
        "Where the network runs: auto (a GPU if there is one), cpu, cuda or cuda:N.",
        read_only=True,
        must=(lambda name: re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", name) is not None, "be auto, cpu, cuda or cuda:N"),
    )
    precision: str = parameter(
        AUTO,
        "Number format of the weights: auto (bfloat16 on a GPU, float32 on a CPU), float32, bfloat16, float16, or int8 "
        "(on a CPU only).",
        read_only=True,
        choices=(AUTO, *PRECISIONS),
    )

    def check_weights_file(self) -> None:
        """Check that the weights file may be one, by its first bytes, for command lines that have not loaded torch yet.

        Raises:
            UserError: it is none.
        """
        if self.weights:
            try:
                is_published(Path(os.path.expanduser(self.weights)))
            except OSError as error:
                raise UserError(f"{self.weights} cannot be read: {error.strerror or error}") from None


@dataclass(frozen=True, kw_only=True)
class StreamSettings(Settings):
    """How a stream behaves; may be replaced between frames.

    Attributes:
        weights_interval: the reset_interval that suits the weights (`Weights.segment_frames`).
        judges_gaps: whether the frames given are all that the camera sent. False where frames have been dropped on the
            way: only who saw them arrive can tell a gap then, and says so with `break_reason`.
        covariance: how the odometry's errors grow.
    """

    title: ClassVar[str] = "stream"

    update_rule: str = parameter(
        "ttt3r",
        f"How a frame changes the recurrent state: {', '.join(UPDATE_RULES)}. A change starts a new segment.",
        choices=UPDATE_RULES,
    )
    image_size: int = parameter(
        0,
        "Long side of the network's image; 0 for the size the weights were trained on. A change starts a new segment.",
        unit="px",
        range=(0, 4096),
        must=(lambda size: not 0 < size < MIN_IMAGE_SIZE, f"be 0 or at least {MIN_IMAGE_SIZE} px"),
    )
    reset_policy: ResetPolicy = parameter(
        "interval",
        "When to reset the recurrent state while pose and scale continue: never, interval (after every reset_interval "
        "frames), or adaptive (when the view has left what the state knows, or the state has degraded).",
        choices=POLICIES,
    )
    reset_interval: int = parameter(
        0,
        "Frames between two resets under the reset_policy interval (under adaptive, roughly that many); 0 for the "
        "weights' recommended interval (100 for the published ones). To disable resets set reset_policy to never.",
        range=(0, 1_000_000),
    )
    max_frame_gap: float = parameter(
        2.0,
        "A longer gap between the stamps of two images starts a new segment.",
        unit="s",
        range=(0.001, 86_400.0),
    )
    check_images: bool = parameter(
        True,
        "Reject images that are black, white, without contrast, blurred or frozen: they reach neither the network nor "
        "the outputs. false passes every image to the network.",
    )
    frozen_timeout: float = parameter(
        1.0,
        "A camera that sends the same pixels for longer than this is frozen, and nothing is published. 0 disables "
        "this check, for simulated cameras without noise, whose images repeat while the robot stands still.",
        unit="s",
        range=(0.0, 86_400.0),
    )
    hold_still: bool = parameter(
        True,
        "Hold pose and scale while the images show that the camera stands still. false follows the network, which "
        "drifts at rest.",
    )
    correct_motion: bool = parameter(
        True,
        "Correct the network's motion by points that are followed through the images, at the depth that the network "
        "sees them at. false follows the network alone.",
    )
    max_speed: float = parameter(
        5.0,
        "Maximum speed of the camera; faster motion is rejected as a fault and not published. 0 for no limit.",
        unit="m/s",
        range=(0.0, 1000.0),
    )
    max_turn_rate: float = parameter(
        6.0,
        "Maximum turn rate of the camera; faster motion is rejected as a fault and not published. 0 for no limit.",
        unit="rad/s",
        range=(0.0, 1000.0),
    )
    two_d_mode: bool = parameter(
        False,
        "The robot drives on a level floor: odometry has no height, roll or pitch, and their covariances are small.",
    )
    weights_interval: int = 100
    judges_gaps: bool = True
    covariance: CovarianceModel = field(default_factory=CovarianceModel)

    @property
    def segment_frames(self) -> int:
        """Frames between two resets, with what suits the weights where the user wants that."""
        return self.reset_interval or self.weights_interval
