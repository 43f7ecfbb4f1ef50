"""Stands in for ROS's packages `launch` and `launch_ros`, of which PyPI has none: keeps what a launch file asks for."""

from __future__ import annotations

import runpy
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "launch"


@dataclass(frozen=True)
class LaunchConfiguration:
    name: str

    def perform(self, context: Context) -> str:
        return context.launch_configurations[self.name]


@dataclass(frozen=True)
class PathJoinSubstitution:
    parts: list[Any]

    def perform(self, context: Context) -> str:
        return "/".join(performed(part, context) for part in self.parts)


@dataclass(frozen=True)
class FindPackageShare:
    package: str

    def perform(self, _context: Context) -> str:
        return f"/share/{self.package}"


@dataclass(frozen=True)
class ParameterValue:
    value: LaunchConfiguration | str
    value_type: type

    def perform(self, context: Context) -> Any:
        text = performed(self.value, context)
        return {"true": True, "false": False}[text] if self.value_type is bool else self.value_type(text)


@dataclass(frozen=True)
class IfCondition:
    value: LaunchConfiguration

    def perform(self, context: Context) -> bool:
        return {"true": True, "false": False}[self.value.perform(context)]


@dataclass(frozen=True)
class UnlessCondition(IfCondition):
    def perform(self, context: Context) -> bool:
        return not super().perform(context)


class Kept:
    """An action: the keywords that it was made with."""

    def __init__(self, *names: Any, **keywords: Any) -> None:
        self.names, self.keywords = names, keywords


class DeclareLaunchArgument(Kept):
    @property
    def name(self) -> str:
        return self.names[0]


class OpaqueFunction(Kept):
    pass


class Node(Kept):
    pass


class IncludeLaunchDescription(Kept):
    pass


@dataclass(frozen=True)
class PythonLaunchDescriptionSource:
    path: PathJoinSubstitution


@dataclass
class Context:
    """What was given on the command line, or by a launch file that includes this one."""

    argv: list[str]
    launch_configurations: dict[str, str] = field(default_factory=dict)


def performed(value: Any, context: Context) -> Any:
    """Return a value with all that stands for something else replaced by that."""
    if isinstance(value, (list, tuple)):
        return [performed(item, context) for item in value]
    if isinstance(value, dict):
        return {name: performed(item, context) for name, item in value.items()}
    return value.perform(context) if hasattr(value, "perform") else value


@dataclass
class Launched:
    """The nodes that would run, by package, each with its keywords; and the warnings."""

    nodes: dict[str, dict[str, Any]]
    warnings: list[str]


def launch(
    monkeypatch: pytest.MonkeyPatch,
    *given: str,
    included_with: dict[str, str] | None = None,
    file: str = "ttt3r.launch.py",
) -> Launched:
    """Do what ``ros2 launch ttt3r_ros FILE GIVEN`` does, or a launch file that includes this one."""
    warnings: list[str] = []
    modules: dict[str, dict[str, Any]] = {
        "launch": {"LaunchDescription": list},
        "launch.actions": {
            "DeclareLaunchArgument": DeclareLaunchArgument,
            "IncludeLaunchDescription": IncludeLaunchDescription,
            "OpaqueFunction": OpaqueFunction,
        },
        "launch.conditions": {"IfCondition": IfCondition, "UnlessCondition": UnlessCondition},
        "launch.launch_description_sources": {"PythonLaunchDescriptionSource": PythonLaunchDescriptionSource},
        "launch.logging": {"get_logger": lambda _name: SimpleNamespace(warning=warnings.append)},
        "launch.substitutions": {
            "LaunchConfiguration": LaunchConfiguration,
            "PathJoinSubstitution": PathJoinSubstitution,
        },
        "launch_ros": {},
        "launch_ros.actions": {"Node": Node},
        "launch_ros.parameter_descriptions": {"ParameterValue": ParameterValue},
        "launch_ros.substitutions": {"FindPackageShare": FindPackageShare},
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    context = Context(list(given), dict(included_with or {}))
    context.launch_configurations.update(argument.split(":=", 1) for argument in given)
    nodes: dict[str, dict[str, Any]] = {}
    _visit(file, context, nodes)
    return Launched(nodes, warnings)


def _visit(file: str, context: Context, nodes: dict[str, dict[str, Any]]) -> None:
    """Carry out the actions of a launch file in their order, and add the nodes that run."""
    actions = runpy.run_path(str(FOLDER / file))["generate_launch_description"]()
    while actions:
        action = actions.pop(0)
        if isinstance(action, DeclareLaunchArgument):
            default = performed(action.keywords["default_value"], context)
            context.launch_configurations.setdefault(action.name, default)
        elif isinstance(action, OpaqueFunction):
            actions = action.keywords["function"](context) + actions
        elif isinstance(action, IncludeLaunchDescription):
            context.launch_configurations.update(performed(action.keywords["launch_arguments"], context))
            _visit(Path(performed(action.names[0].path, context)).name, context, nodes)
        else:
            assert isinstance(action, Node)
            keywords = performed(action.keywords, context)
            if keywords.pop("condition", None) is not False:
                nodes[keywords.pop("package")] = keywords
