"""The pictures show what they are given: numbers are read back from the figures, pixels from the files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from ttt3r_ros.evaluation.metrics import Trajectory
from ttt3r_ros.evaluation.pictures import draw_correction, draw_frames, draw_trajectory, noted, write_below
from ttt3r_ros.evaluation.run_log import Moment
from ttt3r_ros.geometry import T_BASE_CAMERA, Intrinsics

ESTIMATE, TRUTH = "#d1495b", "#30638e"
SECOND = 10**9


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures as they were before they became pixels, which takes long."""
    made: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: made.append(figure))
    return made


def walk(count: int, *, turns: float = 0.0, z: float = 0.0) -> Trajectory:
    """Return a walk along x, a metre a second, that turns to the left about z meanwhile."""
    done = np.linspace(0, 1, count)
    half = np.pi * turns * done
    zero = np.zeros(count)
    return Trajectory(
        stamps_ns=1_700_000_000 * SECOND + np.arange(count) * SECOND,
        positions=np.stack([np.arange(count), zero, z * done], axis=1),
        quaternions_wxyz=np.stack([np.cos(half), zero, zero, np.sin(half)], axis=1),
    )


def moved(trajectory: Trajectory, by: list[float]) -> Trajectory:
    return Trajectory(trajectory.stamps_ns, trajectory.positions + by, trajectory.quaternions_wxyz)


def moment(seconds: float, *, depth: Any = 2.0, true_depth: Any = None) -> Moment:
    def image(value: Any) -> npt.NDArray[np.float32]:
        return np.broadcast_to(np.float32(value), (12, 16)).copy()

    rgb = np.zeros((12, 16, 3), np.uint8)
    rgb[:6, :, 0] = rgb[6:, :, 2] = 255  # red above blue
    return Moment(
        stamp_ns=1_700_000_000 * SECOND + int(seconds * SECOND),
        rgb=rgb,
        depth=image(depth),
        confidence=image(3.0),
        true_depth=None if true_depth is None else image(true_depth),
        points_odom=np.empty((0, 3), np.float32),
        colors=np.empty((0, 3), np.uint8),
        point_confidence=np.empty(0, np.float32),
        intrinsics=Intrinsics(16.0, 16.0, 7.5, 5.5, 16, 12),
        T_odom_camera=T_BASE_CAMERA,
    )


def rows_of(path: Path, color: str | tuple[float, float, float]) -> npt.NDArray[np.intp]:
    """Return the row of each pixel that has this colour."""
    picture = cv2.imread(str(path))[:, :, ::-1].astype(int)
    return np.nonzero(np.abs(picture - np.round(255 * np.array(to_rgb(color)))).max(axis=2) <= 2)[0]


def lines(axes: Any, color: str) -> list[npt.NDArray[np.float64]]:
    return [line.get_xydata() for line in axes.get_lines() if line.get_color() == color]


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_the_estimate_is_seen_and_the_truth_where_it_is_known(tmp_path: Path, known: bool) -> None:
    draw_trajectory(tmp_path / "t.png", walk(5), moved(walk(5), [0, 1, 0]) if known else None, caption="a walk")
    assert len(rows_of(tmp_path / "t.png", ESTIMATE)) > 500
    assert (len(rows_of(tmp_path / "t.png", TRUTH)) > 500) == known


def test_a_trajectory_is_drawn_in_its_own_numbers(figures: list[Figure]) -> None:
    estimate, truth = walk(21, turns=1.5, z=4.0), moved(walk(21, turns=1.5, z=4.0), [0.0, 3.0, 4.0])
    draw_trajectory(Path("t.png"), estimate, truth, caption="a walk")
    height, heading, error, top = figures[0].axes
    assert top.get_title(loc="left") == "a walk"
    np.testing.assert_array_equal(lines(top, ESTIMATE), [estimate.positions[:, :2]])
    np.testing.assert_array_equal(lines(top, TRUTH), [truth.positions[:, :2]])
    np.testing.assert_array_equal(lines(top, "black"), [truth.positions[:1, :2]])
    assert [text.get_text() for text in top.get_legend().get_texts()] == ["ground truth", "estimate", "start"]
    assert top.get_aspect() == 1.0  # a right angle is one
    seconds = np.arange(21.0)
    np.testing.assert_allclose(lines(height, ESTIMATE), [np.stack([seconds, estimate.positions[:, 2]], 1)])
    np.testing.assert_allclose(lines(height, TRUTH), [np.stack([seconds, truth.positions[:, 2]], 1)])
    for color in (ESTIMATE, TRUTH):  # on and on, with no jump at 180 degrees
        np.testing.assert_allclose(lines(heading, color), [np.stack([seconds, 540 * seconds / 20], 1)], atol=1e-9)
    np.testing.assert_allclose(lines(error, ESTIMATE), [np.stack([seconds, np.full(21, 5.0)], 1)])
    assert error.get_ylim()[0] == 0 < 5 < error.get_ylim()[1]


def test_a_corrected_walk_is_drawn_beside_the_odometry_with_the_places_where_each_has_them(
    figures: list[Figure],
) -> None:
    odometry, corrected, truth = walk(9), moved(walk(9), [0, 2, 0]), moved(walk(9), [0, 2.5, 0])
    at = odometry.stamps_ns.tolist()
    places, rejected = [(at[0], at[8]), (at[1] + SECOND // 4, at[7] - SECOND // 4)], [(at[3], at[5])]
    for known in (truth, None):
        draw_correction(
            Path("m.png"),
            odometry,
            corrected,
            known,
            places=places,
            rejected=rejected if known else [],
            titles=("before", "after"),
            caption="a walk",
        )
    for figure, known in zip(figures, (truth, None), strict=True):
        names = ["ground truth"] * bool(known) + ["odometry", "with the map", "recognized place (2)"]
        names += ["rejected place (1)"] * bool(known) + ["start"]
        assert [text.get_text() for text in figure.legends[0].get_texts()] == names
        assert figure.get_suptitle() == "a walk"
        assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim() == pytest.approx((4 - 4.4, 4 + 4.4))
        assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
        for axes, path, color, title in zip(
            figure.axes, (odometry, corrected), ("#d1495b", "#f08c00"), ("before", "after"), strict=True
        ):
            assert axes.get_title(loc="left") == title
            assert axes.get_aspect() == 1.0
            above = path.positions[:, :2]
            np.testing.assert_array_equal(lines(axes, color), [above])
            np.testing.assert_array_equal(lines(axes, "#2b8a3e"), above[[[0, 8], [1, 7]]])
            np.testing.assert_array_equal(lines(axes, "#9c36b5"), above[[[3, 5]]] if known else [])
            np.testing.assert_array_equal(lines(axes, TRUTH), [known.positions[:, :2]] if known else [])


def test_arrows_show_where_the_body_looks(figures: list[Figure]) -> None:
    draw_trajectory(Path("t.png"), walk(1001, turns=0.25), None, caption="")
    top = figures[0].axes[-1]
    np.testing.assert_array_equal(lines(top, "black"), [[[0, 0]]])  # where the estimate starts
    (arrows,) = (artist for artist in top.collections if isinstance(artist, Quiver))
    assert 5 < len(arrows.U) < 25
    np.testing.assert_allclose(np.degrees(np.arctan2(arrows.V, arrows.U)), 0.09 * arrows.X)


@pytest.mark.parametrize(("z", "reach"), [(0.0, 0.1), (0.01, 0.1), (10.0, 5.5)])
def test_a_level_path_looks_level(figures: list[Figure], z: float, reach: float) -> None:
    draw_trajectory(Path("t.png"), walk(5, z=z), None, caption="")
    assert figures[0].axes[0].get_ylim() == pytest.approx((z / 2 - reach, z / 2 + reach))


@pytest.mark.slow
def test_one_pose_and_one_frame_without_any_measurement_are_drawn(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_trajectory(tmp_path / "t.png", walk(1), walk(1), caption="")
        draw_frames(tmp_path / "f.png", [moment(0, depth=np.nan, true_depth=np.inf)], caption="")
        draw_correction(tmp_path / "c.png", walk(1), walk(1), None, places=[], rejected=[], titles=("", ""), caption="")
    assert len(rows_of(tmp_path / "c.png", "black")) > 50
    assert len(rows_of(tmp_path / "t.png", "black")) > 50  # the start
    assert len(rows_of(tmp_path / "f.png", "#e6e6e6")) > 1000


def test_images_are_upright_in_their_own_colors(tmp_path: Path) -> None:
    draw_frames(tmp_path / "f.png", [moment(0), moment(1)], caption="")
    red, blue = (rows_of(tmp_path / "f.png", color) for color in ("red", "blue"))
    assert red.max() < blue.min() + 2
    assert len(red) == pytest.approx(len(blue), rel=0.05)


@pytest.mark.parametrize("inches", [3.9, 5.2, 10.0])
def test_a_caption_fits_below_its_picture(inches: float) -> None:
    note = "the weights small.safetensors have never seen a real image, and reset every 6 frames; use others on a robot"
    figure = Figure(figsize=(inches, 2.0), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    write_below(figure, noted("the line is the camera's path; cut open 0.4 m above it", note))
    canvas.draw()
    (text,) = (text for text in figure.texts if "camera's" in text.get_text())
    assert text.get_window_extent().x1 < figure.bbox.x1
    assert " ".join(text.get_text().split()).endswith(note)


def test_frames_are_columns_in_time(figures: list[Figure]) -> None:
    moments = [moment(0, depth=1.0), moment(1.25, depth=2.0, true_depth=3.0), moment(60, depth=4.0)]
    draw_frames(Path("f.png"), moments, caption="weights: small")
    images = [axes for axes in figures[0].axes if axes.get_images()]
    assert [axes.get_title() for axes in images[:3]] == ["+0.0 s", "+1.2 s", "+60.0 s"]
    assert [axes.get_ylabel() for axes in images[::3]] == ["image", "depth", "true depth", "confidence"]
    shown = [np.ma.filled(axes.get_images()[0].get_array().astype(float), np.nan).mean() for axes in images[3:]]
    np.testing.assert_array_equal(shown, [1, 2, 4, np.nan, 3, np.nan, 3, 3, 3])
    assert figures[0].get_supxlabel() == "weights: small"


def test_without_any_truth_there_is_no_row_for_it(figures: list[Figure]) -> None:
    draw_frames(Path("f.png"), [moment(0)], caption="")
    assert [axes.get_ylabel() for axes in figures[0].axes[:3]] == ["image", "depth", "confidence"]


def test_depths_share_a_scale_that_wild_pixels_do_not_stretch(figures: list[Figure]) -> None:
    wild = np.full((12, 16), 2.0)
    wild[0, 0], wild[1, 1], wild[2, 2] = 1e6, np.inf, np.nan
    draw_frames(Path("f.png"), [moment(0, depth=1.0, true_depth=5.0), moment(1, depth=wild)], caption="")
    drawn = [axes.get_images()[0] for axes in figures[0].axes if axes.get_images()]
    assert {(image.norm.vmin, image.norm.vmax) for image in drawn[2:6]} == {(0.0, 5.0)}
    assert {(image.norm.vmin, image.norm.vmax) for image in drawn[6:]} == {(3.0, 3.1)}  # of one value only
