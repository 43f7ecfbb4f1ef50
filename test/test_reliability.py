"""The fault matrix of docs/reliability.md names a test for each of its rows, and these tests exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
LINKED = re.compile(r"\]\(\.\./(test/[\w/]+\.py)\)")


def test_every_test_named_exists():
    named = NAMED.findall(TEXT)
    assert len(named) > 30
    for file, test in named:
        (path,) = ROOT.glob(f"test/**/{file}")
        assert f"def {test}(" in path.read_text(), f"{file}::{test}"


def test_every_row_has_a_test():
    faults = TEXT[: TEXT.index("## Figures")]
    rows = [line for line in faults.splitlines() if line.startswith("| ") and not re.match(r"\| fault \|", line)]
    assert len(rows) > 60
    for row in rows:
        tests = row.rstrip(" |").rpartition("|")[2]  # of the last column
        assert NAMED.search(tests) or all((ROOT / file).exists() for file in LINKED.findall(tests) or ["none"]), row
