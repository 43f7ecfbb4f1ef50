"""The results folder: one file a sequence while the run goes on, then JSON, a Markdown table and a picture."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ttt3r_ros.cli.folders import locked_folder, write_json
from ttt3r_ros.errors import UserError
from ttt3r_ros.protocols.catalog import ALL, Dataset, Published
from ttt3r_ros.protocols.scores import SHOWN, WEIGHT

FORMAT = 1


@dataclass(frozen=True)
class Cell:
    """The means over a data set's sequences for one way to run it.

    Attributes:
        rule, reset: the way.
        length: frames, `ALL` for all.
        sequences: that the means are over.
        skipped: the others, with the reason.
        answered: share of the frames that were answered, in [0, 1].
        figures: means by name; empty without sequences.
    """

    rule: str
    reset: str
    length: int
    sequences: tuple[str, ...]
    skipped: Mapping[str, str]
    answered: float
    figures: Mapping[str, float]


class ResultsFolder:
    """A run's folder; what is in it already is not computed again."""

    def __init__(self, path: Path) -> None:
        """Name a folder; nothing is touched yet."""
        self.path = Path(os.path.expanduser(path))

    @contextlib.contextmanager
    def held(self, settings: Mapping[str, Any]) -> Iterator[None]:
        """Make the folder, and keep runs with other settings, and other runs at the same time, out of it.

        Raises:
            UserError: it cannot be made, or is another run's.
        """
        with locked_folder(self.path, f"another run is writing to {self.path}; choose another --output"):
            self._begin({"format": FORMAT, **settings})
            yield

    def _begin(self, settings: dict[str, Any]) -> None:
        file = self.path / "run.json"
        try:
            earlier = json.loads(file.read_text())
        except FileNotFoundError:
            write_json(file, settings)
            return
        except (OSError, ValueError) as error:
            raise UserError(f"{file} cannot be read ({error}); choose another --output") from None
        changed = next((name for name in settings if earlier.get(name) != settings[name]), None)
        if changed is not None:
            raise UserError(f"{self.path} holds results of another {changed}; choose another --output")

    def stored(self, rule: str, reset: str, sequence: str) -> dict[str, Any]:
        """Return the results of a sequence by length, as far as there are any."""
        try:
            content = json.loads(self._file(rule, reset, sequence).read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def store(self, rule: str, reset: str, sequence: str, results: Mapping[str, Any]) -> None:
        """Add the results of a sequence, whole or not at all."""
        write_json(self._file(rule, reset, sequence), {**self.stored(rule, reset, sequence), **results})

    def write_report(self, dataset: Dataset, cells: Sequence[Cell], caption: str) -> str:
        """Write results.json, results.md and, for several lengths, a picture; return the Markdown."""
        markdown = table(dataset, cells, caption)
        write_json(self.path / "results.json", [cell.__dict__ for cell in cells])
        (self.path / "results.md").write_text(markdown, encoding="utf-8")
        if len({cell.length for cell in cells}) > 1:
            draw(self.path / "results.png", dataset, cells)
        return markdown

    def _file(self, rule: str, reset: str, sequence: str) -> Path:
        return self.path / "sequences" / f"{rule},{reset}" / f"{sequence.replace('/', ',')}.json"


def summary(rule: str, reset: str, length: int, results: Mapping[str, Mapping[str, Any]]) -> Cell:
    """Return the means of what `score` returned for one length, by sequence, for one way to run.

    Each sequence weighs 1, or as many as it has valid pixels where depth is compared.
    """
    good = {name: result for name, result in results.items() if "figures" in result}
    skipped = {name: str(result["skipped"]) for name, result in results.items() if name not in good}
    figures: dict[str, float] = {}
    if good:
        weights = np.array([result["figures"].get(WEIGHT, 1) for result in good.values()], dtype=np.float64)
        for name in next(iter(good.values()))["figures"]:
            values = [result["figures"][name] for result in good.values()]
            figures[name] = float(np.average(values, weights=weights)) if weights.any() else math.nan
    frames, answered = (sum(result[key] for result in good.values()) for key in ("frames", "answered"))
    return Cell(rule, reset, length, tuple(good), skipped, answered / frames if frames else 0.0, figures)


def table(dataset: Dataset, cells: Sequence[Cell], caption: str) -> str:
    """Return the means as Markdown, published figures beside them, and every skipped sequence by name."""
    shown = SHOWN[dataset.task]
    heads = ["rule", "resets", "frames", "sequences", *shown]
    total = max((len(cell.sequences) + len(cell.skipped) for cell in cells), default=0)
    lines = [f"# {dataset.title}", "", caption, "", _row(heads), _row(["---"] * len(heads))]
    for cell in cells:
        values = [_beside(cell.figures.get(name), _published(dataset, cell, name)) for name in shown]
        count = f"{len(cell.sequences)} of {total}"
        if cell.answered < 1 and cell.sequences:
            count += f" ({100 * cell.answered:.1f} % of frames answered)"
        length = "all" if cell.length == ALL else str(cell.length)
        lines.append(_row([cell.rule, cell.reset, length, count, *values]))
    if not any(cell.sequences for cell in cells):
        lines[4:] = ["No sequence could be evaluated.", ""]
        return "\n".join(lines + _skipped(cells)) + "\n"
    lines += ["", "In brackets: published figures for the same rule, resets and length.", ""]
    if dataset.published:
        lines += ["Published, with the weights cut3r_512_dpt_4_64:", ""]
        lines += [f"* {_told(figure)}" for figure in dataset.published]
        lines.append("")
    lines += _skipped(cells)
    return "\n".join(lines) + "\n"


def _skipped(cells: Sequence[Cell]) -> list[str]:
    where: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        for name, reason in cell.skipped.items():
            where.setdefault((name, reason), []).append(cell)
    if not where:
        return ["No sequence was skipped."]
    lines = [f"Skipped, and in no mean ({len({name for name, _ in where})} sequences):", ""]
    for (name, reason), those in where.items():
        of = "" if len(those) == len(cells) else " at " + ", ".join(f"{c.rule}/{c.reset}/{c.length}" for c in those)
        lines.append(f"* {name}{of}: {reason}")
    return lines


def _published(dataset: Dataset, cell: Cell, figure: str) -> Published | None:
    reset = int(cell.reset) if cell.reset.isdigit() else 0 if cell.reset == "never" else -1
    key = (cell.rule, cell.length, figure, reset, "")
    return next(
        (p for p in dataset.published if (p.rule, p.length, p.figure, p.reset, p.sequence) == key and not p.note), None
    )


def _told(p: Published) -> str:
    resets = f", reset every {p.reset}" if p.reset else ""
    length = "all frames" if p.length == ALL else f"{p.length} frames"
    return (
        f"{p.rule}{resets}, {length}{', ' + p.sequence if p.sequence else ''}: {p.figure} {p.value:.4g}"
        f"{' (' + p.note + ')' if p.note else ''}"
    )


def _beside(value: float | None, published: Published | None) -> str:
    text = "-" if value is None or not math.isfinite(value) else f"{value:.4f}"
    return text if published is None else f"{text} ({published.value:.3f})"


def _row(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def draw(path: Path, dataset: Dataset, cells: Sequence[Cell]) -> None:
    """Draw the first figure of the task against the length, published ones as crosses."""
    from matplotlib.figure import Figure

    name = SHOWN[dataset.task][0]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    ways = list(dict.fromkeys((cell.rule, cell.reset) for cell in cells))
    for number, (rule, reset) in enumerate(ways):
        points = sorted((c.length, c.figures[name]) for c in cells if (c.rule, c.reset) == (rule, reset) and c.figures)
        label, color = rule if reset == "never" else f"{rule}, reset {reset}", f"C{number % 10}"
        axes.plot(*zip(*points), marker="o", markersize=3, color=color, label=label) if points else None
        published = [
            (c.length, p.value)
            for c in cells
            if (c.rule, c.reset) == (rule, reset) and (p := _published(dataset, c, name))
        ]
        if published:
            axes.plot(*zip(*published), "x", color=color, label=f"{label}, published")
    axes.set(title=dataset.title, xlabel="frames", ylabel=name)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
