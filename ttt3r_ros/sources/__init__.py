"""Image sources: video files, folders of images, bags and the synthetic world. No ROS."""

from __future__ import annotations

import os
from pathlib import Path

from ttt3r_ros.errors import UserError
from ttt3r_ros.sources.frame import Source, SourceFrame, SourceReport
from ttt3r_ros.sources.images import SUFFIXES as IMAGE_SUFFIXES
from ttt3r_ros.sources.images import ImageFolderSource
from ttt3r_ros.sources.rosbag import RosbagSource, is_rosbag
from ttt3r_ros.sources.synthetic import SyntheticSource, is_synthetic
from ttt3r_ros.sources.video import VideoSource

__all__ = ["Source", "SourceFrame", "SourceReport", "open_source"]


def open_source(specification: str, *, topic: str | None = None, fps: float | None = None) -> Source:
    """Open the source that the user named.

    Args:
        specification: path of a video file, a folder of images (also a sequence of TUM RGB-D, EuRoC, 7-Scenes or
            ScanNet), a rosbag2 (folder, .mcap, .db3) or ROS 1 bag, or ``synthetic[:key=value,...]``.
        topic: image topic of a bag.
        fps: number the frames at this rate instead of using the source's own times.

    Returns:
        The source, known to be readable; no frames have been read yet.

    Raises:
        UserError: the source cannot be read as images, or an option does not apply to it.
    """
    if fps is not None and not fps > 0:
        raise UserError(f"a frame rate must be greater than 0, got {fps}")
    if is_synthetic(specification):
        _refuse_topic(topic, "the synthetic world")
        return SyntheticSource(specification, fps=fps)
    path = Path(os.path.expanduser(specification))  # unlike Path's, it leaves an unknown user as it is
    if "://" in specification or path.is_char_device():
        raise UserError(
            f"'{specification}' is a live camera, not a recording; start its ROS driver, and the node with its topic"
        )
    if not specification or not path.exists():
        raise UserError(
            f"'{specification}' does not exist; give a video file, a folder of images, a rosbag2 or 'synthetic'"
        )
    if is_rosbag(path):
        if fps is not None:
            raise UserError("a bag has its own times, so --fps does not apply; leave it out")
        return RosbagSource(path, topic=topic)
    _refuse_topic(topic, str(path))
    if path.is_dir():
        return ImageFolderSource(path, fps=fps)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f"{path} is a single image; give the folder that contains it, or a video")
    return VideoSource(path, fps=fps)


def _refuse_topic(topic: str | None, where: str) -> None:
    if topic is not None:
        raise UserError(f"--topic selects the images of a bag, but {where} is not a bag; leave it out")
