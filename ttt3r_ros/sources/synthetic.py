"""Frames of the synthetic world as a source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.errors import UserError
from ttt3r_ros.sources.frame import SourceFrame, SourceReport
from ttt3r_ros.synthetic.limits import check

#: Type and default of each key in a specification.
_OPTIONS: dict[str, tuple[type, Any]] = {
    "seed": (int, 1),
    "length": (int, 300),
    "motion": (str, "handheld"),
    "width": (int, 640),
    "height": (int, 480),
    "fps": (float, 15.0),
    "fov": (float, 70.0),
    "place": (str, "apartment"),
    "textures": (str, "usual"),
    "people": (int, 0),
    "doors": (str, "still"),
}
_TEXTURES, _DOORS = ("usual", "wide"), ("still", "moving")

#: Number of frames rendered together: enough to amortize torch's call overhead, few enough for a quick first frame.
_BATCH = 4


class SyntheticSource:
    """Frames of one synthetic sequence, with true depth, pose and intrinsics."""

    recorded_time = False
    has_truth = True

    def __init__(self, specification: str, *, fps: float | None = None) -> None:
        """Build the sequence; nothing is rendered yet.

        Args:
            specification: ``synthetic`` or ``synthetic:key=value,...`` with the keys seed, length, motion
                (handheld, wheeled, ...), width, height, fps, fov (horizontal, degrees), place (apartment, corridor,
                hall or yard), textures (usual or wide), people (how many walk about), doors (still or moving).
            fps: overrides the one in the specification.

        Raises:
            UserError: a key is unknown or a value is invalid.
        """
        options = _parse(specification)
        if fps is not None:
            options["fps"] = fps
        for key, known in (("textures", _TEXTURES), ("doors", _DOORS)):
            if options[key] not in known:
                raise UserError(f"{key}={options[key]} in '{specification}': {key} must be {' or '.join(known)}")
        checked = ("seed", "length", "width", "height", "fps", "motion", "fov", "place", "people")
        check(**{key: options[key] for key in checked})

        from ttt3r_ros.synthetic import Sequence, Variety  # imports torch, which is slow and only needed here

        self._sequence = Sequence(
            options["seed"],
            options["length"],
            width=options["width"],
            height=options["height"],
            fps=options["fps"],
            motion=options["motion"],
            horizontal_fov_deg=options["fov"],
            variety=Variety(
                options["place"], options["textures"] == "wide", options["people"], options["doors"] == "moving"
            ),
        )
        self.T_base_camera = self._sequence.T_base_camera
        self.report = SourceReport()
        place = "world" if options["place"] == "apartment" else options["place"]
        self.name = f"synthetic {place} {options['seed']}, {options['motion']}"
        self.length: int | None = options["length"]
        self.rate_hz: float = options["fps"]

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        """Render the frames from ``start_s`` on."""
        sequence = self._sequence
        stamps_ns = sequence.stamps_ns
        calibration = Calibration.of(sequence.intrinsics)
        first = next((i for i, stamp in enumerate(stamps_ns) if stamp >= round(start_s * 1e9)), len(sequence))
        for start in range(first, len(sequence), _BATCH):
            stop = min(start + _BATCH, len(sequence))
            rendered = sequence.render(start, stop)
            for i in range(stop - start):
                yield SourceFrame(
                    image=rendered.image[i].cpu().numpy(),
                    stamp_ns=stamps_ns[start + i],
                    calibration=calibration,
                    T_world_camera=rendered.T_world_camera[i].cpu().double().numpy(),
                    depth=rendered.depth[i].cpu().numpy(),
                )


def is_synthetic(specification: str) -> bool:
    """Return whether a specification names the synthetic world."""
    return specification == "synthetic" or specification.startswith("synthetic:")


def usual_options() -> str:
    """Return all keys of a specification with their defaults, ``seed=1, length=300, ...``."""
    return ", ".join(
        f"{key}={default:g}" if kind is float else f"{key}={default}" for key, (kind, default) in _OPTIONS.items()
    )


def _parse(specification: str) -> dict[str, Any]:
    options: dict[str, Any] = {key: default for key, (_, default) in _OPTIONS.items()}
    text = specification.partition(":")[2]
    for item in filter(None, text.split(",")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if key not in _OPTIONS or not equals:
            raise UserError(
                f"'{item}' in '{specification}' is not a valid option; the synthetic world accepts key=value with the"
                f" keys {', '.join(_OPTIONS)}, for example synthetic:seed=3,motion=wheeled"
            )
        kind, _ = _OPTIONS[key]
        try:
            options[key] = kind(value)
        except ValueError:
            number = "a whole number" if kind is int else "a number"
            raise UserError(f"{key}={value} in '{specification}': {key} must be {number}") from None
    return options
