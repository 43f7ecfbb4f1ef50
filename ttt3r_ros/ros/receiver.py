"""Takes the camera's images in a thread of its own, past the executor (docs/adr/0017).

rclpy's executor looks at every timer, service and topic of a node before and after each message: half a millisecond of
Python each time, during which the network's thread has to wait for the interpreter.
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

PAUSE = 0.01  #: after a failure, which may come again at once [s]


class ServedElsewhere(ReentrantCallbackGroup):
    """Of a subscription that executors must leave alone, with its events.

    In rmw_fastrtps whoever waits for an event is woken by every message as well.
    """

    def can_execute(self, entity: object) -> Any:  # always true in the base class
        """Return that an executor must not care for an entity."""
        return False


class Receiver:
    """Hands on the messages of a subscription and calls the callbacks of its events, one at a time."""

    def __init__(
        self, context: Context, on_message: Callable[[Any], object], on_error: Callable[[Exception], object]
    ) -> None:
        """Prepare.

        Args:
            context: of the node that subscribes.
            on_message: is given every message.
            on_error: is told what taking a message, or a callback, has raised; the next message comes all the same.
        """
        self._context, self._on_message, self._on_error = context, on_message, on_error
        self._subscription: Subscription[Any] | None = None
        self._changed = GuardCondition(None, None, context=context)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    def listen_to(self, subscription: Subscription[Any]) -> None:
        """Serve this subscription from now on, and none before it; its callback group is `ServedElsewhere`."""
        self._subscription = subscription
        if self._thread.is_alive():
            self._changed.trigger()
        else:
            self._thread.start()

    def stop(self, timeout: float = 1.0) -> bool:
        """Take no more; wait for the message in hand until the timeout [s]; return whether the thread has ended."""
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
                    time.sleep(PAUSE)

    def _serve(self, subscription: Subscription[Any]) -> None:
        """Take messages and events until another subscription is to be served."""
        context: Any = self._context.handle  # not None as long as it is ok
        events: list[Any] = list(subscription.event_handlers)
        wait_set = _rclpy.WaitSet(1, 1, 0, 0, 0, len(events), context)
        with contextlib.ExitStack() as in_use:  # nothing is destroyed before this is left
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
                        with contextlib.suppress(StopIteration):  # so a coroutine ends
                            event.execute(event.take_data()).send(None)
