"""What every panel is made of: a small widget without a build step."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

import anywidget
import traitlets
from ipywidgets import Widget, widget_serialization
from matplotlib.axes import Axes

from ka_explore.panels.layout import Room
from ka_explore.panels.session import Session


@cache
def source(*names: str) -> str:
    """The scripts or style sheets of these names, or paths, one after the other: a widget's is a module of its own."""
    folder = files("ka_explore.panels") / "js"
    shared = [files("ka_explore.plots") / "marks.js"] if "shared.js" in names else []
    return "\n".join(path.read_text(encoding="utf-8") for path in [*shared, *(folder / name for name in names)])


class Panel(anywidget.AnyWidget):
    """A view of a session: traits that the browser draws.

    A subclass names its scripts, its traits (``.tag(sync=True)``), the topics it looks at, and gives ``state``.
    Panels never know each other: what they share is the session in Python and its bus in the browser (``shared.js``).

    Attributes:
        topics: what the panel is drawn anew for; see `ka_explore.panels.status.TOPICS`.
        room: where it stands in a workbench and how high it is; by default in a row of its own.
    """

    topics: frozenset[str] = frozenset()
    room: ClassVar[Room] = Room()

    session_id = traitlets.Unicode().tag(sync=True)
    channel = traitlets.Instance(Widget).tag(sync=True, **widget_serialization)

    def __init__(self, session: Session):
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
        """Take the panel off the page and off the session, and its layout, which is a widget too."""
        self.session.forget(self)
        super().close()
        self.layout.close()

    def summary(self) -> str:
        """What the panel shows, in words: for a screen reader, a text, a saved notebook."""
        return ""

    @property
    def drawable(self) -> bool:
        """Whether the panel has a picture for places where no kernel is."""
        return type(self).drawn is not Panel.drawn

    def drawn(self, ax: Axes) -> None:
        """The panel's picture for places where no kernel is, on axes; raises KaError where there is none yet."""
        raise NotImplementedError
