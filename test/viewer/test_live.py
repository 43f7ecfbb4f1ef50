from __future__ import annotations

import contextlib
import socket
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import viser
import zstandard
from waiting import PATIENCE, wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, Intrinsics
from ttt3r_ros.mapping.voxel_map import MapPoints
from ttt3r_ros.viewer import live
from ttt3r_ros.viewer.live import LivePage, state_html
from ttt3r_ros.viewer.server import open_server


def test_the_state_is_told_in_words_and_numbers() -> None:
    values = {
        "input_rate_hz": "9.90",
        "output_rate_hz": "9.80",
        "frames_waiting": "4",
        "frames_lost": "3",
        "segment": "2",
        "unknown": "x",
    }
    text = state_html("error", "lost: the image is black", values)
    for words in (
        "lost: the image is black",
        "images: 9.90 Hz",
        "poses: 9.80 Hz, 4 images waiting",
        "frames: 3 lost",
        "segment: 2",
    ):
        assert words in text
    assert "unknown" not in text
    assert "map" not in text


def test_what_the_node_says_is_text_and_nothing_else() -> None:
    text = state_html("ok", "<script>alert(1)</script>", {"weights": "<img src=x>"})
    assert "<script" not in text
    assert "<img" not in text


@pytest.mark.parametrize(("host", "port", "words"), [("127.0.0.1", 70000, "--port"), ("203.0.113.7", 0, "--host")])
def test_an_address_that_cannot_be_had_is_told(host: str, port: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_server(host, port)


def test_without_viser_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(UserError, match="pip install --user viser"):
        open_server("127.0.0.1", 0)


def test_it_listens_on_its_address_alone_and_stops(capsys: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    page = LivePage("127.0.0.1", 0, {"reset": {"state": lambda: "done"}})
    port = int(page.url.rpartition(":")[2])
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60):
            pass
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=5):
            pass
        assert not page.is_watched()
    finally:
        page.stop()
    wait_until(lambda: threading.active_count() <= before + 1, "the server's threads to end")
    assert capsys.readouterr().out == ""


def test_its_last_word_reaches_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    page = LivePage("127.0.0.1", 0, {})
    protocol = Subprotocol(f"viser-v{viser.__version__}")
    said = b""
    try:
        with connect(page.url.replace("http", "ws"), subprotocols=[protocol], max_size=None) as reader:
            reader.recv(timeout=PATIENCE)
            monkeypatch.setattr(page, "is_watched", lambda: True)
            page.stop(state_html("ended", "this is all", {}))
            with contextlib.suppress(ConnectionClosed):
                while True:
                    message = reader.recv(timeout=PATIENCE)
                    size = int.from_bytes(message[8:16], "little")
                    said += zstandard.ZstdDecompressor().decompress(message[16 : 16 + size])
    finally:
        page.stop()
    assert b"this is all" in said


def test_no_reader_can_hold_up_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    page = LivePage("127.0.0.1", 0, {})
    has_closed, ended = threading.Event(), threading.Event()

    def close_slowly(server: viser.ViserServer) -> None:
        has_closed.wait(PATIENCE)
        server.stop()
        ended.set()

    monkeypatch.setattr(live, "stop_server", close_slowly)
    page.stop()
    assert not ended.is_set()
    has_closed.set()
    assert ended.wait(PATIENCE)


def test_a_request_that_is_refused_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    page = LivePage("127.0.0.1", 0, {})
    try:
        with socket.create_connection(("127.0.0.1", int(page.url.rpartition(":")[2])), timeout=60) as connection:
            connection.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while connection.recv(4096):
                pass
    finally:
        page.stop()
    assert not caplog.records


def test_nobody_can_have_it_shared_in_the_internet() -> None:
    server = open_server("127.0.0.1", 0)
    try:
        assert server.request_share_url() is None
    finally:
        server.stop()


def test_anything_may_be_shown_before_somebody_watches() -> None:
    page = LivePage("127.0.0.1", 0, {})
    try:
        camera = Intrinsics(20.0, 20.0, 9.5, 7.5, 20, 16)
        for side in (16, 500):
            page.show_camera(T_BASE_CAMERA, camera, np.zeros((side, side, 3), np.uint8), lost=side == 500)
        page.show_camera(T_BASE_CAMERA, camera, None, lost=False)
        for count in (0, 1, 5, 3):
            page.show_path(np.zeros((count, 3)))
            page.show_corrected(np.zeros((count, 3)))
            page.show_places(np.zeros((count, 2, 3)), np.zeros((0, 2, 3)))
            cloud = MapPoints(np.ones((count, 3), np.float32), np.ones((count, 3), np.uint8), np.full(count, 2.0))
            page.show_cloud(cloud)
            assert page.show_map(cloud) == (count > 0)
            assert not page.wants_map()
        for points in (True, False):
            page.place(T_BASE_CAMERA, points=points)
            assert np.allclose(page._scene._groups["/corrected"].wxyz, [0.5, -0.5, 0.5, -0.5])
            assert np.allclose(page._scene._groups["/map"].wxyz, [0.5, -0.5, 0.5, -0.5] if points else [1, 0, 0, 0])
        page._confidence.value = 4.0
        assert page.wants_map()
        page.show_truth(np.zeros((4, 3)))
        page.show_depth(np.full((500, 700), np.nan, np.float32))
        page.show_state(state_html("ok", "tracking", {}))
    finally:
        page.stop()


def test_a_reader_follows_the_camera_unless_the_view_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    page = LivePage("127.0.0.1", 0, {})
    try:
        reader = SimpleNamespace(position=np.zeros(3), look_at=np.zeros(3), near=0.01, update_timestamp=1.0)
        monkeypatch.setattr(page._server, "get_clients", lambda: {0: SimpleNamespace(camera=reader)})

        def show(x: float) -> float:
            T = T_BASE_CAMERA.copy()
            T[0, 3] = x
            page.show_camera(T, Intrinsics(20.0, 20.0, 9.5, 7.5, 20, 16), None, lost=False)
            return float(reader.position[0])

        behind = show(1.0) - 1.0
        assert behind < -1.0
        assert reader.near >= 0.1  # a point of 2 cm just before the eye would fill the picture
        reader.position = reader.position + np.array([0.0, 3.0, 0.0])  # as the reader's mouse does
        assert show(2.0) == pytest.approx(2.0 + behind)
        assert reader.position[1] > 3.0
        page.begin_again()
        assert show(0.0) == pytest.approx(behind)
        assert reader.position[1] < 3.0
        page._follow.value = False
        page.begin_again()
        assert show(5.0) == pytest.approx(behind)
    finally:
        page.stop()
