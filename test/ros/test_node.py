"""The node from outside: a camera publishes, a consumer listens, both over DDS."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from harness import OUTPUTS, Bench, header, node, pose_of, setting
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import ParameterDescriptor, ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from sensor_msgs.msg import CameraInfo
from sensor_msgs_py import point_cloud2
from std_srvs.srv import SetBool, Trigger
from waiting import PATIENCE, settled, wait_until

from ttt3r_ros.geometry import Intrinsics, inverse
from ttt3r_ros.model.update import RULES
from ttt3r_ros.ros.conversions import camera_info_message
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.covariance_file import write_covariance

pytestmark = pytest.mark.dds


@pytest.fixture(scope="module")
def running(weights, tmp_path_factory):
    log = tmp_path_factory.mktemp("node") / "node.log"
    with node(log, weights=weights, wait_for_transform=0.2) as running:
        yield running
        assert "Traceback" not in running.text()


@pytest.fixture(scope="module")
def bench(running):
    """A camera and a consumer of everything."""
    bench = Bench()
    bench.listen_to_all()
    bench.wait_for_node()
    # discovery is complete, both ways, when every output has come once
    while not all(bench.received[name] for name in [*OUTPUTS, "tf", "diagnostics"]):
        bench.send_until_answered(step=0.6)
        assert len(bench.received["odom"]) < 500, {name: len(bench.received[name]) for name in OUTPUTS}
    yield bench
    bench.close()


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
    wait_until(lambda: ("tf", stamp) in bench.sent_at, "the time of the transform")
    for name in ("odom", "depth/image", "points"):
        assert bench.sent_at["tf", stamp] <= bench.sent_at[name, stamp], name


def test_the_cloud_projects_onto_the_pixels_of_depth_and_rgb(bench):
    (stamp,) = bench.exchange()
    info, cloud = bench.get("depth/camera_info", stamp), bench.get("points", stamp)
    assert bench.get("rgb/camera_info", stamp) == info
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
    return bench.call(SetParameters, "/ttt3r/set_parameters", setting(**values)).results


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
        ({"max_dept": 3.0}, "parameter 'max_dept' is unknown: did you mean max_depth?"),
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
    """Through scale and crop, beside the first one; and its own constants of the covariance."""
    file = tmp_path / "covariance.json"
    vague = CovarianceModel(network_metres_per_second=100.0)
    write_covariance(file, vague, {"weights": "other.safetensors", "fingerprint": "other"})
    camera = Intrinsics(70.0, 72.0, 41.0, 28.0, 80, 60)
    options = {"weights": weights, "wait_for_transform": 0.1, "covariance_file": file}
    with node(tmp_path / "log", "-r", "__ns:=/calibrated", **options) as calibrated:
        assert "was fitted to other weights ('other.safetensors')" in calibrated.text()
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
        (stamp,) = bench.exchange(topic="/calibrated/image", key="calibrated")
        assert bench.get("calibrated", stamp).pose.covariance[0] > 1.0  # a few centimetres with those of the package
        answered = bench.stamps("calibrated")
        (stamp,) = bench.exchange()
        assert bench.stamps("calibrated") == answered
        assert not {stamp, *bench.stamps("odom")} & set(answered)
        wait_until(lambda: bench.diagnostics("calibrated/ttt3r: stream"), "diagnostics of the second")
        wait_until(lambda: bench.diagnostics()["state"] == "tracking", "diagnostics of the first")
