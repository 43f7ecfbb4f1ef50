"""Compare this package's numbers with a published model's, from files that hold its outputs.

    python -m benchmark.parity [FILE.npz ...] [--device cuda]

Rebuilds each file's network by the weight rule, runs its views through `Network.step`, prints one line per array with
``max|a-b| / max|b|``, and exits with 1 if any exceeds 5e-5 (1e-4 at full size). Without a file it takes those of
test/golden. On a GPU convolutions keep 10 bits of their inputs by torch's default (TF32); here they keep all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttt3r_ros.errors import UserError
from ttt3r_ros.model import Filt3r, Network, NetworkConfig, Prediction, State, UpdateRule, rule_by_name
from ttt3r_ros.model.network import POINTS_CAMERA, POINTS_WORLD
from ttt3r_ros.runtime.device import choose_device
from ttt3r_ros.weights.rule import rule_image, rule_network

#: What published models have computed for the rule's weights and images; data, no tests.
GOLDENS = sorted((Path(__file__).resolve().parent.parent / "test" / "golden").glob("*.npz"))
FloatArray = npt.NDArray[np.floating]
CPU = torch.device("cpu")

FULL_SIZE = 1024  # encoder width from which the wider tolerance holds
IGNORED_CONFIG = {"img_size", "output_mode", "depth_mode", "conf_mode", "pose_mode", "patch_embed_cls", "pose_head"}
FILT3R_NAMES = {
    "p_init": "variance_init",
    "gamma_p": "gamma",
    "q_min": "q_min",
    "q_max": "q_max",
    "alpha_q": "alpha",
    "tau_q": "tau",
    "ema_beta_delta": "ema",
    "ema_delta_floor": "mean_change_floor",
    "fixed_r": "r",
}


@dataclass(frozen=True)
class Comparison:
    """One array's difference from the published one.

    Attributes:
        name: of the array.
        error: largest difference, of the largest published value.
        tolerance: that it should meet in float32.
    """

    name: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # NaN fails


def compare(
    path: Path,
    *,
    device: torch.device = CPU,
    precision: torch.dtype = torch.float32,
    step_margin: float = 1e-3,
) -> list[Comparison]:
    """Run one file's views and compare every array it holds.

    Args:
        path: of the file.
        device: to compute on.
        precision: to compute in.
        step_margin: points of the linear head nearer than this to the camera's plane [m] are left out: there the head
            turns a point around at z = 0, so that rounding decides on which side it comes out.
    """
    with np.load(path) as archive:
        golden = {name: archive[name] for name in archive.files}
    meta = json.loads(str(golden.pop("meta")))
    config = config_from_meta(meta["config"])
    network = rule_network(config).to(device).set_precision(precision)
    frames, resets = golden.pop("frame_index"), golden.pop("reset_after")
    ours = run(network, update_rule(meta), [int(f) for f in frames], [bool(r) for r in resets], meta["H"], meta["W"])
    tolerance = 1e-4 if config.enc_embed_dim >= FULL_SIZE else 5e-5
    return [
        Comparison(name, relative_error(ours[name], theirs, comparable(name, theirs, config, step_margin)), tolerance)
        for name, theirs in golden.items()
        if name in ours
    ]


def config_from_meta(values: dict[str, Any]) -> NetworkConfig:
    kept = {name: value for name, value in values.items() if name not in IGNORED_CONFIG}
    code = kept.pop("pos_embed", "RoPE100")
    return NetworkConfig.from_dict({**kept, "rope_base": float(code.removeprefix("RoPE"))})


def update_rule(meta: dict[str, Any]) -> UpdateRule:
    if meta["mode"] == "filt3r":
        return Filt3r(**{FILT3R_NAMES[name]: value for name, value in meta.get("filt3r", {}).items()})
    return rule_by_name(meta["mode"])


@torch.inference_mode()
def run(
    network: Network, rule: UpdateRule, frames: list[int], resets: list[bool], height: int, width: int
) -> dict[str, npt.NDArray[np.float32]]:
    """Return every array of a golden, as this package computes it."""
    initial = network.initial_tokens(1)
    views: dict[str, list[Tensor]] = defaultdict(list)
    state: State | None = None
    for frame, reset in zip(frames, resets, strict=True):
        image = rule_image(frame, height, width)[None].to(initial.device)
        prediction, state = network.step(image, state, rule=rule, outputs={POINTS_CAMERA, POINTS_WORLD})
        for name, value in view_arrays(prediction, state).items():
            views[name].append(value[0])
        if reset:
            state = None
        views["state_after"].append((initial if state is None else state.tokens)[0])
    arrays = {name: torch.stack(values).float().cpu().numpy() for name, values in views.items()}
    return {**arrays, "state_initial": initial[0].cpu().numpy()}


def view_arrays(prediction: Prediction, state: State) -> dict[str, Tensor]:
    assert prediction.points_camera is not None
    assert prediction.confidence is not None
    assert prediction.points_world is not None
    assert prediction.confidence_world is not None
    trace = prediction.trace
    return {
        "camera_pose": torch.cat([prediction.translation, prediction.quaternion], dim=-1),
        "pts3d_in_self_view": prediction.points_camera,
        "conf_self": prediction.confidence,
        "pts3d_in_other_view": prediction.points_world,
        "conf": prediction.confidence_world,
        "encoder_tokens": trace.encoder_tokens,
        "pose_query": trace.pose_query,
        "decoder_tokens": trace.decoded.tokens,
        "state_proposal": trace.decoded.state_proposal,
        "alignment_logit": trace.decoded.alignment,
        "memory_proposal": state.pose_memory,
    }


def comparable(name: str, theirs: FloatArray, config: NetworkConfig, step_margin: float) -> npt.NDArray[np.bool_]:
    """Return where an array can be compared: everywhere, but where the linear head's step at z = 0 is in reach."""
    if name == "pts3d_in_self_view" and config.head_type == "linear":
        return np.asarray(theirs[..., 2] > step_margin)
    return np.ones(theirs.shape[:1], dtype=bool)


def relative_error(ours: FloatArray, theirs: FloatArray, where: npt.NDArray[np.bool_]) -> float:
    """Return ``max|a-b| / max|b|``; NaN where either is not finite."""
    if ours.shape != theirs.shape:
        return float("nan")
    return float(np.abs(ours.astype(np.float64) - theirs)[where].max() / np.abs(theirs).max())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.npz")
    parser.add_argument("--device", default="cpu", help="cpu (default), auto, cuda or cuda:N")
    options = parser.parse_args(argv)
    try:
        device = choose_device(options.device)
    except UserError as error:
        parser.error(str(error))
    torch.backends.cudnn.allow_tf32 = False
    failed = False
    for path in options.files or GOLDENS:
        started = time.monotonic()
        comparisons = compare(path, device=device)
        print(f"{path.name} ({time.monotonic() - started:.1f} s)")
        for comparison in comparisons:
            verdict = "ok" if comparison.passed else f"ABOVE {comparison.tolerance:g}"
            print(f"  {comparison.name:20s} {comparison.error:.2e}  {verdict}")
        failed |= not all(comparison.passed for comparison in comparisons)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
