"""A memory-mapped file: tensors are views of it and use memory only after they have been read."""

from __future__ import annotations

import mmap
from typing import IO

import torch
from torch import Tensor


class MappedFile:
    """A memory-mapped file.

    Attributes:
        size: in bytes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        """Map an open file, which may be closed afterward.

        Raises:
            ValueError: the file is empty.
        """
        # private mapping: writes to a tensor stay in memory and never reach the file
        self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.size = len(self._mapping)

    def read(self, start: int, length: int) -> bytes:
        """Return a copy of some bytes, fewer at the end of the file."""
        return self._mapping[start : start + length]

    def values(self, dtype: torch.dtype, start: int, count: int) -> Tensor:
        """Return consecutive numbers, (count,), as a view of the file, or as a copy if they are not aligned.

        Args:
            dtype: of the numbers.
            start: offset of the first one [bytes].
            count: how many there are; all must lie within the file.
        """
        if not count:
            return torch.empty(0, dtype=dtype)
        flat = torch.frombuffer(self._mapping, dtype=dtype, count=count, offset=start)
        return flat.clone() if start % dtype.itemsize else flat

    def let_go(self) -> None:
        """Release the memory of everything read so far; later reads fetch it from the file again.

        Must not be called after a write to a tensor, because the write would be lost.
        """
        self._mapping.madvise(mmap.MADV_DONTNEED)
