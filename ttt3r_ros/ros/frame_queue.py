"""Passes images from the receiver's thread to the network's, the latest or all, and jobs to run between them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ttt3r_ros.ros.statistics import StampRate

#: Capacity when no frame may be dropped: about half a gigabyte of VGA images.
MAX_QUEUE = 600


@dataclass(frozen=True)
class QueuedFrame:
    """An image message and the circumstances of its arrival.

    Attributes:
        message: sensor_msgs/Image or CompressedImage.
        stamp_ns: when it was taken [ns]; the message's stamp, unless the camera does not stamp its images.
        received: `time.perf_counter` at its arrival [s].
        break_reason: why the stream breaks between the frame before and this one; None if it does not.
        clock_step_ns: by how much the clock of the stamps has been set between the frame before and this one [ns].
        follows_pause: the user has paused the node between the frame before and this one.
    """

    message: Any
    stamp_ns: int
    received: float
    break_reason: str | None = None
    clock_step_ns: int = 0
    follows_pause: bool = False

    @property
    def follows_break(self) -> bool:
        """Whether the time since the frame before says nothing about the camera's rate."""
        return self.follows_pause or self.break_reason is not None

    def after(self, lost: QueuedFrame) -> QueuedFrame:
        """Return the frame as the one that follows on what was before a lost frame."""
        return replace(
            self,
            break_reason=self.break_reason or lost.break_reason,
            clock_step_ns=self.clock_step_ns + lost.clock_step_ns,
            follows_pause=self.follows_pause or lost.follows_pause,
        )


class FrameQueue:
    """A queue for one producer and one consumer; counts the frames it drops.

    Attributes:
        dropped: number of frames dropped so far.
        arriving: rate of the frames that are put in, by their stamps.
    """

    def __init__(self, *, latest_only: bool) -> None:
        self._frames: deque[QueuedFrame] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._latest_only = latest_only
        self._capacity = 1 if latest_only else MAX_QUEUE
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0
        self.arriving = StampRate()

    def put(self, frame: QueuedFrame) -> bool:
        """Add a frame; return whether an older one was dropped. The next frame inherits the break of a dropped one."""
        self.arriving.add(frame.stamp_ns, follows_break=frame.follows_break)
        with self._changed:
            self._frames.append(frame)
            full = len(self._frames) > self._capacity
            if full:
                lost = self._frames.popleft()
                self.dropped += 1
                self._frames[0] = self._frames[0].after(lost)
            self._changed.notify()
        return full

    def put_job(self, job: Callable[[], None]) -> None:
        """Add a job for the consumer to run between two frames, ahead of the waiting frames."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    def take(self) -> QueuedFrame | Callable[[], None] | None:
        """Wait for the next job or frame and return it; None once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._frames or self._closed)
            if self._closed:
                return None
            return self._jobs.popleft() if self._jobs else self._frames.popleft()

    def is_overtaken(self) -> bool:
        """Return whether a newer frame is to be processed instead of the one just taken, which counts as dropped then.

        Never the case if all frames are kept.
        """
        with self._changed:
            overtaken = self._latest_only and bool(self._frames)
            self.dropped += overtaken
        return overtaken

    def has_time(self) -> bool:
        """Return whether the consumer may do other work first: nothing waits, or all frames are kept meanwhile."""
        with self._changed:
            return not self._closed and not (self._latest_only and (self._jobs or self._frames))

    def clear(self) -> None:
        """Discard the waiting frames without counting them as dropped."""
        with self._changed:
            self._frames.clear()

    def close(self) -> None:
        """Make `take` return None from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    def __len__(self) -> int:
        return len(self._frames)
