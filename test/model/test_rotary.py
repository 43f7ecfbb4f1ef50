from __future__ import annotations

import torch
from rule_weights import TINY

from ttt3r_ros.model.layers import Rotary
from ttt3r_ros.model.rotary import RotaryTables, state_positions

CPU = torch.device("cpu")


def test_a_table_is_made_once_and_follows_row_and_column():
    tables = RotaryTables(TINY)
    with_pose, without = (tables.image((2, 3), 16, CPU, with_pose=pose) for pose in (True, False))
    positions = torch.tensor([[-1, -1], [0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]])
    expected = Rotary.at(positions, 16, TINY.rope_base)
    assert torch.equal(with_pose.cos, expected.cos)
    assert torch.equal(without.sin, expected.sin[1:])
    assert tables.image((2, 3), 16, CPU, with_pose=True) is with_pose
    assert len(tables.made) == 2


def test_many_image_sizes_do_not_fill_the_memory():
    tables = RotaryTables(TINY)
    for width in range(1, 200):
        tables.image((1, width), 16, CPU, with_pose=False)
        state = tables.state(16, CPU)
        assert any(table is state for table in tables.made)
    assert len(tables.made) <= 64


def test_tables_made_in_inference_can_be_trained_with():
    tables = RotaryTables(TINY)
    with torch.inference_mode():
        table = tables.state(16, CPU)
    assert not table.cos.is_inference()


def test_state_positions_fill_a_grid_of_even_width():
    assert state_positions(20, "2d")[-1].tolist() == [4, 3]  # floor(sqrt 20) = 4
    assert state_positions(10, "2d")[-1].tolist() == [2, 1]  # floor(sqrt 10) = 3, made even
    assert state_positions(768, "2d")[-1].tolist() == [27, 11]  # 27 becomes 28
    assert state_positions(5, "1d").tolist() == [[i, i] for i in range(5)]
