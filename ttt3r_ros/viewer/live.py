"""The live page: the scene, and beside it the node's state, switches and buttons."""

from __future__ import annotations

import html
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ttt3r_ros import colors
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, Intrinsics
from ttt3r_ros.mapping.voxel_map import MapPoints
from ttt3r_ros.viewer.pieces import Pieces
from ttt3r_ros.viewer.scene import CORRECTED, Scene, small, turned
from ttt3r_ros.viewer.server import open_server, stop_server

if TYPE_CHECKING:
    from viser import ClientHandle, GuiEvent

#: Pieces of the map that one update sends at most: 1 MB.
_PIECES_AT_ONCE = 4

#: Where a reader looks from at first, relative to the camera and its heading (x forward, y left, z up) [m].
_EYE = (-2.5, 0.6, 0.9)
_TARGET = (1.0, 0.0, 0.0)

#: What is nearer to the reader is not drawn: a point just before the eye would fill the picture [m].
_NEAR = 0.5

#: The server takes so long at most to send what was shown last to readers on this machine [s].
_SENDING_S = 0.3

#: Longest wait for readers to agree that a page ends: a slow browser may take many seconds [s].
_CLOSING_S = 0.2

#: A button does something and returns a sentence about it, or raises a `UserError`.
Action = Callable[[], str]


class LivePage:
    """Shows a running node in browsers. All methods may be called from any thread."""

    def __init__(self, host: str, port: int, buttons: Mapping[str, Mapping[str, Action]]) -> None:
        """Start the server.

        Args:
            host: address to listen on.
            port: TCP port; the next free one if it is taken.
            buttons: rows of buttons: by the row's label, actions by the button's label.

        Raises:
            UserError: viser is not installed, or the address cannot be used.
        """
        self._server = open_server(host, port)
        shown_host = "localhost" if host in ("0.0.0.0", "::") else host
        #: Where the page is.
        self.url = f"http://{f'[{shown_host}]' if ':' in shown_host else shown_host}:{self._server.get_port()}"
        self._scene = Scene(self._server)
        self._pieces = Pieces()
        self._followed: FloatArray | None = None
        self._heading = 0.0
        self._map_confidence = math.nan
        self._lock = threading.Lock()
        self._build(buttons)

    def stop(self, last_state: str = "") -> None:
        """Stop the server, at once. Readers keep what they see.

        Args:
            last_state: what to show as the state from then on, as HTML; unless it is empty.
        """
        if last_state:
            self.show_state(last_state)
            if self.is_watched():
                self._server.flush()
                time.sleep(_SENDING_S)  # what is not sent when the server stops is dropped
        stopping = threading.Thread(target=stop_server, args=(self._server,), daemon=True)
        stopping.start()
        stopping.join(_CLOSING_S)

    def is_watched(self) -> bool:
        """Return whether a browser is connected; if not, there is no need to prepare anything for it."""
        return bool(self._server.get_clients())

    def begin_again(self) -> None:
        """Say that the next camera is in another frame: readers who follow are put behind it."""
        if self._follow.value:
            self._followed = None

    def show_state(self, text: str) -> None:
        """Show the state of the node, as HTML; see `state_html`."""
        self._state.content = text

    def show_camera(
        self,
        T_odom_camera: FloatArray,
        intrinsics: Intrinsics,
        image: npt.NDArray[np.uint8] | None,
        *,
        lost: bool,
    ) -> None:
        """Draw the camera; see `Scene.show_camera`. Readers move along with it if they follow."""
        self._scene.show_camera(T_odom_camera, intrinsics, image, lost=lost)
        position = T_odom_camera[:3, 3].copy()
        self._heading = float(np.arctan2(T_odom_camera[1, 2], T_odom_camera[0, 2]))
        if self._followed is None:
            self._followed = position
            for client in self._server.get_clients().values():
                self._place(client)
        elif self._follow.value:
            self._move(position - self._followed)
        self._followed = position

    def show_depth(self, depth: npt.NDArray[np.floating]) -> None:
        """Show the (H, W) depth image [m] in color."""
        self._depth.image = small(colors.depth_colors(depth))

    def show_path(self, positions: FloatArray) -> None:
        """Draw the estimated path through (N, 3) positions."""
        self._scene.show_path(positions)

    def show_truth(self, positions: FloatArray) -> None:
        """Draw the true path through (N, 3) positions."""
        self._scene.show_truth(positions)

    def show_corrected(self, positions: FloatArray) -> None:
        """Draw the corrected path through (N, 3) positions in the map's frame; see `place`."""
        self._scene.show_corrected(positions)

    def show_places(self, places: FloatArray, rejected: FloatArray) -> None:
        """Draw recognized and rejected places as (N, 2, 3) lines in the map's frame; see `place`."""
        self._scene.show_places(places, rejected)

    def place(self, T_odom_map: FloatArray, *, points: bool) -> None:
        """Say where the map's frame is in the odometry's, (4, 4).

        Args:
            T_odom_map: the pose.
            points: whether the points of the map are in the map's frame, too.
        """
        self._scene.place_group(CORRECTED, T_odom_map)
        self._scene.place_group("/map", T_odom_map if points else np.eye(4))

    def show_cloud(self, cloud: MapPoints) -> None:
        """Draw the points of the latest frame."""
        kept = cloud.confidences >= self._confidence.value
        self._scene.show_points("/cloud/frame", cloud.positions[kept], cloud.colors[kept])

    def wants_map(self) -> bool:
        """Return whether the map must be shown again although it is the same."""
        return bool(self._confidence.value != self._map_confidence)

    def show_map(self, cloud: MapPoints) -> bool:
        """Draw what has changed in the map, a megabyte at most.

        Args:
            cloud: the whole map; its points keep their order.

        Returns:
            Whether something has changed, so that more may be waiting.
        """
        self._map_confidence = self._confidence.value
        with self._lock:
            pieces = self._pieces.changed(cloud, self._map_confidence, at_most=_PIECES_AT_ONCE)
        for piece in pieces:
            self._scene.show_points(f"/map/{piece.number}", piece.positions, piece.colors)
        return bool(pieces)

    def _build(self, buttons: Mapping[str, Mapping[str, Action]]) -> None:
        gui = self._server.gui
        gui.set_panel_label("ttt3r")
        for label, actions in buttons.items():  # above the state, whose height changes, so that they stay in place
            self._add_buttons(label, actions)
        self._state = gui.add_html(state_html("warn", "waiting for the node", {}))
        self._depth = gui.add_image(
            colors.depth_colors(np.full((3, 4), np.nan, np.float32)), label=f"depth, 0 to {colors.MAX_DEPTH_M:g} m"
        )
        self._confidence = gui.add_slider(
            "min. confidence",
            1.0,
            10.0,
            0.1,
            1.0,
            hint="of this page alone: hides points that the node sends; which it sends is its parameter min_confidence",
        )
        self._follow = gui.add_checkbox("follow camera", True, hint="without it, the view is free")
        shown = {"/cloud": "frame", "/map": "map", CORRECTED: "corrected path", "/truth": "true path"}
        for group, label in shown.items():
            if group != "/truth":
                self._scene.add_group(group)
            self._add_switch(group, label)
        self._server.on_client_connect(self._place)

    def _add_switch(self, group: str, label: str) -> None:
        switch = self._server.gui.add_checkbox(label, True)
        switch.on_update(lambda _: self._scene.set_visible(group, switch.value))

    def _add_buttons(self, label: str, actions: Mapping[str, Action]) -> None:
        group = self._server.gui.add_button_group(label, list(actions))

        def pressed(event: GuiEvent[Any]) -> None:
            name = group.value
            color: Literal["green", "red"] = "green"
            try:
                sentence = actions[name]()
            except UserError as error:
                sentence, color = str(error), "red"
            if event.client is not None:
                event.client.add_notification(f"{label} {name}", sentence, color=color, auto_close_seconds=10.0)

        group.on_click(pressed)

    def _place(self, client: ClientHandle) -> None:
        """Put a reader behind the camera."""
        client.camera.near = _NEAR
        position = self._followed
        if position is None:
            return
        client.camera.position = position + turned(_EYE, self._heading)
        client.camera.look_at = position + turned(_TARGET, self._heading)

    def _move(self, by: FloatArray) -> None:
        if not np.any(by):
            return
        for client in self._server.get_clients().values():
            if client.camera.update_timestamp:  # its browser has said where it is
                client.camera.position = client.camera.position + by


def state_html(level: str, message: str, values: Mapping[str, str]) -> str:
    """Return the node's state for people.

    Args:
        level: ``ok``, ``warn`` or ``error``, or ``ended``: nothing more is to come.
        message: one sentence, from the node or from whoever runs the viewer.
        values: keys and values of its diagnostics; those that are missing are left out.
    """
    color = {"ok": "#2b8a3e", "warn": "#e67700", "error": "#c92a2a", "ended": "#495057"}[level]
    rows = [f'<b style="color:{color}">{html.escape(message)}</b>']
    for label, parts in _ROWS.items():
        known = [text.format(html.escape(values[key])) for key, text in parts if values.get(key)]
        if known:
            rows.append(f"{label}: {', '.join(known)}")
    lines = "".join(f"<div>{row}</div>" for row in rows)
    return f'<div style="padding:0.5em 1em;font-size:0.85em;line-height:1.5;overflow-wrap:anywhere">{lines}</div>'


#: What `state_html` shows: by label, the keys of the diagnostics and how their values are put.
_ROWS: dict[str, tuple[tuple[str, str], ...]] = {
    "images": (("input_rate_hz", "{} Hz"), ("frames_received", "{} received")),
    "poses": (
        ("output_rate_hz", "{} Hz"),
        ("latency_ms_p50", "{} ms latency"),
        ("frames_waiting", "{} images waiting"),
    ),
    "frames": (("frames_dropped", "{} dropped"), ("frames_lost", "{} lost"), ("frames_failed", "{} failed")),
    "segment": (("segment", "{}"), ("segment_frames", "{} frames"), ("segment_reason", "{}")),
    "map": (("map_points", "{} points"), ("map_voxel_size", "voxels of {} m")),
    "places": (("map_keyframes", "{} keyframes"), ("map_places_accepted", "{} recognized")),
    "network": (("weights", "{}"), ("device", "{}"), ("precision", "{}")),
}
