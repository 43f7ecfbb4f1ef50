"""Whatever arrives on its topics, the node lives, answers valid images alone, and says what was wrong.

``FUZZ_MESSAGES=10000`` sends that many images over DDS rather than a sample of them.
"""

from __future__ import annotations

import array
import itertools
import os
from collections import Counter

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from harness import Bench, header, node, picture
from hostile_messages import (
    WHOLE,
    Case,
    camera_infos,
    compressed_images,
    data,
    images,
    jpeg_that_claims,
    png_that_claims,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage
from waiting import send_until, wait_until

from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.camera.preprocess import check_image, pixel_map
from ttt3r_ros.camera.sample_range import SampleRange
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.ros.conversions import camera_info_message, read_message
from ttt3r_ros.ros.diagnostics import resident_megabytes

MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "200"))  #: over DDS, of either kind
BATCH = 25  #: of them between two good frames
MAX_SENTENCE = 700

every = settings(derandomize=True, database=None, suppress_health_check=list(HealthCheck))
many = settings(every, max_examples=max(1000, MESSAGES // 2))
over_dds = settings(every, max_examples=MESSAGES // BATCH, phases=[Phase.generate])


def refusal(case: Case) -> str | None:
    """Return the sentence in which the functions that read a message refuse it; None if they take it."""
    try:
        stamp = case.message.header.stamp
        if (stamp.sec, stamp.nanosec) != (0, 0) or case.message.header.frame_id == "odom":  # none is chosen yet
            return "refused by its header"
        image, _ = read_message(case.message, SampleRange())
        check_image(image)
        pixel_map(image.shape[1], image.shape[0], image_size=64)
    except UserError as error:
        return str(error)
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    if isinstance(case.message, Image):
        assert image.shape[:2] == (case.message.height, case.message.width)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [images(), compressed_images()], ids=["raw", "compressed"])
def test_a_thousand_images_are_read_or_refused_in_one_sentence(strategy):
    kinds = Counter()

    @many
    @given(strategy)
    def check(case: Case) -> None:
        sentence = refusal(case)
        assert (sentence is None) == case.valid, (sentence, case)
        if sentence is not None:
            assert len(sentence) < MAX_SENTENCE
            assert "\n" not in sentence
        kinds[case.valid] += 1

    check()
    assert min(kinds[True], kinds[False]) > 40, kinds  # few noise images are valid


@pytest.mark.slow
@settings(every, max_examples=350)
@given(camera_infos(), st.booleans())
def test_camera_infos_are_read_or_refused_in_one_sentence(info: CameraInfo, rectified: bool):
    refused = None
    try:
        camera = Calibration.from_message(info).camera(rectified=rectified, image_size=(80, 60))
    except UserError as error:
        refused = str(error)
    if refused is not None:
        assert len(refused) < MAX_SENTENCE
        assert "\n" not in refused
        return
    K = camera.intrinsics.matrix()
    assert np.isfinite(K).all()
    assert K[0, 0] > 0
    assert K[1, 1] > 0
    if camera.rectifier is not None:
        assert camera.rectifier.rectify(picture(0)).any()


@pytest.mark.parametrize(
    "content",
    [png_that_claims(30_000, 30_000), png_that_claims(16_000, 16_000, 0), jpeg_that_claims(60_000, 60_000)],
    ids=["png", "grey png", "jpeg"],
)
def test_a_decompression_bomb_costs_nothing(content):
    before = resident_megabytes()
    with pytest.raises(UserError, match="megapixels"):
        read_message(CompressedImage(format="png", data=array.array("B", content)), SampleRange())
    assert resident_megabytes() - before < 50


def test_a_camera_info_of_a_giant_costs_nothing():
    giant = camera_info_message(Intrinsics(70.0, 70.0, 40.0, 30.0, 2**32 - 1, 2**32 - 1), header(1, "camera"))
    giant.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    before = resident_megabytes()
    with pytest.raises(UserError, match="but the images have 80x60"):
        Calibration.from_message(giant).camera(rectified=False, image_size=(80, 60))
    assert resident_megabytes() - before < 50


@pytest.fixture(scope="module", params=["raw", "compressed"])
def fed(request, weights, tmp_path_factory):
    """A node that takes every frame in turn, its topic, and a bench that hears its odometry."""
    log = tmp_path_factory.mktemp("fed") / "node.log"
    arguments = {"weights": weights, "drop_frames": "false", "wait_for_transform": 0.05, "rectified_images": "false"}
    with node(log, "-r", "__ns:=/fed", image_transport=request.param, **arguments) as running:
        bench = Bench("hostile")
        bench.hear("odom", "depth/image", "diagnostics", namespace="/fed")
        kind, topic = (Image, "/fed/image") if request.param == "raw" else (CompressedImage, "/fed/image/compressed")
        publisher = bench.publisher(kind, topic, 200)
        infos = bench.publisher(CameraInfo, "/fed/camera_info", 10)
        wait_until(publisher.get_subscription_count, "the node to listen")
        wait_until(infos.get_subscription_count, "the node to listen to camera_info")
        yield Fed(running, bench, publisher, infos)
        bench.close()
        assert running.process.poll() is None
        assert "Traceback" not in running.text()


class Fed:
    def __init__(self, running, bench: Bench, publisher, infos) -> None:
        self.running, self.bench, self.publisher, self.infos = running, bench, publisher, infos
        self.expected: list[int] = []  #: stamps that must be answered, in order
        self.sent = 0
        self._clock = itertools.count(1_000_000_123, 100_000_000)
        send_until(self._send_good, lambda: self.bench.received["odom"], "the first answer")  # discovery is over then
        self.good()  # the answers of all before have come

    def send(self, case: Case) -> None:
        stamp = case.message.header.stamp
        if (stamp.sec, stamp.nanosec) == (0, 0):
            now = next(self._clock)
            stamp = case.message.header.stamp = Time(sec=now // 10**9, nanosec=now % 10**9)
        if case.valid:
            self.expected.append(stamp.sec * 10**9 + stamp.nanosec)
        self.publisher.publish(case.message)
        self.sent += 1

    def good(self) -> None:
        """Send an image that nothing is wrong with, and wait for its answer."""
        self._send_good()
        stamp = self.expected[-1]
        wait_until(lambda: stamp in self.bench.stamps("odom")[-BATCH:], "an answer")

    def facts(self) -> dict[str, str]:
        """Return what the node says of itself from now on."""
        self.bench.received["diagnostics"].clear()
        return wait_until(lambda: self.bench.diagnostics("fed/ttt3r: stream"), "diagnostics")

    def _send_good(self) -> None:
        if self.publisher.msg_type is Image:
            message = Image(height=60, width=80, encoding="rgb8", step=240, data=array.array("B", bytes(14400)))
        else:
            message = CompressedImage(format="png", data=array.array("B", WHOLE[".png", (80, 60)]))
        message.header.frame_id = "camera"
        self.send(Case(message, True))


@pytest.mark.dds
def test_a_fault_that_goes_on_is_said_once(fed: Fed):
    """Also where sizes and counts in its sentence differ from frame to frame."""
    failed, sizes, before = int(fed.facts()["frames_failed"]), range(30, 60), len(fed.running.text())
    for size in sizes:
        for message in faulty(fed.publisher.msg_type, size):
            message.header.frame_id = "camera"
            fed.send(Case(message, False))
    fed.good()
    for words in ("an image is damaged" if fed.publisher.msg_type is Image else "'jpeg'", "'squid'"):
        assert words in fed.running.text()
        assert sum(words in line for line in fed.running.text()[before:].splitlines() if "[WARN]" in line) <= 1, words
    assert int(fed.facts()["frames_failed"]) == failed + 2 * len(sizes)


def faulty(kind: type, size: int) -> list[Image | CompressedImage]:
    if kind is CompressedImage:
        return [CompressedImage(format=name, data=data(size, 1)) for name in ("jpeg", "squid")]
    cut_off = Image(height=60, width=size, encoding="rgb8", step=3 * size, data=data(100 + size, 1))
    return [cut_off, Image(height=60, width=size, encoding="squid", step=3 * size)]


@pytest.mark.dds
def test_only_valid_images_over_dds_are_answered(fed: Fed):
    """And each fault is said once: after hundreds of them the log is a page, and the counters have not lost any."""
    strategy = images() if fed.publisher.msg_type is Image else compressed_images()

    @over_dds
    @given(st.lists(strategy, min_size=BATCH, max_size=BATCH), st.lists(camera_infos(), max_size=5))
    def send(cases: list[Case], infos: list[CameraInfo]) -> None:
        before = len(fed.bench.received["odom"])
        fed.expected.clear()
        pending = list(infos)
        for case in cases:
            fed.send(case)
            if pending:
                fed.infos.publish(pending.pop())
        fed.good()
        assert fed.bench.stamps("odom")[before:] == fed.expected
        for odometry in fed.bench.received["odom"][before:]:
            position, covariance = odometry.pose.pose.position, odometry.pose.covariance
            assert np.isfinite([position.x, position.y, position.z, *covariance]).all()

    fed.bench.received["odom"] = fed.bench.received["odom"][-1:]
    broken = fed.facts()["callbacks_failed"]
    send()
    assert fed.sent > MESSAGES
    assert fed.running.process.poll() is None
    # sizes and frames change all the time, so that the last image may have interrupted the path
    wait_until(lambda: fed.facts()["state"] in ("tracking", "interrupted"), "the state of the last image")
    values = fed.facts()
    lines = [line for line in fed.running.text().splitlines() if "[ttt3r]" in line or "[fed.ttt3r]" in line]
    assert len(lines) < 250
    assert len(set(map(_without_time, lines))) > 0.5 * len(lines)
    assert int(values["frames_failed"]) > fed.sent // 4
    assert values["callbacks_failed"] == broken
    assert all(len(line) < MAX_SENTENCE + 200 for line in lines)


def _without_time(line: str) -> str:
    return line.split("] ", 2)[-1]


@pytest.mark.dds
def test_the_largest_image_is_answered(fed: Fed):
    """8192 x 8192 pixels; one row more is refused."""
    if fed.publisher.msg_type is CompressedImage:
        pytest.skip("of a compressed image the header is refused, see above")
    for height, valid in ((8192, True), (8193, False)):
        message = Image(height=height, width=8192, encoding="mono8", step=8192)
        message.data = array.array("B", bytes(height * 8192))
        message.header.frame_id = "camera"
        fed.send(Case(message, valid))
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        fed.good()
        assert (stamp in fed.bench.stamps("odom")) == valid


@pytest.mark.dds
def test_a_broken_tf_message_is_survived(fed: Fed):
    """tf2 raises at a transform of before 1970; that is another node's fault, and no reason to end."""
    tf = fed.bench.publisher(TFMessage, "/tf", 10)
    wait_until(tf.get_subscription_count, "the node to listen to /tf")
    broken = TransformStamped(header=header(0, "map"), child_frame_id="thing")
    broken.header.stamp = Time(sec=-5)
    broken.transform.rotation.w = 1.0
    for _ in range(20):
        tf.publish(TFMessage(transforms=[broken]))
    fed.good()
    assert fed.running.process.poll() is None
    wait_until(lambda: int(fed.bench.diagnostics("fed/ttt3r: stream")["callbacks_failed"]) in (0, 20), "diagnostics")
    assert fed.running.text().count("a message could not be handled") <= 1  # none where tf2 is not the underlay's


@pytest.mark.dds
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-such-option"], "--no-such-option"),
        (["-p", "use_sim_time:=perhaps"], "use_sim_time"),
        (["-p", "qos_overrides./image.subscription.reliability:=perhaps"], "qos_overrides./image.subscription"),
        (["-p", "qos_overrides./ttt3r/odom.publisher.depth:=-4"], "qos_overrides./ttt3r/odom.publisher.depth -4"),
        (["-p", "image_size:=8"], "image_size must be 0 or at least 32 px, not 8"),
        (["-p", "device:=cuda:77"], "cuda:77"),
        (["-p", "weights:={folder}"], "folder"),
        (["-p", "weights:={folder}/truncated.safetensors"], "truncated.safetensors"),
        (["-p", "weights:={folder}/text.pth"], "text.pth"),
        (["-p", "weights:={folder}/locked.safetensors"], "locked.safetensors"),
    ],
)
def test_a_start_that_cannot_be_ends_in_one_sentence(start, weights, tmp_path, arguments, words):
    (tmp_path / "truncated.safetensors").write_bytes(weights.read_bytes()[:-1000])
    (tmp_path / "text.pth").write_text("these are no weights\n" * 100)
    (tmp_path / "locked.safetensors").write_bytes(weights.read_bytes())
    (tmp_path / "locked.safetensors").chmod(0)
    if "{folder}/locked.safetensors" in arguments[-1] and os.access(tmp_path / "locked.safetensors", os.R_OK):
        pytest.skip("this user may read everything")
    status, said = start(*(argument.format(folder=tmp_path) for argument in arguments))
    assert status == 2
    (sentence,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert words in sentence
    assert "Traceback" not in said
    assert "/project/src" not in sentence


@pytest.mark.dds
def test_unknown_parameters_are_said_with_what_was_meant(weights, tmp_path):
    """And so is a file of parameters for other nodes."""
    path = tmp_path / "robot.yaml"
    path.write_text("/robot/ttt3r:\n  ros__parameters: {max_depth: 3.0}\n")
    typos = {"max_dept": 3.0, "colour": "red", "qos_overrides./imag.subscription.depth": 3, "use_sim_time": "false"}
    with node(tmp_path / "log", "-r", "__ns:=/typos", "--params-file", str(path), weights=weights, **typos) as alone:
        text = alone.text()
    assert "'max_dept' is unknown and has no effect: did you mean max_depth?" in text
    assert "'colour' is unknown and has no effect: no parameter has a similar name" in text
    assert "'qos_overrides./imag.subscription.depth' is unknown" in text
    assert text.count("is unknown and has no effect") == 3
    assert text.count(f"{path} has no section for /typos/ttt3r (it has /robot/ttt3r)") == 1
