"""The node from outside: a camera publishes, a consumer listens, both over DDS."""

from __future__ import annotations

import itertools
import threading
from functools import partial

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from harness import OUTPUTS, Bench, header, node, picture
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterDescriptor, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from sensor_msgs_py import point_cloud2
from std_srvs.srv import SetBool, Trigger
from tf2_ros import StaticTransformBroadcaster
from waiting import PATIENCE, settled, wait_until

from ttt3r_ros.geometry import R_BODY_OPTICAL, Intrinsics, T_from_pose, inverse
from ttt3r_ros.model.update import RULES
from ttt3r_ros.ros.conversions import camera_info_message, transform_message
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.covariance_file import write_covariance

pytestmark = pytest.mark.dds


@pytest.fixture(scope="module")
def running(weights, tmp_path_factory):
    log = tmp_path_factory.mktemp("node") / "node.log"
    with node(log, weights=weights, wait_for_transform=0.2) as running:
        yield running
        assert "Traceback" not in running.text()


@pytest.fixture
def bench(running):
    """A bench whose camera goes on in time where the test before left it: one camera, one clock."""
    bench = Bench()
    bench.next_stamp = next(_starts) * 1_000_000_000 + 123
    bench.listen_to_all()
    bench.wait_for_node()
    # discovery is complete, both ways, when every output has come once
    while not all(bench.received[name] for name in [*OUTPUTS, "tf", "diagnostics"]):
        bench.send_until_answered(step=0.6)
        assert len(bench.received["odom"]) < 500, {name: len(bench.received[name]) for name in OUTPUTS}
    yield bench
    bench.close()


_starts = itertools.count(1000, 1000)

#: What the node promises to publish, spelt out.
PROMISED = {
    "/ttt3r/odom": "nav_msgs/msg/Odometry",
    "/ttt3r/path": "nav_msgs/msg/Path",
    "/ttt3r/rgb/image": "sensor_msgs/msg/Image",
    "/ttt3r/rgb/camera_info": "sensor_msgs/msg/CameraInfo",
    "/ttt3r/depth/image": "sensor_msgs/msg/Image",
    "/ttt3r/depth/camera_info": "sensor_msgs/msg/CameraInfo",
    "/ttt3r/confidence/image": "sensor_msgs/msg/Image",
    "/ttt3r/points": "sensor_msgs/msg/PointCloud2",
    "/ttt3r/map_points": "sensor_msgs/msg/PointCloud2",
    "/ttt3r/transition_event": "lifecycle_msgs/msg/TransitionEvent",
    "/tf": "tf2_msgs/msg/TFMessage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}


def pose_of(odometry: Odometry) -> np.ndarray:
    p, q = odometry.pose.pose.position, odometry.pose.pose.orientation
    return T_from_pose([p.x, p.y, p.z], [q.w, q.x, q.y, q.z])


def test_the_graph_shows_the_promised_topics_and_types(bench):
    of_every_node = {"/rosout", "/parameter_events"}

    def published() -> dict[str, list[str]]:
        found = bench.node.get_publisher_names_and_types_by_node("ttt3r", "/")
        return {topic: types for topic, types in found if topic not in of_every_node}

    promised = {topic: [kind] for topic, kind in PROMISED.items()}
    assert settled(published, promised) == promised


def test_every_output_of_a_frame_has_its_stamp_and_frame(bench):
    (stamp,) = bench.exchange(step=0.6)
    for name in OUTPUTS:
        message = bench.get(name, stamp)
        in_odom = name in ("odom", "path")
        assert message.header.frame_id == ("odom" if in_odom else "camera"), name
    odometry = bench.get("odom", stamp)
    assert odometry.child_frame_id == "base_link"
    transform = bench.get("tf", stamp).transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("odom", "base_link")
    p, t = odometry.pose.pose.position, transform.transform.translation
    assert (p.x, p.y, p.z) == (t.x, t.y, t.z)


def test_tf_leaves_before_everything_else(bench):
    for stamp in bench.exchange(5):
        wait_until(partial(bench.sent_at.get, ("tf", stamp)), "the transform")
        for name in ("odom", "depth/image", "points"):
            bench.get(name, stamp)
            assert bench.sent_at["tf", stamp] <= bench.sent_at[name, stamp], name


def test_rgb_depth_and_camera_info_are_of_one_camera(bench):
    (stamp,) = bench.exchange()
    rgb, depth, confidence = (bench.get(f"{name}/image", stamp) for name in ("rgb", "depth", "confidence"))
    infos = [bench.get(f"{name}/camera_info", stamp) for name in ("rgb", "depth")]
    cloud = bench.get("points", stamp)
    for message in (rgb, depth, confidence, *infos, cloud):
        assert (message.width, message.height) == (64, 48)
    assert (rgb.encoding, depth.encoding, confidence.encoding) == ("rgb8", "32FC1", "32FC1")
    assert infos[0] == infos[1]
    assert np.frombuffer(confidence.data, np.float32).min() >= 1.0


def test_the_cloud_projects_onto_the_pixels_of_depth_and_rgb(bench):
    (stamp,) = bench.exchange()
    info, cloud = bench.get("depth/camera_info", stamp), bench.get("points", stamp)
    depth = np.frombuffer(bench.get("depth/image", stamp).data, np.float32).reshape(48, 64)
    rgb = np.frombuffer(bench.get("rgb/image", stamp).data, np.uint8).reshape(48, 64, 3)
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "rgb", "confidence"]
    points = point_cloud2.read_points(cloud).reshape(48, 64)
    assert np.array_equal(points["z"], depth, equal_nan=True)
    known = np.isfinite(depth)
    assert known.any()
    xyz = np.stack([points[axis] for axis in "xyz"], axis=-1).astype(np.float64)
    pixels = xyz @ np.array(info.p).reshape(3, 4)[:, :3].T
    v, u = np.mgrid[0:48, 0:64]
    np.testing.assert_allclose((pixels[..., 0] / pixels[..., 2])[known], u[known], atol=1e-3)
    np.testing.assert_allclose((pixels[..., 1] / pixels[..., 2])[known], v[known], atol=1e-3)
    packed = np.ascontiguousarray(points["rgb"]).view(np.uint32)
    assert np.array_equal(np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=-1), rgb)


def test_covariances_are_well_formed(bench):
    for stamp in bench.exchange(3):
        odometry = bench.get("odom", stamp)
        for covariance in (odometry.pose.covariance, odometry.twist.covariance):
            matrix = np.array(covariance).reshape(6, 6)
            assert np.count_nonzero(matrix - np.diag(np.diag(matrix))) == 0
            assert np.isfinite(matrix).all()
            assert (np.diag(matrix) > 0).all()
            assert (np.diag(matrix) < 9999).all()
            assert matrix[0, 0] != 1.0


def test_the_twist_is_the_motion_between_stamps_in_the_base_frame(bench):
    first, second = bench.exchange(2, step=0.25)
    before, after = bench.get("odom", first), bench.get("odom", second)
    T = inverse(pose_of(after)) @ pose_of(before)
    linear = after.twist.twist.linear
    np.testing.assert_allclose([linear.x, linear.y, linear.z], -T[:3, 3] / 0.25, atol=1e-6)


def test_best_effort_and_reliable_consumers_both_hear_us(bench):
    bench.listen("/ttt3r/odom", Odometry, ReliabilityPolicy.BEST_EFFORT, key="odom, best effort")
    bench.listen("/ttt3r/points", PointCloud2, ReliabilityPolicy.BEST_EFFORT, key="points, best effort")

    def heard():
        (stamp,) = bench.exchange()
        return stamp in bench.stamps("odom, best effort") and stamp in bench.stamps("points, best effort")

    wait_until(heard, "the best-effort consumer to hear both")
    assert bench.stamps("odom")[-1] == bench.stamps("odom, best effort")[-1]


def test_best_effort_cameras_are_heard(running, bench):
    other = Bench("best_effort_camera")
    other.publisher(Image, "/image", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    other.wait_for_node()
    other.next_stamp = bench.next_stamp
    bench.send_until_answered(by=other)
    other.close()


def test_reset_under_load_answers_and_the_stream_goes_on(bench):
    stop = threading.Event()
    stamps: list[int] = []

    def stream():
        while not stop.is_set():
            stamps.extend(bench.exchange())

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        segment = int(wait_until(bench.diagnostics, "diagnostics")["segment"])
        resets = 0
        while resets < 15 or (len(stamps) <= 5 and thread.is_alive()):
            resets += 1
            response = bench.call(Trigger, "/ttt3r/reset")
            assert response.success
            assert "the pose continues" in response.message
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert len(stamps) > 5
    assert bench.stamps("odom")[-len(stamps) :] == stamps
    poses = [pose_of(bench.get("odom", stamp)) for stamp in stamps]
    assert not any(np.allclose(pose, np.eye(4)) for pose in poses)
    wait_until(lambda: int(bench.diagnostics()["segment"]) > segment, "a new segment in the diagnostics")
    assert bench.diagnostics()["level"] == "0"


def test_reset_odometry_returns_to_the_origin(bench):
    bench.exchange(3)
    assert bench.call(Trigger, "/ttt3r/reset_odometry").success
    first, second = bench.exchange(2, step=0.6)
    np.testing.assert_allclose(pose_of(bench.get("odom", first)), np.eye(4), atol=1e-9)
    assert not np.allclose(pose_of(bench.get("odom", second)), np.eye(4), atol=1e-3)
    assert len(bench.get("path", first).poses) == 1


def test_a_changed_image_size_starts_a_segment(bench):
    bench.exchange(2)
    (stamp,) = bench.exchange(image=picture(1, width=60, height=80))
    depth = bench.get("depth/image", stamp)
    assert (depth.width, depth.height) == (48, 64)
    assert bench.get("odom", stamp).twist.covariance[0] > 1000  # the motion up to this frame is not known


def test_an_image_without_frame_id_is_of_the_camera_frame(bench):
    (stamp,) = bench.exchange(frame_id="")
    assert bench.get("depth/image", stamp).header.frame_id == "camera_optical_frame"


def test_pausing_and_resuming(bench):
    assert bench.call(SetBool, "/ttt3r/enable", SetBool.Request(data=False)).success
    paused = bench.send()
    bench.received["diagnostics"].clear()  # the image has come by the time of the next
    wait_until(lambda: bench.diagnostics().get("state") == "paused", "diagnostics to say paused")
    assert bench.call(SetBool, "/ttt3r/enable", SetBool.Request(data=True)).success
    (stamp,) = bench.exchange()
    assert paused not in bench.stamps("odom")
    assert stamp in bench.stamps("odom")


def test_an_assumed_mount_is_said_once_and_published(running, bench):
    bench.exchange()
    assert running.text().count("assuming a forward-looking camera at the origin of base_link") >= 1
    assert running.text().count("no transform base_link -> camera after") == 1


def set_parameters(bench: Bench, **values: object):
    kinds = {bool: (1, "bool_value"), int: (2, "integer_value"), float: (3, "double_value"), str: (4, "string_value")}
    request = SetParameters.Request()
    for name, value in values.items():
        number, field = kinds[type(value)]
        request.parameters.append(ParameterMessage(name=name, value=ParameterValue(type=number, **{field: value})))
    return bench.call(SetParameters, "/ttt3r/set_parameters", request).results


def test_parameters_change_while_running(bench):
    try:
        assert all(
            r.successful for r in set_parameters(bench, depth_encoding="16UC1", point_stride=3, publish_tf=False)
        )
        bench.exchange(2)  # one may have been under way
        (stamp,) = bench.exchange()
        depth, cloud = bench.get("depth/image", stamp), bench.get("points", stamp)
        assert depth.encoding == "16UC1"
        assert len(depth.data) == 64 * 48 * 2
        assert (cloud.width, cloud.height) == (22, 16)
        assert stamp not in bench.stamps("tf")
    finally:
        set_parameters(bench, depth_encoding="32FC1", point_stride=1, publish_tf=True)
    (stamp,) = bench.exchange()
    bench.get("tf", stamp)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"depth_encoding": "8UC1"}, "must be one of 32FC1, 16UC1, not '8UC1'"),
        ({"point_stride": 0}, "point_stride"),
        ({"update_rule": "sgd"}, f"must be one of {', '.join(RULES)}"),
        ({"odom_frame": "map"}, "odom_frame cannot change while the node is running"),
    ],
)
def test_bad_parameters_are_refused_in_words(bench, values, words):
    (result,) = set_parameters(bench, **values)
    assert not result.successful
    assert words in result.reason
    assert bench.exchange()


def test_a_whole_number_is_taken_for_a_float_which_stays_one(bench):
    def described() -> ParameterDescriptor:
        request = DescribeParameters.Request(names=["max_depth"])
        return bench.call(DescribeParameters, "/ttt3r/describe_parameters", request).descriptors[0]

    before = described()
    assert before.type == ParameterType.PARAMETER_DOUBLE
    try:
        for value, successful in ((8, True), ("far", False), (20_000, False)):
            (result,) = set_parameters(bench, max_depth=value)
            assert result.successful == successful, result.reason
            assert described() == before
        request = GetParameters.Request(names=["max_depth"])
        (value,) = bench.call(GetParameters, "/ttt3r/get_parameters", request).values
        assert (value.type, value.double_value) == (ParameterType.PARAMETER_DOUBLE, 8.0)
    finally:
        set_parameters(bench, max_depth=30.0)


def test_diagnostics_say_how_it_goes(bench):
    bench.exchange(5)
    before = len(bench.received["diagnostics"])
    wait_until(lambda: len(bench.received["diagnostics"]) > before + 1, "fresh diagnostics")
    values = bench.diagnostics()
    assert values["state"] == "tracking"
    assert float(values["latency_ms_p50"]) > 0
    assert float(values["latency_ms_p99"]) >= float(values["latency_ms_p50"])
    assert 0 < float(values["beta_min"]) <= float(values["beta_mean"]) <= float(values["beta_max"]) <= 1
    assert float(values["rss_mb"]) > 50
    assert int(values["frames_processed"]) <= int(values["frames_received"])
    assert values["weights"].endswith("tiny.safetensors")


def test_a_second_instance_follows_its_own_camera_info(weights, tmp_path, bench):
    """Through scale and crop, beside the first one."""
    camera = Intrinsics(70.0, 72.0, 41.0, 28.0, 80, 60)
    with node(tmp_path / "log", "-r", "__ns:=/calibrated", weights=weights, wait_for_transform=0.1):
        bench.listen("/calibrated/ttt3r/depth/camera_info", CameraInfo, key="info")
        bench.listen("/calibrated/ttt3r/odom", Odometry, key="calibrated")
        infos = bench.publisher(CameraInfo, "/calibrated/camera_info")
        bench.wait_for_node("/calibrated/image")
        wait_until(infos.get_subscription_count, "the node to listen to camera_info")

        def answer():
            infos.publish(camera_info_message(camera, header(bench.next_stamp, "camera")))
            bench.send_until_answered("calibrated", topic="/calibrated/image")
            return bench.received["info"] and bench.received["info"][-1].k[0] == pytest.approx(0.8 * 70.0)

        wait_until(answer, "camera_info that follows ours")
        K = bench.received["info"][-1].k
        expected = [0.8 * 70.0, 0, 0.8 * 41.5 - 0.5, 0, 0.8 * 72.0, 0.8 * 28.5 - 0.5, 0, 0, 1]
        np.testing.assert_allclose(K, expected, atol=1e-9)
        answered = bench.stamps("calibrated")
        (stamp,) = bench.exchange()
        assert bench.stamps("calibrated") == answered
        assert not {stamp, *bench.stamps("odom")} & set(answered)
        wait_until(lambda: bench.diagnostics("calibrated/ttt3r: stream"), "diagnostics of the second")
        wait_until(lambda: bench.diagnostics()["state"] == "tracking", "diagnostics of the first")


def test_the_mount_is_looked_up_in_tf(weights, tmp_path, bench):
    """A camera that looks to the robot's left: what it sees as forward is the robot's left."""
    T_base_camera = np.eye(4)
    R_left = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    T_base_camera[:3, :3], T_base_camera[:3, 3] = R_left @ R_BODY_OPTICAL, [0.2, 0.1, 0.5]
    broadcaster = StaticTransformBroadcaster(bench.node)
    transform: TransformStamped = transform_message(T_base_camera, header(0, "robot"), "left_camera")
    broadcaster.sendTransform(transform)
    bench.listen("/mounted/ttt3r/odom", Odometry, key="mounted")
    options = {"weights": weights, "base_frame": "robot", "odom_frame": "odom_of_robot"}
    with node(tmp_path / "m", "-r", "__ns:=/mounted", wait_for_transform=PATIENCE, **options) as mounted:
        bench.send_until_answered("mounted", topic="/mounted/image", frame_id="left_camera")
        assert "assuming a camera" not in mounted.text()
        # the same images twice, from the origin: through this mount, and through a camera taken for the base itself
        bench.call(Trigger, "/mounted/ttt3r/reset_odometry")
        stamps: list[int] = []
        images = [picture(seed) for seed in range(3)]
        for image in images:
            stamps += bench.exchange(image=image, topic="/mounted/image", frame_id="left_camera", key="mounted")
        bench.call(Trigger, "/ttt3r/reset_odometry")
        for stamp, image in zip(stamps, images, strict=True):
            (again,) = bench.exchange(image=image, frame_id="base_link")
            T_world_camera = pose_of(bench.get("odom", again))
            expected = T_base_camera @ T_world_camera @ inverse(T_base_camera)
            np.testing.assert_allclose(pose_of(bench.get("mounted", stamp)), expected, atol=1e-5)
            assert bench.get("mounted", stamp).child_frame_id == "robot"


def test_a_missing_camera_and_a_wrong_qos_are_said(weights, tmp_path, bench):
    with node(
        tmp_path / "log",
        "-r",
        "__ns:=/deaf",
        "-p",
        "qos_overrides./deaf/image.subscription.reliability:=reliable",
        weights=weights,
    ) as deaf:
        wait_until(lambda: "no image has arrived on /deaf/image: nothing publishes" in deaf.text(), "a word in the log")
        status = wait_until(lambda: bench.diagnostics("deaf/ttt3r: stream"), "diagnostics")
        wait_until(
            lambda: "/deaf/image" in bench.diagnostics("deaf/ttt3r: stream")["message"], "a word in the diagnostics"
        )
        assert status["frames_received"] == "0"
        bench.publisher(Image, "/deaf/image", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
        message = wait_until(
            lambda: (m := bench.diagnostics("deaf/ttt3r: stream")["message"]).find("QoS") > 0 and m, "the mismatch"
        )
        assert "/bench" in message


def test_the_covariance_follows_the_constants_in_a_file(weights, tmp_path):
    file = tmp_path / "covariance.json"
    write_covariance(
        file, CovarianceModel(network_metres_per_second=100.0), {"weights": "other.safetensors", "fingerprint": "other"}
    )
    with node(
        tmp_path / "log", "-r", "__ns:=/vague", weights=weights, covariance_file=file, wait_for_transform=0.0
    ) as vague:
        assert "was fitted to other weights ('other.safetensors')" in vague.text()
        bench = Bench()
        try:
            bench.listen_to_all("/vague")
            bench.wait_for_node("/vague/image")
            bench.send_until_answered(topic="/vague/image")
            (stamp,) = bench.exchange(topic="/vague/image")
            assert bench.get("odom", stamp).pose.covariance[0] > 1.0  # a few centimetres with those of the package
        finally:
            bench.close()
