from __future__ import annotations

import pytest

from ttt3r_ros import __version__
from ttt3r_ros.cli.parser import CommandParser


def parser() -> CommandParser:
    parser = CommandParser("play", description="Play a recording.")
    parser.add_argument("--frames", type=int)
    return parser


def test_an_abbreviated_option_is_refused(capsys):
    """Another option may begin in the same way tomorrow."""
    assert parser().parse_args(["--frames", "3"]).frames == 3
    with pytest.raises(SystemExit) as end:
        parser().parse_args(["--frame", "3"])
    assert end.value.code == 2
    assert "play: error: unrecognized arguments: --frame 3" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args(["--version"])
    assert (end.value.code, capsys.readouterr().out) == (0, f"play of ttt3r_ros {__version__}\n")
