"""Formatting of a run's metrics, for a terminal and for a file."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table


def show_result(rows: Iterable[tuple[str, float | None, str, str]], console: Console) -> None:
    """Print a table of labels, values, units and meanings, without the rows whose value is None."""
    table = Table(title="Result", title_justify="left", title_style="bold", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for label, value, unit, meaning in rows:
        if value is not None:
            table.add_row(label, formatted(value, unit), meaning)
    console.print(table)


def rounded(value: float, digits: int) -> float | None:
    """Return a rounded value, or None if it is not finite, since JSON has no NaN."""
    return round(float(value), digits) if math.isfinite(value) else None


def formatted(value: float | None, unit: str) -> str:
    """Return a value with three significant digits and its unit, or a dash for None."""
    if value is None:
        return "-"
    number = str(value) if isinstance(value, int) else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{number} {unit}".strip()


def described_path(poses: int, path_length_m: float | None, ate_rmse_m: float | None) -> str:
    """Return a caption for the picture of a path: how many poses along which length, and the error if it is known."""
    along = f"{poses} poses along {formatted(path_length_m, 'm')}"
    if ate_rmse_m is None:
        return along
    return f"{along}, error {formatted(ate_rmse_m, 'm')} (ATE RMSE after SE(3) alignment)"
