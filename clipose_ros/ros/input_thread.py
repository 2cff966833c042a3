"""A thread of its own that takes a node's messages."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from rclpy.callback_groups import CallbackGroup
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.subscription import Subscription


class InputThread(CallbackGroup):
    """The callback group of subscriptions that one thread serves, whoever spins the node.

    rclpy prepares each wait anew, with every timer, service and event of the node, and a message that comes meanwhile
    waits for that. Here the subscriptions of the group are waited for, and nothing else: their callbacks run 1 ms
    earlier. They must have no event callbacks: DDS wakes whoever waits for an event of a subscription at each of its
    messages.

    Parameters
    ----------
    node : Node
        Whose subscriptions they are.
    """

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node
        self._executor = _GroupExecutor(context=node.context)
        self._thread = threading.Thread(target=self._serve, name="inputs", daemon=True)
        self._stopping = False

    def start(self) -> None:
        """Begin, when the node is ready for messages."""
        self.refresh()
        self._thread.start()

    def refresh(self) -> None:
        """Serve the subscriptions, too, that the node has got since. For the thread that makes them."""
        mine = tuple(entity for entity in self._node.subscriptions if entity.callback_group is self)
        self._executor.group = _Group(mine)
        self._executor.wake()

    def stop(self) -> None:
        """End, when the callback that runs is done."""
        self._stopping = True
        if self._thread.is_alive():
            self._executor.create_task(lambda: None)  # ends the wait for a message
            self._thread.join()
        self._executor.shutdown()

    def can_execute(self, entity: object) -> bool:
        """Tell an executor whether it may serve an entity.

        Parameters
        ----------
        entity : object
            Of this group.

        Returns
        -------
        bool
            True in the group's own thread.
        """
        return threading.current_thread() is self._thread

    def beginning_execution(self, entity: object) -> bool:
        """See `can_execute`."""
        return self.can_execute(entity)

    def ending_execution(self, entity: object) -> None:
        """Do nothing: one thread serves one entity at a time.

        Parameters
        ----------
        entity : object
            Of this group.
        """

    def _serve(self) -> None:
        try:
            while not self._stopping:
                self._executor.spin_once()
        except ExternalShutdownException:
            pass
        except Exception as error:  # of a callback: as that of any other, it is for whoever spins the node
            self._node.executor.create_task(_raise, error)


@dataclass(frozen=True)
class _Group:
    """What an executor asks a node for: here of one group alone."""

    subscriptions: tuple[Subscription, ...]
    timers = clients = services = guards = waitables = ()


class _GroupExecutor(SingleThreadedExecutor):
    """Serves one callback group of a node whose other groups belong to another executor."""

    group: _Group

    def get_nodes(self) -> list[_Group]:
        return [self.group]


def _raise(error: Exception) -> None:
    raise error
