"""``play``: publishes a video, a folder of images, a bag or the synthetic world as a camera."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeAlias

from rich.console import Console
from sensor_msgs.msg import CompressedImage, Image

from ttt3r_ros.cli.arguments import at_least_one, file_path, name, not_negative, positive
from ttt3r_ros.cli.folders import write_json
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.cli.parser import CommandParser
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray
from ttt3r_ros.ros.initialize import initialized
from ttt3r_ros.ros.ros_arguments import parse
from ttt3r_ros.ros.tools.backlog import AHEAD, Backlog
from ttt3r_ros.ros.tools.pacing import Pacer, Prefetch
from ttt3r_ros.ros.tools.player import CameraOptions, Player, image_to_publish
from ttt3r_ros.sources import Source, open_source
from ttt3r_ros.sources.synthetic import usual_options
from ttt3r_ros.sources.timeline import TimedFrame, Timeline

#: Number of frames prepared ahead; more than the synthetic world renders at once.
_AHEAD = 8

#: Sources whose stamps start at zero start here instead, since zero means "no stamp" in ROS and "latest" in TF [ns].
_FIRST_STAMP_NS = 1_000_000_000

#: Time between two images that do not belong together, with increasing stamps or in a loop; the node notices it [ns].
_GAP_NS = 5_000_000_000

#: Passes of a loop that have fewer frames are not announced.
_LEAST_OF_A_PASS = 3

#: Longest wait for the last images to arrive [s].
_FLUSH_S = 5.0

#: Longest wait for an image to leave shared memory before the next one, where the node sets the pace [s]. Fast DDS asks
#: for acknowledgments of small images only every 3 s, and a subscriber that hangs acknowledges none.
_ROOM_S = 0.05

#: How long subscribers that are there already may take to be discovered, and how often to look for them [s].
_DISCOVERY_S, _LOOK_S = 2.0, 0.05

#: Wait after discovering a subscriber, which may not have discovered us yet and drops messages until then [s].
_SETTLE_S = 0.5

#: Frames that are late by more than this share of the time since the first one, but not of less than so long [s], are
#: worth a sentence.
_LATE_SHARE, _LATE_WITHIN_S = 0.1, 5.0

#: A frame and its message.
_Ready: TypeAlias = "tuple[TimedFrame, Image | CompressedImage]"


@dataclass(frozen=True)
class Summary:
    """What was played.

    Attributes:
        frames: number of frames published.
        seconds: time from the first to the last frame [s].
        rate_hz: achieved rate; 0 for fewer than two frames.
    """

    frames: int
    seconds: float
    rate_hz: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 played or stopped, 2 for a user error."""
    arguments = list(sys.argv if argv is None else argv)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        options = parse(_parser(), arguments[1:])
        _check(options)
        source = open_source(options.source, topic=options.topic, fps=options.fps)
        _choose_stamps(options, source)
        with initialized(arguments):
            summary = _play(source, options, stop)
        stopped = ", stopped" if stop.is_set() else ""
        _say(f"published {summary.frames} frames in {summary.seconds:.1f} s ({summary.rate_hz:.2f} Hz){stopped}")
        if options.summary:
            write_json(options.summary, asdict(summary))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "play",
        description="Publish images as a camera: camera/image_raw and camera/camera_info, and ground_truth/odom if"
        " ground truth is known.",
        epilog="Remap names as usual: --ros-args -r camera/image_raw:=/front/image -r __ns:=/robot1",
    )
    add = parser.add_argument
    add(
        "source",
        help="a video file, a folder of images, a rosbag2 (or ROS 1 bag), or the synthetic world, "
        f"synthetic[:KEY=VALUE,...] with the keys {usual_options()} (see docs/inputs.md)",
    )
    add("--topic", help="image topic of a bag that has several")
    add("--rate", type=positive, default=1.0, metavar="FACTOR", help="playback speed (default 1)")
    add("--fps", type=positive, help="number frames at this rate instead of using the source's own times")
    add("--start", type=not_negative, default=0.0, metavar="S", help="skip the first S seconds")
    add("--duration", type=positive, metavar="S", help="play S seconds of the source")
    add("--max-frames", type=at_least_one, metavar="N", help="stop after N frames")
    add(
        "--loop",
        action="store_true",
        help="start again at the end; stamps go on from the last one. With --preload the images are played there and "
        "back, without a jump of the camera; otherwise from the start again, after a pause, and with a gap between "
        f"stamps, of {_GAP_NS // 10**9} s",
    )
    add(
        "--loop-restart",
        action="store_true",
        help="start again from the start at once; stamps jump back to that of the first image, as in a looping bag "
        "(implies --stamps source)",
    )
    add(
        "--stamps",
        choices=("auto", "source", "increasing", "now"),
        default="auto",
        help="source: as recorded; increasing: the same, but where recorded time jumps back it goes on, after a gap of"
        f" {_GAP_NS // 10**9} s; now: time of publishing, spaced as recorded; auto (default): source for bags and"
        " images named by their time, now for sources without recorded times",
    )
    add("--clock", action="store_true", help="publish /clock for use_sim_time (implies --stamps source)")
    add("--frame-id", type=name, default=CameraOptions.frame_id, help="frame_id of the camera (default %(default)s)")
    add(
        "--base-frame",
        type=name,
        default=CameraOptions.base_frame,
        help="child frame of ground_truth/odom: the camera's body axes, x forward, or what --mount-tf mounts it on "
        "(default %(default)s)",
    )
    add(
        "--mount-tf",
        action="store_true",
        help="publish the static transform from --base-frame to --frame-id: the true mount, of a base on the floor, "
        "where a synthetic camera is fixed to a robot (motion=wheeled, turning, reversing, sideways or inverted); "
        "otherwise zeros, a base at the camera. Leave it out beside the node's camera_pose, which TF's mount overrides",
    )
    add("--compressed", action="store_true", help="publish jpeg on camera/image_raw/compressed instead")
    add("--best-effort", action="store_true", help="publish images with best-effort instead of reliable QoS")
    add(
        "--wait-for-subscriber",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="wait for a subscriber, so that no image is lost (default)",
    )
    add(
        "--wait-for-truth-listener",
        action="store_true",
        help="also wait for subscribers of ground_truth/*, if known",
    )
    add(
        "--follow-node",
        action="store_true",
        help="wait for the node ttt3r, so that it processes every image (with its drop_frames:=false)",
    )
    add(
        "--preload",
        action="store_true",
        help="read or render everything before the first image is published; a loop repeats what it has kept in memory",
    )
    add("--summary", type=file_path, metavar="FILE", help="write what was played as JSON")
    return parser


def _choose_stamps(options: argparse.Namespace, source: Source) -> None:
    if options.stamps == "auto":
        own_time = source.recorded_time or options.clock or options.loop_restart
        options.stamps = "source" if own_time else "now"


def _check(options: argparse.Namespace) -> None:
    """Refuse options that contradict each other, or cannot be followed."""
    if options.clock and options.stamps == "now":
        raise UserError("--clock replays the source's own time, which --stamps now ignores; leave out one of them")
    if options.summary and not options.summary.parent.is_dir():
        raise UserError(f"there is no folder {options.summary.parent} for --summary; create it first")
    if options.loop_restart and options.stamps not in ("auto", "source"):
        raise UserError(
            f"--loop-restart makes the source's own stamps jump back, and --stamps {options.stamps} prevents that; "
            "leave out one of them"
        )


def _play(source: Source, options: argparse.Namespace, stop: threading.Event) -> Summary:
    camera = CameraOptions(
        frame_id=options.frame_id,
        base_frame=options.base_frame,
        compressed=options.compressed,
        best_effort=options.best_effort,
        T_base_camera=_mount(source, options),
        publish_mount=options.mount_tf,
        publish_clock=options.clock,
        publish_truth=source.has_truth,
        queue=AHEAD if options.follow_node else CameraOptions.queue,  # all that the node has not answered
    )
    timeline = Timeline(
        start_s=options.start,
        duration_s=options.duration,
        max_frames=options.max_frames,
        loop=options.loop or options.loop_restart,
        restart_stamps=options.loop_restart,
        pause_s=_pause_s(options),
    )
    first = replace(timeline, loop=False) if options.preload else timeline
    # messages are created in the thread as well, because copying pixels and encoding JPEG take time
    frames = ((timed, image_to_publish(timed.frame.image, camera)) for timed in first.frames(source))
    prefetch = Prefetch(frames, ahead=_AHEAD, stop=stop)
    ready: Iterable[_Ready] = prefetch
    turns = False
    player: Player | None = None
    try:
        if options.preload:
            _say(f"preparing all images of {source.name} first (--preload); until then, nobody sees the camera")
            kept = _preload(ready, first.length(source))
            if stop.is_set():
                return Summary(0, 0.0, 0.0)
            turns = timeline.turns([timed.frame for timed, _ in kept])
            ready = _again(kept, timeline, source.rate_hz) if timeline.loop else kept
        player = Player(camera)  # which others see from here on, when everything is ready
        _say(f"{source.name} as {player.image_topic}, {source.rate_hz * options.rate:.4g} Hz")
        if timeline.loop:
            _say(_what_a_loop_does(options, turns=turns))
        if options.wait_for_subscriber:
            _wait_for_subscribers(player, options.wait_for_truth_listener and source.has_truth, stop)
        with FrameProgress("playing", timeline.length(source), Console(stderr=True)) as progress:
            summary = _publish(player, ready, source.rate_hz, options, stop, progress, turns=turns)
        if not stop.is_set():
            player.flush(_FLUSH_S)
        return summary
    finally:
        prefetch.close()
        if player is not None:
            player.destroy_node()


def _mount(source: Source, options: argparse.Namespace) -> FloatArray:
    """Return the mount that others are told of; where they are not, they have to assume one, and so does the truth."""
    T_base_camera = source.T_base_camera if options.mount_tf else None
    return T_BASE_CAMERA if T_base_camera is None else T_base_camera


def _publish(
    player: Player,
    ready: Iterable[_Ready],
    source_rate_hz: float,
    options: argparse.Namespace,
    stop: threading.Event,
    progress: FrameProgress,
    *,
    turns: bool,
) -> Summary:
    pacer = Pacer(options.rate, wait=stop.wait)
    backlog = Backlog(player) if options.follow_node else None
    if backlog is not None:
        backlog.begin(stop)
    count, lap, begun, first_s, last_s, shift_ns, gaps_ns, is_late = 0, 0, 0, 0.0, 0.0, 0, 0, False
    for timed, message in ready:
        is_new, lap = timed.lap != lap, timed.lap
        if count == 0 and timed.stamp_ns < _FIRST_STAMP_NS:
            shift_ns = _FIRST_STAMP_NS
        if options.stamps == "increasing":
            gaps_ns += _GAP_NS if timed.frame.jump and count else 0
            stamp_ns = timed.stamp_ns + timed.frame.shift_ns + gaps_ns + shift_ns
        else:
            stamp_ns = timed.stamp_ns + shift_ns

        def tick(left_ns: int, stamp_ns: int = stamp_ns) -> None:
            player.publish_clock(stamp_ns - left_ns)

        due_ns = pacer.wait_until_due(timed.play_ns, tick if options.clock else None)
        if due_ns is None:
            break
        is_pass, begun = is_new and count - begun >= _LEAST_OF_A_PASS, count if is_new else begun
        if is_pass:
            _say(f"pass {lap + 1}: {'back from the end' if turns and lap % 2 else 'from the start again'}")
        if is_new and not turns:
            player.forget_motion()
        player.publish_clock(stamp_ns)
        stamp_ns = due_ns if options.stamps == "now" else stamp_ns
        player.publish(message, timed.frame, stamp_ns)
        if backlog is not None:
            player.flush(_ROOM_S, linger_s=0.0)
            backlog.add(stamp_ns)
            backlog.wait(stop)
        count += 1
        last_s = time.monotonic()
        first_s = first_s or last_s
        rate_hz = (count - 1) / (last_s - first_s) if last_s > first_s else 0.0
        progress.update(count, f"{rate_hz:.1f} Hz" if rate_hz else "")
        if backlog is None and not is_late and _is_late(pacer, last_s - first_s):
            is_late = True
            cause = "reading or rendering them takes longer; --preload prepares all first, --rate plays more slowly"
            if options.preload:
                cause = "this computer is too busy to send them; end other programs, or let --rate play more slowly"
            wanted = source_rate_hz * options.rate
            _say(f"cannot keep up: {rate_hz:.3g} instead of {wanted:.3g} images per second, since {cause}")
    seconds = last_s - first_s
    return Summary(count, seconds, (count - 1) / seconds if seconds > 0 else 0.0)


def _pause_s(options: argparse.Namespace) -> float:
    """Return how long a loop pauses in the recording's time [s], so that it is at least the gap, also as it passes."""
    if options.loop_restart:
        return 0.0
    rate: float = options.rate if options.stamps == "now" else max(options.rate, 1.0)
    return rate * _GAP_NS * 1e-9


def _what_a_loop_does(options: argparse.Namespace, *, turns: bool) -> str:
    if turns:
        return "--loop: the images are played there and back, so the camera never jumps"
    jumps = "from the end the camera jumps to the start"
    if options.loop_restart:
        return f"--loop-restart: {jumps}, and stamps with it, as in a looping bag; odometry goes on from its last pose"
    instead = "" if options.preload else "; with --preload, the images are played there and back instead"
    return (
        f"--loop: {jumps}, after a pause of {_GAP_NS // 10**9} s that tells the node that it may have moved; odometry "
        f"goes on from its last pose, or from the origin after `call reset_odometry`{instead}"
    )


def _is_late(pacer: Pacer, seconds: float) -> bool:
    return pacer.late_ns * 1e-9 > _LATE_SHARE * max(seconds, _LATE_WITHIN_S)


def _preload(ready: Iterable[_Ready], total: int | None) -> list[_Ready]:
    items = []
    with FrameProgress("preparing", total, Console(stderr=True)) as progress:
        for item in ready:
            items.append(item)
            progress.update(len(items))
    return items


def _again(kept: list[_Ready], timeline: Timeline, rate_hz: float) -> Iterator[_Ready]:
    """Repeat one pass, there and back if possible, with the times that a loop gives it."""
    messages = {id(timed.frame): message for timed, message in kept}
    for timed in timeline.repeated([timed.frame for timed, _ in kept], rate_hz):
        yield timed, messages[id(timed.frame)]


def _wait_for_subscribers(player: Player, with_truth: bool, stop: threading.Event) -> None:
    waits = 0
    while not player.is_heard(with_truth=with_truth) and not stop.wait(_LOOK_S):
        waits += 1
        if waits == round(_DISCOVERY_S / _LOOK_S):  # those who are there have been found by now
            _say(_whom_it_waits_for(player, with_truth))
    stop.wait(_SETTLE_S)


def _whom_it_waits_for(player: Player, with_truth: bool) -> str:
    topics = player.image_topic + (" and of ground_truth" if with_truth else "")
    how = f"-r image:={player.image_topic.removesuffix('/compressed')}"
    how += " -p image_transport:=compressed" if player.options.compressed else ""
    return (
        f"waiting for a subscriber of {topics}, such as `ttt3r --ros-args {how}`"
        " (start at once with --no-wait-for-subscriber)"
    )


def _say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())
