"""Generates and compiles a message package with the official rosidl generators, without CMake.

Generators, headers and libraries of its dependencies come from the virtual environment that runs this, whose root is an
ament prefix. The result has the layout of an installed package, under two roots: ``prefix`` for ``lib`` and ``share``,
and ``site`` for the Python package.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from compilers import Compilers

STABLE_ABI = Path(__file__).parent / "stable_abi"
TYPESUPPORTS = ("fastrtps_c", "introspection_c")  # what Fast DDS needs


@dataclass(frozen=True)
class MessagePackage:
    """A message package to generate from ``source/msg/*.msg``, and the packages its messages depend on."""

    name: str
    version: str
    source: Path
    dependencies: tuple[str, ...]


def build(package: MessagePackage, compilers: Compilers, work: Path, prefix: Path, site: Path) -> None:
    """Generates ``package`` in ``work``, compiles it and installs it under ``prefix`` and ``site``.

    Raises:
        subprocess.CalledProcessError: A compilation failed; ``output`` holds the compiler's output.
    """
    _generate(package, work, prefix / "share" / package.name)
    shutil.copytree(work / "py" / package.name, site / package.name, ignore=shutil.ignore_patterns("*.c"))
    (site / package.name / "__init__.py").touch()
    _compile(package, compilers, work, prefix / "lib", site / package.name)
    _write_package_index(package, prefix / "share")


def _generate(package: MessagePackage, work: Path, share: Path) -> None:
    """Translates ``.msg`` to ``.idl`` and type hashes in ``share``, and to C, C++ and Python in ``work``."""
    os.environ["AMENT_PREFIX_PATH"] = sys.prefix  # where the generators look for their templates
    from rosidl_adapter.msg import convert_msg_to_idl
    from rosidl_generator_c.cli import GenerateC
    from rosidl_generator_py.cli import GeneratePython
    from rosidl_generator_type_description.cli import HashTypeDescription
    from rosidl_typesupport_c.cli import GenerateCTypesupport
    from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport
    from rosidl_typesupport_introspection_c.cli import GenerateIntrospectionCTypesupport

    messages = sorted(path.relative_to(package.source) for path in package.source.glob("msg/*.msg"))
    (share / "msg").mkdir(parents=True)
    with contextlib.redirect_stdout(io.StringIO()):  # the adapter prints the name of each file
        for message in messages:
            shutil.copy(package.source / message, share / message)
            convert_msg_to_idl(package.source, package.name, message, share / "msg")

    idl = [f"{share}:{message.with_suffix('.idl')}" for message in messages]
    includes = [f"{sys.prefix}/share/{name}" for name in package.dependencies]
    hashes = HashTypeDescription("").generate_type_hashes(package.name, idl, includes, share)

    def run(generator: type, folder: str, **options: object) -> None:
        generator("").generate(package.name, idl, includes, output_path=work / folder / package.name, **options)

    run(GenerateC, "c", type_description_files=hashes)
    run(GenerateFastRTPSCTypesupport, "fastrtps_c")
    run(GenerateIntrospectionCTypesupport, "introspection_c")
    run(GenerateCTypesupport, "typesupport_c")
    run(GeneratePython, "py")


def _compile(package: MessagePackage, compilers: Compilers, work: Path, lib: Path, extensions: Path) -> None:
    """Compiles the shared libraries into ``lib`` and Python's extension modules into ``extensions``."""
    lib.mkdir(parents=True)
    name, venv = package.name, Path(sys.prefix)
    headers = [STABLE_ABI, work / "c", work / "fastrtps_c", work / "introspection_c", venv / "include"]
    headers += [folder for folder in sorted((venv / "include").iterdir()) if folder.is_dir()]
    flags = [
        "-O2",
        "-DNDEBUG",
        "-fPIC",
        "-shared",
        "-w",
        "-Werror=implicit-function-declaration",
        "-includestdio.h",  # Jazzy's generator leaves it to Python.h, which has it no more
        *(f"-I{path}" for path in headers),
    ]

    def link(output: Path, folder: str, pattern: str, libraries: list[str]) -> None:
        sources = sorted(map(str, (work / folder / name).rglob(pattern)))
        compiler = compilers.cpp if pattern.endswith(".cpp") else compilers.c
        search = [f"-L{lib}", f"-L{venv / 'lib'}"]
        output_flags = ["-o", str(output), f"-Wl,-soname,{output.name}"]
        command = [*compiler, *flags, *sources, *output_flags, *search, *(f"-l{library}" for library in libraries)]
        subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def library(kind: str, folder: str, pattern: str, libraries: list[str]) -> None:
        of_dependencies = [f"{dependency}__{kind}" for dependency in package.dependencies]
        link(lib / f"lib{name}__{kind}.so", folder, pattern, libraries + of_dependencies)

    c, typesupport_c, py = (f"{name}__rosidl_{kind}" for kind in ("generator_c", "typesupport_c", "generator_py"))
    library("rosidl_generator_c", "c", "*.c", ["rosidl_runtime_c", "rcutils"])
    library("rosidl_typesupport_fastrtps_c", "fastrtps_c", "*.cpp",
            [c, "rosidl_typesupport_fastrtps_c", "rosidl_typesupport_fastrtps_cpp", "fastcdr", "rmw"])  # fmt: skip
    library("rosidl_typesupport_introspection_c", "introspection_c", "*.c", [c, "rosidl_typesupport_introspection_c"])
    library("rosidl_typesupport_c", "typesupport_c", "*.cpp", [c, "rosidl_typesupport_c"])
    c_of_dependencies = [f"{dependency}__rosidl_generator_c" for dependency in package.dependencies]
    library("rosidl_generator_py", "py", "_*_s.c", [c, *c_of_dependencies])
    for typesupport in ("typesupport_c", *(f"typesupport_{kind}" for kind in TYPESUPPORTS)):
        module = f"{name}_s__rosidl_{typesupport}"
        used = [py, c, f"{name}__rosidl_{typesupport}", typesupport_c]
        link(extensions / f"{module}.so", "py", f"_{name}_s.ep.rosidl_{typesupport}.c", used)


def _write_package_index(package: MessagePackage, share: Path) -> None:
    """Writes the manifest and the ament index entries through which ROS tools find a message package."""
    dependencies = "".join(f"\n  <depend>{dependency}</depend>" for dependency in package.dependencies)
    (share / package.name / "package.xml").write_text(f"""\
<?xml version="1.0"?>
<package format="3">
  <name>{package.name}</name>
  <version>{package.version}</version>
  <description>Messages generated from {package.name}/msg by ttt3r_ros, for its pip environment</description>
  <maintainer email="maintainers@ttt3r-ros.example">ttt3r_ros maintainers</maintainer>
  <license>Apache-2.0</license>{dependencies}
  <member_of_group>rosidl_interface_packages</member_of_group>
</package>
""")
    interfaces = sorted(
        str(path.relative_to(share / package.name)) for path in share.glob(f"{package.name}/msg/*.[im]*")
    )
    index = share / "ament_index" / "resource_index"
    for kind, content in (
        ("packages", ""),
        ("package_run_dependencies", ";".join(package.dependencies)),
        ("rosidl_interfaces", "\n".join(interfaces) + "\n"),
    ):
        (index / kind).mkdir(parents=True)
        (index / kind / package.name).write_text(content)
