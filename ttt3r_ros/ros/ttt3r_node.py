"""The node: one camera in; odometry, TF, depth and cloud out."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.camera_input import CameraInput
from ttt3r_ros.ros.diagnostics import ERROR, FINALIZED, OK, Counters, Health, diagnostic_array
from ttt3r_ros.ros.initialize import creating_node
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.parameters import (
    declare,
    no_such_parameter,
    unknown,
    with_changes,
    with_whole_numbers_as_floats,
    without_effect,
)
from ttt3r_ros.ros.ros_arguments import first_sentence, without_section
from ttt3r_ros.ros.statistics import StreamStatistics

if TYPE_CHECKING:
    from ttt3r_ros.ros.pipeline import Pipeline
    from ttt3r_ros.ros.saving import Saving
    from ttt3r_ros.ros.tracking import Tracking


class Ttt3rNode(LifecycleNode):
    """Has parameters, diagnostics and the states of a managed node; the rest is in `Tracking` (docs/adr/0047).

    Attributes:
        callbacks_failed: number of callbacks that have raised an error.
    """

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        """Declare the parameters; with `autostart`, also configure and activate.

        Args:
            arguments: with which ROS has been initialized; if a file of parameters among them is not for this node, it
                says so.

        Raises:
            UserError: a parameter cannot be used; with `autostart`, also the weights or another file.
        """
        try:
            with creating_node():
                super().__init__("ttt3r")
        except ParameterException as error:
            raise UserError(first_sentence(error)) from error
        self._tracking: Tracking | None = None
        with contextlib.ExitStack() as undone:  # if the rest fails
            undone.callback(self.destroy_node)
            undone.callback(self.stop)
            self.callbacks_failed = 0
            if sentence := without_section(arguments, self.get_fully_qualified_name()):
                self.get_logger().warning(sentence)
            self._settings = declare(self)
            if self._settings.autostart:
                self._settings.check_files()
            self._make_tracking = _import_tracking()
            self._notices = Notices(self.get_logger())
            self._why_unconfigured: str | None = None  # the last configure failed
            self._has_named_unknown = False
            self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
            # on a steady clock, so that diagnostics continue while a simulation is paused
            self.create_timer(1.0, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME))
            self.add_on_set_parameters_callback(self._on_set_parameters)
            self._startup_errors: list[Exception] | None = None  # a list while this function makes the transitions
            if self._settings.autostart:
                self._start()
            else:
                self.get_logger().info("unconfigured: waiting for the transition configure (autostart is false)")
            undone.pop_all()

    @property
    def camera_input(self) -> CameraInput:
        """Takes images from the camera's topic; for a configured node, as the following ones."""
        return self._configured.camera_input

    @property
    def pipeline(self) -> Pipeline:
        """Turns images into what is published."""
        return self._configured.pipeline

    @property
    def saving(self) -> Saving:
        """The services that save and load."""
        return self._configured.saving

    @property
    def _configured(self) -> Tracking:
        if self._tracking is None:
            raise RuntimeError("the node is not configured")
        return self._tracking

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network and create topics and services."""
        return self._attempt(self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen and publish."""
        return self._attempt(self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and publishing; the weights stay in memory."""
        self._configured.deactivate()
        self.get_logger().info("inactive: no images are received until the transition activate")
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Remove topics and services and free the network's memory."""
        self.stop()
        self.get_logger().info("unconfigured: waiting for the transition configure")
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do the same from any state, for good."""
        self.stop()
        self.get_logger().info(FINALIZED.message)
        return TransitionCallbackReturn.SUCCESS

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters, as the services do; what cannot be set is refused with our messages instead of rclpy's."""
        for parameter in parameter_list:
            if not self.has_parameter(parameter.name):
                return SetParametersResult(successful=False, reason=no_such_parameter(parameter.name, self._parameters))
        try:
            with_changes(self._settings, parameter_list)
        except UserError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return super().set_parameters_atomically(with_whole_numbers_as_floats(parameter_list))

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:
        """Refuse a transition that the state does not have: before Kilted, rclpy raised an error and never answered."""
        if transition_id in (possible[0] for possible in self._state_machine.available_transitions):
            return super()._LifecycleNodeMixin__change_state(transition_id)  # type: ignore[misc]
        state = self._state_machine.current_state[1]
        self.get_logger().warning(
            f"the transition {transition_id} is not possible from the state {state}; nothing changes"
        )
        return TransitionCallbackReturn.ERROR

    def stop(self) -> None:
        """Stop all threads and free what `on_configure` has made; the current frame or file may end a little later."""
        tracking, self._tracking = self._tracking, None
        if tracking is not None:
            tracking.close()

    def destroy_node(self) -> None:
        """Remove the node from the graph at once, where rclpy waits until the memory of its states is freed."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def survive(self, error: Exception) -> None:
        """Log the error of a failed callback and go on; a library may fail on a message, for example."""
        self.callbacks_failed += 1
        self._notices.error(f"a message could not be handled ({type(error).__name__}: {first_sentence(error)[:300]})")
        self.get_logger().debug("".join(traceback.format_exception(error)))

    def _start(self) -> None:
        """Configure and activate; what prevents it is raised, since nobody else would try again."""
        errors: list[Exception] = []
        self._startup_errors = errors
        for transition in (self.trigger_configure, self.trigger_activate):
            transition()
            if errors:
                raise errors[0]
        self._startup_errors = None

    def _configure(self) -> None:
        self._settings.check_files()  # again, or for the first time: files come and go
        self._tracking = self._make_tracking(self, lambda: self._settings, self._notices, self.survive)
        if self._startup_errors is None:
            self.get_logger().info("inactive: waiting for the transition activate")

    def _activate(self) -> None:
        self._configured.activate()
        if not self._has_named_unknown:  # only now are all QoS parameters declared
            self._has_named_unknown = True
            for sentence in [*unknown(self), *without_effect(self._settings)]:
                self.get_logger().warning(sentence)
        self.get_logger().info(f"ready: listening to {self.camera_input.topic}")

    def _attempt(self, transition: Callable[[], None]) -> TransitionCallbackReturn:
        """Carry out a transition; if it fails, the node stays in the state before, and says why in one sentence."""
        try:
            transition()
        except Exception as error:
            if self._startup_errors is None:  # not kept, since its traceback refers to what has been loaded
                self._why_unconfigured = _sentence(error)
                self.get_logger().error(self._why_unconfigured)
                self.get_logger().debug("".join(traceback.format_exception(error)))
            else:
                self._startup_errors.append(error)
            return TransitionCallbackReturn.FAILURE
        self._why_unconfigured = None
        return TransitionCallbackReturn.SUCCESS

    def _on_set_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        try:
            parameters = with_changes(self._settings, changes)
        except UserError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._settings = parameters
        if self._tracking is not None:
            self._tracking.pipeline.change_parameters(parameters)
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        tracking = self._tracking
        if tracking is not None:
            health, counters, facts = tracking.health(), tracking.counters(self.callbacks_failed), tracking.facts()
        else:
            counters, facts = Counters(callbacks_failed=self.callbacks_failed), StreamStatistics().facts()
            why = self._why_unconfigured
            said = f"unconfigured: {'waiting for the transition configure' if why is None else why}"
            health = Health(OK if why is None else ERROR, "unconfigured", said)
            if self._state_machine.current_state[1] == FINALIZED.state:
                health = FINALIZED
        self._diagnostics.publish(
            diagnostic_array(self.get_fully_qualified_name(), self.get_clock().now(), health, counters, facts)
        )


def _import_tracking() -> type[Tracking]:
    """Import torch, which takes seconds: a mistake in the parameters is found before."""
    from ttt3r_ros.ros.tracking import Tracking

    return Tracking


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_sentence(error)[:300]}"
