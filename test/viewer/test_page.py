"""The page that a run leaves: opened from disk in a real browser."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from browser import browser

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from test_cloud_pictures import RED, a_run, count

from ttt3r_ros import colors
from ttt3r_ros.viewer.page import write_page


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    recording = a_run(truth=True)
    write_page(tmp_path / "v.html", recording, list(recording.moments), title="a run")
    text = (tmp_path / "v.html").read_text()
    assert "<title>a run</title>" in text
    assert not re.findall(r"""(?:src|href)=["']?(?!data:)[\w/.:]+""", text.partition("__VISER_EMBED_DATA__")[0])
    assert len(text) < 2_000_000


@pytest.mark.slow
def test_a_browser_shows_it_from_disk(tmp_path: Path) -> None:
    recording = a_run(truth=True)
    moments = [dataclasses.replace(moment, stamp_ns=i * 10**8) for i, moment in enumerate(recording.moments)]
    for known in (recording.poses, recording.true_poses):
        known.update({i * 10**8: known.pop(i) for i in sorted(known, reverse=True)})
    write_page(tmp_path / "v.html", recording, moments, title="a run")
    with browser(tmp_path) as page:
        page.open(f"file://{tmp_path}/v.html")
        page.wait_for("document.title === 'a run' && document.querySelector('canvas') !== null")
        for color in (RED, colors.ESTIMATE):
            page.wait_for_picture(lambda picture, color=color: count(picture, color) > 200, f"pixels in {color}")
        assert np.ptp(page.picture()) > 100
