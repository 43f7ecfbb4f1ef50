"""Finds C and C++ compilers: the system's, or Zig's, which pip can install."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ZIG_REQUIREMENT = Path(__file__).parent.parent / "requirements" / "compiler.txt"
PROBE = "#include <string>\nint main() { return static_cast<int>(std::string().size()); }\n"


@dataclass(frozen=True)
class Compilers:
    """Commands that compile and link C and C++."""

    c: tuple[str, ...]
    cpp: tuple[str, ...]


def find_on_system() -> Compilers | None:
    """Return $CC and $CXX, else gcc, else clang; None if none of them can compile C++ with its standard library."""
    candidates = [("gcc", "g++"), ("clang", "clang++")]
    if "CC" in os.environ or "CXX" in os.environ:
        candidates.insert(0, (os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")))
    for c, cpp in candidates:
        compilers = Compilers(tuple(shlex.split(c)), tuple(shlex.split(cpp)))
        if shutil.which(compilers.c[0]) and shutil.which(compilers.cpp[0]) and _compiles(compilers.cpp):
            return compilers
    return None


def install_from_pypi(folder: Path) -> Compilers:
    """Installs Zig's C and C++ compiler into ``folder``; a few hundred MB, so remove it after use.

    Raises:
        subprocess.CalledProcessError: pip failed; ``output`` says why.
    """
    command = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--target", str(folder)]
    subprocess.run(
        [*command, "-r", str(ZIG_REQUIREMENT)],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    os.environ["ZIG_GLOBAL_CACHE_DIR"] = os.environ["ZIG_LOCAL_CACHE_DIR"] = str(folder / "cache")
    zig = str(folder / "ziglang" / "zig")
    return Compilers((zig, "cc"), (zig, "c++"))


def _compiles(cpp: tuple[str, ...]) -> bool:
    """Return whether ``cpp`` works and finds its standard library."""
    command = [*cpp, "-x", "c++", "-fsyntax-only", "-"]
    result = subprocess.run(command, input=PROBE, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return result.returncode == 0
