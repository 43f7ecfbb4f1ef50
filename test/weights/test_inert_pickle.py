"""The pickle reader returns data and never acts on it, whatever the bytes."""

from __future__ import annotations

import contextlib
import os
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_files import Touch

from ttt3r_ros.weights.inert_pickle import Inert, Name, PickleError, read_pickle

OPERATIONS = [
    b"q\x00",
    b"h\x00",
    b"K\x01",
    b"X\x01\x00\x00\x00a",
    b"cos\nsystem\n",
    b"(ios\nsystem\n",
    b"\x8f",
    b"\x90",
]


class TestInertPickle:
    def test_plain_data_is_what_pickle_reads(self) -> None:
        data: dict[Any, Any] = {
            "a": [1, -2, 3.5, True, None, "ü", b"x", (), (1,), (1, 2, 3, 4)],
            2**80: {"b": [[]] * 3},
            (1, "x"): bytearray(b"y"),
        }
        assert read_pickle(pickle.dumps(data, 5)) == data
        without_bytes = {"a": data["a"][:6], 2**80: data[2**80]}
        for protocol in (2, 3, 4):
            assert read_pickle(pickle.dumps(without_bytes, protocol)) == without_bytes

    def test_calls_are_recorded(self) -> None:
        found = read_pickle(pickle.dumps(Touch(os.system, "reboot"), 2))
        assert isinstance(found, Inert)
        assert found.maker == Name("posix", "system")
        assert found.arguments == ("reboot",)
        assert found.state is None

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x80\x02",
            b".",
            b"0.",
            b"\x80\x02]r\xff\xff\xff\x7f",  # a memo index that would size an array
            b"(" * 100_000 + b"t" * 100_000,
            b"\x80\x02X\xff\xff\xff\x7fabc.",
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
            b"cos\nsystem\n(S'reboot'\ntR.",  # protocol 0
            b"\x80\x02K\x01K\x02s.",
            b"\x80\x02h\x05.",
            b"\x80\x02\x82\x01.",
            b"\x80\x02K\x01Q.",
            b"\x80\x02}(K\x01u.",
        ],
    )
    def test_damaged_and_hostile(self, data: bytes) -> None:
        with pytest.raises(PickleError):
            read_pickle(data)

    @pytest.mark.parametrize("key", [((1, 2), (3,)), frozenset({1}), ("cuda", print)])
    def test_keys_that_are_not_plain_are_kept_as_data(self, key: Any) -> None:
        """Those of a scheduler, say; nobody asks for them."""
        ((found, value),) = read_pickle(pickle.dumps({key: 5}, 4)).items()
        assert value == 5
        assert isinstance(found, Inert)

    @pytest.mark.slow
    def test_a_key_nested_too_deeply_to_hash(self) -> None:
        (value,) = read_pickle(b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"K\x01s.").values()
        assert value == 1

    @pytest.mark.slow
    def test_bounds(self) -> None:
        with pytest.raises(PickleError, match="more entries"):
            read_pickle(b"\x80\x02" + b"N" * 2_000_100 + b".")
        with pytest.raises(PickleError, match="bytes long"):
            read_pickle(bytes(33 * 2**20))

    @settings(max_examples=300)
    @given(
        st.lists(
            st.sampled_from([*(bytes([n]) for n in b"().0N]}tesualbRo\x81\x85\x86\x87\x93\x94\x88Q2"), *OPERATIONS])
        )
    )
    def test_any_program_ends_in_data_or_a_sentence(self, opcodes: list[bytes]) -> None:
        with contextlib.suppress(PickleError):
            read_pickle(b"\x80\x02" + b"".join(opcodes) + b".")
