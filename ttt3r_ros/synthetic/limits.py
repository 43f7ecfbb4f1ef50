"""What a synthetic sequence may be; free of torch, so that mistakes are said before torch is loaded."""

from __future__ import annotations

from typing import Literal, get_args

from ttt3r_ros.errors import UserError

Motion = Literal[
    "handheld",
    "wheeled",
    "standing",
    "turning",
    "reversing",
    "sideways",
    "revisiting",
    "climbing",
    "inverted",
    "tilted",
]
Kind = Literal["apartment", "corridor", "hall", "yard"]
#: "twins": two equal rooms beside each other at a corridor. "mirrored": the same, but one is the other's mirror image.
#: "doors": a room at a long corridor of equal doors.
Trap = Literal["twins", "mirrored", "doors"]
TRAPS: tuple[Trap, ...] = get_args(Trap)

HORIZONTAL_FOV_DEG = 70.0  # default
MAX_PEOPLE = 12
#: No machine renders more: frames, and pixels of a side.
MAX_LENGTH, MAX_SIZE = 10**6, 8192


def check(
    seed: int,
    length: int,
    width: int,
    height: int,
    fps: float,
    motion: str,
    fov: float,
    place: str,
    people: int,
) -> None:
    """Check what a user can choose of a sequence; the arguments are those of `Sequence` and `Variety`.

    Raises:
        UserError: a value is out of range.
    """
    if seed < 0:
        raise UserError(f"the seed of a synthetic world must be 0 or more, not {seed}")
    if length < 1:
        raise UserError(f"a synthetic sequence needs at least one frame, not {length}")
    if length > MAX_LENGTH:
        raise UserError(f"a synthetic sequence has at most {MAX_LENGTH} frames, not {length}")
    if width < 8 or height < 8:
        raise UserError(f"a synthetic image must be at least 8 x 8 pixels, not {width} x {height}")
    if max(width, height) > MAX_SIZE:
        raise UserError(f"a synthetic image must be at most {MAX_SIZE} pixels wide and high, not {width} x {height}")
    if not 0 < fps < 1e4:
        raise UserError(f"the frame rate of a synthetic sequence must be between 0 and 10000 per second, not {fps}")
    if motion not in get_args(Motion):
        raise UserError(f"the motion of a synthetic sequence is one of {', '.join(get_args(Motion))}, not {motion!r}")
    if not 20 <= fov <= 120:
        raise UserError(f"the horizontal field of view of a synthetic camera must be 20 to 120 degrees, not {fov}")
    if place not in get_args(Kind):
        raise UserError(f"the place of a synthetic sequence is one of {', '.join(get_args(Kind))}, not {place!r}")
    if not 0 <= people <= MAX_PEOPLE:
        raise UserError(f"a synthetic sequence has 0 to {MAX_PEOPLE} people, not {people}")
