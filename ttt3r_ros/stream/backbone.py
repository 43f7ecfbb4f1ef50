"""The network where it computes: on a device, in a precision, its steps replayed as CUDA graphs on a GPU."""

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
from ttt3r_ros.runtime.tensor_tree import mapped

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "int8": torch.int8}

P = ParamSpec("P")
Result = TypeVar("Result")
Tree = TypeVar("Tree")


def dtype_of(precision: str) -> torch.dtype:
    """Return what weights are in a precision of this name.

    Raises:
        UserError: there is none.
    """
    if precision not in PRECISIONS:
        raise UserError(f"there is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


class Backbone:
    """What a stream needs of a network. Keeps nothing of any frame; another network comes in by offering the same.

    It says what it needs of an image (`pixel_map`, `planes`), reads one frame (`step`, `points`), and checks and moves
    its own state (`is_state`, `attached`). Not safe for use from several threads at once.

    Attributes:
        network: the network, in eval mode, without gradients.
        device: where it computes.
        fingerprint: of its weights.
        is_captured: whether its steps are recorded, one for every kind of call.
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
            network: moved to the device and precision; not usable elsewhere afterwards, on a GPU without the heads
                that are never asked.
            device: to compute on.
            precision: of the weights, 'float32', 'bfloat16', 'float16' or 'int8' (on a CPU); heads and state are always
                float32.
            weights_fingerprint: of the weights; needed where their precision has been lowered already.
            warn: is told in a sentence if a GPU's steps cannot be recorded, which makes them slower.

        Raises:
            UserError: the precision does not exist, or not on this device.
        """
        dtype = dtype_of(precision)
        self.device = torch.device(device)
        self.fingerprint = weights_fingerprint or fingerprint(network)
        if self.device.type != "cpu":  # there they are memory-mapped: nobody reads them, so they take no memory
            network.drop_world_and_color()
        self.network = network.eval().requires_grad_(False).to(self.device).set_precision(dtype)
        self.is_captured = self.device.type == "cuda"
        self._stepper: Network | CapturedStep = self.network
        if self.is_captured:
            self._stepper = CapturedStep(self.network, CudaCapture(self.device), warn)
        self._pool = ThreadPoolExecutor(1, "beside-network")

    def image_size(self, asked: int = 0) -> int:
        """Return the long side of the network's image [px] where this was asked for, 0 for as trained."""
        return asked or self.network.config.image_size

    def pixel_map(self, width: int, height: int, image_size: int = 0) -> PixelMap:
        """Return how a camera's image of this size becomes the network's.

        Raises:
            UserError: it cannot.
        """
        square = self.network.config.square_input
        return pixel_map(width, height, image_size=self.image_size(image_size), square=square)

    def planes(self, image: ImageArray, mapping: PixelMap) -> Tensor:
        """Return an image (H, W, 3) uint8 RGB as the network's (3, h, w) uint8, on the device."""
        return resample(image, mapping, self.device)

    def step(
        self, image: Tensor, state: State | None, *, rule: UpdateRule, outputs: Set[str]
    ) -> tuple[Prediction, State]:
        """Read one frame, see `Network.step`."""
        return self._stepper.step(image, state, rule=rule, outputs=outputs)

    def points(self, trace: Trace) -> tuple[Tensor, Tensor]:
        """Return points (1, H, W, 3) in the camera's frame and confidence (1, H, W) of a frame not asked for them."""
        return self.network.camera_points(trace.decoded)

    def is_state(self, state: State, rule: UpdateRule) -> bool:
        """Return whether this network can have left a state with finite values under a rule."""
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
        """Return a copy of a state on the device, the pose memory in the network's number format."""
        slots = self.network.pose_memory.slots.dtype
        moved = mapped(state, lambda tensor: tensor.to(self.device, torch.float32, copy=True))
        return State(moved.tokens, moved.pose_memory.to(slots), moved.carried)

    def beside(self, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Future[Result]:
        """Begin work that needs no network in a thread of its own, so that it is done while the network computes."""
        return self._pool.submit(work, *args, **kwargs)
