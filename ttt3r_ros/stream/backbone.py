"""Runs the network on a device with a given precision, replaying its steps as CUDA graphs on a GPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Set
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from ttt3r_ros.camera.preprocess import ImageArray, PixelMap, pixel_map, resample
from ttt3r_ros.errors import UserError
from ttt3r_ros.model.fingerprint import fingerprint
from ttt3r_ros.model.network import Network, Prediction, State, Trace
from ttt3r_ros.model.update import UpdateRule, can_carry
from ttt3r_ros.runtime.captured import CapturedStep
from ttt3r_ros.runtime.cuda_capture import CudaCapture
from ttt3r_ros.runtime.device import PRECISIONS
from ttt3r_ros.runtime.tensor_tree import mapped

P = ParamSpec("P")
Result = TypeVar("Result")
Tree = TypeVar("Tree")


def dtype_of(precision: str) -> torch.dtype:
    """Return the dtype of weights in the precision of this name.

    Raises:
        UserError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise UserError(f"there is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
    dtype: torch.dtype = getattr(torch, precision)
    return dtype


class Backbone:
    """The interface between a stream and a network; another network can be used by implementing the same methods.

    It converts images (`pixel_map`, `planes`), processes one frame (`step`, `points`), and checks and moves its state
    (`is_state`, `attached`). It keeps no state between frames. Not thread-safe.

    Attributes:
        network: the network, in evaluation mode, without gradients.
        device: where it runs.
        fingerprint: of its weights.
        is_captured: whether its steps are captured as CUDA graphs, one for each kind of call.
    """

    def __init__(
        self,
        network: Network,
        *,
        device: torch.device | str = "cpu",
        precision: str = "float32",
        weights_fingerprint: str | None = None,
        warn: Callable[[str], object] = warnings.warn,
    ) -> None:
        """Take over a network.

        Args:
            network: is moved to the device and converted to the precision, and must not be used elsewhere afterward.
                On a GPU it loses the heads that are never evaluated.
            device: to run on.
            precision: of the weights, 'float32', 'bfloat16', 'float16' or 'int8' (CPU only); heads and state are always
                float32.
            weights_fingerprint: of the weights; required if their precision has already been reduced.
            warn: called with one sentence if steps cannot be captured on a GPU, which makes them slower.

        Raises:
            UserError: the precision does not exist or is not available on this device.
        """
        dtype = dtype_of(precision)
        self.device = torch.device(device)
        self.fingerprint = weights_fingerprint or fingerprint(network)
        if self.device.type != "cpu":  # on a CPU, unused heads stay memory-mapped and use no memory
            network.drop_world_and_color()
        self.network = network.eval().requires_grad_(False).to(self.device).set_precision(dtype)
        self.is_captured = self.device.type == "cuda"
        self._stepper: Network | CapturedStep = self.network
        if self.is_captured:
            self._stepper = CapturedStep(self.network, CudaCapture(self.device), warn)
        self._pool = ThreadPoolExecutor(1, "beside-network")

    def image_size(self, asked: int = 0) -> int:
        """Return the long side of the network's image [px]: the requested one, or that of training if it is 0."""
        return asked or self.network.config.image_size

    def pixel_map(self, width: int, height: int, image_size: int = 0) -> PixelMap:
        """Return the mapping from a camera image of this size to the network's image.

        Raises:
            UserError: the image cannot be scaled to the network's size.
        """
        square = self.network.config.square_input
        return pixel_map(width, height, image_size=self.image_size(image_size), square=square)

    def planes(self, image: ImageArray, mapping: PixelMap) -> Tensor:
        """Convert an image, (H, W, 3) uint8 RGB, to the network's, (3, h, w) uint8, on the device."""
        return resample(image, mapping, self.device)

    def step(
        self, image: Tensor, state: State | None, *, rule: UpdateRule, outputs: Set[str]
    ) -> tuple[Prediction, State]:
        """Process one frame; see `Network.step`."""
        return self._stepper.step(image, state, rule=rule, outputs=outputs)

    def points(self, trace: Trace) -> tuple[Tensor, Tensor]:
        """Return points (1, H, W, 3) in the camera frame [m] and confidence (1, H, W) for a step that left them out."""
        return self.network.camera_points(trace.decoded)

    def is_state(self, state: State, rule: UpdateRule) -> bool:
        """Return whether a state is valid for this network and update rule: shapes fit and values are finite."""
        config = self.network.config
        tokens = (1, config.state_size, config.dec_embed_dim)
        slots = (1, config.local_mem_size, 2 * config.dec_embed_dim)
        return (
            (state.tokens.shape, state.pose_memory.shape) == (tokens, slots)
            and can_carry(rule, state.carried, tokens)
            and all(bool(torch.isfinite(t).all()) for t in (state.tokens, state.pose_memory, *state.carried))
        )

    @torch.inference_mode()
    def attached(self, state: State) -> State:
        """Return a copy of a state on the device, with the pose memory in the network's dtype."""
        slots = self.network.pose_memory.slots.dtype
        moved = mapped(state, lambda tensor: tensor.to(self.device, torch.float32, copy=True))
        return State(moved.tokens, moved.pose_memory.to(slots), moved.carried)

    def beside(self, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Future[Result]:
        """Start work that does not need the network in another thread, so that it runs in parallel to the network."""
        return self._pool.submit(work, *args, **kwargs)
