"""The channel of a session: it carries what users ask from the browser to Python.

A panel's state goes from Python to the browser only, the channel's messages from the browser to Python only. So
nothing that Python publishes decides on which of the kernel's threads a click arrives.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import anywidget


class Channel(anywidget.AnyWidget):
    """Carries what users ask from the browser to Python; nothing is ever published on it.

    ipykernel 7 hands a comm's messages to the thread on which Python last published on this comm: after creation in a
    cell that is the main thread, where a click would wait for the running cell. Forgetting who published lets the
    page's own choice stand, which is a thread beside the cells. Version 6 has no such threads: there messages wait.

    Args:
        receive: called with every message, on whatever thread the kernel calls; it must only note and return.
    """

    _esm = "export default { render() {} };\n"

    def __init__(self, receive: Callable[[Mapping[str, Any]], None]):
        super().__init__()
        self.on_msg(lambda _widget, message, _buffers: receive(message))
        self._forget_publisher()

    def send_state(self, *arguments: Any, **named: Any) -> None:
        """The state, for a page that was loaded anew while a cell runs; then forget who published it."""
        super().send_state(*arguments, **named)
        self._forget_publisher()

    def _forget_publisher(self) -> None:
        with suppress(AttributeError):
            del self.comm._reply_subshell_id
