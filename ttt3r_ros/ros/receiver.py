"""Receives the camera's images in a dedicated thread, bypassing the executor (docs/adr/0017).

rclpy's executor checks every timer, service and topic of a node before and after each message: half a millisecond of
Python each time, during which the network's thread waits for the interpreter.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.subscription import Subscription

PAUSE_S = 0.01  #: after a failure, since the next one may follow immediately


class ServedElsewhere(ReentrantCallbackGroup):
    """The callback group of a subscription that executors must ignore, including its events.

    In rmw_fastrtps, every message also wakes whoever waits for the subscription's events.
    """

    def can_execute(self, entity: object) -> Any:  # always true in the base class
        """Return False: no executor may run the entity."""
        return False


class Receiver:
    """Passes on the messages of a subscription and runs its event callbacks, one at a time."""

    def __init__(
        self, context: Context, on_message: Callable[[Any], object], on_error: Callable[[Exception], object]
    ) -> None:
        """Prepare; an exception from taking a message or from a callback is passed on, and the receiver continues."""
        self._context, self._on_message, self._on_error = context, on_message, on_error
        self._subscription: Subscription[Any] | None = None
        self._changed = GuardCondition(None, None, context=context)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    def listen_to(self, subscription: Subscription[Any]) -> None:
        """Serve this subscription, and no earlier one, from now on; its callback group must be `ServedElsewhere`."""
        self._subscription = subscription
        if self._thread.is_alive():
            self._changed.trigger()
        else:
            self._thread.start()

    def stop(self, timeout: float = 1.0) -> bool:
        """Stop; wait up to ``timeout`` [s] for the current message; return whether the thread has ended."""
        self._stopped = True
        self._changed.trigger()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped and self._context.ok():
            subscription = self._subscription
            assert subscription is not None  # see `listen_to`
            try:
                self._serve(subscription)
            except Exception as error:
                if self._context.ok():
                    self._on_error(error)
                    time.sleep(PAUSE_S)

    def _serve(self, subscription: Subscription[Any]) -> None:
        """Take messages and events until `listen_to` names another subscription."""
        context: Any = self._context.handle  # not None while the context is ok
        events: list[Any] = list(subscription.event_handlers)
        wait_set = _rclpy.WaitSet(1, 1, 0, 0, 0, len(events), context)
        with contextlib.ExitStack() as in_use:  # keeps the entities from being destroyed meanwhile
            in_use.enter_context(subscription.handle)
            in_use.enter_context(self._changed.handle)
            in_use.enter_context(wait_set)
            for event in events:
                in_use.enter_context(event)
            while subscription is self._subscription and not self._stopped:
                wait_set.clear_entities()
                index = wait_set.add_subscription(subscription.handle)
                wait_set.add_guard_condition(self._changed.handle)
                for event in events:
                    event.add_to_wait_set(wait_set)
                wait_set.wait(-1)
                if wait_set.is_ready("subscription", index):
                    taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
                    if taken is not None:
                        self._on_message(taken[0])
                for event in events:
                    if event.is_ready(wait_set):
                        with contextlib.suppress(StopIteration):  # raised when the coroutine ends
                            event.execute(event.take_data()).send(None)
