"""One part of a run in a process of its own: whatever becomes of it, the rest goes on.

A CUDA fault spoils a process for good, a compiler may hang, a kernel may never end. The processes are forked from a
server that has imported torch and touched no device, so that each begins in a fraction of a second.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.gpu.findings import DeviceFaultError, Findings
from benchmark.gpu.plan import Part
from benchmark.gpu.setting import Setting

#: Where compilers keep their code.
CACHE = Path(__file__).resolve().parents[2] / ".cache"
#: A part that outlives its parent ends itself so long after its limit [s].
ORPHAN_S = 5.0
_FAILED = 3  # exit status of a part some of whose work failed


@dataclass(frozen=True)
class Outcome:
    """What became of a part.

    Attributes:
        status: 'done', 'failed' (some of it, see its failures) or 'cut' (by its limit).
        seconds: that it took.
        start_s: of these until its first line ran.
        tables: see `findings`.
        failures: tracebacks by what failed.
    """

    status: str
    seconds: float
    start_s: float | None
    tables: dict[str, Any]
    failures: dict[str, str]


def start_server() -> None:
    """Let the server that parts are forked from begin to import what all of them need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "benchmark.gpu.child", "benchmark.gpu.preload"])
    context.Process(target=_nothing).start()


def run_part(part: Part, setting: Setting, output: Path, limit_s: float) -> Outcome:
    """Run a part and return what it has found, all or, if it was cut or failed, so far.

    Args:
        part: to run.
        setting: for it.
        output: folder for the pictures that it leaves and for the log; exists.
        limit_s: after which it is ended [s].
    """
    found, log = output / "under_way.json", output / "log.txt"
    found.unlink(missing_ok=True)
    begun = time.monotonic()
    process = multiprocessing.get_context("forkserver").Process(
        target=_work, args=(part, setting, found, log, limit_s, begun)
    )
    process.start()
    try:
        process.join(limit_s)
        late = process.is_alive()
    finally:
        _end(process)
    seconds = time.monotonic() - begun
    kept = json.loads(found.read_text(encoding="utf-8")) if found.exists() else {}
    found.unlink(missing_ok=True)
    failures = dict(kept.get("failures", {}))
    status = "cut" if late else "failed" if failures or process.exitcode != 0 else "done"
    if status == "failed" and not failures:
        failures["its process"] = f"ended {_how(process.exitcode)}; see {log.name}"
    return Outcome(status, seconds, kept.get("start_s"), kept.get("tables", {}), failures)


def _work(part: Part, setting: Setting, found: Path, log: Path, limit_s: float, begun: float) -> None:
    os.setsid()  # what it starts can be ended with it
    signal.setitimer(signal.ITIMER_REAL, limit_s + ORPHAN_S)  # unless the parent does it first
    with log.open("ab", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    faulthandler.enable(all_threads=False)
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH"):
        os.environ.setdefault(name, str(CACHE / name.split("_")[0].lower()))
    print(f"\n--- {part.title}", flush=True)
    findings = Findings(found, limit_s - (time.monotonic() - begun), start_s=time.monotonic() - begun)
    try:
        module = importlib.import_module(f"benchmark.gpu.parts.{part.name}")
        findings.attempt("all of it", module.measure, setting, findings, *part.arguments)
    except DeviceFaultError:
        pass
    except BaseException:
        traceback.print_exc()
        raise
    sys.stdout.flush()
    os._exit(_FAILED if findings.failures else 0)  # a device in disorder may hang an orderly end


def _end(process: multiprocessing.process.BaseProcess) -> None:
    """End a process and whatever it has started."""
    if process.is_alive() and process.pid is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.join()


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        return f"by signal {signal.Signals(-status).name}"
    return f"with status {status}"


def _nothing() -> None:
    """Do nothing: the first process makes the server start."""
