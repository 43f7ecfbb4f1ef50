"""Stands in for ROS's packages `launch` and `launch_ros`, of which PyPI has none: keeps what a launch file asks for."""

from __future__ import annotations

import runpy
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "launch" / "ttt3r.launch.py"


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
    value: LaunchConfiguration
    value_type: type

    def perform(self, context: Context) -> Any:
        text = self.value.perform(context)
        return {"true": True, "false": False}[text] if self.value_type is bool else self.value_type(text)


@dataclass(frozen=True)
class IfCondition:
    value: LaunchConfiguration

    def perform(self, context: Context) -> bool:
        return {"true": True, "false": False}[self.value.perform(context)]


class Kept:
    """An action: the keywords that it was made with."""

    def __init__(self, *names: Any, **keywords: Any) -> None:
        self.names, self.keywords = names, keywords


class DeclareLaunchArgument(Kept):
    pass


class OpaqueFunction(Kept):
    pass


class Node(Kept):
    pass


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


def launch(monkeypatch: pytest.MonkeyPatch, *given: str, included_with: dict[str, str] | None = None) -> Launched:
    """Do what ``ros2 launch ttt3r_ros ttt3r.launch.py GIVEN`` does, or a launch file that includes this one."""
    warnings: list[str] = []
    modules: dict[str, dict[str, Any]] = {
        "launch": {"LaunchDescription": list},
        "launch.actions": {"DeclareLaunchArgument": DeclareLaunchArgument, "OpaqueFunction": OpaqueFunction},
        "launch.conditions": {"IfCondition": IfCondition},
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
    context.launch_configurations.update(argument.split(":=", 1) for argument in given)  # type: ignore[arg-type]
    nodes: dict[str, dict[str, Any]] = {}
    for action in runpy.run_path(str(FILE))["generate_launch_description"]():
        if isinstance(action, DeclareLaunchArgument):
            default = performed(action.keywords["default_value"], context)
            context.launch_configurations.setdefault(action.names[0], default)
            continue
        assert isinstance(action, OpaqueFunction)
        for node in action.keywords["function"](context):
            keywords = performed(node.keywords, context)
            if keywords.pop("condition", True):
                nodes[keywords.pop("package")] = keywords
    return Launched(nodes, warnings)
