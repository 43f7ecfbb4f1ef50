"""The rooms of docs/architecture.md: who may import whom, and that the document says the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ttt3r_ros"

#: Modules that everybody may import: they import nothing of the package but one another.
COMMON = {"colors", "errors", "geometry", "serialize", "settings"}
#: What each room may import beside the common modules and itself. The order is that of the layers, lowest first.
MAY_IMPORT: dict[str, set[str]] = {
    "cli": set(),
    "model": set(),
    "synthetic": set(),
    "mapping": set(),
    "weights": {"model", "cli"},
    "runtime": {"model"},
    "camera": {"model", "runtime"},
    "stream": {"model", "weights", "runtime", "camera"},
    "places": {"model", "runtime", "camera", "stream"},
    "sources": {"camera", "synthetic"},
    "evaluation": {"mapping"},
    "viewer": {"mapping", "evaluation"},
    "offline": {"cli", "model", "weights", "runtime", "camera", "stream", "mapping", "places", "sources", "evaluation"},
    "protocols": {"cli", "model", "weights", "runtime", "camera", "stream", "evaluation"},
    "ros": {"cli", "model", "weights", "runtime", "camera", "stream", "mapping", "places"},
    "ros.tools": {"cli", "camera", "mapping", "ros", "sources", "evaluation", "viewer"},
}
#: Files beside the rooms: the package's face, the commands, and their names for ``python -m``.
DOORS = {"__init__", "commands", "reconstruct", "fetch_weights", "evaluate"}


def room_of(module: str) -> str:
    """Return the room of a module's name without the package: 'ros.tools' of 'ros.tools.play'."""
    first, _, rest = module.partition(".")
    return "ros.tools" if (first, rest.partition(".")[0]) == ("ros", "tools") else first


def imports_of(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, anywhere in it, without the package's name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("ttt3r_ros.") for name in found if name.startswith("ttt3r_ros.")}


MODULES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room):
    allowed = COMMON | MAY_IMPORT[room] | {room, "__version__"}
    wrong = {
        f"{module} imports {imported}"
        for module, path in MODULES.items()
        if room_of(module) == room
        for imported in imports_of(path)
        if room_of(imported) not in allowed
    }
    assert not wrong


def test_common_modules_import_nothing_but_one_another():
    assert {room_of(name) for module in COMMON for name in imports_of(MODULES[module])} <= COMMON


def test_every_module_is_in_a_room():
    assert {room_of(module) for module in MODULES} == COMMON | DOORS | set(MAY_IMPORT)


def test_no_two_rooms_need_each_other():
    layers = list(MAY_IMPORT)
    for room, needed in MAY_IMPORT.items():
        assert all(layers.index(other) < layers.index(room) for other in needed), room


def test_only_the_ros_room_knows_ros():
    ros = re.compile(
        r"(rclpy|rcl_interfaces|builtin_interfaces|tf2_\w+|cv_bridge|\w+_msgs|\w+_srvs|sensor_msgs_py)(\.|$)"
    )
    for module, path in MODULES.items():
        if not module.startswith("ros."):
            names = {
                name
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [])
                + ([node.module] if isinstance(node, ast.ImportFrom) and node.module else [])
            }
            assert not any(ros.match(name) for name in names), module


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_says_what_is_inside_and_the_document_says_what_it_imports(room):
    face = PACKAGE / room.replace(".", "/") / "__init__.py"
    assert ast.get_docstring(ast.parse(face.read_text(encoding="utf-8")))
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{re.escape(room)}/` \|[^|]*\|([^|]*)\|$", document, re.MULTILINE)
    assert set(re.findall(r"`([\w.]+)`", row)) == MAY_IMPORT[room]
