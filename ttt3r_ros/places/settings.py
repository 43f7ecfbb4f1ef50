"""What a user can set about the map, declared once (see `ttt3r_ros.settings`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ttt3r_ros.settings import Settings, parameter


@dataclass(frozen=True, kw_only=True)
class MapSettings(Settings):
    """How the map grows."""

    title: ClassVar[str] = "how the map of places grows"

    map_max_keyframes: int = parameter(
        2000,
        "Maximum number of keyframes in the map of places; when it is full, those go whose views others have too.",
        range=(20, 100_000),
        read_only=True,
    )
    localization_only: bool = parameter(
        False, "Find the camera in a loaded map of places without adding anything to it.", read_only=True
    )
