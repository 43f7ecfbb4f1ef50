"""What the documents say as code runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tum import read_tum

from ttt3r_ros.offline.reconstruct import main

ROOT = Path(__file__).parents[1]
RECORDING = "synthetic:seed=5,length=12,width=160,height=120"


def snippet() -> str:
    page = (ROOT / "docs" / "interface.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return code


@pytest.mark.slow
def test_the_library_goes_where_reconstruct_goes(tmp_path: Path) -> None:
    """Over two resets of the small weights, after frames 6 and 11."""
    assert main([RECORDING, "--output", str(tmp_path), "--no-depth", "--no-rgb", "--no-cloud"]) == 0
    expected = read_tum(tmp_path / "trajectory.txt")
    names: dict[str, Any] = {}
    exec(snippet().replace("video.mp4", RECORDING), names)
    assert list(names["path"]) == expected.stamps_ns.tolist()
    for index, T in enumerate(names["path"].values()):
        np.testing.assert_allclose(T, expected.transform(index), atol=1e-6)
    assert names["stream"].state.segments.segment == 2


def test_the_snippet_says_what_it_cannot_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((60, 80, 3), np.uint8))
    names: dict[str, Any] = {}
    exec(snippet().replace("video.mp4", str(tmp_path)), names)
    assert names["path"] == {}
    assert "lost: the image is black" in capsys.readouterr().out
