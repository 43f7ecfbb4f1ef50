"""The services that save and load: ~/save_state, ~/load_state, ~/save_map and ~/load_map.

Parameters name the files, never a request, and all files are in one folder. A separate thread waits for the disk, so
that neither images nor other services have to; it handles one file at a time.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import qos_profile_parameters
from rclpy.task import Future
from std_srvs.srv import Trigger

from ttt3r_ros.errors import UserError
from ttt3r_ros.mapping.ply import write_ply
from ttt3r_ros.places.map_file import from_bytes as places_from_bytes
from ttt3r_ros.places.map_file import to_parts as places_to_parts
from ttt3r_ros.ros.parameters import Parameters
from ttt3r_ros.ros.pipeline import Pipeline
from ttt3r_ros.ros.save_folder import MAP_SUFFIX, PLACES_SUFFIX, STATE_SUFFIX, SaveFolder
from ttt3r_ros.stream.saved_state import MAX_BYTES, from_bytes, to_bytes
from ttt3r_ros.stream.stream import Stream

Work = Callable[[], str]  #: does the work and returns a sentence that reports it


#: Size above which a file is no map of places: 20,000 keyframes of large images.
MAX_PLACES_BYTES = 8 * 10**9


class _MissingError(UserError):
    """There is no such file yet."""


class Saving:
    """Provides the services."""

    def __init__(self, node: Node, pipeline: Pipeline, parameters: Callable[[], Parameters]) -> None:
        """Create the services that save and load the pipeline's stream and map, under the current parameters.

        Raises:
            UserError: the path of the save_folder is invalid.
        """
        self._node, self._pipeline, self._parameters = node, pipeline, parameters
        self._folder = SaveFolder(parameters().save_folder)
        self._work: queue.SimpleQueue[tuple[Work, Future] | None] = queue.SimpleQueue()
        self._done = node.create_guard_condition(lambda: None)  # wakes the executor so that it resumes its coroutines
        self._thread = threading.Thread(target=self._run, name="saving", daemon=True)
        self._thread.start()
        one_by_one = MutuallyExclusiveCallbackGroup()  # not the node's default group, which must not wait
        for name, work in (
            ("save_state", self._save_state),
            ("load_state", self._load_state),
            ("save_map", self._save_map),
            ("load_map", self._load_map),
        ):
            service = self._service(work)
            deep = qos_profile_parameters  # these take long: by default, an eleventh request pushes out the first
            node.create_service(Trigger, f"~/{name}", service, qos_profile=deep, callback_group=one_by_one)

    def load_at_start(self) -> None:
        """Load the saved state, if it exists, before the first frame.

        Raises:
            UserError: the saved state exists but cannot be used.
        """
        self._at_start("load_at_start", STATE_SUFFIX, self._load_state)

    def load_map_at_start(self) -> None:
        """Load the saved map of places, if it exists, before the first frame.

        Raises:
            UserError: there is no map of places, or the file exists but cannot be used.
        """
        self._at_start("load_map_at_start", PLACES_SUFFIX, self._load_map)

    def stop(self, timeout: float = 1.0) -> bool:
        """Stop the thread; wait at most the timeout [s] for the current file; return whether the thread has ended."""
        self._work.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _at_start(self, parameter: str, suffix: str, load: Work) -> None:
        try:
            self._node.get_logger().info(load())
        except _MissingError:
            self._node.get_logger().warning(
                f"{parameter}: {self._path(suffix)} does not exist yet; starting without it"
            )

    def _service(self, work: Work) -> Callable[[Trigger.Request, Trigger.Response], object]:
        async def answer(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            done: Future = Future()
            self._work.put((work, done))
            await done
            answer: Any = done.result()
            response.success, response.message = answer
            if response.success:
                self._node.get_logger().info(response.message)
            else:
                self._node.get_logger().error(response.message)
            return response

        return answer

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, done = item
            try:
                answer = True, work()
            except UserError as error:
                answer = False, str(error)
            except Exception as error:  # mostly out of memory
                answer = False, f"it failed ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
                self._node.get_logger().debug(traceback.format_exc())
            done.set_result(answer)
            with contextlib.suppress(Exception):  # raised if the node has shut down meanwhile
                self._done.trigger()

    def _save_state(self) -> str:
        def taken(stream: Stream) -> bytes:
            if stream.state.segments.segment < 0:
                raise UserError("there is nothing to save: no image has been tracked yet")
            return to_bytes(stream)

        parameters = self._parameters()
        name = parameters.save_name + STATE_SUFFIX
        data = self._pipeline.between_frames(taken).result()
        path = self._folder.write(name, lambda file: file.write(data), overwrite=parameters.overwrite)
        return f"saved the state to {path} ({len(data) / 1e6:.1f} MB)"

    def _load_state(self) -> str:
        path, data = self._read(STATE_SUFFIX, MAX_BYTES, "a state")
        self._pipeline.resume(lambda stream: from_bytes(data, stream, str(path))).result()
        then = self._pipeline.map_after_odometry()
        return f"loaded the state from {path}: the pose goes on from the saved one, in its odometry frame{then}"

    def _save_map(self) -> str:
        parameters, localization = self._parameters(), self._pipeline.localization
        points, saved = self._pipeline.map.points(), []
        if localization is not None:
            content = self._pipeline.between_frames(lambda _: localization.content()).result()
            parts = places_to_parts(content, self._pipeline.backbone.fingerprint)
            name = parameters.save_name + PLACES_SUFFIX
            path = self._folder.write(name, lambda file: file.writelines(parts), overwrite=parameters.overwrite)
            size = sum(map(len, parts)) / 1e6
            saved.append(f"{path} ({len(content.keyframes)} keyframes, {size:.1f} MB)")
        if points is not None and len(points.positions):
            frame = parameters.odom_frame if localization is None else parameters.map_frame
            comment = f"metres in the frame {frame}"
            write = partial(write_ply, points=points.positions, colors=points.colors, comment=comment)
            path = self._folder.write(parameters.save_name + MAP_SUFFIX, write, overwrite=parameters.overwrite)
            saved.append(f"{path} ({len(points.positions)} points)")
        if not saved:
            why = "no confident point has been seen yet" if parameters.publish_map else "set publish_map to true"
            raise UserError(f"there is no map to save: {why}")
        without = ""
        if parameters.publish_map and len(saved) == (localization is not None):
            without = "; its points are not drawn yet: save again later to have them"
        return f"saved the map to {' and '.join(saved)}{without}"

    def _load_map(self) -> str:
        localization = self._pipeline.localization
        if localization is None:
            raise UserError("there is no map of places: start the node with publish_map_frame set to true")
        path, data = self._read(PLACES_SUFFIX, MAX_PLACES_BYTES, "a map")
        content = places_from_bytes(data, self._pipeline.backbone, str(path))
        self._pipeline.between_frames(lambda _: localization.load(content)).result()
        return (
            f"loaded the map from {path} ({len(content.keyframes)} keyframes): the robot has its place in it once one "
            "is recognized"
        )

    def _read(self, suffix: str, most: int, what: str) -> tuple[Path, bytes]:
        path = self._path(suffix)
        try:
            return path, self._folder.read(path.name, most=most)
        except FileNotFoundError:
            raise _MissingError(f"{path} does not exist; save {what} first, or set save_name") from None

    def _path(self, suffix: str) -> Path:
        return self._folder.path / (self._parameters().save_name + suffix)
