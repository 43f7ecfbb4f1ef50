from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.errors import UserError
from ttt3r_ros.settings import Settings, add_options, declarations, parameter


@dataclass(frozen=True, kw_only=True)
class Wheels(Settings):
    title: ClassVar[str] = "wheels"
    count: int = parameter(4, "How many.", range=(1, 8))
    radius: float = parameter(0.2, "Of each, 100 % of it.", unit="m", range=(0.01, 2.0))
    tyre: str = parameter("winter", "Which kind.", choices=("winter", "summer"))
    driven: bool = parameter(True, "Whether a motor turns them.")
    load_kg: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Body(Settings):
    name: str = parameter("robot", "What it is called.", read_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name:
            raise UserError("parameter name is empty")


@dataclass(frozen=True, kw_only=True)
class Robot(Wheels, Body):
    pass


def options(*arguments: str, **how) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, Wheels, **how)
    return parser.parse_args(arguments)


def test_a_parameter_is_a_field_with_a_declaration():
    assert [item.name for item in declarations(Wheels)] == ["count", "radius", "tyre", "driven"]
    assert declarations(Wheels)[1].description == "Of each, 100 % of it. [m]"
    assert {item.name for item in declarations(Robot)} == {"count", "radius", "tyre", "driven", "name"}
    assert Robot().tyre == "winter"
    assert Robot().name == "robot"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"count": 9}, "parameter count must be from 1 to 8, not 9"),
        ({"count": 2.0}, "parameter count must be a whole number, not 2.0"),
        ({"count": True}, "parameter count must be a whole number, not True"),
        ({"radius": "wide"}, "parameter radius must be a number, not 'wide'"),
        ({"radius": float("nan")}, "parameter radius must be from 0.01 to 2 m, not nan"),
        ({"tyre": "slick"}, "parameter tyre must be one of winter, summer, not 'slick'"),
        ({"driven": "yes"}, "parameter driven must be true or false, not 'yes'"),
        ({"name": ""}, "parameter name is empty"),
    ],
)
def test_what_cannot_be_used_is_said(values, words):
    with pytest.raises(UserError) as error:
        Robot(**values)
    assert str(error.value) == words


def test_a_whole_number_is_a_number():
    assert isinstance(Wheels(radius=1).radius, float)


def test_a_default_must_be_valid():
    with pytest.raises(ValueError, match="must be from 1 to 2, not 3"):
        parameter(3, "Too many.", range=(1, 2))


@given(st.integers(1, 8), st.floats(0.01, 2.0), st.sampled_from(["winter", "summer"]), st.booleans())
def test_options_say_what_the_settings_do(count, radius, tyre, driven):
    parsed = options(
        f"--count={count}", f"--radius={radius!r}", f"--tyre={tyre}", "--driven" if driven else "--no-driven"
    )
    assert Wheels.of(parsed, load_kg=7.0) == Wheels(count=count, radius=radius, tyre=tyre, driven=driven, load_kg=7.0)


def test_options_have_the_same_defaults_and_bounds():
    assert Wheels.of(options()) == Wheels()
    assert isinstance(options("--radius", "1").radius, float)
    for arguments, words in [
        (["--count", "9"], "argument --count: must be from 1 to 8, not 9"),
        (["--count", "2.0"], "argument --count: must be a whole number, not '2.0'"),
        (["--radius", "nan"], "argument --radius: must be from 0.01 to 2 m, not nan"),
        (["--tyre", "slick"], "argument --tyre: must be one of winter, summer, not 'slick'"),
    ]:
        with pytest.raises(argparse.ArgumentError) as error:
            options(*arguments)
        assert str(error.value) == words


def test_options_can_be_few_and_have_a_second_spelling():
    assert vars(options("--rim", "1.5", only=("radius",), also={"radius": "--rim"})) == {"radius": 1.5}


def test_options_explain_themselves():
    parser = argparse.ArgumentParser()
    add_options(parser, Wheels)
    text = " ".join(parser.format_help().split())
    assert "--radius M Of each, 100 % of it. [m] (default: 0.2)" in text
    assert "--tyre {winter,summer} Which kind. (default: winter)" in text
    assert "--driven, --no-driven Whether a motor turns them. (default: true)" in text
