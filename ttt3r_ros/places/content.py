"""The map as values: what is saved, what a solution of the graph changed, what has happened so far."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from ttt3r_ros.places.graph import Edge
from ttt3r_ros.places.keyframe import Keyframe
from ttt3r_ros.places.similarity import Similarity
from ttt3r_ros.places.verification import PoseSkill


@dataclass(frozen=True)
class MapContent:
    """The map as a value, for saving.

    Attributes:
        keyframes: in the order of their numbers.
        poses: S_map_camera of each, or in its track's own frame while that has no place in the map.
        edges: odometry's, then recognized places.
        rejected: indices of the edges that the graph has rejected.
        connected: numbers of the keyframes that have a place in the map.
        skill: of the network, as far as it has been measured.
    """

    keyframes: tuple[Keyframe, ...] = ()
    poses: tuple[Similarity, ...] = ()
    edges: tuple[Edge, ...] = ()
    rejected: tuple[int, ...] = ()
    connected: tuple[int, ...] = ()
    skill: PoseSkill = field(default_factory=PoseSkill)

    def only(self, numbers: Collection[int]) -> MapContent:
        """Return the part of the map that these keyframes are."""
        kept = [index for index, edge in enumerate(self.edges) if edge.first in numbers and edge.second in numbers]
        chosen = [(k, pose) for k, pose in zip(self.keyframes, self.poses, strict=True) if k.number in numbers]
        return replace(
            self,
            keyframes=tuple(keyframe for keyframe, _ in chosen),
            poses=tuple(pose for _, pose in chosen),
            edges=tuple(self.edges[index] for index in kept),
            rejected=tuple(new for new, old in enumerate(kept) if old in self.rejected),
            connected=tuple(number for number in self.connected if number in numbers),
        )


@dataclass(frozen=True)
class Correction:
    """How far a solution of the graph has moved the camera in the map.

    Attributes:
        meters: distance.
        radians: angle.
        scale: how many of the former meters one is now.
    """

    meters: float
    radians: float
    scale: float

    @classmethod
    def between(cls, before: Similarity, after: Similarity) -> Correction:
        """Return the correction from one pose in the map to another."""
        turned = Similarity(1.0, before.R.T @ after.R, after.t - before.t)
        return cls(turned.distance, turned.angle, after.scale / before.scale)


@dataclass
class Counts:
    """What has happened so far.

    Attributes:
        accepted: places that entered the graph.
        refused: pairs of keyframes that were compared and are none, by reason.
        skipped: keyframes given up before their places were looked for, since newer ones came.
        thinned: keyframes dropped because the map was full.
        solved: times that the graph was solved.
        unsolved: times that it could not be solved.
    """

    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    thinned: int = 0
    solved: int = 0
    unsolved: int = 0
