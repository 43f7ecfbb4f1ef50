from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_from_pose, rotation_vector
from ttt3r_ros.sources.poses import PoseTrack, interpolate_pose, read_euroc_poses, read_pose_list, read_pose_matrix

A = T_from_pose((1, 2, 3), (1, 0, 0, 0))
B = T_from_pose((2, 0, 3), (np.cos(0.5), 0, 0, np.sin(0.5)))  # 1 rad about z
MS = 10**6

unit = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)


@given(unit, unit, st.floats(0, 1))
def test_interpolation_turns_at_one_rate(q_a: tuple[float, ...], q_b: tuple[float, ...], share: float) -> None:
    a, b = T_from_pose((0, 0, 0), q_a), T_from_pose((1, 2, 4), q_b)
    T = interpolate_pose(a, b, share)
    np.testing.assert_allclose(T[:3, 3], share * np.array([1, 2, 4]), atol=1e-9)
    whole = np.linalg.norm(rotation_vector(a[:3, :3].T @ b[:3, :3]))
    part = np.linalg.norm(rotation_vector(a[:3, :3].T @ T[:3, :3]))
    rest = np.linalg.norm(rotation_vector(T[:3, :3].T @ b[:3, :3]))
    assert part + rest == pytest.approx(whole, abs=1e-5)
    if whole < np.pi - 1e-3:
        assert part == pytest.approx(share * whole, abs=1e-5)


def test_a_track_is_interpolated_where_poses_are_near() -> None:
    track = PoseTrack([100 * MS, 0, 1000 * MS], [B, A, A])  # in any order
    np.testing.assert_allclose(track.at(0), A)
    np.testing.assert_allclose(track.at(50 * MS), T_from_pose((1.5, 1, 3), (np.cos(0.25), 0, 0, np.sin(0.25))))
    np.testing.assert_allclose(track.at(115 * MS), B)
    np.testing.assert_allclose(track.at(1010 * MS), A)
    assert track.at(500 * MS) is None
    assert track.at(-30 * MS) is None
    assert PoseTrack([], []).at(0) is None
    assert len(PoseTrack([0, 1], [A, np.full((4, 4), np.nan)])) == 1


def matrix_lines(T: np.ndarray) -> str:
    return "\n".join(" ".join(f"{value:.6f}" for value in row) for row in T)


@pytest.mark.parametrize("rows", [3, 4])
def test_one_matrix_a_file(tmp_path: Path, rows: int) -> None:
    (tmp_path / "p.txt").write_text(matrix_lines(B[:rows]))
    np.testing.assert_allclose(read_pose_matrix(tmp_path / "p.txt"), B, atol=1e-5)


@pytest.mark.parametrize("content", ["-inf " * 16, "0 " * 16, "nan " * 12, "1 0 0 0 0 2 0 0 0 0 1 0 0 0 0 1"])
def test_a_matrix_that_is_no_pose_is_unknown(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.txt").write_text(content)
    assert read_pose_matrix(tmp_path / "p.txt") is None


@pytest.mark.parametrize("layout", ["12", "16", "4x4"])
def test_a_matrix_for_each_image(tmp_path: Path, layout: str) -> None:
    lines = {
        "12": [" ".join(map(str, T[:3].ravel())) for T in (A, B)],
        "16": [",".join(map(str, T.ravel())) for T in (A, B)],
        "4x4": [matrix_lines(A), "", matrix_lines(B)],
    }[layout]
    (tmp_path / "poses.txt").write_text("# comment\n" + "\n".join(lines) + "\n")
    poses = read_pose_list(tmp_path / "poses.txt", 2)
    assert isinstance(poses, list)
    np.testing.assert_allclose(poses, [A, B], atol=1e-5)
    with pytest.raises(UserError, match="2 poses, but there are 3 images"):
        read_pose_list(tmp_path / "poses.txt", 3)


@pytest.mark.parametrize("content", ["a b c d", "1 2 3", "1 2 3 4\n5 6", "", "1 2 3 4 5 6 7 x"])
def test_what_holds_no_poses_is_said_in_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.txt").write_text(content)
    with pytest.raises(UserError) as error:
        read_pose_list(tmp_path / "p.txt", 1)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError):
        read_pose_matrix(tmp_path / "p.txt")
    (tmp_path / "p.csv").write_text("1,2,3\n")
    with pytest.raises(UserError, match="columns"):
        read_euroc_poses(tmp_path / "p.csv")
