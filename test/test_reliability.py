"""The fault matrix of docs/reliability.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_named_exists():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text())
    assert len(named) > 30
    for file, test in named:
        (path,) = ROOT.glob(f"test/**/{file}")
        assert f"def {test}(" in path.read_text(), f"{file}::{test}"
