"""Settings, declared once: a dataclass field specifies name, type, default, unit, range, choices and meaning.

Everything else is derived from the fields: checks and command-line options in this module, the ROS parameters in
`ttt3r_ros.ros.parameters`, and config/ttt3r.yaml, docs/parameters.md and README's table, which ``make config`` writes.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from ttt3r_ros.errors import UserError, quoted

Value = bool | int | float | str
S = TypeVar("S", bound="Settings")

_KEY = "declaration"
_WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}


@dataclass(frozen=True)
class Declaration:
    """The declaration of one parameter.

    Attributes:
        name: its name, in words joined by underscores.
        default: its default value, whose type is that of the parameter.
        help: what it does, in sentences.
        unit: of a number, such as 'm/s'; empty for none.
        range: minimum and maximum of a number; None for a string or a boolean.
        choices: allowed values of a string; empty to allow any.
        read_only: whether it is read only once, at startup.
        must: a condition that range and choices do not express, and what follows "must" where it is not met.
    """

    name: str
    default: Value
    help: str
    unit: str = ""
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False
    must: tuple[Callable[[Any], bool], str] | None = None

    @property
    def description(self) -> str:
        """Its help text with the unit."""
        return f"{self.help} [{self.unit}]" if self.unit else self.help

    def fault(self, value: object) -> str | None:
        """Return what the value must be instead, in one clause; None if it is valid."""
        kind = type(self.default)
        if type(value) is not kind and not (kind is float and type(value) is int):
            return f"must be {_WANTED[kind]}, not {quoted(value) if isinstance(value, str) else repr(value)[:60]}"
        if self.range is not None and isinstance(value, (int, float)):
            low, high = self.range
            if not low <= value <= high:  # NaN compares false
                unit = f" {self.unit}" if self.unit else ""
                return f"must be from {low:.15g} to {high:.15g}{unit}, not {value}"
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}, not {quoted(str(value))}"
        if self.must is not None and not self.must[0](value):
            return f"must {self.must[1]}, not {quoted(value) if isinstance(value, str) else value}"
        return None

    def checked(self, value: Any) -> Any:
        """Return the value, converted from an integer to a float if the parameter is one.

        Raises:
            UserError: the value is invalid.
        """
        if fault := self.fault(value):
            raise UserError(f"parameter {self.name} {fault}")
        return float(value) if isinstance(self.default, float) else value


def parameter(
    default: Any,
    help: str,
    *,
    unit: str = "",
    range: tuple[float, float] | None = None,
    choices: Iterable[str] = (),
    read_only: bool = False,
    must: tuple[Callable[[Any], bool], str] | None = None,
) -> Any:
    """Declare a parameter as a field of a dataclass derived from `Settings`. `Declaration` describes the arguments."""
    declaration = Declaration("", default, help, unit, range, tuple(choices), read_only, must)
    if fault := declaration.fault(default):
        raise ValueError(f"the default of a parameter {fault}")
    return field(default=default, metadata={_KEY: declaration})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base class of settings, validated when constructed. Only fields made by `parameter` are shown to users."""

    title: ClassVar[str] = ""  #: the topic of this class's parameters, in a few words

    def __post_init__(self) -> None:
        for item in declarations(type(self)):
            object.__setattr__(self, item.name, item.checked(getattr(self, item.name)))

    @classmethod
    def of(cls: type[S], source: object, **others: Any) -> S:
        """Create settings from the attributes of a larger object, such as parsed options.

        Args:
            source: has an attribute for each parameter of this class.
            others: values of fields that are not parameters.

        Raises:
            UserError: a value is invalid.
        """
        return cls(**{item.name: getattr(source, item.name) for item in declarations(cls)}, **others)


def declarations(settings: type[Settings]) -> list[Declaration]:
    """Return the parameters that a class of settings declares, including those of its bases."""
    fields = [item for item in dataclasses.fields(settings) if _KEY in item.metadata]
    return [dataclasses.replace(item.metadata[_KEY], name=item.name) for item in fields]


def add_options(
    parser: argparse._ActionsContainer,
    settings: type[Settings],
    *,
    only: Sequence[str] = (),
    also: Mapping[str, str] | None = None,
) -> None:
    """Add a command-line option for each parameter: ``--max-speed M/S`` for max_speed, ``--[no-]x`` for a bool.

    Args:
        parser: an argument parser, or a group of it.
        settings: class that declares the parameters; `Settings.of` reads them from the parsed options.
        only: names of the parameters to add; empty for all.
        also: aliases of options, by parameter name.
    """
    for item in declarations(settings):
        if only and item.name not in only:
            continue
        names = [f"--{item.name.replace('_', '-')}", *([also[item.name]] if also and item.name in also else [])]
        shown = repr(item.default) if item.default == "" else str(item.default).lower()
        text = f"{item.description} (default: {shown})".replace("%", "%%")
        if isinstance(item.default, bool):
            parser.add_argument(*names, action=argparse.BooleanOptionalAction, default=item.default, help=text)
            continue
        parser.add_argument(
            *names,
            type=_reader(item),
            default=item.default,
            metavar="{" + ",".join(item.choices) + "}" if item.choices else item.unit.upper() or None,
            help=text,
        )


def _reader(item: Declaration) -> Callable[[str], Value]:
    """Return the function with which argparse converts and checks an option."""
    kind = type(item.default)

    def read(text: str) -> Value:
        try:
            value: Value = kind(text)
        except ValueError:
            value = text  # has the wrong type, which `fault` reports
        if fault := item.fault(value):
            raise argparse.ArgumentTypeError(fault)
        return value

    return read
