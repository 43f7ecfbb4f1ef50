from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA
from ttt3r_ros.ros.parameters import GROUPS, Parameters, declare, with_changes, without_effect
from ttt3r_ros.settings import declarations

CONFIG = Path(__file__).parent.parent.parent / "config" / "ttt3r.yaml"


@pytest.fixture
def make_node():
    context = rclpy.Context()
    rclpy.init(context=context)
    nodes = []

    def make(**values) -> Node:
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        nodes.append(Node("parameters", context=context, parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    context.try_shutdown()


def test_no_two_groups_declare_the_same_name():
    names = [item.name for group in GROUPS for item in declarations(group)]
    assert len(names) == len(set(names)) == len(declarations(Parameters))


@pytest.mark.dds
def test_declared_values_come_from_the_user(make_node):
    parameters = declare(make_node(max_depth=7.5, update_rule="filt3r", publish_tf=False))
    assert parameters == dataclasses.replace(Parameters(), max_depth=7.5, update_rule="filt3r", publish_tf=False)


@pytest.mark.dds
def test_each_is_described_and_ranged(make_node):
    node = make_node()
    declare(node)
    types = {bool: Parameter.Type.BOOL, int: Parameter.Type.INTEGER, float: Parameter.Type.DOUBLE}
    for item in declarations(Parameters):
        descriptor = node.describe_parameter(item.name)
        assert descriptor.type == types.get(type(item.default), Parameter.Type.STRING).value
        assert item.help in descriptor.description
        assert item.unit in descriptor.description
        assert descriptor.read_only == item.read_only
        assert all(choice in descriptor.additional_constraints for choice in item.choices)
        if item.range:
            (span,) = descriptor.integer_range or descriptor.floating_point_range
            assert (span.from_value, span.to_value) == item.range


@pytest.mark.dds
def test_a_whole_number_serves_where_a_number_is_wanted(make_node):
    node = make_node(max_depth=8)
    assert declare(node).max_depth == 8.0
    assert node.get_parameter("max_depth").type_ == Parameter.Type.DOUBLE
    changed = with_changes(Parameters(), [Parameter("max_depth", value=9)])
    assert changed.max_depth == 9.0
    assert isinstance(changed.max_depth, float)


BAD = [
    ({"max_depth": "far"}, "max_depth must be a number, not 'far'"),
    ({"max_depth": True}, "max_depth must be a number, not True"),
    ({"max_depth": 20_000}, "max_depth must be from 0.01 to 10000 m, not 20000"),
    ({"max_depth": float("nan")}, "max_depth must be from 0.01 to 10000 m, not nan"),
    ({"min_confidence": 0.2}, "min_confidence must be from 1 to 1000000, not 0.2"),
    ({"point_stride": 2.0}, "point_stride must be a whole number"),
    ({"publish_tf": "yes"}, "publish_tf must be true or false"),
    ({"point_stride": 0}, "point_stride must be from 1 to 64, not 0"),
    ({"depth_encoding": "8UC1"}, "must be one of 32FC1, 16UC1, not '8UC1'"),
    ({"image_transport": "theora"}, "must be one of raw, compressed"),
    ({"precision": "int4"}, "must be one of auto, float32, bfloat16, float16, int8"),
    ({"device": "gpu"}, "device must be auto, cpu, cuda or cuda:N, not 'gpu'"),
    ({"odom_frame": "/odom"}, "without spaces or a leading slash"),
    ({"base_frame": ""}, "base_frame is ''"),
    ({"base_frame": "odom"}, "they must differ"),
    ({"frame_prefix": "/robot1/"}, "without spaces or a leading slash"),
    ({"camera_pose": "0.1 0 0.3"}, "camera_pose is '0.1 0 0.3': give six numbers, x y z .m. roll pitch yaw .rad."),
    ({"camera_pose": "a b c d e f"}, "give six numbers"),
    ({"camera_pose": "0 0 0 0 0 inf"}, "give six numbers"),
    ({"camera_pose": "1e6 0 0 0 0 0"}, "no number of it, in meters and radians, may be larger than 1000"),
    ({"save_folder": "a\0b"}, "save_folder is"),
    *(
        ({"save_name": name}, "save_name is")
        for name in ("../ttt3r", "/etc/passwd", "", ".", "..", "a/b", "a\nb", "x" * 90)
    ),
]


@pytest.mark.dds
@pytest.mark.parametrize(("values", "words"), BAD)
def test_bad_values_at_start(make_node, values, words):
    with pytest.raises(UserError, match=words):
        declare(make_node(**values))


@pytest.mark.parametrize(("values", "words"), BAD)
def test_bad_values_while_running(values, words):
    changes = [Parameter(name, value=value) for name, value in values.items()]
    with pytest.raises(UserError) as error:
        with_changes(Parameters(), changes)
    assert re.search(words, str(error.value)) or "cannot change while the node is running" in str(error.value)


def test_parameters_that_others_disable_are_said():
    assert without_effect(Parameters()) == []
    assert without_effect(Parameters(localization_only=True, publish_map_frame=True, reset_interval=9)) == []
    assert without_effect(Parameters(localization_only=True, reset_interval=9, reset_policy="never")) == [
        "parameter localization_only has no effect, since publish_map_frame is false",
        "parameter reset_interval has no effect, since reset_policy is never",
    ]


def test_changes_replace_what_they_name_and_leave_others_alone():
    changes = [Parameter("max_depth", value=5.0), Parameter("use_sim_time", value=True)]
    assert with_changes(Parameters(), changes) == dataclasses.replace(Parameters(), max_depth=5.0)


def test_a_prefix_is_that_of_all_frames_and_is_put_there_once():
    ours = Parameters(frame_prefix="robot1/", base_frame="robot1/base", camera_frame="camera")
    ours = dataclasses.replace(ours, max_depth=5.0)
    assert (ours.odom_frame, ours.base_frame, ours.camera_frame) == ("robot1/odom", "robot1/base", "robot1/camera")


def test_a_camera_pose_is_that_of_a_camera_that_looks_forward_and_has_optical_axes():
    assert Parameters().T_base_camera is None
    np.testing.assert_array_equal(Parameters(camera_pose="0 0 0 0 0 0").T_base_camera, T_BASE_CAMERA)
    T = Parameters(camera_pose=f"0.1, 0.2, 0.3, 0, {np.pi / 6}, {np.pi / 2}").T_base_camera
    # on the left of the robot, looking left and down by 30 degrees: z is the direction of view, x points backward
    np.testing.assert_allclose(T[:3, 3], [0.1, 0.2, 0.3])
    np.testing.assert_allclose(T[:3, 2], [0, np.cos(np.pi / 6), -0.5], atol=1e-12)
    np.testing.assert_allclose(T[:3, 0], [1, 0, 0], atol=1e-12)
