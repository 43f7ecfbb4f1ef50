"""The package's own tests that need a GPU."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from benchmark.gpu.findings import Findings
from benchmark.gpu.setting import Setting

ROOT = Path(__file__).resolve().parents[3]

_RESULT = re.compile(r"^(?P<test>\S+::.+?) (?P<word>PASSED|FAILED|ERROR|SKIPPED)\b")
_COLLECTING = re.compile(r"^_+ ERROR collecting (?P<file>\S+) _+$")
_MISSING = re.compile(r"^E +ModuleNotFoundError: No module named '(?P<package>[\w.]+)'")
_NOT_COLLECTED = re.compile(r"^ERROR (?P<test>\S+\.py)\b")
_OPTIONS = (
    "-m", "gpu", "-v", "-rE", "--tb=short", "--color=no", "-p", "no:cacheprovider", "--continue-on-collection-errors",
)  # fmt: skip
_OUTCOMES = (0, 1, 5)  # exit statuses of pytest: all passed, some failed, there were none


def measure(setting: Setting, findings: Findings) -> None:
    """Run them in one process, and files with a test that failed again, each in a process of its own.

    One kernel that goes wrong makes every later test of its process fail: only the second run tells which.
    """
    results = _run([], findings, "in one process")
    for path in sorted({test.partition("::")[0] for test, word in results.items() if word in ("failed", "error")}):
        _run([path], findings, "again, the file in a process of its own")


def _run(paths: list[str], findings: Findings, title: str) -> dict[str, str]:
    results: dict[str, str] = {}
    output: list[str] = []
    collecting, missing = "", dict[str, str]()
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *_OPTIONS, *paths],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            output.append(line)
            if found := _RESULT.match(line):
                results[found["test"]] = found["word"].lower()
            elif found := _COLLECTING.match(line):
                collecting = found["file"]
                continue
            elif found := _MISSING.match(line):
                missing[collecting] = found["package"]
                continue
            elif found := _NOT_COLLECTED.match(line):
                package = missing.get(found["test"])
                results[found["test"]] = f"left out: there is no {package} here" if package else "error"
            else:
                continue
            test, word = list(results.items())[-1]
            findings.add(title, {test: {"": word}})
    words = list(results.values())
    findings.add("In all", {title: {word: words.count(word) for word in sorted(set(words))}})
    if process.returncode not in _OUTCOMES or {"failed", "error"} & set(words):
        findings.fail(title, "".join(output[-400:]))
    return results
