"""The published weights are one certain file, wherever it comes from; nothing is fetched here."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

import pytest

from ttt3r_ros.weights.download import check_url
from ttt3r_ros.weights.published_weights import CUT3R_512_DPT, LICENSE_ID, LICENSE_TEXT

DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")


def test_the_file_is_named_by_its_content() -> None:
    """What a mirror gives is believed for no other reason, so no digit may get lost here."""
    assert re.fullmatch("[0-9a-f]{64}", CUT3R_512_DPT.sha256)
    assert 793e6 * 4 < CUT3R_512_DPT.size < 793e6 * 4 * 1.01  # as many float32 values as are documented, and headers


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


def test_hugging_face_is_asked_for_a_revision_that_cannot_move() -> None:
    path = urllib.parse.urlsplit(CUT3R_512_DPT.mirrors["huggingface"].url).path
    assert re.fullmatch(rf"/[\w-]+/[\w-]+/resolve/[0-9a-f]{{40}}/{re.escape(CUT3R_512_DPT.name)}", path)


def test_drive_is_asked_for_the_file_and_not_for_the_page_about_viruses() -> None:
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(CUT3R_512_DPT.mirrors["drive"].url).query)
    assert re.fullmatch(r"[\w-]{33}", query["id"][0])
    assert query["export"] == ["download"]
    assert query["confirm"] == ["t"]


def test_the_license_that_is_shown_is_the_one_that_travels_along() -> None:
    kind, version = LICENSE_ID.removeprefix("CC-").rsplit("-", 1)
    assert f"CC {kind} {version}" in LICENSE_TEXT
    assert f"https://creativecommons.org/licenses/{kind.lower()}/{version}/" in LICENSE_TEXT
    for duty in ("no commercial use", "give credit", "same license only", "not under its Apache-2.0 license"):
        assert duty in LICENSE_TEXT
    for line in LICENSE_TEXT.splitlines():
        assert line.isprintable()
        assert len(line) <= 120
