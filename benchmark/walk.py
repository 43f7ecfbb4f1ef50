"""One long walk through a flat, rendered once and kept on disk, so that those who go along it need no renderer.

Files are read, not mapped: pages of a mapped file would count as memory of the process that is being measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from rich.console import Console

from benchmark.runner import Frame
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.geometry import FloatArray, Intrinsics
from ttt3r_ros.synthetic.limits import Motion

if TYPE_CHECKING:
    from ttt3r_ros.synthetic import Trap

#: The first of the flats, held out, along which several benchmarks walk, and the frames per second there.
FIRST_SEED, FPS = 340, 15.0
#: True depth is kept of one frame in so many.
DEPTH_EVERY = 10

_BATCH = 40  # frames rendered together, a multiple of DEPTH_EVERY


@dataclass(frozen=True)
class WalkSpec:
    """Which walk, and how it is seen."""

    seed: int
    motion: Motion
    frames: int
    width: int
    height: int
    fps: float
    trap: Trap | None = None

    @property
    def name(self) -> str:
        """For its file; a longer walk begins like a shorter one, so that the length does not matter."""
        trap = f"_{self.trap}" if self.trap else ""
        return f"walk_{self.seed}_{self.motion}_{self.width}x{self.height}_{self.fps:g}{trap}"


class Walk:
    """A walk whose images lie in a folder.

    Attributes:
        intrinsics: of every frame.
        T_world_camera: (frames, 4, 4) float64, OpenCV camera axes.
        stamps_ns: of the frames [ns].
    """

    def __init__(self, spec: WalkSpec, folder: Path, *, device: str = "cpu") -> None:
        """Work out the path; nothing is rendered yet."""
        from ttt3r_ros.synthetic import Sequence

        self.spec = spec
        self._images, self._depths = folder / f"{spec.name}.rgb", folder / f"{spec.name}.depth"
        self._sequence = Sequence(
            spec.seed,
            spec.frames,
            width=spec.width,
            height=spec.height,
            fps=spec.fps,
            motion=spec.motion,
            device=device,
            trap=spec.trap,
        )
        self.intrinsics: Intrinsics = self._sequence.intrinsics
        self.T_world_camera: FloatArray = self._sequence.T_world_camera.cpu().double().numpy()
        self.stamps_ns = self._sequence.stamps_ns

    def render(self, progress: Callable[[int], None]) -> None:
        """Render what the folder lacks, going on where an earlier call was stopped."""
        size, pixels = self._image_bytes, self.spec.width * self.spec.height
        done = self._images.stat().st_size // size if self._images.exists() else 0
        if done >= self.spec.frames:
            return
        done -= done % _BATCH
        with self._images.open("ab") as images, self._depths.open("ab") as depths:
            images.truncate(done * size)
            depths.truncate(done // DEPTH_EVERY * pixels * 4)
            while done < self.spec.frames:
                stop = min(done + _BATCH, self.spec.frames)
                rendered = self._sequence.render(done, stop)
                depths.write(rendered.depth[::DEPTH_EVERY].cpu().numpy().tobytes())
                depths.flush()
                images.write(rendered.image.cpu().numpy().tobytes())
                images.flush()
                done = stop
                progress(done)

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """Return a frame, (H, W, 3) uint8 RGB."""
        data = _read(self._images, index * self._image_bytes, self._image_bytes)
        return np.frombuffer(data, np.uint8).reshape(self.spec.height, self.spec.width, 3)

    def depth(self, index: int) -> npt.NDArray[np.float32] | None:
        """Return a frame's true depth, (H, W) float32 metres; None for the frames of which none is kept."""
        if index % DEPTH_EVERY:
            return None
        size = self.spec.width * self.spec.height * 4
        data = _read(self._depths, index // DEPTH_EVERY * size, size)
        return np.frombuffer(data, np.float32).reshape(self.spec.height, self.spec.width)

    def frames(self) -> Iterator[Frame]:
        """Read the frames, one by one."""
        for index, stamp in enumerate(self.stamps_ns):
            yield Frame(self.image(index), stamp, self.intrinsics, self.T_world_camera[index], self.depth(index))

    @property
    def _image_bytes(self) -> int:
        return self.spec.width * self.spec.height * 3


def rendered(spec: WalkSpec, folder: Path, console: Console, *, device: str = "cpu") -> Walk:
    """Return a walk whose images lie in a folder, which is made; say on the console how rendering them goes."""
    folder.mkdir(parents=True, exist_ok=True)
    walk = Walk(spec, folder, device=device)
    with FrameProgress("rendering", spec.frames, console) as progress:
        walk.render(progress.update)
    return walk


def held_out(
    count: int, frames: int, folder: Path, size: tuple[int, int] = (320, 240), motion: Motion | None = None
) -> Iterator[Walk]:
    """Yield rendered walks through so many held-out flats, on wheels and by hand in turns where no motion is named."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        walk = Walk(WalkSpec(seed, motion or ("wheeled", "handheld")[seed % 2], frames, *size, FPS), folder)
        walk.render(lambda _: None)
        yield walk


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise EOFError(f"{path} ends before byte {offset + size}: render the walk first")
    return data
