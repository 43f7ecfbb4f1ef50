"""What the documents and views promise exists under the names they use."""

from __future__ import annotations

import ast
import difflib
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from docs import parameters
from ttt3r_ros import colors
from ttt3r_ros.evaluation import demo_report
from ttt3r_ros.offline import report
from ttt3r_ros.ros import localization
from ttt3r_ros.ros.parameters import FileSettings, Parameters
from ttt3r_ros.ros.topics import MAP_POINTS, TOPICS
from ttt3r_ros.settings import declarations

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
INTERFACE = (ROOT / "docs" / "interface.md").read_text()


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        (parameters.CONFIG, parameters.config_text()),
        (parameters.PAGE, parameters.page_text()),
        (parameters.README, parameters.readme_text(README)),
    ],
    ids=["config", "page", "readme"],
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


def test_ten_parameters_are_in_the_readme_and_all_are_on_their_page():
    table = README.partition("| parameter | default | |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(parameters.FIRST)
    assert len(parameters.FIRST) == 10
    page = re.findall(r"^\| `(\w+)` \|", parameters.PAGE.read_text(), re.MULTILINE)
    assert sorted(page) == sorted(item.name for item in declarations(Parameters))


def test_the_readme_and_the_interface_name_every_output():
    for topic in (*TOPICS, MAP_POINTS, *localization.TOPICS):
        assert f"`~/{topic}`" in README
        assert f"`~/{topic}`" in INTERFACE.partition("## Topics and services")[2].partition("## ")[0]


@pytest.mark.parametrize(
    ("section", "metrics"), [("Offline", report.Metrics), ("What the demo writes", demo_report.Metrics)]
)
def test_the_interface_explains_every_figure(section, metrics):
    text = INTERFACE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    table = text.partition("| in `metrics.json` | |\n|---|---|\n")[2].partition("\n\n")[0]
    explained = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(explained) == sorted(field.name for field in fields(metrics))


def test_the_interface_names_every_parameter_of_saved_files_where_it_says_how_to_restart():
    text = INTERFACE.partition("\n## Continuing after a restart\n")[2].partition("\n## ")[0]
    for item in declarations(FileSettings):
        assert re.search(rf"`(<)?{item.name}\b", text), item.name


def test_the_view_shows_topics_that_exist():
    view = yaml.safe_load((ROOT / "config" / "ttt3r.rviz").read_text())
    displays = view["Visualization Manager"]["Displays"]
    shown = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    assert shown <= {f"ttt3r/{topic}" for topic in (*TOPICS, MAP_POINTS, *localization.TOPICS)}
    assert {"ttt3r/map_path", "ttt3r/pose_graph", "ttt3r/map_points"} <= shown
    assert {"ttt3r/path", "ttt3r/points", "ttt3r/depth/image", "ttt3r/confidence/image"} <= shown
    assert "rviz_default_plugins/TF" in {display["Class"] for display in displays}


def test_rviz_shows_depth_over_the_range_of_every_picture():
    """RViz truncates a range of 32FC1 to whole meters."""
    view = yaml.safe_load((ROOT / "config" / "ttt3r.rviz").read_text())
    (depth,) = (d for d in view["Visualization Manager"]["Displays"] if d["Name"] == "Depth")
    assert (depth["Normalize Range"], depth["Min Value"], depth["Max Value"]) == (False, 0, colors.MAX_DEPTH_M)
    assert float(colors.MAX_DEPTH_M).is_integer()


def test_foxglove_shows_topics_and_services_that_exist_in_the_colors_of_every_picture():
    layout = json.loads((ROOT / "config" / "ttt3r.foxglove.json").read_text())
    panels = layout["configById"]
    images = [panel["imageMode"] for panel in panels.values() if "imageMode" in panel]
    shown = {*panels["3D!ttt3r"]["topics"]}
    shown |= {image[key] for image in images for key in ("imageTopic", "calibrationTopic")}
    assert shown <= {f"/ttt3r/{topic}" for topic in (*TOPICS, MAP_POINTS)}
    assert {f"/ttt3r/{topic}" for topic in ("path", "points", "map_points", "depth/image", "rgb/image")} <= shown
    services = {panel["serviceName"] for panel in panels.values() if "serviceName" in panel}
    assert services <= {
        f"/ttt3r/{name}"
        for row in re.findall(r"^\| srv (.*) std_srvs/", README, re.M)
        for name in re.findall(r"`~/(\w+)`", row)
    }
    (depth,) = (image for image in images if "depth" in image["imageTopic"])
    assert (depth["colorMap"], depth["minValue"], depth["maxValue"]) == (colors.DEPTH_MAP, 0, colors.MAX_DEPTH_M)
    assert set(re.findall(r'"(\w+!\w+)"', json.dumps(layout["layout"]))) == set(panels)


def test_links_of_the_documents_lead_somewhere():
    """Files and their sections."""
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
            if target.startswith("http"):
                continue
            name, _, section = target.partition("#")
            file = document.parent / name if name else document
            assert file.exists(), f"{document.name}: {target}"
            assert not section or section in sections(file.read_text()), f"{document.name}: {target}"


def sections(text: str) -> set[str]:
    """Return the addresses of a document's sections."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)}
