"""Starts viser, which is optional, and keeps it quiet and on this machine."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING

from ttt3r_ros.errors import UserError

if TYPE_CHECKING:
    from viser import ViserServer


def open_server(host: str, port: int) -> ViserServer:
    """Start a server on an address; it takes the next free port if this one is taken, and any if it is 0.

    Raises:
        UserError: viser is not installed, or the address cannot be used.
    """
    try:
        import viser
    except ImportError:
        raise UserError("the viewer needs viser, which is not installed: python3 -m pip install --user viser") from None

    class LocalServer(viser.ViserServer):
        """Never shares itself: a browser could otherwise ask for a public address through viser's own relay."""

        def request_share_url(self, verbose: bool = True) -> str | None:
            """Refuse."""
            return None

    _check(host, port)
    logging.getLogger("websockets.server").addFilter(_is_no_refusal)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a banner
        server = LocalServer(host=host, port=port, verbose=False)
    server.gui.configure_theme(show_logo=False, show_share_button=False)
    return server


def stop_server(server: ViserServer) -> None:
    """Stop a server."""
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()


def _is_no_refusal(record: logging.LogRecord) -> bool:
    """Return whether a record is other than the traceback of a request that is refused, such as HEAD."""
    return record.getMessage() != "opening handshake failed"


def _check(host: str, port: int) -> None:
    """Raise a UserError if no port can be bound at this address: viser would wait forever."""
    import socket

    if not 0 <= port <= 65535:
        raise UserError(f"--port must be between 0 and 65535, got {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        raise UserError(f"the viewer cannot listen on {host}: {error.strerror or error}; check --host") from None
