"""Whether metres hold: ``python -m benchmark.scale [--json FILE] [--markdown FILE] [--picture FILE]``.

Three questions about the stream with its own settings, on flats that nothing was trained on or fitted to:

* *Standing*: one view, 2000 frames, with noise, an exposure that hunts, a person who walks through: how far the
  pose has gone, and how many frames were seen as standing. Slow motion (1 cm/s, 1 degree/s) and ordinary walks tell
  whether it is seen where there is none.
* *Bias*: depth over true depth along a walk when the ratio found at every reset is off by the same share.
* *Walks*: the same along several walks, with the ratios as they are.

The network does not know the scale: its answers along a walk are computed once and used for every bias.

The published depth, 5th to 95th percentile, shall stay within what the network itself makes of the same frames,
give or take 5 %: no chain of segments knows better, unless somebody tells it the scale.

The exit status is 1 where an aim is missed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from rich.console import Console

from benchmark import command, runner
from benchmark.walk import FPS, Walk, held_out
from ttt3r_ros.cli.arguments import at_least_one
from ttt3r_ros.geometry import FloatArray, inverse, rotation_vector
from ttt3r_ros.stream.estimate import POINTS

if TYPE_CHECKING:
    from ttt3r_ros.stream.alignment import LogRatio
    from ttt3r_ros.stream.backbone import Backbone
    from ttt3r_ros.stream.segments import LastFrame
    from ttt3r_ros.stream.stream import Stream

Image = npt.NDArray[np.uint8]

#: First flat of views; held out.
VIEW_SEED = 320
DISTURBANCES = ("noise 1", "noise 5", "exposure", "flicker", "JPEG", "person", "copies")
#: Images take their noise from one large picture of it: from so many places across and down, so many pixels apart.
SHIFTS, SHIFT = 64, 3
#: Of the logarithms of the ratios.
BIASES = (-0.10, -0.03, 0.0, 0.03, 0.10)
#: Aims: of a camera that stands [m, degrees].
MAX_WALKED, MAX_TURNED = 0.01, 0.2
#: Aim: published depth leaves the range of the network's own by no more than this factor.
MARGIN = 1.05


@lru_cache
def _noise(height: int, width: int) -> npt.NDArray[np.float32]:
    """Return noise of one gray level."""
    return np.random.default_rng(0).standard_normal((height, width, 3), np.float32)


def disturbed(view: Image, kind: str, frame: int, rng: np.random.Generator) -> Image:
    """Return how a camera that stands sees a view at one frame; the noise is 2 gray levels where it is not named."""
    if kind == "copies":  # of a simulator
        return view
    height, width = view.shape[:2]
    image = view.astype(np.float32)
    if kind == "exposure":
        gain, gamma = 1 + 0.12 * np.sin(frame / 7), 1 + 0.1 * np.sin(frame / 11 + 1)
        image = 255 * np.clip((image / 255) ** gamma * gain, 0, 1)
    elif kind == "flicker":
        rows = np.sin(2 * np.pi * np.arange(height) / (0.7 * height) + 1.9 * frame)
        image *= (1 + 0.05 * rows)[:, None, None]
    elif kind == "person":
        wide = width // 5
        left = frame * max(width // 80, 1) % (4 * width) - wide
        start, stop = max(left, 0), min(left + wide, width)
        if stop > start:
            clothes = np.random.default_rng(1).integers(0, 255, (24, 8, 3), dtype=np.uint8)
            image[height // 8 :, start:stop] = cv2.resize(clothes, (stop - start, height - height // 8))
    sigma = float(kind.split()[1]) if kind.startswith("noise") else 2.0
    y, x = SHIFT * rng.integers(0, SHIFTS, 2)
    noise = _noise(height + SHIFT * SHIFTS, width + SHIFT * SHIFTS)[y : y + height, x : x + width]
    seen: Image = np.clip(image + rng.choice((-sigma, sigma)) * noise, 0, 255).round().astype(np.uint8)
    if kind != "JPEG":
        return seen
    file = cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)


@dataclass(frozen=True)
class Standing:
    """A camera that stands.

    Attributes:
        seed, kind: flat and disturbance.
        walked_m, turned_deg: most that the pose was off its first one.
        still: share of frames that were seen as standing.
        depth: last published median depth over the first.
    """

    seed: int
    kind: str
    walked_m: float
    turned_deg: float
    still: float
    depth: float


def stand(stream: Stream, seed: int, kind: str, frames: int, size: tuple[int, int]) -> Standing:
    """Feed one view for so many frames; points are asked for once in a hundred."""
    from ttt3r_ros.synthetic import Sequence

    stream.settings = replace(stream.settings, frozen_timeout=0.0 if kind == "copies" else 1.0)
    sequence = Sequence(seed, 1, width=size[0], height=size[1], motion=("handheld", "wheeled")[seed % 2])
    view = sequence.render(0).image[0].numpy()
    stream.reset_odometry()
    rng = np.random.default_rng(seed)
    walked, turned, still, depths = 0.0, 0.0, 0, []
    for frame in range(frames):
        outputs = frozenset({POINTS} if frame % 100 == 0 else ())
        image = disturbed(view, kind, frame, rng)
        result = stream.process(image, round(frame * 1e9 / FPS) + 1, camera=sequence.intrinsics, outputs=outputs)
        stream.prepare()
        still += result.is_still
        if result.motion is not None:
            T = result.motion.T_odom_base
            walked = max(walked, float(np.linalg.norm(T[:3, 3])))
            turned = max(turned, float(np.rad2deg(np.linalg.norm(rotation_vector(T[:3, :3])))))
        if result.estimate is not None and result.estimate.depth is not None and outputs:
            depths.append(float(np.nanmedian(result.estimate.depth)))
    return Standing(seed, kind, walked, turned, still / frames, depths[-1] / depths[0])


@dataclass(frozen=True)
class Slow:
    """A camera that moves slowly: true and published way [m, degrees], share of frames seen as standing."""

    seed: int
    kind: str
    true: float
    published: float
    still: float


def creep(stream: Stream, seed: int, kind: str, seconds: float, size: tuple[int, int]) -> Slow:
    """Move forward by 1 cm/s, sideways by 1 cm/s, or turn by 1 degree/s, with noise of 2 gray levels."""
    from ttt3r_ros.synthetic import Sequence

    frames = round(seconds * FPS)
    sequence = Sequence(seed, frames, width=size[0], height=size[1], motion=("handheld", "wheeled")[seed % 2])
    sequence.T_world_camera = sequence.T_world_camera[:1].repeat(frames, 1, 1)
    for frame in range(frames):
        T, way = np.eye(4), frame / FPS
        if kind == "turn":
            angle = np.deg2rad(way)
            T[0, 0] = T[2, 2] = np.cos(angle)
            T[0, 2], T[2, 0] = np.sin(angle), -np.sin(angle)
        else:
            T[2 if kind == "forward" else 0, 3] = 0.01 * way
        sequence.T_world_camera[frame] @= sequence.T_world_camera.new_tensor(T)
    stream.reset_odometry()
    rng = np.random.default_rng(seed)
    still, T = 0, np.eye(4)
    for frame in range(frames):
        image = disturbed(sequence.render(frame).image[0].numpy(), "noise 2", frame, rng)
        result = stream.process(image, round(frame * 1e9 / FPS) + 1, camera=sequence.intrinsics, outputs=frozenset())
        stream.prepare()
        still += result.is_still
        if result.motion is not None:
            T = result.motion.T_odom_base
    way = (frames - 1) / FPS
    turned, walked = float(np.rad2deg(np.linalg.norm(rotation_vector(T[:3, :3])))), float(np.linalg.norm(T[:3, 3]))
    return Slow(seed, kind, way if kind == "turn" else 0.01 * way, turned if kind == "turn" else walked, still / frames)


@dataclass(frozen=True)
class Walked:
    """Depth along a walk.

    Attributes:
        seed, motion, bias: which; `bias` is the logarithm that every ratio is off by.
        own: (n,) network's own median depth over the true one.
        depth: (n,) the same, published.
        false_still: frames seen as standing while the camera had moved by 1 cm or 0.1 degrees since it stood.
    """

    seed: int
    motion: str
    bias: float
    own: list[float]
    depth: list[float]
    false_still: int


def go_along(stream: Stream, walk: Walk, bias: float) -> Walked:
    """Feed a walk to a stream."""
    from ttt3r_ros.stream import segments

    found = segments._scale_ratio

    def biased(backbone: Backbone, before: LastFrame, after: LastFrame) -> LogRatio | None:
        ratio = found(backbone, before, after)
        return ratio and replace(ratio, log=ratio.log + bias)

    segments._scale_ratio = biased
    try:
        own, depth, false_still = [], [], 0
        stood: FloatArray | None = None
        stream.reset_odometry()
        for step in runner.go_along(stream, walk.frames()):
            T = step.frame.T_world_camera
            if step.is_still and stood is not None:
                moved = inverse(stood) @ T
                turned = np.rad2deg(np.linalg.norm(rotation_vector(moved[:3, :3])))
                false_still += bool(np.linalg.norm(moved[:3, 3]) > 0.01 or turned > 0.1)
            elif not step.is_still:
                stood = T
            if step.estimate is not None and not step.lost and np.isfinite(ratio := step.depth_ratio()):
                depth.append(ratio)
                own.append(ratio / step.estimate.scale)
    finally:
        segments._scale_ratio = found
    return Walked(walk.spec.seed, walk.spec.motion, bias, own, depth, false_still)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Return all figures."""
    from benchmark.kept_backbone import KeptBackbone

    stream = command.stream(args)
    stream.backbone = backbone = KeptBackbone(stream.backbone.network)
    views = range(VIEW_SEED, VIEW_SEED + args.views)
    standing, slow = [], []
    for seed in views:
        backbone.forget()
        standing += [stand(stream, seed, kind, args.still_frames, args.size) for kind in DISTURBANCES]
        slow += [creep(stream, seed, kind, 10.0, args.size) for kind in ("forward", "sideways", "turn")]
        console.print(f"flat {seed}: most {max(s.walked_m for s in standing if s.seed == seed):.4f} m", highlight=False)
    walked: list[Walked] = []
    biased: list[Walked] = []
    for walk in held_out(args.walks, args.frames, args.work):
        backbone.forget()
        walked.append(go_along(stream, walk, 0.0))
        if not biased:
            biased = [go_along(stream, walk, bias) if bias else walked[0] for bias in BIASES]
    return {name: [asdict(r) for r in rows] for name, rows in
            (("standing", standing), ("slow", slow), ("walks", walked), ("biased", biased))}  # fmt: skip


def rows_of(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the table: what, of how many, worst or spread, and whether the aim is met."""
    rows: list[tuple[str, ...]] = []
    for kind in DISTURBANCES:
        some = [s for s in results["standing"] if s["kind"] == kind]
        metres, degrees = max(s["walked_m"] for s in some), max(s["turned_deg"] for s in some)
        still, is_met = min(s["still"] for s in some), metres <= MAX_WALKED and degrees <= MAX_TURNED
        rows.append((f"standing, {kind}", f"{1e3 * metres:.1f} mm, {degrees:.2f}°, still {still:.1%}", _word(is_met)))
    for kind in ("forward", "sideways", "turn"):
        some = [s for s in results["slow"] if s["kind"] == kind]
        ratios, unit = [s["published"] / s["true"] for s in some], "1°/s" if kind == "turn" else "1 cm/s"
        still = max(s["still"] for s in some)
        rows.append(
            (f"{kind}, {unit}", f"published over true {command.spread(ratios)}, still at most {still:.0%}", "-")
        )
    for group, title in (("biased", "bias {:+.0%}"), ("walks", "walk {}")):
        for w in results[group]:
            title_ = title.format(w["bias"] if group == "biased" else w["seed"])
            low, high = np.percentile(w["depth"], (5, 95))
            is_met = min(w["own"]) / MARGIN <= low and high <= max(w["own"]) * MARGIN
            rows.append(
                (title_, f"depth {command.spread(w['depth'])}, own {command.spread(w['own'])}", _word(bool(is_met)))
            )
    false = sum(w["false_still"] for w in results["walks"])
    rows.append(("walks, seen as standing", f"{false} frames of {len(results['walks'])} walks", _word(not false)))
    return rows


def _word(is_met: bool) -> str:
    return "met" if is_met else "missed"


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the way of standing cameras, and depth over true depth under each bias."""
    figure = Figure(figsize=(13.0, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, kind in enumerate(DISTURBANCES):
        ways = [1e3 * s["walked_m"] for s in results["standing"] if s["kind"] == kind]
        left.plot([place] * len(ways), ways, "o", color="#30638e", alpha=0.5)
    left.axhline(1e3 * MAX_WALKED, color="#d1495b", linewidth=0.8)
    left.set_xticks(range(len(DISTURBANCES)), DISTURBANCES, rotation=20)
    farthest = max(1e3 * s["walked_m"] for s in results["standing"])
    left.set(ylabel="farthest from the first pose [mm]", ylim=(-0.5, 1.2 * max(farthest, 1e3 * MAX_WALKED)))
    left.set_title("Standing still", loc="left")
    for w in results["biased"]:
        right.plot(10 * np.arange(len(w["depth"])), w["depth"], label=f"{w['bias']:+.0%} per reset", linewidth=1)
    own = results["biased"][0]["own"]
    right.fill_between([0, 10 * len(own)], min(own), max(own), color="#8a8f98", alpha=0.15, label="the network's own")
    right.set(xlabel="frame", ylabel="depth over true depth")
    right.set_title("A bias at every reset", loc="left")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def report(results: dict[str, Any], args: argparse.Namespace, console: Console) -> bool:
    """Print the table, draw the picture; return whether every aim is met."""
    rows = rows_of(results)
    command.show(("", "", "aim"), rows, args, console)
    if args.picture:
        draw(results, args.picture)
    return not any(row[2] == "missed" for row in rows)


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table, write what was asked for."""
    shared = ("weights", "reset_interval", "walks", "frames", "size", "work", "markdown", "picture")
    parser = command.parser(__doc__, *shared, frames=1000, size=(320, 240), work=Path(".cache/scale"))
    add = parser.add_argument
    add("--views", type=at_least_one, default=10, help="flats to stand in (default: %(default)s)")
    add("--still-frames", type=at_least_one, default=2000, help="of a camera that stands (default: %(default)s)")
    return command.start(parser, run, report, argv)


if __name__ == "__main__":
    sys.exit(main())
