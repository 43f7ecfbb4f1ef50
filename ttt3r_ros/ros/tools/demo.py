"""``demo``: runs a camera, the node and a consumer as three processes on one DDS domain, and writes the results."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rclpy.executors import SingleThreadedExecutor
from rich.console import Console

from ttt3r_ros.cli.arguments import at_least_one, folder_path, positive
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.cli.parser import CommandParser
from ttt3r_ros.errors import UserError, what_was_meant
from ttt3r_ros.evaluation.demo_report import FILES, claim_folder, show_metrics, sparse_note, write_report
from ttt3r_ros.evaluation.run_log import RunLog
from ttt3r_ros.ros.domain import free_domain
from ttt3r_ros.ros.initialize import initialized
from ttt3r_ros.ros.parameters import Parameters
from ttt3r_ros.ros.tools.backlog import frames_answered
from ttt3r_ros.ros.tools.processes import ChildProcess
from ttt3r_ros.ros.tools.recorder import Recorder
from ttt3r_ros.settings import add_options, declarations
from ttt3r_ros.sources import open_source
from ttt3r_ros.sources.dataset import image_folders
from ttt3r_ros.sources.synthetic import is_synthetic
from ttt3r_ros.sources.timeline import Timeline
from ttt3r_ros.viewer.notice import write_notice
from ttt3r_ros.viewer.page import write_page

_SYNTHETIC = "synthetic:seed=1,length={frames},fps=10,width=512,height=384"
_SYNTHETIC_FRAMES = 200

#: Long enough to load large weights from a slow disk.
_START_TIMEOUT_S = 600.0

#: After the last image, the node is done when it has been silent this long, or for several of its frame periods.
_SILENCE_S = 2.5
_SILENCE_PERIODS = 4.0
_FIRST_PERIOD_S = 5.0  # assumed frame period before the second pose
_ROUNDING = 1e-9  # poses of images that follow on none differ by no more [m], [rad]
_SETTLE_S = 1.5  # silence after the last image's odometry, for its other outputs and the diagnostics
_MOUNT_S = 5.0  # at most so much longer, for the mount that TF publishes once: discovery may take some seconds


class _StillError(UserError):
    """The demo ran, but its input shows no motion."""


_VIEWER = [sys.executable, "-m", "ttt3r_ros.ros.tools.view"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done or stopped, 1 no motion, 2 for a user error."""
    options = _parser().parse_args(argv)
    console = Console()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        _run(options, console, stop)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, _StillError) else 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "demo",
        description="Play a source to the node and write the results: trajectory, pictures, cloud, metrics.",
    )
    add = parser.add_argument
    add("--input", default="", help="a video, a folder of images, a rosbag2 or synthetic[:...] (default: synthetic)")
    add("--topic", default="", help="image topic of a bag that has several")
    add_options(parser, Parameters, only=("weights",))
    add("--frames", type=at_least_one, metavar="N", help=f"play N frames (default: all, or {_SYNTHETIC_FRAMES})")
    add("--fps", type=positive, help="number frames at this rate instead of using the input's own times")
    add("--output", type=folder_path, default=Path("demo_output"), help="folder for the results (default %(default)s)")
    add(
        "--view",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show the run in the browser while it lasts, on 127.0.0.1 (default)",
    )
    add("--param", action="append", default=[], metavar="NAME:=VALUE", help="parameter of the node; may be repeated")
    return parser


def _run(options: argparse.Namespace, console: Console, stop: threading.Event) -> None:
    begun = time.monotonic()
    Parameters(weights=options.weights).check_weights_file()
    _check_parameters(options.param)
    specification = options.input or _SYNTHETIC.format(frames=options.frames or _SYNTHETIC_FRAMES)
    source = open_source(specification, topic=options.topic or None, fps=options.fps)
    total = Timeline(max_frames=options.frames).length(source)
    if _is_recording(options):
        folder = Path(os.path.expanduser(specification)).resolve()
        if folder.is_dir() and options.output.resolve() in image_folders(folder):
            raise UserError(f"{options.output} is the folder of the recording itself; choose another --output")
    claim_folder(options.output)
    if (options.output / "metrics.json").exists():
        console.print(
            f"note:   replacing what an earlier run has left in {options.output}/ (with make, OUTPUT=FOLDER keeps it)",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    (options.output / "view.log").unlink(missing_ok=True)  # of an earlier run

    with TemporaryDirectory() as scratch, ExitStack() as until_the_end:
        summary = Path(scratch) / "summary.json"
        # a separate domain, limited to this machine, so that the demo and nearby robots do not affect each other
        environment = {
            "ROS_DOMAIN_ID": str(free_domain()),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": scratch,
            "PYTHONUNBUFFERED": "1",
        }
        os.environ.update(environment)
        os.environ.pop("ROS_STATIC_PEERS", None)
        if server := os.environ.pop("ROS_DISCOVERY_SERVER", ""):
            console.print(
                f"note: not using the discovery server {server}: the demo stays on this machine", markup=False
            )
        player_command = _player_command(specification, options, summary)
        failure: UserError | None = None
        with initialized(), ExitStack() as running:
            recorder = Recorder(is_live=not _is_recording(options))
            running.callback(recorder.destroy_node)
            node = running.enter_context(ChildProcess("node", _node_command(options), options.output / "node.log"))
            console.print(f"node:   starting, log in {node.log}", highlight=False)
            _wait_for_node(recorder, node, console, stop)
            viewer = _Viewer(options.output, Path(scratch) / "notice") if options.view else None
            if viewer is not None:
                until_the_end.enter_context(viewer)
            console.print(f"camera: {source.name}" + (f", {total} frames" if total else ""), highlight=False)
            with ChildProcess("player", player_command, options.output / "player.log") as player:
                try:
                    _record(recorder, node, player, viewer, summary, total, console, stop)
                except UserError as error:
                    failure = error
                is_stopped = stop.is_set()
                if viewer is not None and (failure is not None or is_stopped):
                    level = "ended" if failure is None else "error"
                    viewer.say(level, f"{_outcome(failure, is_stopped)}; writing the results so far")
        frames_in = _frames_played(summary)

        recording = recorder.recording
        if failure is not None and not recording.poses:
            raise failure
        if is_stopped:
            console.print("stopped; writing the results so far")
        note = "" if is_synthetic(specification) else recording.diagnostics.get("weights_note", "")
        _write_results(options.output, recording, frames_in, note, console, begun)
        if failure is not None:
            raise failure
        _raise_if_still(recording, options.output / "node.log")
        if viewer is not None:
            viewer.announce(console, otherwise="not ready before the run was over")
            page = options.output / "view.html"
            where = f"the run is in {page}" if page.exists() else f"the results are in {options.output}/"
            viewer.say("ended" if is_stopped else "ok", f"{_outcome(failure, is_stopped)}: {where}")


def _outcome(failure: BaseException | None, is_stopped: bool) -> str:
    """Return in a few words, on one line, how the demo has ended."""
    if failure is not None:
        return ": ".join(["the demo has failed", *str(failure).splitlines()[:1]]).rstrip(":")
    return "the demo was stopped" if is_stopped else "the demo is done"


def _write_results(
    output: Path, recording: RunLog, frames_in: int | None, note: str, console: Console, begun: float
) -> None:
    """Write the files and say what is in them."""
    begins = partial(console.print, end=" ", highlight=False)  # one line, which grows
    begins("drawing")
    metrics = write_report(output, recording, frames_in=frames_in, note=note, begins=begins)
    begins("view.html")
    console.print()
    _write_page(output, recording, console)
    show_metrics(metrics, console)
    for sentence in filter(None, (note, metrics.dropped_note, sparse_note(recording))):
        console.print(f"note: {sentence}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"written to {output}/ after {time.monotonic() - begun:.0f} s:", highlight=False)
    for name, words in FILES.items():
        if (output / name).exists():
            console.print(f"  {name:<15} {words}", highlight=False, soft_wrap=True)


def _check_parameters(given: Sequence[str]) -> None:
    """Check the names of the node's parameters, of which it would only log the unknown ones.

    Raises:
        UserError: there is no such parameter, or no value.
    """
    known = [item.name for item in declarations(Parameters)]
    for text in given:
        name, given_value, _ = text.partition(":=")
        if not given_value:
            raise UserError(f"--param wants NAME:=VALUE, got {text!r}")
        if name not in known:
            raise UserError(
                f"the node has no parameter {name!r}: {what_was_meant(name, known) or 'see docs/parameters.md'}"
            )


def _is_recording(options: argparse.Namespace) -> bool:
    return bool(options.input) and not is_synthetic(options.input)


class _Viewer(ChildProcess):
    """Shows the run in the browser meanwhile. If it cannot, that is said, and the demo goes on."""

    def __init__(self, output: Path, notice: Path) -> None:
        """Start it; logs go into the folder of the results, and what it is told to say into the notice."""
        super().__init__("viewer", [*_VIEWER, "--notice", str(notice)], output / "view.log")
        self._notice = notice
        self._is_announced = False

    def __exit__(self, *raised: object) -> None:
        """Stop it; if something was raised, that is the page's last word."""
        if isinstance(failure := raised[1], BaseException):
            self.say("error", _outcome(failure, is_stopped=False))
        self.stop()

    def say(self, level: str, message: str) -> None:
        """Show a sentence in place of the node's state, also when the page ends."""
        with suppress(OSError):
            write_notice(self._notice, level, message)

    def announce(self, console: Console, *, otherwise: str = "") -> None:
        """Print once where the page is, or why there is none; while that is not known, what is given, if anything."""
        if not self._is_announced and (news := self.news() or otherwise):
            console.print(f"view:   {news}", highlight=False)
            self._is_announced = True

    def news(self) -> str:
        """Return where the page is, or why there is none; an empty string before that is known."""
        lines = self.log.read_text(errors="replace").splitlines()
        news = next((line for line in lines if line.startswith("open http")), "")
        if not news:
            try:
                self.raise_if_dead()
            except UserError as error:
                news = f"not available, the demo goes on without: {error}"
        return news


def _write_page(output: Path, recording: RunLog, console: Console) -> None:
    """Write view.html, if there is something to see and viser is installed."""
    if not len(recording.moments):
        return
    moments = sorted(recording.moments, key=lambda moment: moment.stamp_ns)
    try:
        write_page(output / "view.html", recording, moments, title="ttt3r demo")
    except UserError as error:
        console.print(f"no view.html: {error}", highlight=False)


def _node_command(options: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "ttt3r_ros.ros.node", "--ros-args"]
    command += ["-r", "image:=/camera/image_raw", "-r", "camera_info:=/camera/camera_info"]
    if _is_recording(options):
        command += ["-p", "drop_frames:=false"]
    if options.weights:
        command += ["-p", f"weights:={Path(os.path.expanduser(options.weights)).resolve()}"]
    for parameter in options.param:
        command += ["-p", parameter]
    return command


def _player_command(specification: str, options: argparse.Namespace, summary: Path) -> list[str]:
    command = [sys.executable, "-m", "ttt3r_ros.ros.tools.play", specification, "--mount-tf"]
    # a recording is played whole, as fast as the node follows, so that only its own times tell how fast it moves, and
    # no two images have the same time, by which the results are kept
    command += ["--stamps", "increasing", "--follow-node"] if _is_recording(options) else ["--stamps", "now"]
    # each subscription is discovered separately: that for the ground truth may be found well after the node's
    command += ["--wait-for-truth-listener", "--summary", str(summary)]
    if not options.input:
        command += ["--preload"]  # so that rendering does not slow down the node, whose latency is measured
    if options.topic:
        command += ["--topic", options.topic]
    if options.frames:
        command += ["--max-frames", str(options.frames)]
    if options.fps:
        command += ["--fps", str(options.fps)]
    return command


def _wait_for_node(recorder: Recorder, node: ChildProcess, console: Console, stop: threading.Event) -> None:
    """Wait until every output of the node has been discovered, so that the recorder does not miss the first frame."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    with console.status("waiting for the node"):
        while not stop.is_set() and not recorder.hears_the_node():
            node.raise_if_dead()
            if time.monotonic() > deadline:
                raise UserError(f"the node was not ready within {_START_TIMEOUT_S:.0f} s; see {node.log}")
            time.sleep(0.1)


def _record(
    recorder: Recorder,
    node: ChildProcess,
    player: ChildProcess,
    viewer: _Viewer | None,
    summary: Path,
    total: int | None,
    console: Console,
    stop: threading.Event,
) -> None:
    """Listen until the player has ended and the node is done, or until stopped."""
    executor = SingleThreadedExecutor()
    executor.add_node(recorder)
    recording = recorder.recording
    deadline = time.monotonic() + _START_TIMEOUT_S
    ended_at: float | None = None
    with FrameProgress("demo", total, console) as progress:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
            node.raise_if_dead()
            player.raise_if_failed()
            if viewer is not None:
                viewer.announce(console)
            now = time.monotonic()
            if not recording.poses and now > deadline:
                raise UserError(f"the node published no odometry within {_START_TIMEOUT_S:.0f} s; see {node.log}")
            progress.update(_frames_received(recorder), _status(recorder, player.log))
            if player.exit_code() is not None:
                if ended_at is None and viewer is not None:
                    viewer.say("ok", "all images have been played; writing the results")
                ended_at = ended_at or now
                until = max(ended_at, recorder.heard_at) + _silence_s(recorder, _frames_played(summary))
                if now > until + (_MOUNT_S if recorder.lacks_mount() else 0.0):
                    break
    executor.remove_node(recorder)
    recorder.finish()
    if not recording.poses and not stop.is_set():
        why = node.last_warning()
        raise UserError(f"the node published no odometry for any image{f': {why}' if why else ''} (log: {node.log})")


def _frames_received(recorder: Recorder) -> int:
    recording = recorder.recording
    return max(len(recording.true_poses), int(recording.diagnostics.get("frames_received", 0)), len(recording.poses))


def _status(recorder: Recorder, player_log: Path) -> str:
    recording = recorder.recording
    if not recording.poses:
        if _frames_received(recorder):
            return "waiting for the node"
        said = player_log.read_text(errors="replace")
        if not re.search(r"^preparing", said, re.MULTILINE):  # a recording's images are ready
            return "the camera is starting"
        counts = re.findall(r"^preparing: (\S+) frames", said, re.MULTILINE)
        return "the camera is preparing its images" + (f": {counts[-1]}" if counts else "")
    status = f"{len(recording.poses)} poses"
    rate_hz = recording.diagnostics.get("output_rate_hz", "0.00")
    if rate_hz != "0.00":  # unknown before the second pose
        status += f" ({rate_hz} a second)"
    latencies = recording.latencies_ms[-50:]
    return f"{status}, {np.median(latencies):.0f} ms after their images" if latencies else status


def _frames_played(summary: Path) -> int | None:
    """Return how many frames the player has published; None before its end."""
    try:
        return int(json.loads(summary.read_text())["frames"])
    except (OSError, ValueError):
        return None


def _silence_s(recorder: Recorder, frames_played: int | None) -> float:
    """Return how long the node must be silent to be considered done [s]."""
    recording = recorder.recording
    if frames_played is not None and max(len(recording.poses), frames_answered(recording.diagnostics)) >= frames_played:
        return _SETTLE_S
    stamps = sorted(recording.poses)[-20:]
    period_s = float(np.median(np.diff(stamps))) * 1e-9 if len(stamps) > 1 else _FIRST_PERIOD_S
    return max(_SILENCE_S, _SILENCE_PERIODS * period_s)


def _raise_if_still(recording: RunLog, log: Path) -> None:
    """Check that the path is one.

    Raises:
        _StillError: all poses are the same, since no image follows on another.
    """
    poses, segment = list(recording.poses.values()), recording.diagnostics.get("segment", "")
    begins_often = segment.isdigit() and 2 * (int(segment) + 1) > len(poses)  # unlike a camera that stands still
    if len(poses) > 1 and begins_often and all(np.allclose(pose, poses[0], rtol=0.0, atol=_ROUNDING) for pose in poses):
        why = recording.diagnostics.get("segment_reason", "")
        raise _StillError(
            f"no image follows on another{f' ({why})' if why else ''}, so nothing is known of the camera's motion; "
            f"give images of one size, less than max_frame_gap apart (log: {log})"
        )


if __name__ == "__main__":
    sys.exit(main())
