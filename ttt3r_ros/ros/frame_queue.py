"""Hands images from the receiver's thread to the network's: the latest, or every one; and work for between them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

#: Frames kept at most when every frame counts: about half a gigabyte of VGA images.
LONGEST_QUEUE = 600


@dataclass(frozen=True)
class QueuedFrame:
    """An image message and what is known about its arrival.

    Attributes:
        message: sensor_msgs/Image or CompressedImage.
        received: `time.perf_counter` at its arrival [s].
        break_reason: why the stream does not go on smoothly from the frame before; None if it does.
    """

    message: Any
    received: float
    break_reason: str | None = None


class FrameQueue:
    """A queue for one producer and one consumer; counts what it drops."""

    def __init__(self, *, latest_only: bool) -> None:
        self._frames: deque[QueuedFrame] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._capacity = 1 if latest_only else LONGEST_QUEUE
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def put(self, frame: QueuedFrame) -> bool:
        """Add a frame; return whether an older one had to make room. A dropped frame's break passes to the next."""
        with self._changed:
            self._frames.append(frame)
            full = len(self._frames) > self._capacity
            if full:
                lost = self._frames.popleft()
                self.dropped += 1
                if lost.break_reason and not self._frames[0].break_reason:
                    self._frames[0] = replace(self._frames[0], break_reason=lost.break_reason)
            self._changed.notify()
        return full

    def put_job(self, job: Callable[[], None]) -> None:
        """Add something for the consumer to call between two frames; it comes before the frames that wait."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    def take(self) -> QueuedFrame | Callable[[], None] | None:
        """Wait for the next job or frame; None once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._frames or self._closed)
            if self._closed:
                return None
            return self._jobs.popleft() if self._jobs else self._frames.popleft()

    def clear(self) -> None:
        """Forget the frames that wait, uncounted."""
        with self._changed:
            self._frames.clear()

    def close(self) -> None:
        """Wake the consumer for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._frames)
