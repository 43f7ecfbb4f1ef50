from __future__ import annotations

import numpy as np
import pytest
import torch
from rule_weights import TINY, rule_network

from ttt3r_ros.camera.preprocess import normalize
from ttt3r_ros.geometry import T_from_pose
from ttt3r_ros.model.network import POINTS_WORLD
from ttt3r_ros.model.update import Brake, Ttt3r
from ttt3r_ros.protocols.images import cropped, squeezed
from ttt3r_ros.protocols.predictors import NodePredictor, PredictorSpec, PublishedPredictor


def photos(count: int, height: int = 50, width: int = 70) -> list[np.ndarray]:
    return [np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8) for i in range(count)]


def poses(predictor: PublishedPredictor, count: int = 7) -> np.ndarray:
    return np.array([answer.T_world_camera for answer in predictor.predict(photos(count), range(count), "pose")])


def naive_chain(network, rule, interval: int, count: int) -> np.ndarray:
    """Return poses of segments that are run one by one and chained by the last pose of each."""
    found, chain, inputs = [], np.eye(4), [normalize(cropped(photo, 64)) for photo in photos(count)]
    for start in range(0, count, interval):
        state = None
        again = [inputs[start - 1]] if start else []  # the last frame once more, its answer dropped
        segment = []
        for image in again + inputs[start : start + interval]:
            with torch.inference_mode():
                prediction, state = network.step(image, state, rule=rule, outputs=set())
            segment.append(T_from_pose(prediction.translation[0].numpy(), prediction.quaternion[0].numpy()))
        found += [chain @ T for T in segment[len(again) :]]
        chain = chain @ segment[-1]
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [Ttt3r(), Brake()], ids=lambda rule: rule.name)
@pytest.mark.parametrize("interval", [0, 3, 1])
def test_segments_are_chained_by_their_poses_alone(rule, interval):
    network = rule_network(TINY)
    found = poses(PublishedPredictor(network, rule, interval, 64))
    np.testing.assert_allclose(found, naive_chain(network, rule, interval or 7, 7), atol=1e-5)


def test_nothing_is_carried_to_another_sequence():
    predictor = PublishedPredictor(rule_network(TINY), Ttt3r(), 0, 64)
    assert np.array_equal(poses(predictor), poses(predictor))


def test_points_are_the_other_heads_and_depth_is_the_own_frames_z():
    network = rule_network(TINY)
    predictor = PublishedPredictor(network, Ttt3r(), 0, 64)
    (photo,) = photos(1, 48, 64)
    image = normalize(torch.from_numpy(photo).permute(2, 0, 1).contiguous())
    with torch.inference_mode():
        expected, _ = network.step(image, None, outputs={POINTS_WORLD, "points_camera"})
    (answer,) = predictor.predict([photo], [0], "reconstruction")
    np.testing.assert_array_equal(answer.points, expected.points_world[0].numpy())
    (answer,) = predictor.predict([photo], [0], "depth")
    np.testing.assert_array_equal(answer.depth, expected.points_camera[0, ..., 2].numpy())


def test_poses_are_of_cropped_images_and_depth_is_of_squeezed_ones():
    network = rule_network(TINY)
    predictor = PublishedPredictor(network, Ttt3r(), 0, 64)
    (photo,) = photos(1)  # 64x46 after scaling
    expected = {}
    for name, load in (("pose", cropped), ("depth", squeezed)):
        with torch.inference_mode():
            expected[name], _ = network.step(normalize(load(photo, 64)), None, outputs={"points_camera"})
    (pose,), (depth,) = (list(predictor.predict([photo], [0], task)) for task in ("pose", "depth"))
    np.testing.assert_allclose(pose.T_world_camera[:3, 3], expected["pose"].translation[0].numpy())
    np.testing.assert_array_equal(depth.depth, expected["depth"].points_camera[0, ..., 2].numpy())
    assert not np.allclose(expected["pose"].translation, expected["depth"].translation)


def test_the_node_says_which_part_of_the_image_it_saw():
    predictor = PredictorSpec(settings="node", device="cpu", max_speed=0.0).make()
    assert isinstance(predictor, NodePredictor)
    answers = list(predictor.predict(photos(2, 436, 1024), [0, 10**8], "depth"))
    assert answers[0].depth.shape == (80, 192)
    assert answers[0].region == (0, 5, 1024, 431)  # 1 of 82 rows is cut at either end
