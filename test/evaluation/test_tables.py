from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from ttt3r_ros.evaluation.tables import formatted, rounded, show_result


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(None, "m", "-"), (1234567, "", "1234567"), (0.123456, "m", "0.123 m"), (-123.4, "ms", "-123 ms")],
)
def test_values_are_short(value, unit, text):
    assert formatted(value, unit) == text


def test_what_is_not_finite_is_none():
    assert rounded(1.23456, 2) == 1.23
    assert rounded(math.nan, 2) is None


def test_a_row_for_each_number_that_there_is():
    out = io.StringIO()
    show_result([("error", 0.5, "m", "of the path"), ("depth", None, "", "")], Console(file=out, width=80))
    (error,) = (line for line in out.getvalue().splitlines() if "error" in line or "depth" in line)
    assert "0.5 m" in error
    assert "of the path" in error
