"""The parts of a run, in their order, and how the clock is shared among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Seconds of the run that no part gets: to draw, to write, and to end a part that is late.
RESERVE_S = 8.0


@dataclass(frozen=True)
class Part:
    """One part of a run.

    Attributes:
        name: of its module in `benchmark.gpu.parts`.
        title: in the report.
        share_s: of a run of eight minutes [s]; what earlier parts leave is shared among the later ones.
        min_s: with less it is not begun [s].
        arguments: of its `measure`, after setting and findings.
    """

    name: str
    title: str
    share_s: float
    min_s: float
    arguments: tuple[int, ...] = ()


PARTS = (
    Part("card", "The card", 10, 2),
    Part("gpu_tests", "The tests that need a GPU", 80, 10),
    Part("parity", "Published numbers, in every precision", 25, 4),
    Part("step", "The step, smaller image", 110, 10, (0,)),
    Part("step", "The step, larger image", 80, 10, (1,)),
    Part("reconstructor", "From image to arrays on the host", 45, 5),
    Part("stream", "A long stream", 50, 5),
    Part("small", "The small weights of the package", 55, 5),
    Part("small_card", "A card with less memory", 25, 5),
)


def limit_s(parts: Sequence[Part], index: int, left_s: float) -> float | None:
    """Return how long a part may take [s]; None where that is too little to begin it.

    Args:
        parts: of the run, in their order.
        index: of the part that is next.
        left_s: until the run must be over [s].
    """
    left_s -= RESERVE_S
    share = parts[index].share_s / sum(part.share_s for part in parts[index:])
    limit = left_s * share
    return limit if limit >= parts[index].min_s else None
