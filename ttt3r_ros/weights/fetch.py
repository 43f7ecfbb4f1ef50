"""``fetch_weights``: downloads the published weights and converts them.

The weights are not part of this package and have their own non-commercial license, which is shown and must be accepted.
The download continues where an earlier one stopped, and is verified before anything opens it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import ttt3r_ros
from ttt3r_ros.cli.arguments import file_path
from ttt3r_ros.cli.folders import locked_folder
from ttt3r_ros.cli.parser import CommandParser
from ttt3r_ros.cli.progress import byte_progress
from ttt3r_ros.errors import UserError
from ttt3r_ros.weights.download import Mirror, MirrorError, check_url, download, sha256
from ttt3r_ros.weights.published_weights import CUT3R_512_DPT, LICENSE_ID, LICENSE_TEXT, Weights
from ttt3r_ros.weights.signature import is_published

DTYPES = ("float32", "float16", "bfloat16")
_SLACK = 2**26  # disk space to leave free [bytes]


def fetch(
    weights: Weights,
    output: Path,
    *,
    mirrors: Sequence[Mirror],
    dtype: str,
    accepted: bool,
    keep_pth: bool,
    log: Console,
) -> None:
    """Download and convert weights to `output`, unless that file exists already.

    Args:
        weights: which weights to get.
        output: the safetensors file to write.
        mirrors: servers to download from, in the order to try them.
        dtype: of the stored values, one of `DTYPES`.
        accepted: whether the license has already been accepted; if not, the user is asked.
        keep_pth: keep the published file next to the converted one.
        log: console for progress messages.

    Raises:
        UserError: the weights cannot be downloaded, stored or verified, or the license was not accepted.
    """
    if output.exists():
        _check_present(weights, output, dtype, log)
        return
    _accept_license(log, accepted=accepted)
    published = output.with_name(weights.name)
    part = published.with_name(f"{published.name}.part")
    busy = f"another process is writing weights to {output.parent}; wait for it to finish"
    with locked_folder(output.parent, busy):
        _prepare_folder(weights, output, dtype, present=published if published.exists() else part)
        if published.exists():
            log.print(f"using {published}", soft_wrap=True)
            if _checksum(published, log) != weights.sha256:
                raise UserError(f"{published} is damaged or not the published file; move it away and run this again")
        else:
            _download(weights, part, mirrors, log)
            part.replace(published)
        convert(published, output, dtype=dtype, sha256=weights.sha256, license_id=LICENSE_ID, log=log)
        if not keep_pth:
            published.unlink()


def convert(
    source: Path, output: Path, *, dtype: str, log: Console, sha256: str | None = None, license_id: str | None = None
) -> None:
    """Convert a published ``.pth`` to our safetensors format.

    Args:
        source: the published file.
        output: the file to write; must not exist.
        dtype: of the stored values, one of `DTYPES`.
        log: console for progress messages.
        sha256: of the source, stored in the result.
        license_id: SPDX identifier of the weights' license, stored in the result; None if unknown.

    Raises:
        UserError: the source cannot be used or the output cannot be written.
    """
    import torch  # takes seconds to import, and the download does not need it

    from ttt3r_ros.weights.checkpoint import load_checkpoint, save_network

    if output.exists():
        raise UserError(f"{output} already exists; remove it or choose another --output")
    network = load_checkpoint(source, warn=lambda sentence: log.print(f"warning: {sentence}", soft_wrap=True)).network
    provenance = {
        "source": source.name,
        "sha256": sha256,
        "license": license_id,
        "converted_by": f"ttt3r_ros {ttt3r_ros.__version__}",
    }
    stored = getattr(torch, dtype)
    total = sum(value.numel() for value in network.state_dict().values()) * stored.itemsize
    with byte_progress("converting", total, log) as update:
        save_network(network, output, provenance=provenance, dtype=stored, progress=lambda done, _: update(done))


def main(argv: Sequence[str] | None = None, weights: Weights = CUT3R_512_DPT) -> int:
    """Run the command; returns its exit code."""
    options = _parser(weights).parse_args(argv)
    log = Console(stderr=True, markup=False, highlight=False, emoji=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that partial files are cleaned up
    output = Path()
    try:
        if options.url is not None:
            check_url(options.url)
        if options.check:
            return _check(options.check, weights, log)
        output = _output(options.output, options.convert or Path(weights.name), options.dtype)
        if options.convert:
            _convert_own(options.convert, output, options.dtype, weights, log)
        else:
            named = weights.mirrors if options.source == "auto" else {"": weights.mirrors[options.source]}
            fetch(
                weights,
                output,
                mirrors=[Mirror("the given address", options.url)] if options.url else list(named.values()),
                dtype=options.dtype,
                accepted=options.accept_license,
                keep_pth=options.keep_pth,
                log=log,
            )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename or output}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        return 130
    print(f"{output}\nuse it with: ros2 launch ttt3r_ros ttt3r.launch.py weights:={output}")
    print(f"without ROS: make demo WEIGHTS={output}, or reconstruct with --weights {output}")
    return 0


def _parser(weights: Weights) -> argparse.ArgumentParser:
    parser = CommandParser(
        "fetch_weights",
        description=f"Download the published weights {weights.name} ({weights.size / 1e9:.1f} GB), check them, and "
        "convert them to safetensors. Their license is CC BY-NC-SA 4.0: no commercial use.",
    )
    parser.add_argument(
        "--output",
        type=file_path,
        metavar="FILE",
        help="the .safetensors file to write, or a folder for it (default: "
        "$XDG_DATA_HOME/ttt3r_ros or ~/.local/share/ttt3r_ros)",
    )
    parser.add_argument("--accept-license", action="store_true", help="accept the weights' license without being asked")
    parser.add_argument(
        "--source",
        choices=["auto", *weights.mirrors],
        default="auto",
        help="where to download from (default: try each until one works)",
    )
    parser.add_argument("--url", help="download the same file from this https address; it is verified in the same way")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="how to store the weights (default: float32; the others halve the file)",
    )
    parser.add_argument("--keep-pth", action="store_true", help="keep the downloaded .pth next to the converted file")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--convert",
        type=file_path,
        metavar="FILE.pth",
        help="convert this file in the published format; download nothing",
    )
    instead.add_argument(
        "--check",
        type=file_path,
        metavar="FILE",
        help="report what this file is, whether it would load, and what it lacks; download and write nothing; "
        "exit code 0 if it would load, 1 if not",
    )
    return parser


def _check(file: Path, weights: Weights, log: Console) -> int:
    """Print what a file is; return the exit code."""
    refusal = _refusal(file)
    if refusal is None:
        from ttt3r_ros.weights.check import check_file  # imports torch, which takes seconds

    facts = [("file", ascii(str(file)))]
    if file.is_file():
        size, digest = file.stat().st_size, _checksum(file, log)
        whole = f"; the published file of this name has {weights.size}" if file.name == weights.name else ""
        facts.append(("size", f"{size} bytes{whole if size != weights.size else ''}"))
        facts.append(("sha256", f"{digest}{', the published file' if digest == weights.sha256 else ''}"))
    if refusal is None:
        report = check_file(file)
        facts += report.facts
        refusal = report.refusal
    facts.append(("would load", f"no: {refusal}" if refusal else "yes"))
    print("\n".join(f"{name:<12}{value}" for name, value in facts))
    return 1 if refusal else 0


def _refusal(file: Path) -> str | None:
    """Return why a file is no weights file by its first bytes, or None if it may be one."""
    try:
        is_published(file)
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{file} cannot be read: {error.strerror or error}"
    return None


def _output(chosen: Path | None, source: Path, dtype: str) -> Path:
    """Return the file to write."""
    name = source.stem + ("" if dtype == "float32" else f"_{dtype}") + ".safetensors"
    if chosen is None:
        try:
            home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        except RuntimeError as error:
            raise UserError("this user has no home folder to store the weights in; name one with --output") from error
        return Path(home).absolute() / "ttt3r_ros" / name
    if chosen.is_dir():
        return chosen.absolute() / name
    if chosen.suffix != ".safetensors":
        raise UserError(f"--output {chosen} must end in .safetensors or be an existing folder")
    return chosen.absolute()


def _accept_license(log: Console, *, accepted: bool) -> None:
    log.print(LICENSE_TEXT, soft_wrap=True)
    if accepted:
        log.print("Accepted by --accept-license.")
        return
    if not sys.stdin.isatty():
        raise UserError("the weights' license must be accepted; run this in a terminal or add --accept-license")
    try:
        answer = input("Type yes to accept: ")
    except EOFError:
        answer = ""
    if answer.strip().lower() != "yes":
        raise UserError("the weights' license was not accepted, so nothing was downloaded")


def _prepare_folder(weights: Weights, output: Path, dtype: str, present: Path) -> None:
    """Remove the leftovers of a killed conversion from the output's folder, and check the free disk space."""
    for leftover in output.parent.glob(f".{output.name}.*.tmp"):
        leftover.unlink()
    free = shutil.disk_usage(output.parent).free
    missing = weights.size - (present.stat().st_size if present.exists() else 0)
    needed = max(missing, 0) + weights.size // (1 if dtype == "float32" else 2) + _SLACK
    if free < needed:
        raise UserError(
            f"{output.parent} has {free / 1e9:.1f} GB free but the download and its conversion need {needed / 1e9:.1f} "
            "GB; free some space or choose another --output"
        )


def _download(weights: Weights, part: Path, mirrors: Sequence[Mirror], log: Console) -> None:
    for mirror in mirrors:
        log.print(f"downloading {weights.name} from {mirror.name}", soft_wrap=True)
        try:
            with byte_progress("downloading", weights.size, log) as update:
                download(mirror, part, weights.size, progress=update, note=log.print)
            break
        except MirrorError as error:
            if mirror is mirrors[-1]:
                raise
            log.print(str(error), soft_wrap=True)
    if _checksum(part, log) != weights.sha256:
        part.unlink()
        raise UserError(
            "the downloaded file was not the published one (its sha256 differs) and has been removed; run this again, "
            "perhaps with another --source"
        )


def _checksum(path: Path, log: Console) -> str:
    with byte_progress("checking", path.stat().st_size, log) as update:
        return sha256(path, update)


def _check_present(weights: Weights, output: Path, dtype: str, log: Console) -> None:
    """Check that the output already contains exactly these weights."""
    import torch  # takes seconds to import, and the download does not need it

    from ttt3r_ros.weights.native_file import read_native

    other = UserError(f"{output} exists but is not {weights.name} as {dtype}; choose another --output or move it away")
    try:
        present = read_native(output)
    except UserError as error:
        raise other from error
    if present.provenance.get("sha256") != weights.sha256 or present.dtypes != {getattr(torch, dtype)}:
        raise other
    with byte_progress("checking", output.stat().st_size, log) as update:
        intact = present.is_intact(lambda done, _: update(done))
    if not intact:
        raise UserError(f"{output} is damaged; remove it and run this again")
    log.print("already there and verified", soft_wrap=True)


def _convert_own(source: Path, output: Path, dtype: str, weights: Weights, log: Console) -> None:
    """Convert a file that the user has; its license is known only if it is the published file."""
    if output.exists():
        raise UserError(f"{output} already exists; remove it or choose another --output")
    if not source.is_file():
        raise UserError(f"{source} does not exist or is not a file; name a .pth file")
    output.parent.mkdir(parents=True, exist_ok=True)
    digest = _checksum(source, log)
    license_id = LICENSE_ID if digest == weights.sha256 else None
    convert(source, output, dtype=dtype, sha256=digest, license_id=license_id, log=log)


if __name__ == "__main__":
    sys.exit(main())
