"""Presents a truncated MCAP file as one that ends after its last complete record."""

from __future__ import annotations

import io
from binascii import crc32
from pathlib import Path

_MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _DATA_END = 0x02, 0x0F
#: A footer without a summary: opcode, length, and three fields of zeros.
_EMPTY_FOOTER = bytes([_FOOTER]) + (20).to_bytes(8, "little") + bytes(20)
_HEADER_BYTES = 9  # of a record: opcode and length
_CHUNK = 0x06
_CHUNK_FIELDS_BYTES = 32  # first and last time, size, checksum, length of the name of the compression
_ZEROS = 16


class MendedMcap:
    """Implements the methods of a path that the rosbags library uses, for a file whose end is missing.

    A complete MCAP file ends with an index, a footer and the same magic bytes as at its beginning
    (https://mcap.dev/spec). A killed recorder leaves none of these, but its records can still be read one by one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name, self.stem, self.suffix = path.name, path.stem, path.suffix

    def exists(self) -> bool:
        """Return whether the file exists."""
        return self._path.exists()

    def is_dir(self) -> bool:
        """Return False: it is a file."""
        return False

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Open the repaired file for reading."""
        return io.BufferedReader(_Mended(self._path))

    def __str__(self) -> str:
        """Return the path."""
        return str(self._path)


def is_cut_off(path: Path) -> bool:
    """Return whether a file begins like an MCAP file but does not end like one.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return False
        file.seek(max(len(_MAGIC), path.stat().st_size - len(_MAGIC)))
        return file.read() != _MAGIC


class _Mended(io.RawIOBase):
    """The complete records of a file, followed by a footer."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._end = _end_of_whole_records(path)
        self._tail = _EMPTY_FOOTER + _MAGIC
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = (0, self._position, self._end + len(self._tail))[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # its stub has a private type
        wanted = len(buffer)
        if self._position < self._end:
            self._file.seek(self._position)
            data = self._file.read(min(wanted, self._end - self._position)) or b""
        else:
            start = self._position - self._end
            data = self._tail[start : start + wanted]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _end_of_whole_records(path: Path) -> int:
    """Return the offset after the last complete record of the data section."""
    size = path.stat().st_size
    last, end = 0, len(_MAGIC)
    with path.open("rb") as file:
        while True:
            file.seek(end)
            header = file.read(_HEADER_BYTES)
            after = end + _HEADER_BYTES + int.from_bytes(header[1:], "little")
            # a power loss may leave zeros at the end of a file
            if len(header) < _HEADER_BYTES or header[0] in (0, _FOOTER, _DATA_END) or after > size:
                break
            last, end = end, after
        return last if last and _is_torn_chunk(file, last, end) else end


def _is_torn_chunk(file: io.BufferedReader, start: int, end: int) -> bool:
    """Return whether the file contains zeros where the end of a chunk should be."""
    file.seek(start)
    head = file.read(_HEADER_BYTES + _CHUNK_FIELDS_BYTES)
    if head[0] != _CHUNK:
        return False
    file.seek(max(start, end - _ZEROS))
    if any(file.read(_ZEROS)):
        return False
    crc, name_length = (int.from_bytes(head[i : i + 4], "little") for i in (33, 37))
    if name_length:  # compressed data does not end in zeros
        return True
    file.seek(start + len(head) + 8)  # after the length of the records
    records = file.read(end - file.tell())
    return crc32(records) != crc if crc else _has_no_record_at_its_end(records)


def _has_no_record_at_its_end(records: bytes) -> bool:
    at = 0
    while at < len(records) and records[at]:
        at += _HEADER_BYTES + int.from_bytes(records[at + 1 : at + _HEADER_BYTES], "little")
    return at != len(records)
