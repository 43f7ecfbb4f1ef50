"""What the documents and views promise exists under the names they use."""

from __future__ import annotations

import ast
import difflib
import re
from pathlib import Path

import pytest
import yaml

from docs import parameters
from ttt3r_ros.ros.map_output import MAP_POINTS
from ttt3r_ros.ros.outputs import TOPICS
from ttt3r_ros.ros.parameters import Parameters
from ttt3r_ros.settings import declarations

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("file", "wanted"),
    [(parameters.CONFIG, parameters.config_text()), (parameters.README, parameters.readme_text(README))],
    ids=["config", "readme"],
)
def test_what_documents_say_of_parameters_follows_from_their_declarations(file, wanted):
    missing = [line for line in difflib.ndiff(file.read_text().splitlines(), wanted.splitlines()) if line[0] in "+-"]
    assert not missing, "\n".join([f"{file.name} is not up to date; run `make config`, or change:", *missing])


def test_the_launch_file_has_arguments_for_parameters_that_exist():
    launch = {}  # read rather than run: ROS's launch is not everywhere
    for statement in ast.parse((ROOT / "launch" / "ttt3r.launch.py").read_text()).body:
        if isinstance(statement, ast.Assign) and isinstance(name := statement.targets[0], ast.Name):
            launch[name.id] = ast.literal_eval(statement.value)
    declared = {item.name: item for item in declarations(Parameters)}
    assert set(launch["PARAMETERS"]) <= set(launch["ARGUMENTS"])
    for name in launch["PARAMETERS"]:
        advice = "; empty: as in the parameters file."
        assert launch["ARGUMENTS"][name] == ("", declared[name].help.split(";")[0].rstrip(".") + advice)


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
