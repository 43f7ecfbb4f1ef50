from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

from ttt3r_ros.runtime.captured import CaptureError
from ttt3r_ros.runtime.cuda_capture import WARM_UP_RUNS, CudaCapture


class Stream:
    """A stream by name, which tells of whom it has waited for."""

    def __init__(self, cuda: Cuda, name: str) -> None:
        self.cuda, self.name, self.device = cuda, name, torch.device("cuda:1")

    def wait_stream(self, other: Stream) -> None:
        self.cuda.events.append(f"{self.name} waits for {other.name}")


class Graph:
    def __init__(self, number: int) -> None:
        self.number, self.replays = number, 0

    def pool(self) -> str:
        return f"pool of {self.number}"

    def replay(self) -> None:
        self.replays += 1


class Cuda:
    """As much of torch.cuda as a recording needs; `fails` is what ending a recording raises."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.graphs: list[Graph] = []
        self.main = self.now = Stream(self, "main")
        self.fails: Exception | None = None

    def make_graph(self) -> Graph:
        self.graphs.append(Graph(len(self.graphs)))
        return self.graphs[-1]

    @contextlib.contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.now = self.now, stream
        try:
            yield
        finally:
            self.now = before

    @contextlib.contextmanager
    def graph(self, graph: Graph, *, pool: object, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        self.events.append(f"graph {graph.number} in {pool} on {stream.name}, {capture_error_mode}")
        self.now = stream  # and, as torch does, not back where ending it fails
        try:
            yield
        finally:
            if self.fails:
                raise self.fails


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    cuda = Cuda()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(cuda, "side"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: cuda.now)
    monkeypatch.setattr(torch.cuda, "stream", cuda.stream)
    monkeypatch.setattr(torch.cuda, "graph", cuda.graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", cuda.make_graph)
    return cuda


def work(cuda: Cuda) -> str:
    cuda.events.append(f"work on {cuda.now.name}")
    return "results"


WARM_UP = ["side waits for main", *["work on side"] * WARM_UP_RUNS, "main waits for side"]


def test_work_is_warmed_up_beside_and_then_recorded_there(cuda):
    results, replay = CudaCapture(torch.device("cuda:1"))(lambda: work(cuda))
    assert results == "results"
    assert cuda.events == [*WARM_UP, "graph 0 in None on side, thread_local", "work on side"]
    assert cuda.now is cuda.main
    replay()
    assert cuda.graphs[0].replays == 1


def test_recordings_share_the_pool_of_the_latest(cuda):
    capture = CudaCapture(torch.device("cuda:1"))
    for _ in range(3):
        capture(lambda: work(cuda))
    assert [event for event in cuda.events if "graph" in event] == [
        "graph 0 in None on side, thread_local",
        "graph 1 in pool of 0 on side, thread_local",
        "graph 2 in pool of 1 on side, thread_local",
    ]


def test_a_failed_recording_says_what_failed_first_and_leaves_the_stream(cuda):
    runs: list[int] = []

    def waiting() -> None:
        runs.append(1)
        if len(runs) > WARM_UP_RUNS:
            raise RuntimeError("CUDA error: operation not permitted\nSearch for ...")

    cuda.fails = RuntimeError("CUDA error: failed due to a previous error")
    with pytest.raises(CaptureError, match=r"^CUDA error: operation not permitted$"):
        CudaCapture(torch.device("cuda:1"))(waiting)
    assert cuda.now is cuda.main
    cuda.fails = RuntimeError("cannot be instantiated")
    with pytest.raises(CaptureError, match=r"^cannot be instantiated$"):
        CudaCapture(torch.device("cuda:1"))(lambda: work(cuda))


@pytest.mark.parametrize("after", [0, WARM_UP_RUNS])
@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("full"), ValueError("no such output")])
def test_errors_of_the_work_itself_pass_through(cuda, error, after):
    runs: list[int] = []

    def failing() -> None:
        runs.append(1)
        if len(runs) > after:
            raise error

    with pytest.raises(type(error)):
        CudaCapture(torch.device("cuda:1"))(failing)
    assert "main waits for side" in cuda.events
    assert cuda.now is cuda.main
