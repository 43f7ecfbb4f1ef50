"""A camera moving through an apartment, or another place: the public interface of the synthetic world."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, Intrinsics
from ttt3r_ros.synthetic.atlas import build_atlas
from ttt3r_ros.synthetic.cull import Views
from ttt3r_ros.synthetic.limits import HORIZONTAL_FOV_DEG, Motion, Trap, check
from ttt3r_ros.synthetic.path import camera_mount, camera_path
from ttt3r_ros.synthetic.places import HORIZON_M
from ttt3r_ros.synthetic.render import render
from ttt3r_ros.synthetic.route import Floor
from ttt3r_ros.synthetic.scene import USUAL, Variety, build_scene
from ttt3r_ros.synthetic.traps import build_trap
from ttt3r_ros.synthetic.world import World


@dataclass(frozen=True)
class Frames:
    """Rendered frames, on the sequence's device.

    Attributes:
        image: (..., H, W, 3) uint8, sRGB.
        depth: (..., H, W) float32, meters along the optical axis, at pixel centers; infinite where the sky is.
        T_world_camera: (..., 4, 4) float64, OpenCV camera axes; the world's z is up and its floor at 0.
        index: (...) int64, index of each frame in its sequence.
    """

    image: Tensor
    depth: Tensor
    T_world_camera: Tensor
    index: Tensor


class Sequence:
    """One place and one path through it; the same seed gives the same on every machine and at any length.

    Attributes:
        intrinsics: intrinsics of every frame.
        fps: frames per second; frame i shows the view at i / fps seconds.
        T_world_camera: (length, 4, 4) float64, OpenCV camera axes, meters; the world's z is up and its floor at 0.
        T_base_camera: (4, 4) mount on the robot that carries the camera, whose base is on the floor, x forward, z up.
            None where the camera is not fixed to a robot on the floor.
    """

    def __init__(
        self,
        seed: int,
        length: int,
        *,
        width: int = 640,
        height: int = 480,
        fps: float = 30.0,
        motion: Motion = "handheld",
        horizontal_fov_deg: float | None = None,
        device: str | torch.device = "cpu",
        samples_per_axis: int = 1,
        path_seed: int | None = None,
        variety: Variety = USUAL,
        trap: Trap | None = None,
    ) -> None:
        """Build the place and the path; nothing is rendered yet.

        Args:
            seed: seed of the place, >= 0.
            length: number of frames, >= 1.
            width, height: size of the images [px].
            fps: frames per second of the camera; it does not affect the speed of the motion.
            motion: "handheld" (a walking person) or "wheeled" (a robot with a fixed camera).
            horizontal_fov_deg: angle between the outer edges of the image [deg]; 70° if None.
            device: where frames are rendered and stay.
            samples_per_axis: n > 1 averages n x n rays per pixel: smooth edges at n² + 1 times the work.
            path_seed: seed of the path; the place's if None.
            variety: what kind of place it is, of what it is made, and what moves in it; an apartment by default.
            trap: a building whose places look alike instead of that place.

        Raises:
            UserError: a value is out of range.
        """
        fov = HORIZONTAL_FOV_DEG if horizontal_fov_deg is None else horizontal_fov_deg
        path_seed = seed if path_seed is None else path_seed
        check(seed, length, width, height, fps, motion, fov, variety.place, variety.people)
        if path_seed < 0:
            raise UserError(f"the seed of a synthetic path must be 0 or more, not {path_seed}")
        if not 1 <= samples_per_axis <= 8:
            raise UserError(f"samples per axis must be 1 to 8, not {samples_per_axis}")
        self.seed, self.motion, self.fps = seed, motion, float(fps)
        self.device = torch.device(device)
        focal = width / 2 / np.tan(np.deg2rad(fov) / 2)
        self.intrinsics = Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)
        self._samples_per_axis = samples_per_axis
        self._scene = build_scene(seed, variety) if trap is None else build_trap(seed, trap)
        poses = camera_path(Floor(self._scene), motion, path_seed, np.arange(length) / fps)
        self.T_base_camera: FloatArray | None = camera_mount(motion, path_seed)
        self._world = World.stack([self._scene], self.device)
        self.T_world_camera = torch.from_numpy(poses).to(self.device)

    def __len__(self) -> int:
        return len(self.T_world_camera)

    @property
    def stamps_ns(self) -> list[int]:
        """Stamp of each frame, from the start [ns]."""
        return [round(i * 1e9 / self.fps) for i in range(len(self))]

    def render(self, start: int, stop: int | None = None) -> Frames:
        """Render frames start, start + 1, ..., stop - 1; one frame if ``stop`` is None.

        Returns:
            A batch, (stop - start, ...). A frame's pixels do not depend on the rest of its batch.

        Raises:
            IndexError: not all of these frames are in the sequence.
        """
        stop = start + 1 if stop is None else stop
        frames = _render([self], start, stop)
        return Frames(frames.image[0], frames.depth[0], frames.T_world_camera[0], frames.index[0])


def render_clips(sequences: Seq[Sequence], start: int, stop: int) -> Frames:
    """Render the same frames of several sequences at once; a GPU takes little longer than for one.

    Args:
        sequences: S of them, with the same image size, intrinsics and device.
        start, stop: frames start, ..., stop - 1 of each.

    Returns:
        (S, stop - start, ...), the same pixels as from each sequence alone.

    Raises:
        ValueError: the sequences differ in intrinsics, device or samples per axis.
        IndexError: not all of these frames are in every sequence.
    """
    first = sequences[0]
    for s in sequences:
        if (s.intrinsics, s.device, s._samples_per_axis) != (first.intrinsics, first.device, first._samples_per_axis):
            raise ValueError("sequences rendered together need the same intrinsics, device and samples per axis")
    return _render(sequences, start, stop)


def _render(sequences: Seq[Sequence], start: int, stop: int) -> Frames:
    shortest = min(len(s) for s in sequences)
    if not 0 <= start < stop <= shortest:
        raise IndexError(f"frames {start} to {stop - 1} do not exist; the sequence has frames 0 to {shortest - 1}")
    first, count = sequences[0], stop - start
    T = torch.stack([s.T_world_camera[start:stop] for s in sequences])
    poses = T.flatten(0, 1).float()
    if any(s._scene.movers for s in sequences):  # every frame has a world of its own
        world = World.stack([s._scene.at(i / s.fps) for s in sequences for i in range(start, stop)], first.device)
        scene = torch.arange(len(poses), device=first.device)
    else:
        world = first._world if len(sequences) == 1 else World.stack([s._scene for s in sequences], first.device)
        scene = torch.arange(len(sequences), device=first.device).repeat_interleave(count)
    views = Views(poses[:, :3, :3].contiguous(), poses[:, :3, 3].contiguous(), scene)
    atlas = build_atlas(str(first.device), world.has_families)
    image, depth = render(world, atlas, views, first.intrinsics, first._samples_per_axis)
    if any(s._scene.has_sky for s in sequences):
        depth = depth.masked_fill(depth > HORIZON_M, torch.inf)
    index = torch.arange(start, stop, device=first.device).expand(len(sequences), count)
    shape = (len(sequences), count)
    return Frames(image.view(*shape, *image.shape[1:]), depth.view(*shape, *depth.shape[1:]), T, index)
