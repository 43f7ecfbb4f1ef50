"""Writes THIRD_PARTY_LICENSES.md: every pinned package, its versions and its license.

Licenses come from the metadata of the installed packages, or from package.xml for ROS packages, whose wheels state
none. `ELSEWHERE` lists the packages that only another Python, another torch or a missing compiler would install.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "THIRD_PARTY_LICENSES.md"

#: Purpose of each file of pins.
LISTS = {
    "runtime": "what the package runs on",
    "kilted": "ROS 2 Kilted",
    "jazzy": "ROS 2 Jazzy, for `make test-jazzy`",
    "torch": "PyTorch",
    "cuda": "what PyTorch brings along where it comes with CUDA",
    "dev": "what checks the package; not needed to run it",
    "pip": "what installs the rest",
    "compiler": "fetched for set-up where the system has no compiler, then removed",
    "audit": "`make audit`, in an environment of its own",
}

#: Licenses, as stated on PyPI, of packages that are not in every environment.
ELSEWHERE = {
    "boolean-py": "BSD-2-Clause",
    "cachecontrol": "Apache-2.0",
    "certifi": "MPL-2.0",
    "charset-normalizer": "MIT",
    "cuda-bindings": "NVIDIA Software License",
    "cuda-pathfinder": "Apache-2.0",
    "cuda-toolkit": "NVIDIA Software License",
    "cyclonedx-python-lib": "Apache-2.0",
    "defusedxml": "PSF-2.0",
    "exceptiongroup": "MIT",
    "idna": "BSD-3-Clause",
    "license-expression": "Apache-2.0",
    "msgpack": "Apache-2.0",
    "nvidia-cusparselt-cu13": "NVIDIA Software License",
    "nvidia-nvtx": "Apache-2.0",
    "packageurl-python": "MIT",
    "pip-api": "Apache-2.0",
    "pip-audit": "Apache-2.0",
    "pip-requirements-parser": "MIT",
    "platformdirs": "MIT",
    "py-serializable": "Apache-2.0",
    "pytz": "MIT",
    "requests": "Apache-2.0",
    "six": "MIT",
    "tomli": "MIT",
    "tomli-w": "MIT",
    "triton": "MIT",
    "urllib3": "MIT",
    "ziglang": "MIT",
}

#: Licenses of packages that state them at length or only in their LICENSE files, or that one ROS distribution lacks.
STATED = {
    "apsw": "any OSI-approved license",
    "lz4": "BSD-3-Clause",
    "matplotlib": "Matplotlib License (PSF-based)",
    "ros-fastcdr": "Apache-2.0",
    "ros-fastrtps": "Apache-2.0; the wheel holds OpenSSL (OpenSSL License) and TinyXML-2 (zlib)",
    "ros-fastrtps-cmake-module": "Apache-2.0",
    "ros-rmw-security-common": "Apache License 2.0",
    "ros-fastdds": "Apache-2.0; the wheel holds OpenSSL (OpenSSL License) and TinyXML-2 (zlib)",
}

HEADER = """\
# Licences of what this package uses

Written by `make licenses` from `requirements/*.txt`; nothing of it is part of this repository, which is Apache-2.0.
In a ROS 2 workspace the ROS packages come from the distribution instead, under the same licenses.

`evo` is under the GPL: the evaluation (`ttt3r_ros.evaluation`, the demo) imports it, the node never does. The
published weights have a license of their own, see [docs/weights.md](docs/weights.md).
"""


def pins(name: str) -> dict[str, list[str]]:
    """Return the versions of each package in a list of pins, oldest first."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        if pin := re.match(r"([a-z0-9-]+)==(\S+)", line):
            versions = found.setdefault(pin[1], [])
            if pin[2] not in versions:
                versions.append(pin[2])
    return found


def license_of(package: str) -> str | None:
    """Return the license of a package by its normalized name, or None if nothing states it."""
    if stated := STATED.get(package) or ELSEWHERE.get(package):
        return stated
    if package.startswith("nvidia-"):
        return "NVIDIA Software License"
    if package.startswith("ros-"):
        return _of_package_xml(package) or _of_metadata(package)
    return _of_metadata(package)


def _of_package_xml(package: str) -> str | None:
    name = re.sub("^ros-(kilted-|jazzy-)?", "", package).replace("-", "_")
    path = Path(sys.prefix) / "share" / name / "package.xml"
    if not path.exists():
        return None
    licenses = [element.text.strip() for element in ElementTree.parse(path).iter("license") if element.text]
    return " AND ".join(licenses) or None


def _of_metadata(package: str) -> str | None:
    try:
        fields = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return None
    if expression := fields.get("License-Expression"):
        return expression
    named = [item.split(" :: ")[-1] for item in fields.get_all("Classifier", []) if item.startswith("License ::")]
    text = (fields.get("License") or "").strip()
    return text if text and "\n" not in text and len(text) < 60 else ", ".join(named) or None


def document() -> str:
    """Return the whole file.

    Raises:
        SystemExit: a package states no license.
    """
    parts = [HEADER]
    for name, purpose in LISTS.items():
        rows = [
            f"| {package} | {', '.join(versions)} | {_known_license(package)} |"
            for package, versions in pins(name).items()
        ]
        parts.append(
            "\n".join([f"## {name}: {purpose}\n", "| package | version | license |", "|---|---|---|", *rows, ""])
        )
    return "\n".join(parts)


def _known_license(package: str) -> str:
    found = license_of(package)
    if found is None:
        sys.exit(f"error: nothing states the license of {package}; look it up and add it to {Path(__file__).name}")
    return found


if __name__ == "__main__":
    TARGET.write_text(document())
