from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.parameters import Parameters, declare, with_changes

CONFIG = Path(__file__).parent.parent.parent / "config" / "ttt3r.yaml"

#: Every name of the interface, as users know it.
NAMES = [
    "odom_frame",
    "base_frame",
    "camera_frame",
    "publish_tf",
    "image_transport",
    "wait_for_transform",
    "path_max_size",
    "depth_encoding",
    "min_confidence",
    "max_depth",
    "point_stride",
    "device",
    "precision",
    "weights",
    "image_size",
    "update_rule",
    "reset_interval",
    "drop_frames",
    "max_frame_gap",
]


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


def test_every_name_of_the_interface_exists():
    assert set(NAMES) <= {item.name for item in dataclasses.fields(Parameters)}


def test_the_shipped_file_holds_every_parameter_at_its_default():
    values = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]
    assert Parameters(**values) == Parameters()
    assert set(values) == {item.name for item in dataclasses.fields(Parameters)}


@pytest.mark.dds
def test_declared_values_come_from_the_user(make_node):
    parameters = declare(make_node(max_depth=7.5, update_rule="filt3r", publish_tf=False))
    assert parameters == dataclasses.replace(Parameters(), max_depth=7.5, update_rule="filt3r", publish_tf=False)


@pytest.mark.dds
def test_each_is_described_and_ranged(make_node):
    node = make_node()
    declare(node)
    for item in dataclasses.fields(Parameters):
        descriptor = node.describe_parameter(item.name)
        assert descriptor.description == item.metadata["description"]
        assert descriptor.read_only == item.metadata["read_only"]
        if item.metadata["between"]:
            (span,) = descriptor.integer_range or descriptor.floating_point_range
            assert (span.from_value, span.to_value) == item.metadata["between"]


BAD = [
    ({"max_depth": "far"}, "max_depth must be a number with a decimal point, such as 2.0, not 'far'"),
    ({"max_depth": 20}, "max_depth must be a number with a decimal point"),
    ({"max_depth": float("nan")}, "max_depth is nan"),
    ({"point_stride": 2.0}, "point_stride must be a whole number"),
    ({"publish_tf": "yes"}, "publish_tf must be true or false"),
    ({"point_stride": 0}, "point_stride is 0: it must be from 1 to 64"),
    ({"depth_encoding": "8UC1"}, "choose one of 32FC1, 16UC1"),
    ({"image_transport": "theora"}, "choose one of raw, compressed"),
    ({"precision": "int4"}, "choose one of auto, float32, bfloat16, float16, int8"),
    ({"device": "gpu"}, "choose auto, cpu, cuda or cuda:N"),
    ({"odom_frame": "/odom"}, "without spaces or a leading slash"),
    ({"base_frame": ""}, "base_frame is ''"),
    ({"base_frame": "odom"}, "they must differ"),
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
    assert words in str(error.value) or "cannot change while the node runs" in str(error.value)


def test_changes_replace_what_they_name_and_leave_others_alone():
    changes = [Parameter("max_depth", value=5.0), Parameter("use_sim_time", value=True)]
    assert with_changes(Parameters(), changes) == dataclasses.replace(Parameters(), max_depth=5.0)
