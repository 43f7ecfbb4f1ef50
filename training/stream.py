"""A stage's endless stream of training batches: renders some clips, draws the batch from all that are kept."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from training.clips import BYTES_PER_PIXEL, ClipBuffer, Clips, render_clips
from training.config import Recipe, Stage
from training.flats import FlatSupply
from training.room import frames_that_fit
from ttt3r_ros.geometry import Intrinsics


class ClipStream:
    """Batches of a stage; used as a context manager, which ends the rendering thread."""

    def __init__(
        self, recipe: Recipe, stage: Stage, supply: FlatSupply, camera: Intrinsics, device: torch.device, seed: int
    ) -> None:
        """Prepare; the first batch takes as long as it takes to render one.

        Args:
            recipe: says how much is rendered, kept and reused.
            stage: of the clips.
            supply: of flats, which only this stream draws from while it lives.
            camera: of all frames.
            device: of everything.
            seed: of everything random in it.
        """
        self._stage, self._supply, self._camera = stage, supply, camera
        self._reuse = recipe.reuse
        self._chunk = max(1, recipe.render_frames // stage.frames)
        frames = min(recipe.buffer_frames, frames_that_fit(camera.width * camera.height * BYTES_PER_PIXEL, device))
        self._buffer = ClipBuffer(max(frames // stage.frames, stage.batch))
        self.rendered = 0  #: frames so far
        self._owed = 0.0
        self._generator = torch.Generator(device).manual_seed(seed)
        self._renderer = _Renderer(self._render_chunk, device) if recipe.prefetch else None
        self._draws = torch.Generator(device).manual_seed(seed + 1)

    def batch(self) -> Clips:
        """Return the next batch."""
        while len(self._buffer) < self._stage.batch:
            clips = self._renderer.take(wait=True) if self._renderer else self._render_chunk()
            assert clips is not None  # it has been waited for
            self._keep(clips)
        self._owed = min(self._owed + self._stage.batch / self._reuse, 4.0 * self._chunk)
        while self._owed >= self._chunk:
            # a renderer that falls behind does not hold up training: clips are then used more often
            clips = self._renderer.take(wait=False) if self._renderer else self._render_chunk()
            if clips is None:
                break
            self._keep(clips)
            self._owed -= self._chunk
        return self._buffer.sample(self._stage.batch, self._draws)

    def __enter__(self) -> ClipStream:
        """Start rendering."""
        if self._renderer is not None:
            self._renderer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop rendering."""
        if self._renderer is not None:
            self._renderer.stop()

    def _keep(self, clips: Clips) -> None:
        self._buffer.add(clips)
        self.rendered += len(clips) * self._stage.frames

    def _render_chunk(self) -> Clips:
        shard = self._supply.draw(self._generator)
        return render_clips(shard, self._stage, self._chunk, self._camera, self._generator)


class _Renderer:
    """Renders ahead in a thread, on a CUDA device on a stream of its own."""

    def __init__(self, render: Callable[[], Clips], device: torch.device) -> None:
        self._render = render
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]  # untyped in torch
        self._ready: queue.Queue[Clips | BaseException] = queue.Queue(maxsize=2)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renderer", daemon=True)

    def start(self) -> None:
        if self._stream is not None:  # what the renderer reads was put there by the training stream
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._ready.get(timeout=0.05)

    def take(self, *, wait: bool) -> Clips | None:
        """Return rendered clips, or None where there are none yet and one does not want to wait.

        Raises:
            RuntimeError: rendering failed.
        """
        try:
            item = self._ready.get(block=wait)
        except queue.Empty:
            return None
        if isinstance(item, BaseException):
            raise RuntimeError("rendering failed") from item
        if self._stream is not None:
            current = torch.cuda.current_stream(self._stream.device)
            for part in (item.image, item.depth, item.T_first_camera, item.zoom):
                part.record_stream(current)  # its memory is not given away while the copy into the buffer runs
        return item

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                with self._on_stream():
                    clips = self._render()
                if self._stream is not None:
                    self._stream.synchronize()  # the clips are whole, and a flat that is replaced is no longer read
                self._put(clips)
        except BaseException as error:
            self._put(error)

    def _on_stream(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._stream) if self._stream is not None else contextlib.nullcontext()

    def _put(self, item: Clips | BaseException) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(item, timeout=0.1)
                return
