from __future__ import annotations

import pytest
import torch

from ttt3r_ros.errors import UserError
from ttt3r_ros.runtime.device import choose_device, choose_precision


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")


def test_a_missing_device_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(UserError, match="sees 1 CUDA devices"):
        choose_device("cuda:1")
    with pytest.raises(UserError, match="choose auto"):
        choose_device("gpu")


def test_auto_precision_follows_the_device():
    assert choose_precision("auto", torch.device("cpu")) == "float32"
    assert choose_precision("auto", torch.device("cuda")) == "bfloat16"
    assert choose_precision("float16", torch.device("cpu")) == "float16"


def test_the_advice_fits_python_commands_and_ros(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="torch sees 0 CUDA devices; choose cpu, or install") as error:
        choose_device("cuda")
    assert ":=" not in str(error.value)
