"""Downloads one large file of known size and sha256: resumes after an interruption, retries, and checks the result."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ttt3r_ros.errors import UserError

TIMEOUT_S = 30.0
#: Consecutive attempts without new data before giving up: after some data has arrived (about two minutes including
#: pauses), and before any has (about 15 s, since there may simply be no network).
PATIENCE, FIRST_PATIENCE = 6, 3
MAX_PAUSE_S = 30.0
_CHUNK = 2**18  # bytes
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # temporary HTTP errors


@dataclass(frozen=True)
class Mirror:
    """A server that has the file.

    Attributes:
        name: shown to the user.
        url: https, or http on the loopback interface.
    """

    name: str
    url: str


class MirrorError(UserError):
    """This mirror cannot provide the file; another one may."""


class _CutError(Exception):
    """The transfer stopped for a reason that may be temporary; the message names it."""


def download(
    mirror: Mirror,
    part: Path,
    size: int,
    *,
    progress: Callable[[int], None],
    note: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Download a file to its full size, continuing where an earlier call stopped.

    Args:
        mirror: the server to download from.
        part: the partial file, which is appended to. It keeps everything received, whatever happens.
        size: size of the complete file [bytes].
        progress: called with the number of bytes received so far.
        note: called with one line about each interruption.
        pause: waits for a number of seconds.

    Raises:
        MirrorError: the mirror does not have the file, or no more data arrives.
        UserError: the file cannot be written.
    """
    check_url(mirror.url)
    opener = _opener(mirror.url)
    try:
        opened = part.open("ab", buffering=0)
    except OSError as error:
        raise UserError(f"{part} cannot be written: {error.strerror or error}") from error
    with opened as file:
        beginning = furthest = file.seek(0, 2)
        fruitless = 0
        while (have := file.seek(0, 2)) != size:
            if have > size:
                file.truncate(0)
                continue
            progress(have)
            try:
                _receive(opener, mirror, file, size, progress)
                reason = "the connection ended early"
            except _CutError as cut:
                reason = str(cut)
            have = file.seek(0, 2)
            if have == size:
                break
            fruitless = (
                0 if have > furthest else fruitless + 1
            )  # a server that keeps starting over must not loop forever
            furthest = max(furthest, have)
            if fruitless > (PATIENCE if furthest > beginning else FIRST_PATIENCE):
                raise MirrorError(
                    f"the download from {mirror.name} has stalled ({reason}); run the command again to continue it"
                )
            seconds = min(2.0**fruitless, MAX_PAUSE_S)
            note(f"{mirror.name}: {reason}; trying again in {seconds:.0f} s")
            pause(seconds)


def sha256(path: Path, progress: Callable[[int], None] = lambda done: None) -> str:
    """Return a file's sha256, hexadecimal."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(done)
    return digest.hexdigest()


def check_url(url: str, *, loopback: bool = True) -> None:
    """Check that an address may be downloaded from: https, or http to this computer.

    Raises:
        MirrorError: it may not.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port  # either raises ValueError if malformed
    except ValueError:
        host = None
    if not (host and url.isascii() and url.isprintable() and " " not in url) or not (
        parts.scheme == "https" or (loopback and parts.scheme == "http" and host in _LOOPBACK)
    ):
        raise MirrorError(f"{ascii(url)[:200]} is not an https address; use one that is")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https addresses only."""

    def __init__(self, *, loopback: bool) -> None:
        self.loopback = loopback

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        check_url(newurl, loopback=self.loopback)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Return an opener for http, https and the environment's proxies, but not for files or FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        _Redirects(loopback=urllib.parse.urlsplit(url).scheme == "http"),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _receive(
    opener: urllib.request.OpenerDirector, mirror: Mirror, file: IO[bytes], size: int, progress: Callable[[int], None]
) -> None:
    """Send one request and append the data received."""
    have = file.seek(0, 2)
    headers = {"User-Agent": "ttt3r_ros", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with _network_errors(mirror, file):
        response = opener.open(urllib.request.Request(mirror.url, headers=headers), timeout=TIMEOUT_S)
    with response:
        if _start(response, mirror, have, size) < have:  # the server cannot resume
            have = 0
            file.truncate(0)
        while have < size:
            with _network_errors(mirror, file):
                chunk = response.read1(min(_CHUNK, size - have))
            if not chunk:
                return
            _write(file, chunk)
            have += len(chunk)
            progress(have)


def _start(response: Any, mirror: Mirror, have: int, size: int) -> int:
    """Check that a response is the file, and return the offset in the file at which it starts."""
    if response.headers.get_content_type() == "text/html":
        raise MirrorError(
            f"{mirror.name} sent a web page instead of the file (often an exceeded quota or a login page of the "
            "network); try again later or choose another --source"
        )
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != have:
            raise MirrorError(f"{mirror.name} sent a different part of the file than requested")
        start, total = have, found[2]
    else:
        start, total = 0, response.headers.get("Content-Length", "*")
    if total not in ("*", str(size)):
        offered = _printable(total)[:20]
        raise MirrorError(f"{mirror.name} offers a different file: it has {offered} bytes instead of {size}")
    return start


def _write(file: IO[bytes], chunk: bytes) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise UserError(f"the download cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def _network_errors(mirror: Mirror, file: IO[bytes]) -> Iterator[None]:
    """Convert network errors to `_CutError` if they may be temporary, else to `MirrorError`."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # our partial file does not match the server's file
            file.truncate(0)
            raise _CutError("the server's file is shorter than ours, starting over") from error
        answer = f"it responded with {error.code} {http.client.responses.get(error.code, '')}".strip()
        if error.code in _PASSING:
            raise _CutError(answer) from error
        if 300 <= error.code < 400:
            answer = "it redirects to an address that is not https"
        raise MirrorError(f"{mirror.name} does not provide the file: {answer}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise MirrorError(f"the certificate of {mirror.name} is invalid: {error.reason.verify_message}") from error
        raise _CutError(_printable(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(_printable(error)) from error
    except ValueError as error:  # malformed address: a label too long, a broken IPv6 address
        raise MirrorError(
            f"{mirror.name} does not provide the file: its address is malformed or redirects to a malformed one"
        ) from error


def _printable(reason: object) -> str:
    """Return an error's text without the control characters that a server may have put into it."""
    words = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return re.sub(r"[^ -~]", "?", words)[:200] or type(reason).__name__
