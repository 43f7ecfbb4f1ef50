"""The arguments after ``--ros-args``: those that ROS does not accept end in one sentence, before torch is imported."""

from __future__ import annotations

import argparse
import ast
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rclpy.exceptions import NameValidationException
from rclpy.utilities import remove_ros_args
from rclpy.validate_namespace import validate_namespace
from rclpy.validate_node_name import validate_node_name

from ttt3r_ros.errors import UserError

#: What rcl says of an argument that it cannot parse: the option, what follows it, and why.
_REFUSED = re.compile(r"Couldn't parse [\w ]+: '(-\S+) (.*)'\. Error: (.*)", re.DOTALL)
_NOTHING_FOLLOWS = re.compile(r"Couldn't parse trailing (-\S+|log level) flag")

#: Those that users give, with which they forget ``--ros-args``.
_OPTIONS = ("--params-file", "-p", "--param", "-r", "--remap", "--log-level")

#: A remapping of a node's own name or namespace.
_OWN_NAME = re.compile(r"(?:\w+:)?__(node|name|ns):=(.*)", re.DOTALL)

_FORMS = "-p NAME:=VALUE sets a parameter, -r FROM:=TO remaps a topic, --params-file FILE sets many parameters"


def without_ros_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command line, the program's name included, without what follows ``--ros-args``.

    Raises:
        UserError: ROS does not accept its arguments.
    """
    for option, value in _for_ros(arguments):
        if option in ("-r", "--remap"):
            _check_own_name(option, value)
    try:
        return list(remove_ros_args(list(arguments)))
    except Exception as error:  # its class is in a private module of rclpy
        raise UserError(_sentence(error)) from error


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line, without the program's name, up to ``--ros-args``; ROS's arguments before it are an error.

    Raises:
        UserError: ROS does not accept its arguments.
    """
    options, unknown = parser.parse_known_args(without_ros_arguments(arguments))
    if unknown:
        of_ros = next((word for word in unknown if word in _OPTIONS), None)
        hint = f"; {of_ros} is for ROS: put it after --ros-args" if of_ros is not None else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return options


def without_section(arguments: Sequence[str], node: str) -> str | None:
    """Return a sentence if the command line has files of parameters, and none has a section for this node.

    Args:
        arguments: the command line.
        node: full name of the node, after remapping.
    """
    files = _params_files(arguments)
    sections = [name for file in files for name in _sections(file)]
    if not files or any(_is_for(name, node) for name in sections):
        return None
    it_has = f"{'it has' if len(files) == 1 else 'they have'} {', '.join(dict.fromkeys(sections)) or 'none'}"
    subject = f"{files[0]} has no section" if len(files) == 1 else f"none of {', '.join(files)} has a section"
    return f"{subject} for {node} ({it_has}): no parameter in {'it' if len(files) == 1 else 'them'} has an effect"


def _params_files(arguments: Sequence[str]) -> list[str]:
    return [following for word, following in _for_ros(arguments) if word == "--params-file"]


def _for_ros(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each word that is for ROS, and the one that follows it."""
    is_for_ros = False
    for word, following in zip(arguments, [*arguments, ""][1:], strict=True):
        is_for_ros = (is_for_ros or word == "--ros-args") and word != "--"
        if is_for_ros:
            yield word, following


def _check_own_name(option: str, remapping: str) -> None:
    """Refuse an invalid name or namespace of a node: rcl accepts some of them until the node is created."""
    if (found := _OWN_NAME.fullmatch(remapping)) is None:
        return
    kind, name = found.groups()
    try:
        (validate_namespace if kind == "ns" else validate_node_name)(name)
    except NameValidationException as error:
        letters = "letters, digits and '_'"
        how = f"write a name of {letters} that does not begin with a digit, as in front_camera"
        if kind == "ns":
            how = f"write names of {letters} that do not begin with a digit, each after a slash, as in /robot1/left"
        if "exceed" in str(error):
            how = f"its {len(name)} characters are too many"
        raise UserError(f"{option} {remapping}: {how}") from error


def _sections(file: str) -> list[str]:
    import yaml  # type: ignore[import-untyped]

    try:
        return list(_named(yaml.safe_load(Path(file).read_text(encoding="utf-8"))))
    except (OSError, ValueError, yaml.YAMLError):  # rcl has read it
        return ["/**"]


def _named(tree: Any, name: str = "") -> Iterator[str]:
    """Yield the names of the sections of parameters, which are nested if a namespace is a section of its own."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if key == "ros__parameters":
            yield name
        else:
            yield from _named(value, f"{name.rstrip('/')}/{key}" if name else str(key))


def _is_for(section: str, node: str) -> bool:
    """Return whether rcl applies a section to a node: ``*`` stands for one token, ``**`` for any number of them."""
    pattern = re.escape("/" + section.removeprefix("/"))
    pattern = pattern.replace(r"/\*\*", r"(/\w+){0,}").replace(r"\*", r"\w+")
    return re.fullmatch(pattern, node) is not None


def first_sentence(error: Exception) -> str:
    """Return the message of an error from ROS's C libraries, without source locations."""
    return " ".join(re.split(r", at /|\n", str(error))[0].split())


def _sentence(error: Exception) -> str:
    said = first_sentence(error)
    if found := _NOTHING_FOLLOWS.search(said):
        return f"nothing follows {found[1].replace('log level', '--log-level')}: {_FORMS}"
    if found := _REFUSED.search(str(error).split(", at /")[0]):  # whose value may have several lines
        option, value, why = found.groups()
        return f"{option} {value}: {_what_to_do(option, value, why)}"
    if said.startswith("["):  # the Python list of those that ROS does not know
        return f"ROS has no argument {' '.join(ast.literal_eval(str(error)))}: {_FORMS}"
    return f"ROS does not accept these arguments: {said}"


def _what_to_do(option: str, value: str, why: str) -> str:
    if option == "--params-file":
        if not value or not Path(value).exists():
            return "there is no such file"
        if Path(value).is_dir():
            return "this is a folder; name a YAML file in it"
        if not os.access(value, os.R_OK):
            return "you are not allowed to read this file"
        return f"this is not a file of ROS parameters ({why}); config/ttt3r.yaml of this package is one"
    if option == "--log-level":
        return "choose debug, info, warn, error or fatal"
    if option in ("-r", "--remap"):
        return "write FROM:=TO, names without spaces, as in image:=/camera/image_raw; a namespace begins with a slash"
    if value.endswith(":="):
        return "the value is missing; an empty string is written \"''\", with both kinds of quotes"
    return "write NAME:=VALUE, as in device:=cpu; a VALUE with spaces or brackets is YAML"
