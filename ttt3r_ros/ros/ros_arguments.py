"""The arguments after ``--ros-args``: those that ROS does not accept end in one sentence, before torch is imported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rclpy.utilities import remove_ros_args

from ttt3r_ros.errors import UserError

#: What rcl says of an argument that it cannot parse: the option, what follows it, and why.
_REFUSED = re.compile(r"Couldn't parse [\w ]+: '(-\S+) (.*)'\. Error: (.*)", re.DOTALL)
_NOTHING_FOLLOWS = re.compile(r"Couldn't parse trailing (-\S+) flag")

_FORMS = "-p NAME:=VALUE sets a parameter, -r FROM:=TO remaps a topic, --params-file FILE sets many parameters"


def without_ros_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command line, the program's name included, without what follows ``--ros-args``.

    Raises:
        UserError: ROS does not accept its arguments.
    """
    try:
        return list(remove_ros_args(list(arguments)))
    except Exception as error:  # its class is in a private module of rclpy
        raise UserError(_sentence(error)) from error


def first_sentence(error: Exception) -> str:
    """Return the message of an error from ROS's C libraries, without source locations."""
    return " ".join(re.split(r", at /|\n", str(error))[0].split())


def _sentence(error: Exception) -> str:
    said = first_sentence(error)
    if found := _NOTHING_FOLLOWS.search(said):
        return f"nothing follows {found[1]}: {_FORMS}"
    if found := _REFUSED.search(said):
        option, value, why = found.groups()
        return f"{option} {value}: {_what_to_do(option, value, why)}"
    if unknown := re.fullmatch(r"\['(.*)'\]", said):
        return f"ROS has no argument {unknown[1]}: {_FORMS}"
    return f"ROS does not accept these arguments: {said}"


def _what_to_do(option: str, value: str, why: str) -> str:
    if option == "--params-file":
        if not Path(value).exists():
            return "there is no such file"
        if Path(value).is_dir():
            return "this is a folder; name a YAML file in it"
        return f"this is not a file of ROS parameters ({why}); config/ttt3r.yaml of this package is one"
    if option == "--log-level":
        return "choose debug, info, warn, error or fatal"
    if option in ("-r", "--remap"):
        return "write FROM:=TO, names without spaces, as in image:=/camera/image_raw; a namespace begins with a slash"
    if value.endswith(":="):
        return "the value is missing; an empty string is written \"''\", with both kinds of quotes"
    return "write NAME:=VALUE, as in device:=cpu; a VALUE with spaces or brackets is YAML"
