"""Bounds the map: which keyframes say least that is new, and what the graph is without one of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ttt3r_ros.places.graph import Edge, Sigmas
from ttt3r_ros.places.keyframe import Keyframe
from ttt3r_ros.places.pieces import Pieces
from ttt3r_ros.places.similarity import Similarity

#: Neighbors of a view that are looked at; views whose neighbors are sought at once.
_NEIGHBORS, _ROWS = 8, 100
#: Two views are as different if one is turned by this angle [rad] as if it is moved by one median depth.
ANGLE = 1.0
#: Recognized places that every keyframe of a full map keeps of each track, if it has as many.
MAX_PLACES = 2


def redundant(
    keyframes: Mapping[int, Keyframe], poses: Mapping[int, Similarity], count: int, kept: Collection[int | None]
) -> Pieces[list[int]]:
    """Return the numbers of keyframes that can go, at most `count`: those that look at what others look at too.

    Again and again, of the two views that are most alike the one goes whose next neighbor is the nearer one. Age does
    not count. Yields now and then, so that whoever runs it can do something more urgent in between.

    Args:
        keyframes, poses: of the map, by number.
        count: how many are to go.
        kept: numbers of those that stay.
    """
    numbers = list(keyframes)
    position = np.stack([poses[n].t for n in numbers])
    forward = np.stack([poses[n].R[:, 2] for n in numbers])
    depth = np.fmax([poses[n].scale * keyframes[n].median_depth for n in numbers], 1e-3)
    near = min(_NEIGHBORS, len(numbers) - 1)
    other = np.zeros((len(numbers), near), int)
    distance = np.full((len(numbers), near), np.inf)
    for index in range(len(numbers)):
        apart = np.linalg.norm(position - position[index], axis=1) / depth[index]
        apart += np.arccos(np.clip(forward @ forward[index], -1, 1)) / ANGLE
        apart[index] = np.inf
        nearest = np.argpartition(apart, near - 1)[:near]
        order = nearest[np.argsort(apart[nearest])]
        other[index], distance[index] = order, apart[order]
        if index % _ROWS == _ROWS - 1:
            yield
    chosen: list[int] = []
    stays = np.array([number in kept for number in numbers])
    while len(chosen) < count:
        two = np.sort(distance, axis=1)[:, :2]
        two[stays] = np.inf
        index = int(np.lexsort((two[:, -1], two[:, 0]))[0])
        if not np.isfinite(two[index, 0]):
            break
        chosen.append(numbers[index])
        stays[index] = True
        distance[other == index] = np.inf
    return chosen


def without(
    number: int, odometry: Sequence[Edge], places: Mapping[tuple[int, int], Edge]
) -> tuple[list[Edge], dict[tuple[int, int], Edge]]:
    """Return a graph's edges without one keyframe: its neighbors along the path take over what was known of it."""
    before = next((edge for edge in odometry if edge.second == number), None)
    after = next((edge for edge in odometry if edge.first == number), None)
    path = []
    for edge in odometry:
        if edge is after and before is not None:
            path.append(chained(before, after))
        elif edge is not before and edge is not after:
            path.append(edge)
    heir = inverted(before) if before is not None else after  # from the keyframe to its neighbor
    if heir is None:
        return path, {pair: edge for pair, edge in places.items() if number not in pair}
    kept: dict[tuple[int, int], Edge] = {}
    for pair, edge in places.items():
        if number == edge.first:
            edge = chained(inverted(heir), edge)
        elif number == edge.second:
            edge = chained(edge, heir)
        if edge.first == edge.second:
            continue
        if edge.first > edge.second:
            edge = inverted(edge)
        pair = (edge.first, edge.second)
        if pair not in kept or edge.sigmas.translation < kept[pair].sigmas.translation:
            kept[pair] = edge
    return path, kept


def sparse(
    places: Mapping[tuple[int, int], Edge], tracks: Mapping[int, int], rejected: Collection[tuple[int, int]]
) -> dict[tuple[int, int], Edge]:
    """Return recognized places without those that add little to others, so that a full map's graph does not grow.

    A place goes if each of its two keyframes has more than `MAX_PLACES` that lead to the other one's track: those that
    the graph rejects first, then the least certain. What was connected stays so.

    Args:
        places: by the numbers of their keyframes.
        tracks: of the keyframes, by number.
        rejected: places that the graph rejects.
    """
    counts = Counter(end for a, b in places for end in ((a, tracks[b]), (b, tracks[a])))
    kept = dict(places)
    for pair in sorted(places, key=lambda pair: (pair not in rejected, -places[pair].sigmas.translation)):
        ends = (pair[0], tracks[pair[1]]), (pair[1], tracks[pair[0]])
        if min(counts[end] for end in ends) > MAX_PLACES:
            counts.subtract(ends)
            del kept[pair]
    return kept


def chained(a: Edge, b: Edge) -> Edge:
    """Return what two edges say of the first keyframe of one and the second of the other."""
    assert a.second == b.first
    scale, distance = a.S_first_second.scale, b.S_first_second.distance
    lever = scale * distance * math.hypot(a.sigmas.rotation, a.sigmas.scale)
    sigmas = Sigmas(
        math.hypot(a.sigmas.rotation, b.sigmas.rotation),
        math.hypot(a.sigmas.translation, scale * b.sigmas.translation, lever),
        math.hypot(a.sigmas.scale, b.sigmas.scale),
    )
    return Edge(a.first, b.second, a.S_first_second @ b.S_first_second, sigmas, a.is_place or b.is_place)


def inverted(edge: Edge) -> Edge:
    """Return an edge seen from its other end."""
    S = edge.S_first_second.inverse()
    sigmas = Sigmas(edge.sigmas.rotation, edge.sigmas.translation * S.scale, edge.sigmas.scale)
    return Edge(edge.second, edge.first, S, sigmas, edge.is_place)


def connected(number: int, edges: Sequence[Edge]) -> set[int]:
    """Return the keyframes that edges connect with one, and itself."""
    neighbors: dict[int, list[int]] = {}
    for edge in edges:
        neighbors.setdefault(edge.first, []).append(edge.second)
        neighbors.setdefault(edge.second, []).append(edge.first)
    found, left = {number}, [number]
    while left:
        for other in neighbors.get(left.pop(), ()):
            if other not in found:
                found.add(other)
                left.append(other)
    return found
