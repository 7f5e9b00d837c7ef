"""What every panel is made of: a small widget without a build step, and the channel that carries what users ask.

A panel's state goes from Python to the browser only, the channel's messages from the browser to Python only. So
nothing that Python publishes decides on which of the kernel's threads a click arrives (see `Channel`).
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from ipywidgets import Widget, widget_serialization

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ka_explore.panels.session import Session


@cache
def source(*names: str) -> str:
    """The scripts or style sheets of these names, or paths, one after the other: a widget's is a module of its own."""
    folder = files("ka_explore.panels") / "js"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


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


class Panel(anywidget.AnyWidget):
    """A view of a session: traits that the browser draws.

    A subclass names its scripts, its traits (``.tag(sync=True)``), the topics it looks at, and gives ``state``.
    Panels never know each other: what they share is the session in Python and its bus in the browser (``shared.js``).

    Attributes:
        topics: what the panel is drawn anew for; see `ka_explore.panels.session.TOPICS`.
    """

    topics: frozenset[str] = frozenset()

    session_id = traitlets.Unicode().tag(sync=True)
    channel = traitlets.Instance(Widget).tag(sync=True, **widget_serialization)

    def __init__(self, session: "Session"):
        self.session = session
        super().__init__(session_id=session.id, channel=session.channel, **self.state(self.topics))
        session.join(self)

    def state(self, changed: Iterable[str]) -> dict[str, Any]:
        """The traits that these topics change, by name; called on the view thread, and once before all else."""
        raise NotImplementedError

    def refresh(self, changed: Iterable[str]) -> None:
        """Draw anew what these topics change, in one message."""
        self.assign(self.state(changed))

    def assign(self, traits: Mapping[str, Any]) -> None:
        """Send these traits in one message."""
        with self.hold_sync():
            for name, value in traits.items():
                setattr(self, name, value)

    def close(self) -> None:
        """Take the panel off the page and off the session."""
        self.session.forget(self)
        super().close()

    def summary(self) -> str:
        """What the panel shows, in words: for a screen reader, a text, a saved notebook."""
        return ""

    @property
    def drawable(self) -> bool:
        """Whether the panel has a picture for places where no kernel is."""
        return type(self).drawn is not Panel.drawn

    def drawn(self, ax: "Axes") -> None:
        """The panel's picture for places where no kernel is, on axes; raises KaError where there is none yet."""
        raise NotImplementedError
