"""The report of a run, as JSON and as Markdown, both written anew after every part."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmark.gpu.findings import SERIES, write_json
from benchmark.gpu.plan import Part

NOT_RUN, OUT_OF_TIME = "not run", "not run: out of time"
_LONGEST_CELL = 90


@dataclass
class Chapter:
    """What is known of one part; see `benchmark.gpu.child.Outcome`."""

    part: str
    title: str
    status: str = NOT_RUN
    limit_s: float | None = None
    seconds: float | None = None
    start_s: float | None = None
    tables: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass
class Report:
    """A run, as far as it has come.

    Attributes:
        facts: when, with what command, of which commit, on what device.
        chapters: one for each part, in their order.
        notes: sentences on the report itself.
    """

    facts: dict[str, Any]
    chapters: list[Chapter]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, facts: dict[str, Any], parts: tuple[Part, ...]) -> Report:
        return cls(facts, [Chapter(part.name, part.title) for part in parts])

    def write(self, folder: Path) -> None:
        """Write ``report.json`` and ``report.md``, each whole or not at all."""
        write_json(folder / "report.json", asdict(self))
        temporary = folder / "report.md.part"
        temporary.write_text(self.markdown(), encoding="utf-8")
        temporary.replace(folder / "report.md")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Return a written report."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(content["facts"], [Chapter(**chapter) for chapter in content["chapters"]], content["notes"])

    @property
    def failed(self) -> bool:
        """Whether a part, or something in it, failed or was cut."""
        return any(chapter.status in ("failed", "cut") for chapter in self.chapters)

    def markdown(self) -> str:
        """Return the report for people."""
        lines = ["# ttt3r_ros on a GPU", ""]
        lines += [f"* {name}: {value}" for name, value in self.facts.items()]
        lines += [f"* {note}" for note in self.notes]
        lines += ["", "| part | | seconds | of at most | until it began |", "|---|---|---|---|---|"]
        for chapter in self.chapters:
            cells = (chapter.title, chapter.status, chapter.seconds, chapter.limit_s, chapter.start_s)
            lines.append("| " + " | ".join(shown(cell) for cell in cells) + " |")
        for chapter in self.chapters:
            if chapter.tables or chapter.failures:
                lines += ["", f"## {chapter.title}"]
                for title, rows in chapter.tables.items():
                    if title != SERIES:
                        lines += ["", f"**{title}**", "", *_table(rows)]
                for name, why in chapter.failures.items():
                    lines += ["", f"**Failed: {name}**", "", *(f"    {line}" for line in why.rstrip().splitlines())]
        return "\n".join(lines) + "\n"


def shown(value: object) -> str:
    """Return a table's cell: three digits of a number, a spread as its median with quartiles."""
    if isinstance(value, dict):
        if value["n"] == 1:
            return shown(value["median"])
        text = f"{shown(value['median'])} ({shown(value['q1'])} to {shown(value['q3'])}; p95 {shown(value['p95'])})"
        return text
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–"
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    text = " ".join(str(value).replace("|", "\\|").split())
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"


def _table(rows: dict[str, dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = (shown(row[column]) if column in row else "" for column in columns)
        lines.append(f"| {shown(name)} | " + " | ".join(cells) + " |")
    return lines
