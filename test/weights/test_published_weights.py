"""The published weights are one certain file, wherever it comes from; nothing is fetched here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ttt3r_ros.weights.download import check_url
from ttt3r_ros.weights.published_weights import CUT3R_512_DPT, LICENSE_ID, LICENSE_TEXT

DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")


def test_the_documentation_names_the_same_file() -> None:
    row = next(line for line in DOCUMENTATION.splitlines() if f"`{CUT3R_512_DPT.name}`" in line)
    assert f" {CUT3R_512_DPT.size / 1e9:.1f} GB " in row
    assert f" {LICENSE_ID.replace('CC-', 'CC ').replace('-4', ' 4')} " in row


def test_mirrors_are_tried_in_the_documented_order_and_chosen_by_the_documented_names() -> None:
    row = next(line for line in DOCUMENTATION.splitlines() if line.startswith("| `--source "))
    assert re.findall(r"`--source (\w+)`", row) == list(CUT3R_512_DPT.mirrors)
    places = [row.index(mirror.name) for mirror in CUT3R_512_DPT.mirrors.values()]
    assert places == sorted(places)


@pytest.mark.parametrize("name", CUT3R_512_DPT.mirrors)
def test_mirrors_are_https_addresses(name: str) -> None:
    check_url(CUT3R_512_DPT.mirrors[name].url, loopback=False)


def test_the_license_that_is_shown_is_the_one_that_travels_along() -> None:
    kind, version = LICENSE_ID.removeprefix("CC-").rsplit("-", 1)
    assert f"CC {kind} {version}" in LICENSE_TEXT
    assert f"https://creativecommons.org/licenses/{kind.lower()}/{version}/" in LICENSE_TEXT
    for duty in ("no commercial use", "give credit", "same license only", "not under its Apache-2.0 license"):
        assert duty in LICENSE_TEXT
    for line in LICENSE_TEXT.splitlines():
        assert line.isprintable()
        assert len(line) <= 120
