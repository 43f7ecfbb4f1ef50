"""What the graph already knows of where two keyframes stand, before a place is recognized: odometry is asked first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray, rotation_vector
from ttt3r_ros.places.graph import Edge, Sigmas
from ttt3r_ros.places.similarity import Similarity

#: A place is excluded if its Mahalanobis distance from what is expected is larger (docs/adr/0037). With four, false
#: places of a trap (two equal rooms) were let in.
MAX_SIGMAS = 3.5
#: What the edges' uncertainties leave out, since their errors are not independent: (rotation [rad], translation
#: [m], logarithm of the scale). It matters where a path is short.
SLACK = Sigmas(0.03, 0.1, 0.1)
#: The best path is the one that leaves least open of a point so far away [m].
_LEVER_M = 3.0


class Expectation:
    """The relative poses of all keyframes to one of them, as far as edges connect them.

    The uncertainty is that of the least uncertain path of edges, which no graph that is solved exceeds.
    """

    def __init__(self, number: int, poses: Mapping[int, Similarity], edges: Iterable[Edge]) -> None:
        """Find the paths.

        Args:
            number: of the keyframe that is to be recognized.
            poses: S_map_camera by number.
            edges: that are believed; those of keyframes that have no pose do not count.
        """
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import dijkstra

        self._poses, self._number = poses, number
        best: dict[tuple[int, int], tuple[float, Edge]] = {}
        for edge in edges:
            sigmas = edge.sigmas
            cost = sigmas.translation**2 + _LEVER_M**2 * (sigmas.rotation**2 + sigmas.scale**2)
            pair = (edge.first, edge.second)
            if pair[0] in poses and pair[1] in poses and (pair not in best or cost < best[pair][0]):
                best[pair] = cost, edge
        self._edges = {pair: edge for pair, (_, edge) in best.items()}
        numbers = sorted({n for pair in best for n in pair} | {number})
        self._index = {n: index for index, n in enumerate(numbers)}
        self._numbers = numbers
        rows, columns = ([self._index[pair[side]] for pair in best] for side in (0, 1))
        costs = [cost for cost, _ in best.values()]
        graph = csr_array((costs, (rows, columns)), shape=(len(numbers), len(numbers)))
        _, before = dijkstra(graph, directed=False, indices=self._index[number], return_predecessors=True)
        self._before: npt.NDArray[np.int32] = before

    def covariance(self, number: int) -> FloatArray | None:
        """Return the (7, 7) covariance of the pose relative to another keyframe: None where nothing is known.

        It is that of an error (rotation, translation, logarithm of the scale) in the camera's own frame and meters.
        """
        pairs = self._path(number)
        if pairs is None:
            return None
        into_camera = adjoint(self._poses[self._number].inverse())
        total = _diagonal(SLACK)
        for pair in pairs:
            edge = self._edges[pair]
            moved = into_camera @ adjoint(self._poses[edge.second])
            total += moved @ _diagonal(edge.sigmas) @ moved.T
        return total

    def position_sigma(self, number: int) -> float:
        """Return the standard deviation of the position relative to another keyframe, along its least certain axis.

        It is in the map's meters; infinite where nothing is known.
        """
        covariance = self.covariance(number)
        if covariance is None:
            return math.inf
        return self._poses[self._number].scale * math.sqrt(np.linalg.eigvalsh(covariance[3:6, 3:6])[-1])

    def squared_error(self, edge: Edge) -> float | None:
        """Return the squared Mahalanobis distance of a recognized place from what is expected; None if nothing is."""
        assert edge.second == self._number
        covariance = self.covariance(edge.first)
        if covariance is None:
            return None
        expected = self._poses[edge.first].inverse() @ self._poses[edge.second]
        error = logarithm(expected.inverse() @ edge.S_first_second)
        return float(error @ np.linalg.solve(covariance + _diagonal(edge.sigmas), error))

    def excludes(self, edge: Edge) -> bool:
        """Return whether a recognized place contradicts what is known."""
        squared = self.squared_error(edge)
        return squared is not None and squared > MAX_SIGMAS**2

    def _path(self, number: int) -> list[tuple[int, int]] | None:
        """Return the edges of the path to a keyframe; None where there is none."""
        index, pairs = self._index.get(number), list[tuple[int, int]]()
        if index is None:
            return None
        while (before := int(self._before[index])) >= 0:
            a, b = sorted((self._numbers[index], self._numbers[before]))
            pairs.append((a, b))
            index = before
        return pairs if self._numbers[index] == self._number else None


def adjoint(S: Similarity) -> FloatArray:
    """Return the (7, 7) matrix A with ``S @ exp(δ) = exp(A · δ) @ S``, for δ = (rotation, translation, log scale)."""
    result = np.zeros((7, 7))
    result[:3, :3] = S.R
    result[3:6, :3] = np.cross(S.t, S.R, axisb=0, axisc=0)  # of t and each column of R
    result[3:6, 3:6] = S.scale * S.R
    result[3:6, 6] = -S.t
    result[6, 6] = 1.0
    return result


def logarithm(S: Similarity) -> FloatArray:
    """Return (rotation, translation, logarithm of the scale), (7,): of first order in the translation."""
    return np.concatenate([rotation_vector(S.R), S.t, [S.log_scale]])


def _diagonal(sigmas: Sigmas) -> FloatArray:
    return np.diag(np.repeat(np.square([sigmas.rotation, sigmas.translation, sigmas.scale]), [3, 3, 1]))
