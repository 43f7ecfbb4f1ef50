"""Which earlier keyframes may show the place that a new one shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ttt3r_ros.stream.estimate import Float32Array


def similarities(descriptors: Float32Array, query: Float32Array) -> Float32Array:
    """Return the cosine similarity of (N, D) descriptors with another, (D,), as (N,).

    Each component is standardized over the N first: what all images of a building share tells none from another.
    """
    mean = descriptors.mean(axis=0)
    deviation = descriptors.std(axis=0) + 1e-6
    standard = (descriptors - mean) / deviation
    asked = (query - mean) / deviation
    lengths = np.linalg.norm(standard, axis=1) * np.linalg.norm(asked) + 1e-12
    return np.asarray(standard @ asked / lengths, np.float32)


def best(
    similarity: Float32Array, near: Callable[[int], npt.NDArray[np.bool_]], count: int, minimum: float
) -> list[int]:
    """Return the indices of the most similar ones, best first, at most one of each place.

    Args:
        similarity: (N,); -inf for those that are no candidates.
        near: returns which of the N, (N,), show the same place as the one of this index, and are suppressed by it.
        count: how many at most.
        minimum: less similar ones are none.
    """
    left, chosen = np.array(similarity, np.float32), list[int]()
    while left.size and len(chosen) < count:
        index = int(left.argmax())
        if not left[index] >= minimum:
            break
        chosen.append(index)
        left[near(index)] = -np.inf
        left[index] = -np.inf
    return chosen
