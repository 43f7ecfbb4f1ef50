"""Reads the data in a pickle without importing, constructing or calling anything that the pickle names.

`pickle.Unpickler` looks up classes and calls them, which is how a weights file can run code. This reader only handles
plain data: a class or function becomes a `Name`, and a call becomes an `Inert` record of that call. This file never
imports, accesses or calls anything by a name from a pickle, so there is no safeguard to bypass.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ttt3r_ros.errors import UserError

#: Limits on what a malicious file can make us allocate; published checkpoints need far less (0.5 MB, 0.3 M operations).
MAX_BYTES = 32 * 2**20
MAX_OPERATIONS = 2_000_000

_MARK: Any = object()
_PLAIN = (str, bytes, int, float, type(None))

_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = frozenset(
    {
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle mentions. It is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Inert:
    """An object that a pickle would have created with a call, as data.

    Attributes:
        maker: the class or function that would have been called.
        arguments: the arguments of that call.
        state: what ``__setstate__`` or ``__dict__`` would have received.
        entries: items that would have been assigned to it as to a dict.
        items: items that would have been appended to it as to a list.
    """

    maker: object
    arguments: object
    state: object = None
    entries: dict[Any, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)


Call = Callable[[object, object], object]  #: (maker, arguments) -> a substitute for the result
PersistentLoad = Callable[[object], object]


class PickleError(Exception):
    """The bytes are not a pickle that this reader understands; the message completes a sentence."""


def read_pickle(data: bytes, *, call: Call = Inert, persistent_load: PersistentLoad | None = None) -> Any:
    """Return the data in a pickle of protocol 2 or later.

    Args:
        data: the pickle.
        call: returns a substitute for a call, given the maker and the arguments as data. By default, an `Inert`.
        persistent_load: returns a substitute for a persistent id (torch's storages).

    Raises:
        PickleError: the bytes are damaged, too large, or use an opcode that no published checkpoint uses.
        UserError: raised by `call` or `persistent_load`.
    """
    if len(data) > MAX_BYTES:
        raise PickleError(f"its table of contents is {len(data)} bytes long, longer than any known checkpoint's")
    machine = _Machine(call, persistent_load)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > MAX_OPERATIONS:
                raise PickleError("its table of contents has more entries than any known checkpoint's")
            if opcode.name == "STOP":
                return machine.pop()
            machine.run(opcode.name, argument)
    except UserError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise PickleError("its table of contents is damaged") from error
    raise PickleError("its table of contents ends too early")


class _Machine:
    """The pickle stack machine, on data alone."""

    def __init__(self, call: Call, persistent_load: PersistentLoad | None) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}  # not a list: a malicious index must not determine its size
        self.call = call
        self.persistent_load = persistent_load

    def run(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        if opcode in _LITERALS:
            stack.append(argument)
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif opcode == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in ("PROTO", "FRAME"):
            pass
        elif opcode == "MARK":
            stack.append(_MARK)
        elif opcode == "POP":
            stack.pop()
        elif opcode == "POP_MARK":
            self.pop_to_mark()
        elif opcode == "BINPERSID":
            if self.persistent_load is None:
                raise PickleError("its table of contents refers to missing data")
            stack.append(self.persistent_load(self.pop()))
        elif not (self.collect(opcode) or self.make(opcode, argument)):
            raise PickleError(f"its table of contents uses {opcode}, which torch.save does not write")

    def collect(self, opcode: str) -> bool:
        """Run an opcode that fills a tuple, list, dict or set; return whether it was one."""
        if opcode == "TUPLE":
            self.stack.append(tuple(self.pop_to_mark()))
        elif opcode in _TUPLES:
            items = [self.pop() for _ in range(_TUPLES[opcode])]
            self.stack.append(tuple(reversed(items)))
        elif opcode in ("EMPTY_LIST", "EMPTY_SET"):  # nothing here needs sets, so they become lists
            self.stack.append([])
        elif opcode == "FROZENSET":
            self.stack.append(self.pop_to_mark())
        elif opcode in ("APPEND", "APPENDS", "ADDITEMS"):
            values = [self.pop()] if opcode == "APPEND" else self.pop_to_mark()
            target = self.stack[-1]
            (target.items if isinstance(target, Inert) else _expect(target, list)).extend(values)
        elif opcode == "EMPTY_DICT":
            self.stack.append({})
        elif opcode in ("SETITEM", "SETITEMS"):
            self.assign([self.pop(), self.pop()][::-1] if opcode == "SETITEM" else self.pop_to_mark())
        else:
            return False
        return True

    def make(self, opcode: str, argument: Any) -> bool:
        """Run an opcode that names, calls or restores something, on data; return whether it was one."""
        if opcode == "GLOBAL":
            module, _, name = argument.partition(" ")
            self.stack.append(Name(module, name))
        elif opcode == "STACK_GLOBAL":
            name, module = self.pop(), self.pop()
            self.stack.append(Name(_expect(module, str), _expect(name, str)))
        elif opcode in ("REDUCE", "NEWOBJ"):
            arguments, maker = self.pop(), self.pop()
            self.stack.append(self.call(maker, arguments))
        elif opcode == "NEWOBJ_EX":
            keywords, arguments, maker = self.pop(), self.pop(), self.pop()
            self.stack.append(Inert(maker, (arguments, keywords)))
        elif opcode == "BUILD":
            state = self.pop()
            if isinstance(self.stack[-1], Inert):
                self.stack[-1].state = state  # any other object's state (a state_dict's metadata) is not needed
        else:
            return False
        return True

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise PickleError("its table of contents is damaged")
        return value

    def pop_to_mark(self) -> list[Any]:
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise PickleError("its table of contents is damaged")
        values = self.stack[start + 1 :]
        del self.stack[start:]
        return values

    def assign(self, values: list[Any]) -> None:
        """Assign (key, value, key, value, …) to the dict on top of the stack."""
        target = self.stack[-1]
        entries = target.entries if isinstance(target, Inert) else _expect(target, dict)
        if len(values) % 2:
            raise PickleError("its table of contents is damaged")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # hashing a deeply nested tuple would overflow the interpreter's stack
            flat = isinstance(key, tuple) and all(isinstance(part, _PLAIN) for part in key)
            entries[key if flat or isinstance(key, (*_PLAIN, Name, Inert)) else Inert(None, key)] = value


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise PickleError("its table of contents is damaged")
    return value
