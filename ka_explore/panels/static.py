"""What a saved notebook shows where no kernel is: the last pictures, and the same in words.

It is an output of its own below the live panels, which hide it while they live (``shared.js``): a page that cannot
show a widget shows an error or nothing in its place, never a picture that stands in the same output.
"""

import base64
import html
import io
import time
from collections.abc import Collection, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ka_explore.errors import KaError
from ka_explore.panels.session import Session
from ka_explore.panels.widget import Panel
from ka_explore.plots.style import dress

EVERY = 2.0  # seconds between two pictures at least


class Static:
    """The picture of a workbench in a notebook's file.

    Args:
        session: it is drawn anew when this stands still.
        panels: what is in the picture: those that can draw themselves with matplotlib (`Panel.drawn`), and their words.
    """

    topics = frozenset({"rows", "snapshots", "branches", "selection"})

    def __init__(self, session: Session, panels: Mapping[str, Panel]):
        self._session, self._panels = session, dict(panels)
        self._handle: Any = None
        self._drawn_at = 0.0
        self._state: Any = None
        session.join(self)

    def display(self) -> None:
        """Put it into the cell that is running."""
        from IPython.display import display

        bundle = self.bundle()
        self._handle = display(bundle, raw=True, display_id=True)

    def refresh(self, _changed: Collection[str] = ()) -> None:
        """Draw it anew where the session stands still; called on the view thread."""
        if not self._session.busy:
            self.renew()

    def renew(self) -> None:
        """Draw it anew, if anything is new: a cell that drove the run is over. Soon, where cells follow quickly."""
        if self._handle is None or self._seen() == self._state:
            return
        left = self._drawn_at + EVERY - time.monotonic()
        if left > 0:
            self._session.soon(self.refresh, after=left)
        else:
            self._handle.update(self.bundle(), raw=True)

    def _seen(self) -> Any:
        """What the picture depends on."""
        return [(branch.name, branch.step, len(branch.rows)) for branch in self._session.compared], len(
            self._session.selection
        )

    def bundle(self) -> dict[str, str]:
        """HTML with the picture in it, the picture alone, and the words alone."""
        session = self._session
        self._drawn_at = time.monotonic()
        self._state = self._seen()
        words = [line for panel in self._panels.values() for line in panel.summary().splitlines() if line]
        text = "\n".join(words)
        caption = "A static picture of what the panels showed last; run the cell for the live ones."
        picture = self.picture()
        inside, bundle = f"<pre>{html.escape(text)}</pre>", {"text/plain": text}
        if picture is not None:
            png = base64.b64encode(picture).decode()
            said = html.escape(text, quote=True)
            inside = f'<img style="max-width:100%" alt="{said}" src="data:image/png;base64,{png}">'
            bundle["image/png"] = png
        page = f'<figure class="ka-static ka-static-{session.id}">{inside}<figcaption>{caption}</figcaption></figure>'
        return bundle | {"text/html": page}

    def picture(self) -> bytes | None:
        """The panels that can draw themselves, side by side, as PNG; None where there is none."""
        having = [panel for panel in self._panels.values() if panel.drawable]
        if not having:
            return None
        figure = Figure(figsize=(5.2 * len(having), 4.0), dpi=100, layout="constrained")
        for ax, panel in zip(figure.subplots(1, len(having), squeeze=False)[0], having, strict=True):
            drawn(panel, ax)
        target = io.BytesIO()
        figure.savefig(target, format="png")
        return target.getvalue()


def drawn(panel: Panel, ax: Axes) -> None:
    """A panel on axes; where there is nothing to draw yet, the reason."""
    try:
        panel.drawn(ax)
    except KaError as error:
        ax.set_axis_off()
        dress(ax, title=type(panel).__name__, note=str(error))
