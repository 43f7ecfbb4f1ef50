"""Training clips: rendered on the device, kept for a while, and drawn from with random changes of appearance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.config import Motion, Recipe, Stage
from training.flats import Shard
from training.motion import compose, invert, random_turns, roams, tilts, walks
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.synthetic import HORIZONTAL_FOV_DEG
from ttt3r_ros.synthetic.atlas import build_atlas
from ttt3r_ros.synthetic.cull import Views
from ttt3r_ros.synthetic.places import HORIZON_M
from ttt3r_ros.synthetic.render import render

#: Horizontal fields of view of random lenses.
LENSES_DEG = (40.0, 110.0)
#: Largest random tilt of a whole clip [deg].
TILT_DEG = 4.0
#: The renderer refuses a view of too many things in one place, which comes up once in thousands.
_ATTEMPTS = 10
_TURNING: dict[Motion, float] = {"turn": 1.0, "both": 0.3}  # share of clips; the others walk or roam
_ROAMING: dict[Motion, float] = {"roam": 1.0, "mixed": 0.5}


BYTES_PER_PIXEL = 3 + 2  #: of an image and its depth, as they are kept


@dataclass(frozen=True)
class Clips:
    """B clips of T frames on a device.

    Attributes:
        image: (B, T, H, W, 3) uint8 RGB.
        depth: (B, T, H, W) float16, metres along the optical axis; the sky is where the horizon is.
        T_first_camera: (B, T, 4, 4) float32, from each camera to the clip's first one.
        zoom: (B,) float32, focal length over that of the training camera.
    """

    image: Tensor
    depth: Tensor
    T_first_camera: Tensor
    zoom: Tensor

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.image)

    def pick(self, index: Tensor) -> Clips:
        """Return these clips."""
        return Clips(self.image[index], self.depth[index], self.T_first_camera[index], self.zoom[index])

    def rays(self, camera: Intrinsics) -> tuple[Tensor, Tensor]:
        """Return x/z (B, 1, 1, W) and y/z (B, 1, H, 1) of the pixels, in the training camera seen through each lens."""
        zoom = self.zoom[:, None, None, None]
        column, row = (torch.arange(size, device=zoom.device) for size in (camera.width, camera.height))
        return (column - camera.cx) / (camera.fx * zoom), (row[:, None] - camera.cy) / (camera.fy * zoom)


def training_camera(recipe: Recipe) -> Intrinsics:
    """Return the intrinsics of the training images: the synthetic world's lens, seen whole."""
    focal = recipe.width / 2 / math.tan(math.radians(HORIZONTAL_FOV_DEG) / 2)
    return Intrinsics(focal, focal, (recipe.width - 1) / 2, (recipe.height - 1) / 2, recipe.width, recipe.height)


def render_clips(shard: Shard, stage: Stage, count: int, camera: Intrinsics, generator: torch.Generator) -> Clips:
    """Render random clips with a stage's motion.

    Args:
        shard: the flats to look at, on the generator's device.
        stage: says how the camera moves.
        count: how many clips.
        camera: of all frames.
        generator: of everything random here.

    Raises:
        ValueError: the renderer refused one view after another.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return _render_once(shard, stage, count, camera, generator)
        except ValueError:
            continue  # the generator has moved on: the next views are others
    return _render_once(shard, stage, count, camera, generator)


def _render_once(shard: Shard, stage: Stage, count: int, camera: Intrinsics, generator: torch.Generator) -> Clips:
    device = generator.device
    flat = torch.randint(len(shard.paths), (count,), generator=generator, device=device)
    kind = torch.randint(2, (count,), generator=generator, device=device)
    paths = shard.paths[flat, kind]
    roaming = round(_ROAMING.get(stage.motion, 0.0) * count)
    walking = torch.cat(
        [roams(paths[:roaming], stage.frames, stage.stride, generator),
         walks(paths[roaming:], stage.frames, stage.stride, generator)]
    )  # fmt: skip
    turns = random_turns(count, stage.frames, stage.rotation_deg, stage.translation_m, generator)
    turning = compose(walks(paths, 1, 1, generator), turns)
    turn = torch.rand((count, 1, 1, 1), generator=generator, device=device) < _TURNING.get(stage.motion, 0.0)
    T_world_camera = compose(torch.where(turn, turning, walking), tilts(count, TILT_DEG, generator))
    poses = T_world_camera.flatten(0, 1)
    scene = shard.scenes(flat, stage.frames, stage.stride, generator).flatten()
    views = Views(poses[:, :3, :3].contiguous(), poses[:, :3, 3].contiguous(), scene)
    zoom = _random_zoom(stage.lenses, generator)
    seen = replace(camera, fx=camera.fx * zoom, fy=camera.fy * zoom)
    image, depth = render(shard.world, build_atlas(str(device), shard.world.has_families), views, seen)
    shape = (count, stage.frames)
    return Clips(
        image=image.view(*shape, *image.shape[1:]),
        depth=depth.view(*shape, *depth.shape[1:]).clamp_max(HORIZON_M).half(),
        T_first_camera=compose(invert(T_world_camera[:, :1]), T_world_camera),
        zoom=torch.full((count,), zoom, device=device),
    )


def _random_zoom(share: float, generator: torch.Generator) -> float:
    """Return a random lens, or in the rest of the cases the usual one: one for all clips that are rendered together."""
    if not share:
        return 1.0
    chance, where = torch.rand(2, generator=generator, device=generator.device).tolist()
    low, high = LENSES_DEG
    fov = low + (high - low) * where
    usual = math.tan(math.radians(HORIZONTAL_FOV_DEG) / 2)
    return usual / math.tan(math.radians(fov) / 2) if chance < share else 1.0


class ClipBuffer:
    """The last clips that were rendered, in place of the ones before them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._clips: Clips | None = None
        self._filled = self._next = 0

    def __len__(self) -> int:
        """Return the number of clips."""
        return self._filled

    def add(self, clips: Clips) -> None:
        """Keep these clips; where there is no room, they replace the oldest."""
        if self._clips is None:
            self._clips = Clips(
                *(torch.empty((self._capacity, *part.shape[1:]), dtype=part.dtype, device=part.device)
                  for part in (clips.image, clips.depth, clips.T_first_camera, clips.zoom))
            )  # fmt: skip
        place = (torch.arange(len(clips), device=clips.image.device) + self._next) % self._capacity
        self._clips.image[place] = clips.image
        self._clips.depth[place] = clips.depth
        self._clips.T_first_camera[place] = clips.T_first_camera
        self._clips.zoom[place] = clips.zoom
        self._next = (self._next + len(clips)) % self._capacity
        self._filled = min(self._filled + len(clips), self._capacity)

    def sample(self, count: int, generator: torch.Generator) -> Clips:
        """Return random clips."""
        assert self._clips is not None, "clips are added first"
        return self._clips.pick(torch.randint(self._filled, (count,), generator=generator, device=generator.device))


def mirror(clips: Clips, chosen: Tensor) -> Clips:
    """Mirror the chosen (B,) clips left to right: images, depth and motion."""
    flip = torch.ones((4, 4), device=chosen.device)  # what a mirrored x does to a transform's elements
    flip[0, 1:] = flip[1:, 0] = -1.0
    return Clips(
        torch.where(chosen[:, None, None, None, None], clips.image.flip(3), clips.image),
        torch.where(chosen[:, None, None, None], clips.depth.flip(3), clips.depth),
        torch.where(chosen[:, None, None, None], clips.T_first_camera * flip, clips.T_first_camera),
        clips.zoom,
    )


def reorder(clips: Clips, generator: torch.Generator) -> Clips:
    """Put the frames of every clip in a random order; what is first then is what poses are given relative to."""
    count, frames = clips.depth.shape[:2]
    order = torch.rand((count, frames), generator=generator, device=generator.device).argsort(dim=1)
    clip = torch.arange(count, device=order.device)[:, None]
    T = clips.T_first_camera[clip, order]
    return Clips(clips.image[clip, order], clips.depth[clip, order], compose(invert(T[:, :1]), T), clips.zoom)


def network_input(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return (B, T, 3, H, W) float32 in [-1, 1] of (B, T, H, W, 3) uint8 images, with random colour and sharpness.

    Colour and sharpness are one camera's for a clip; the exposure changes a little within it. Sharpness is random since
    a camera's image is scaled down to the network's, whose edges are then smoother, or sharper, than rendered ones.
    """
    count, frames = image.shape[:2]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, device=image.device)

    x = image.permute(0, 1, 4, 2, 3).float().flatten(0, 1) / 255.0
    smooth = _smooth(_smooth(x, dim=-1), dim=-2)
    sharpness = uniform(-0.25, 0.9, count, 1, 1, 1, 1).expand(-1, frames, -1, -1, -1).flatten(0, 1)
    x = torch.lerp(x, smooth, sharpness).view(count, frames, *x.shape[1:])
    gain = uniform(0.75, 1.25, count, 1, 1, 1, 1) * uniform(0.9, 1.1, count, 1, 3, 1, 1)
    exposure = uniform(0.97, 1.03, count, frames, 1, 1, 1)
    noise = torch.randn(x.shape, generator=generator, device=image.device) * uniform(0.0, 0.015, count, 1, 1, 1, 1)
    gamma = uniform(0.8, 1.25, count, 1, 1, 1, 1)
    return ((x.clamp(1e-3, 1.0) ** gamma) * gain * exposure + noise).clamp(0.0, 1.0) * 2.0 - 1.0


def _smooth(x: Tensor, dim: int) -> Tensor:
    """Return the (1, 2, 1)/4 mean of neighbours along an axis, repeated at the border; five times as fast as conv2d."""
    size = x.shape[dim]
    index = torch.arange(size, device=x.device)
    before, after = x.index_select(dim, (index - 1).clamp_min(0)), x.index_select(dim, (index + 1).clamp_max(size - 1))
    return before.add_(after).mul_(0.25).add_(x, alpha=0.5)
