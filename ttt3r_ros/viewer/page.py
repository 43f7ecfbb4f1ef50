"""A finished run as one file for a browser: it plays without a server or a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ttt3r_ros.evaluation.cloud_pictures import Points, confident_points, joined
from ttt3r_ros.evaluation.run_log import Moment, RunLog
from ttt3r_ros.viewer.scene import Scene, turned
from ttt3r_ros.viewer.server import open_server, stop_server

#: Largest number of points, of the estimate and of the truth; each takes about ten bytes of the file.
_MAX_POINTS = 250_000
_MAX_TRUE_POINTS = 100_000

#: Longest playback: a longer run is played faster [s].
_MAX_SECONDS = 20.0

#: Where a reader looks from, relative to the first pose: behind it, and above (x forward, y left, z up) [m].
_EYE = (-3.5, 1.5, 3.0)
_TARGET = (2.0, 0.0, 0.0)


def write_page(path: Path, recording: RunLog, moments: list[Moment], *, title: str) -> None:
    """Write a run: the camera moves along its path, and the cloud grows.

    Args:
        path: path of the HTML file.
        recording: the run, with at least one pose.
        moments: of this run, in order of time.
        title: of the page.

    Raises:
        UserError: viser is not installed.
    """
    server = open_server("127.0.0.1", 0)  # only viser's server can write its pages
    try:
        scene = Scene(server, precision="float16")
        stamps = sorted(recording.poses)
        first = recording.poses[stamps[0]]
        heading = float(np.arctan2(first[1, 0], first[0, 0]))
        server.initial_camera.position = first[:3, 3] + turned(_EYE, heading)
        server.initial_camera.look_at = first[:3, 3] + turned(_TARGET, heading)
        scene.show_path(np.array([recording.poses[stamp][:3, 3] for stamp in stamps]))
        T_odom_world = recording.T_odom_world()
        if T_odom_world is not None:
            true_stamps = sorted(recording.true_poses)
            scene.show_truth(np.array([(T_odom_world @ recording.true_poses[s])[:3, 3] for s in true_stamps]))
        truths = [Points(*found) for moment in moments if (found := recording.true_points(moment)) is not None]
        if truths:
            truth = joined(truths)
            every = -(-len(truth.positions) // _MAX_TRUE_POINTS)
            # hidden until a reader shows it in the scene tree
            scene.show_points("/true_cloud", truth.positions[::every], truth.colors[::every], visible=False)
        scene.add_group("/cloud")
        serializer = server.get_scene_serializer()
        duration = (moments[-1].stamp_ns - moments[0].stamp_ns) * 1e-9 if moments else 0.0
        speed = max(1.0, duration / _MAX_SECONDS)
        clouds = confident_points(moments, _MAX_POINTS)
        for i, (moment, cloud) in enumerate(zip(moments, clouds, strict=True)):
            if i:
                serializer.insert_sleep((moment.stamp_ns - moments[i - 1].stamp_ns) * 1e-9 / speed)
            scene.show_camera(moment.T_odom_camera, moment.intrinsics, moment.rgb)
            scene.show_points(f"/cloud/{i}", cloud.positions, cloud.colors)
        if moments:
            serializer.insert_sleep(2.0)  # the whole cloud stays a while before it begins again
        page = serializer.as_html()
    finally:
        stop_server(server)
    path.write_text(page.replace("<title>Viser</title>", f"<title>{title}</title>"), encoding="utf-8")
