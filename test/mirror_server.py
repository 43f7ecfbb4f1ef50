"""A server on the loopback interface that misbehaves on purpose."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttt3r_ros.weights.download import Mirror, download

CONTENT = bytes(range(256)) * 200


@dataclass
class Server:
    """What the server does, and what it was asked."""

    content: bytes
    url: str = ""
    cuts: list[int] = field(default_factory=list)  # close the connection after so many bytes; one per answer
    resumes: bool = True
    statuses: list[int] = field(default_factory=list)  # answer with these errors first
    content_type: str = "application/octet-stream"
    announce_length: bool = True
    redirect_to: str = ""
    content_range: str = ""  # say this of an answer that goes on
    stalls: list[threading.Event] = field(default_factory=list)  # say nothing more until these are set; one per answer
    ranges: list[str | None] = field(default_factory=list)


@contextlib.contextmanager
def serve(content: bytes) -> Iterator[Server]:
    behavior = Server(content)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            behavior.ranges.append(asked)
            if self.path != "/final" and behavior.redirect_to:
                self.send_response(302)
                self.send_header("Location", behavior.redirect_to)
                self.end_headers()
                return
            if behavior.statuses:
                self.send_error(behavior.statuses.pop(0))
                return
            data, total = behavior.content, len(behavior.content)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and behavior.resumes else 0
            if start and start >= total:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", behavior.content_type)
            if start:
                self.send_header("Content-Range", behavior.content_range or f"bytes {start}-{total - 1}/{total}")
            if behavior.announce_length:
                self.send_header("Content-Length", str(total - start))
            self.end_headers()
            rest = data[start:]
            with contextlib.suppress(ConnectionError):
                self.wfile.write(rest[: behavior.cuts.pop(0)] if behavior.cuts else rest)
                if behavior.stalls:
                    behavior.stalls.pop(0).wait(60.0)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        behavior.url = f"http://127.0.0.1:{server.server_port}/tiny.pth"
        yield behavior
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Transfer:
    """Downloads from a server into a folder, without waiting between attempts."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.mirror, self.part, self.size = Mirror("One", server.url), folder / "tiny.pth.part", len(server.content)
        self.pauses: list[float] = []
        self.notes: list[str] = []
        self.progress: list[int] = []
        self.told: Callable[[int], None] = self.progress.append

    def run(self) -> bytes:
        download(
            self.mirror,
            self.part,
            self.size,
            progress=self.told,
            note=self.notes.append,
            pause=self.pauses.append,
        )
        return self.part.read_bytes()
