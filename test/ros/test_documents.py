"""What the documents and views promise exists under the names they use."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import yaml

from ttt3r_ros.ros.map_output import MAP_POINTS
from ttt3r_ros.ros.outputs import TOPICS
from ttt3r_ros.ros.parameters import Parameters

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


def test_the_readme_names_every_parameter_and_no_other():
    table = README[README.index("| parameter | default | |") : README.index("### As a library")]
    first_cells = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    named = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == {item.name for item in dataclasses.fields(Parameters)}


def test_the_readme_tells_the_defaults():
    rows = [line.split("|") for line in README.splitlines() if line.startswith("|")]
    for item in dataclasses.fields(Parameters):
        row = next("|".join(cells[2:]) for cells in rows if f"`{item.name}`" in cells[1])
        shown = "packaged" if item.default == "" else str(item.default).lower()
        assert shown in row.lower(), item.name


def test_the_readme_names_every_output():
    for topic in (*TOPICS, MAP_POINTS):
        assert f"`~/{topic}`" in README


def test_the_view_shows_topics_that_exist():
    view = yaml.safe_load((ROOT / "config" / "ttt3r.rviz").read_text())
    displays = view["Visualization Manager"]["Displays"]
    shown = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    assert shown <= {f"ttt3r/{topic}" for topic in (*TOPICS, MAP_POINTS)}
    assert {"ttt3r/path", "ttt3r/points", "ttt3r/depth/image", "ttt3r/confidence/image"} <= shown
    assert "rviz_default_plugins/TF" in {display["Class"] for display in displays}


def test_links_of_the_documents_lead_somewhere():
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"
