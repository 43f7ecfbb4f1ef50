from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt3r_ros.mapping.key_table import KeyTable

keys_of_any_size = st.integers(1, 2**63 - 1) | st.integers(1, 50)


@settings(max_examples=60)
@given(st.lists(st.lists(keys_of_any_size, max_size=60, unique=True), max_size=5))
def test_the_table_is_a_dict(batches):
    table, twin = KeyTable(300), {}
    for batch in batches:
        keys = np.array(batch, dtype=np.int64)
        assert table.find(keys).tolist() == [twin.get(key, -1) for key in batch]
        new = keys[table.find(keys) < 0]
        added = table.add(new)
        twin.update(zip(new.tolist(), added.tolist(), strict=True))
        assert len(table) == len(twin)
        assert table.find(keys).tolist() == [twin[key] for key in batch]
    assert sorted(twin.values()) == list(range(len(twin)))


def test_a_table_takes_as_many_keys_as_it_promises():
    table = KeyTable(1000)
    keys = np.arange(1, 1001)
    assert sorted(table.add(keys)) == list(range(1000))
    with pytest.raises(ValueError, match="cannot hold"):
        table.add(np.array([5000]))
    assert (table.find(keys) == np.arange(1000)).all()


@given(st.lists(keys_of_any_size, min_size=1, max_size=60, unique=True), st.integers(1, 60))
def test_a_full_table_finds_what_it_holds_and_nothing_else(batch, at):
    held, others = np.array(batch, dtype=np.int64), np.setdiff1d(np.arange(1, 200), batch)
    table = KeyTable(len(held))
    assert table.add(held[:at]).tolist() == list(range(len(held[:at])))
    assert table.add(held[at:]).tolist() == list(range(len(held)))[at:]
    assert table.find(held).tolist() == list(range(len(held)))
    assert (table.find(others) == -1).all()


def test_a_key_may_be_asked_for_twice():
    table = KeyTable(3)
    table.add(np.array([7, 2**63 - 1]))
    assert table.find(np.array([2**63 - 1, 7, 8, 2**63 - 1])).tolist() == [1, 0, -1, 1]


def test_no_keys_have_no_indices():
    table, none = KeyTable(1), np.zeros(0, dtype=np.int64)
    assert table.add(none).tolist() == table.find(none).tolist() == []
    assert len(table) == 0
    assert table.find(np.array([1])).tolist() == [-1]


def test_keys_that_do_not_fit_leave_the_table_as_it_was():
    table = KeyTable(2)
    table.add(np.array([3]))
    with pytest.raises(ValueError, match="a table for 2 keys cannot hold 3"):
        table.add(np.array([4, 5]))
    assert len(table) == 1
    assert table.find(np.array([3, 4, 5])).tolist() == [0, -1, -1]
    assert table.add(np.array([5])).tolist() == [1]


@given(st.integers(1, 5000))
def test_the_memory_of_a_table_is_a_few_dozen_bytes_a_key(capacity):
    arrays = [value for value in vars(KeyTable(capacity)).values() if isinstance(value, np.ndarray)]
    assert 24 * capacity <= sum(array.nbytes for array in arrays) <= 48 * capacity
