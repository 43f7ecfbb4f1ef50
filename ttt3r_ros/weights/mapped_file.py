"""A file as memory: tensors are windows of it and take memory only once somebody reads them."""

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
        """Map an open file, which may be closed afterwards.

        Raises:
            ValueError: the file is empty.
        """
        # private: a write to a tensor would stay in memory
        self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.size = len(self._mapping)

    def read(self, start: int, length: int) -> bytes:
        """Return a copy of some bytes, fewer where the file ends."""
        return self._mapping[start : start + length]

    def values(self, dtype: torch.dtype, start: int, count: int) -> Tensor:
        """Return consecutive numbers, (count,), as a window of the file; as a copy where they are not aligned.

        Args:
            dtype: what they are.
            start: offset of the first [bytes].
            count: how many; all of them within the file.
        """
        if not count:
            return torch.empty(0, dtype=dtype)
        flat = torch.frombuffer(self._mapping, dtype=dtype, count=count, offset=start)
        return flat.clone() if start % dtype.itemsize else flat

    def let_go(self) -> None:
        """Give back the memory of all that has been read; who reads on reads it from the file again.

        Only while nobody has written to a tensor: that would be forgotten.
        """
        self._mapping.madvise(mmap.MADV_DONTNEED)
