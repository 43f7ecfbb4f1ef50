from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from ttt3r_ros.runtime.transfer import download, upload

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@dataclass(frozen=True)
class Pair:
    first: Tensor
    second: Tensor | None


def test_on_a_cpu_nothing_is_copied():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    tensor = upload(image, torch.device("cpu"))
    assert tensor.data_ptr() == image.ctypes.data
    found = download(Pair(tensor, None))
    assert found.second is None
    assert found.first is tensor
    assert download(tensor) is tensor


def test_an_image_that_is_a_view_arrives_whole():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)[::-1, ::2]
    assert np.array_equal(upload(image, torch.device("cpu")).numpy(), image)


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_is_waited_for_once(monkeypatch):
    waits: list[int] = []
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    before = image.copy()
    sent = upload(image, torch.device("cuda"))
    image[:] = 0
    product = sent.float() @ torch.ones(3, 2, device="cuda")
    monkeypatch.setattr(torch.cuda.Stream, "synchronize", lambda stream: waits.append(1))
    torch.cuda.set_sync_debug_mode("error")  # nothing else may wait
    try:
        found = download((sent, Pair(product, product.transpose(0, 1))))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert waits == [1]
    assert np.array_equal(found[0].numpy(), before)
    np.testing.assert_allclose(found[1].first.numpy(), before.sum(-1, keepdims=True).repeat(2, -1), rtol=1e-6)
    assert torch.equal(found[1].second, found[1].first.transpose(0, 1))
    assert found[1].first.is_pinned()
