"""Writes what documents say of the node's parameters from their declarations: ``make config``.

That is config/ttt3r.yaml and docs/parameters.md as a whole, and the table in README.md. A test holds all of them to
what would be written.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

from ttt3r_ros.ros.parameters import GROUPS
from ttt3r_ros.settings import Declaration, declarations

ROOT = Path(__file__).parents[1]
CONFIG, PAGE, README = ROOT / "config" / "ttt3r.yaml", ROOT / "docs" / "parameters.md", ROOT / "README.md"

#: The parameters in README, in its order: what most users set first.
FIRST = (
    "weights",
    "device",
    "base_frame",
    "camera_pose",
    "publish_tf",
    "image_transport",
    "rectified_images",
    "two_d_mode",
    "min_confidence",
    "publish_map",
)

_WIDTH, _COMMENT = 120, "    # "
#: What is set as code in README: topics and names of parameters.
_CODE = re.compile(r"~/[\w/]*\w|/?\b\w+_\w+\b")
_TABLE = "| parameter | default | |\n|---|---|---|\n"  #: the beginning of README's table, which ends at an empty line
_HEAD = """\
# Parameters of the node ttt3r, at their defaults. Copy this file, change what you need, and start with
#   ros2 launch ttt3r_ros ttt3r.launch.py params_file:=/path/to/copy.yaml
# or, without `ros2`,
#   .venv/bin/ttt3r --ros-args --params-file /path/to/copy.yaml
# Those marked (start) are read once, at start; the others can be changed while the node runs with
#   ros2 param set /ttt3r NAME VALUE    (without `ros2`: .venv/bin/call set NAME VALUE)
# This file is written by `make config` from the declarations in the code.
/**:
  ros__parameters:
"""
_TAIL = """
    # --- QoS, for consumers or cameras that need another one, for example: ---
    # qos_overrides:
    #   /camera/image_raw:
    #     subscription:
    #       reliability: reliable
    #       depth: 10
"""


_PAGE_HEAD = """\
# Parameters

All parameters of the node, at their defaults; *start* marks those that are read once, at start. The others can be
changed while the node runs: `ros2 param set /ttt3r NAME VALUE`. [config/ttt3r.yaml](../config/ttt3r.yaml) is the same
as a file for `params_file`, and `ros2 param describe /ttt3r NAME` says the same on the command line. Without `ros2`:
at start `.venv/bin/ttt3r --ros-args -p NAME:=VALUE`, or `--ros-args --params-file FILE`; while the node runs
`.venv/bin/call set NAME VALUE`. Those of the network, the stream and the depth are options of `reconstruct` as well.
The node rejects a bad value with a sentence, at start and while running.

This page is written by `make config` from the declarations in the code.
"""


def config_text() -> str:
    """Return config/ttt3r.yaml."""
    sections = []
    for group in GROUPS:
        lines = [f"    # --- {group.title} ---"]
        for item in declarations(group):
            lines += textwrap.wrap(_about(item), _WIDTH, initial_indent=_COMMENT, subsequent_indent=_COMMENT)
            lines.append(f"    {item.name}: {json.dumps(item.default)}")
        sections.append("\n".join(lines) + "\n")
    return _HEAD + "\n".join(sections) + _TAIL


def readme_text(readme: str) -> str:
    """Return README.md with the rows of its table as they should be."""
    before, table, rest = readme.partition(_TABLE)
    _, gap, after = rest.partition("\n\n")
    found = {item.name: item for group in GROUPS for item in declarations(group)}
    return before + table + "\n".join(_row(found[name]) for name in FIRST) + gap + after


def page_text() -> str:
    """Return docs/parameters.md."""
    sections = [_PAGE_HEAD]
    for group in GROUPS:
        rows = [f"{_row(item)} {_range(item)} |" for item in declarations(group)]
        table = "| parameter | default | | range |\n|---|---|---|---|\n"
        sections.append(f"## {group.title[0].upper()}{group.title[1:]}\n\n{table}" + "\n".join(rows) + "\n")
    return "\n".join(sections)


def _row(item: Declaration) -> str:
    default = f"`{item.default}`" if isinstance(item.default, str) and item.default else json.dumps(item.default)
    about = _CODE.sub(r"`\g<0>`", item.description)
    return f"| `{item.name}` | {default} | {about} |"


def _range(item: Declaration) -> str:
    return "; ".join(part for part in (_span(item), "start" if item.read_only else "") if part)


def _span(item: Declaration) -> str:
    return f"{item.range[0]:.15g} to {item.range[1]:.15g}" if item.range else ""


def _about(item: Declaration) -> str:
    """Return what the file says of a parameter: meaning, unit, range, and whether it is read once."""
    span = _span(item)
    bounds = ", ".join(part for part in (item.unit, span) if part)
    return f"{item.help}{f' [{bounds}]' if bounds else ''}{' (start)' if item.read_only else ''}"


if __name__ == "__main__":
    CONFIG.write_text(config_text())
    PAGE.write_text(page_text())
    README.write_text(readme_text(README.read_text()))
