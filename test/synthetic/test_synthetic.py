"""The synthetic world's promises: the same pixels every time, exact geometry, smooth and collision-free motion."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import pytest
import torch

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import inverse
from ttt3r_ros.synthetic import Frames, Motion, Sequence, render_clips
from ttt3r_ros.synthetic.__main__ import main
from ttt3r_ros.synthetic.unsplit import run_unsplit

SIZE = {"width": 160, "height": 120}
#: Rows of the first and the 300th pose of seed 5, ten poses a second, each summed.
HANDHELD = [8.664774518254607, 5.349270738841579, 0.30725986633808366, 7.3533913680630025, 6.8611555404874185,
            0.31394566576296445]  # fmt: skip
WHEELED = [9.931783571811529, 7.962149632968296, -0.577915324979901, 6.232757766891838, 6.714064964102197,
           -0.577915324979901]  # fmt: skip


def same(a: Frames, b: Frames) -> bool:
    return (
        torch.equal(a.image, b.image)
        and torch.equal(a.depth, b.depth)
        and torch.equal(a.T_world_camera, b.T_world_camera)
    )


@pytest.fixture(scope="module")
def sequence() -> Sequence:
    return Sequence(3, 40, **SIZE, fps=4.0)


def test_shapes_and_types(sequence: Sequence) -> None:
    frames = sequence.render(2, 5)
    assert frames.image.shape == (3, 120, 160, 3)
    assert frames.image.dtype == torch.uint8
    assert frames.depth.shape == (3, 120, 160)
    assert frames.depth.dtype == torch.float32
    assert frames.T_world_camera.dtype == torch.float64
    assert frames.index.tolist() == [2, 3, 4]
    assert torch.equal(frames.T_world_camera, sequence.T_world_camera[2:5])
    assert len(sequence) == 40
    assert sequence.stamps_ns[:3] == [0, 250_000_000, 500_000_000]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(160, 120), (131, 77), (64, 200)])
def test_a_frame_does_not_depend_on_its_batch(size: tuple[int, int]) -> None:
    sequence = Sequence(5, 9, width=size[0], height=size[1], fps=3.0)
    together = sequence.render(0, 9)
    for i in range(9):
        alone = sequence.render(i)
        assert torch.equal(alone.image[0], together.image[i])
        assert torch.equal(alone.depth[0], together.depth[i])


def test_the_same_seed_gives_the_same_frames_and_another_seed_others() -> None:
    first, again, other = (Sequence(s, 3, **SIZE).render(0, 3) for s in (7, 7, 8))
    assert same(first, again)
    assert not torch.equal(first.depth, other.depth)


@pytest.mark.parametrize("motion", get_args(Motion))
def test_a_longer_sequence_starts_the_same(motion: str) -> None:
    short, long = (Sequence(2, n, **SIZE, motion=motion) for n in (5, 700))
    assert torch.equal(short.T_world_camera, long.T_world_camera[:5])


def test_the_path_does_not_depend_on_the_frame_rate() -> None:
    slow, fast = (Sequence(2, n, **SIZE, fps=fps) for n, fps in ((20, 5.0), (115, 30.0)))
    torch.testing.assert_close(slow.T_world_camera, fast.T_world_camera[::6], atol=1e-9, rtol=0)


def test_several_sequences_at_once_give_what_each_gives_alone() -> None:
    sequences = [Sequence(s, 3, **SIZE) for s in (0, 1, 2)] + [Sequence(0, 3, **SIZE, path_seed=9, motion="wheeled")]
    together = render_clips(sequences, 1, 3)
    assert together.image.shape == (4, 2, 120, 160, 3)
    for i, sequence in enumerate(sequences):
        alone = sequence.render(1, 3)
        assert torch.equal(together.image[i], alone.image)
        assert torch.equal(together.depth[i], alone.depth)


def test_jobs_run_unsplit_and_leave_torch_threads_as_they_were() -> None:
    def count_in_a_new_thread() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    before = torch.get_num_threads(), count_in_a_new_thread()
    if before[0] == 1:
        pytest.skip("torch has one thread here anyway")
    assert run_unsplit(lambda: (torch.rand(100_000).sum(), torch.get_num_threads())[1]) == 1
    assert (torch.get_num_threads(), count_in_a_new_thread()) == before


def test_a_path_seed_changes_the_path_only() -> None:
    one, two = Sequence(4, 2, path_seed=1), Sequence(4, 2, path_seed=2)
    assert not torch.allclose(one.T_world_camera, two.T_world_camera)
    assert np.array_equal(one._scene.center, two._scene.center)


def world_points(sequence: Sequence, frames: Frames, i: int) -> np.ndarray:
    """Unproject with nothing but the documented conventions."""
    k = sequence.intrinsics
    v, u = np.mgrid[: k.height, : k.width]
    depth = frames.depth[i].double().numpy()
    points = np.stack([(u - k.cx) / k.fx * depth, (v - k.cy) / k.fy * depth, depth], axis=-1)
    T = frames.T_world_camera[i].numpy()
    return points @ T[:3, :3].T + T[:3, 3]


@pytest.mark.slow
@pytest.mark.parametrize("motion", ["handheld", "inverted"])
def test_points_of_one_frame_are_found_in_another(motion: str) -> None:
    sequence = Sequence(11, 60, **SIZE, motion=motion)
    k = sequence.intrinsics
    for i, j in ((0, 8), (20, 12), (59, 45)):
        first, second = sequence.render(i), sequence.render(j)
        T = np.linalg.inv(second.T_world_camera[0].numpy())
        points = world_points(sequence, first, 0) @ T[:3, :3].T + T[:3, 3]
        u, v = points[..., 0] / points[..., 2] * k.fx + k.cx, points[..., 1] / points[..., 2] * k.fy + k.cy
        seen = (points[..., 2] > 0.1) & (u >= 0) & (u <= k.width - 1) & (v >= 0) & (v <= k.height - 1)
        assert seen.mean() > 0.3
        depth, z = second.depth[0].numpy(), points[..., 2][seen]
        u, v = u[seen], v[seen]
        # between four pixels of one plane 1/z is linear in the image: what lies there is known to a hair
        c, r = np.minimum(u.astype(int), k.width - 2), np.minimum(v.astype(int), k.height - 2)
        corners = [1.0 / depth[r + dr, c + dc] for dr in (0, 1) for dc in (0, 1)]
        fu, fv = u - c, v - r
        inverse = (corners[0] * (1 - fu) + corners[1] * fu) * (1 - fv) + (corners[2] * (1 - fu) + corners[3] * fu) * fv
        flat = np.abs(corners[0] + corners[3] - corners[1] - corners[2]) < 2e-6
        flat &= np.max(corners, axis=0) < 1.1 * np.min(corners, axis=0)
        error = np.abs(1.0 / inverse - z)[flat]
        assert flat.mean() > 0.5
        assert np.median(error) < 2e-4
        assert (error < 5e-3).mean() > 0.93  # the rest is hidden in one of the two


def test_floor_and_ceiling_are_where_they_should_be(sequence: Sequence) -> None:
    height = np.concatenate([world_points(sequence, sequence.render(i), 0)[..., 2].ravel() for i in range(0, 40, 5)])
    ceiling = sequence._scene.plan.height
    assert 2.4 <= ceiling <= 2.7
    assert height.min() > -1e-4
    assert height.max() < ceiling + 1e-4
    assert (np.abs(height) < 1e-4).mean() > 0.02
    assert (np.abs(height - ceiling) < 1e-4).mean() > 0.01


def test_camera_axes_are_those_of_opencv() -> None:
    sequence = Sequence(6, 1, **SIZE, motion="wheeled")
    R = sequence.T_world_camera[0, :3, :3].numpy()
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1.0)
    assert R[2, 1] < -0.99, "y points down"
    assert R[2, 0] == pytest.approx(0.0, abs=1e-12), "x is level"
    points = world_points(sequence, sequence.render(0), 0)
    assert points[-1, :, 2].mean() < points[0, :, 2].mean(), "what is low in the image is low in the world"


def test_intrinsics_follow_the_field_of_view() -> None:
    k = Sequence(0, 1, width=200, height=100, horizontal_fov_deg=90.0).intrinsics
    assert (k.fx, k.fy, k.cx, k.cy) == pytest.approx((100.0, 100.0, 99.5, 49.5))
    assert Sequence(0, 1, width=640, height=480).intrinsics.fx == pytest.approx(320 / np.tan(np.deg2rad(35)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("motion", ["handheld", "wheeled"])
def test_motion_is_smooth_plausible_and_clear_of_everything(seed: int, motion: str) -> None:
    fps, length = 30.0, 900
    sequence = Sequence(seed, length, fps=fps, motion=motion)
    T = sequence.T_world_camera.numpy()
    velocity = np.diff(T[:, :3, 3], axis=0) * fps
    acceleration = np.diff(velocity, axis=0) * fps
    jump = np.abs(np.diff(acceleration, axis=0)).max()
    speed = np.linalg.norm(velocity, axis=1)
    turn = np.rad2deg(np.arccos(np.clip((np.einsum("nij,nij->n", T[:-1, :3, :3], T[1:, :3, :3]) - 1) / 2, -1, 1))) * fps
    assert speed.max() < 0.85
    assert 0.15 < speed.mean() < 0.8
    assert np.linalg.norm(acceleration, axis=1).max() < 2.5
    assert jump < 0.9, "acceleration is continuous"
    assert turn.max() < 60.0
    assert np.ptp(T[:, :2, 3], axis=0).max() > 1.5, "it goes somewhere"
    assert Sequence(seed, 60, width=40, height=30, fps=2.0, motion=motion).render(0, 60).depth.min() > 0.4
    if motion == "wheeled":
        assert np.ptp(T[:, 2, 3]) == 0.0
        assert 0.3 <= T[0, 2, 3] <= 0.6


@pytest.mark.slow
def test_images_are_neither_black_nor_burnt_out() -> None:
    for seed in range(4):
        images = Sequence(seed, 6, **SIZE, fps=0.1).render(0, 6).image.float()
        assert 60 < images.mean() < 200, seed
        assert images.std() > 15, seed
        assert (images > 254).float().mean() < 0.2, seed
        assert (images < 3).float().mean() < 0.1, seed


@pytest.mark.slow
def test_more_samples_come_closer_to_the_truth_and_leave_the_depth() -> None:
    plain, fine, truth = (Sequence(1, 1, **SIZE, samples_per_axis=n).render(0) for n in (1, 3, 6))
    assert torch.equal(plain.depth, fine.depth)

    def error(frames: Frames) -> float:
        return float((frames.image.float() - truth.image.float()).abs().mean())

    assert error(fine) < 0.5 * error(plain)
    assert error(plain) < 12.0


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seed": -1}, "seed"), ({"length": 0}, "one frame"), ({"width": 4}, "8 x 8"), ({"fps": 0.0}, "frame rate"),
        ({"motion": "flying"}, "handheld"), ({"horizontal_fov_deg": 170.0}, "120"),
        ({"samples_per_axis": 0}, "samples"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_named(change: dict[str, object], word: str) -> None:
    with pytest.raises(UserError, match=word):
        Sequence(**{"seed": 0, "length": 1, **change})  # type: ignore[arg-type]  # wrong on purpose


def test_frames_that_are_not_there(sequence: Sequence) -> None:
    for start, stop in ((-1, 2), (38, 41), (5, 5), (40, None)):
        with pytest.raises(IndexError, match="0 to 39"):
            sequence.render(start, stop)


def test_sequences_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="intrinsics"):
        render_clips([Sequence(0, 1, width=64, height=48), Sequence(0, 1, width=32, height=24)], 0, 1)


def test_contact_sheet(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sheet.png"
    assert main(["--seed", "1", "2", "--columns", "2", "--width", "64", "--output", str(path)]) == 0
    assert path.stat().st_size > 1000
    assert main(["--width", "64", "--columns", "1", "--output", str(tmp_path / "missing" / "a.png")]) == 2
    assert capsys.readouterr().err.startswith("error: cannot write")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_sees_what_a_cpu_sees() -> None:
    on_cpu, on_gpu = (Sequence(3, 8, **SIZE, fps=2.0, device=d) for d in ("cpu", "cuda"))
    expected, frames = on_cpu.render(0, 8), on_gpu.render(0, 8)
    assert frames.image.is_cuda
    close = (frames.depth.cpu() - expected.depth).abs() < 1e-3
    assert close.float().mean() > 0.999  # a ray along an edge may fall to either side
    difference = (frames.image.cpu().float() - expected.image.float()).abs()
    assert difference.mean() < 0.5
    for i in (0, 5):
        alone = on_gpu.render(i)
        assert torch.equal(alone.image[0], frames.image[i])
        assert torch.equal(alone.depth[0], frames.depth[i])


def poses(motion: str, seed: int = 5, seconds: float = 30.0) -> np.ndarray:
    return Sequence(seed, int(10 * seconds), **SIZE, fps=10.0, motion=motion).T_world_camera.numpy()


def test_the_first_two_motions_are_what_they_always_were() -> None:
    """Figures, tests and recordings rest on them."""
    for motion, expected in (("handheld", HANDHELD), ("wheeled", WHEELED)):
        np.testing.assert_allclose(poses(motion)[[0, 299], :3].sum(axis=2).ravel(), expected, atol=1e-12, rtol=0)


def test_who_stands_sways_and_stays() -> None:
    standing = poses("standing")
    assert np.ptp(standing[:, :3, 3], axis=0).max() < 0.1
    assert np.arccos(standing[:, :3, 2] @ standing[0, :3, 2]).max() > np.deg2rad(3)  # one looks around


def test_who_turns_on_the_spot_goes_all_around() -> None:
    for seed in range(4):
        turning = poses("turning", seed)
        heading = np.unwrap(np.arctan2(turning[:, 1, 2], turning[:, 0, 2]))
        rate = np.diff(heading) * 10
        assert 360 < np.rad2deg(abs(heading[-1] - heading[0])) < 45 * 30
        np.testing.assert_allclose(rate, rate[0])
        assert np.ptp(turning[:, :3, 3], axis=0).max() <= 0.5


@pytest.mark.parametrize(("motion", "ahead"), [("wheeled", 1.0), ("reversing", -1.0), ("sideways", 0.0)])
def test_a_robot_looks_ahead_back_or_aside(motion: str, ahead: float) -> None:
    T = poses(motion)
    way = np.diff(T[:, :2, 3], axis=0)
    moves = np.linalg.norm(way, axis=1) > 0.02
    cosine = (way * T[:-1, :2, 2]).sum(axis=1)[moves] / np.linalg.norm(way[moves], axis=1)
    np.testing.assert_allclose(cosine, ahead, atol=0.15)
    np.testing.assert_allclose(T[:, :3, 3], poses("wheeled")[:, :3, 3])


@pytest.mark.parametrize("motion", ["wheeled", "turning", "reversing", "sideways", "inverted"])
@pytest.mark.parametrize("seed", [1, 5])
def test_a_camera_on_a_robot_has_one_mount_over_a_base_that_drives_forward_on_the_floor(motion: str, seed: int) -> None:
    sequence = Sequence(seed, 300, **SIZE, fps=10.0, motion=motion)
    assert sequence.T_base_camera is not None
    T_world_base = sequence.T_world_camera.numpy() @ inverse(sequence.T_base_camera)
    np.testing.assert_allclose(T_world_base[:, 2], [[0.0, 0.0, 1.0, 0.0]] * 300, atol=1e-12)  # flat on the floor
    way = np.diff(T_world_base[:, :2, 3], axis=0)
    moves = np.linalg.norm(way, axis=1) > 0.02
    if motion == "turning":  # about its own axis
        np.testing.assert_allclose(way, 0.0, atol=1e-12)
        assert 0.0 < sequence.T_base_camera[0, 3] <= 0.25
    else:
        assert moves.mean() > 0.5
        cosine = (way * T_world_base[:-1, :2, 0]).sum(axis=1)[moves] / np.linalg.norm(way[moves], axis=1)
        np.testing.assert_allclose(cosine, 1.0, atol=0.1)


def test_the_mount_is_the_paths_and_not_the_places() -> None:
    mounts = [Sequence(*seeds, **SIZE, motion="wheeled", path_seed=9).T_base_camera for seeds in ((1, 1), (2, 1))]
    np.testing.assert_array_equal(*mounts)
    assert not np.array_equal(mounts[0], Sequence(1, 1, **SIZE, motion="wheeled").T_base_camera)


@pytest.mark.parametrize("motion", ["handheld", "standing", "revisiting", "tilted", "climbing"])
def test_a_camera_in_the_hand_or_on_a_lift_has_no_mount(motion: str) -> None:
    assert Sequence(1, 2, **SIZE, motion=motion).T_base_camera is None


def test_who_comes_back_is_back() -> None:
    there = poses("revisiting", seconds=17.0)[:, :2, 3]
    assert np.linalg.norm(there[40] - there[0]) > 0.3
    assert np.linalg.norm(there[80] - there[0]) < 0.05
    assert np.linalg.norm(there[160] - there[80]) < 0.05


def test_mounts_are_high_low_inverted_and_tilted() -> None:
    height = poses("climbing")[:, 2, 3]
    assert (height.min() < 0.3, height.max() > 1.7) == (True, True)
    assert (poses("inverted")[:, 2, 1] > 0.9).all()  # the image's down is up
    down = np.rad2deg(np.arcsin(-poses("tilted")[:, 2, 2]))
    assert 5 < down.min() < down.max() < 60
    lean = np.rad2deg(np.arcsin(poses("tilted")[:, 2, 0] / np.cos(np.deg2rad(down))))
    assert 5 < abs(lean).min() < abs(lean).max() < 40
