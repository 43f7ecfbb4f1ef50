"""How a stream behaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from ttt3r_ros.stream.covariance import CovarianceModel

ResetPolicy = Literal["never", "interval", "adaptive"]
POLICIES: tuple[ResetPolicy, ...] = get_args(ResetPolicy)


@dataclass(frozen=True)
class StreamSettings:
    """How a stream behaves; may be replaced between frames.

    Attributes:
        update_rule: of the recurrent state, by name; a change starts a new segment.
        image_size: long side of the network's image [px]; 0 for the one it was trained on. A change starts a new
            segment.
        reset_policy: when a new segment starts by itself: 'never', after every `reset_interval` frames ('interval'), or
            when the segment has served its time ('adaptive', see `reset_policy`).
        reset_interval: frames of a segment under the policy 'interval'; under 'adaptive', about so many.
        max_frame_gap: a longer time between two stamps, or lost, breaks the segment [s].
        check_images: whether images that show nothing are refused, see `image_check`.
        frozen_timeout: for how long a camera may send the same pixels [s]; 0 for as long as it likes.
        max_speed: of the camera [m/s]; a faster motion is rejected; 0 for any.
        max_turn_rate: of the camera [rad/s]; 0 for any.
        judges_gaps: whether the frames given are all that the camera sent. False where frames have been dropped on the
            way: only who saw them arrive can tell a gap then, and says so with `break_reason`.
        covariance: how the odometry's errors grow.
    """

    update_rule: str = "ttt3r"
    image_size: int = 0
    reset_policy: ResetPolicy = "interval"
    reset_interval: int = 100
    max_frame_gap: float = 2.0
    check_images: bool = True
    frozen_timeout: float = 1.0
    max_speed: float = 5.0
    max_turn_rate: float = 6.0
    judges_gaps: bool = True
    covariance: CovarianceModel = field(default_factory=CovarianceModel)
