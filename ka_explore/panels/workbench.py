"""The workbench: panels around one session, in one notebook cell, and what a saved notebook shows of it."""

import base64
import html
import io
import threading
import time
import weakref
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import numpy as np
from ipywidgets import Box
from jaxtyping import Int64
from matplotlib.figure import Figure

from ka_explore.errors import InputError, KaError, brief, check_known, checked, fits, unknown
from ka_explore.panels.branch import Branch
from ka_explore.panels.branches import Branches
from ka_explore.panels.displayed import SHOWN, displayed
from ka_explore.panels.findings import Findings
from ka_explore.panels.handling import folders_in
from ka_explore.panels.history import History
from ka_explore.panels.layout import WIDTHS, arranged
from ka_explore.panels.player import Player
from ka_explore.panels.points import Points
from ka_explore.panels.samples import Samples
from ka_explore.panels.session import Session
from ka_explore.panels.tables import Tables
from ka_explore.panels.what_if import WhatIf
from ka_explore.panels.widget import Panel
from ka_explore.plots.style import dress
from ka_explore.run.files import path_of

if TYPE_CHECKING:
    from ka_explore import diagnosis
    from ka_explore.problem.problem import Problem
    from ka_explore.run.run import Run

PANELS: dict[str, type[Panel]] = {
    "player": Player, "points": Points, "history": History, "tables": Tables, "samples": Samples,
    "what_if": WhatIf, "branches": Branches, "findings": Findings,
}  # fmt: skip
"""The parts of a workbench by name, in the order in which they stand: one row a panel."""

EVERY = 2.0  # seconds between two static pictures at least


def workbench(
    *runs: "Run | str | Path",
    show: Sequence[str | type[Panel]] | None = None,
    layout: Literal["laptop", "projector"] = "laptop",
    problem: "Problem | None" = None,
) -> "Workbench":
    """Panels that play runs and look inside, in the cell that this is the last line of.

    A run has one workbench: a new one takes over from the one that is there, with its forks and what is selected, and
    that one ends. One also ends when its cell is run again without it, when it was never displayed and nobody holds it,
    by ``close()``, and with ``with workbench(run) as bench:``; what plays is then paused.

    Args:
        runs: runs, folders of runs, or folders with such folders in them (``"runs/"``).
        show: which parts, by name (`PANELS`) or classes of your own; all by default.
        layout: ``laptop``, or ``projector`` with larger type and pictures.
        problem: of folders whose problem is not one of ``ka_explore.toy``, to drive them on; looking needs none.

    Raises InputError for no run, unknown parts or layouts, and folders without a run.
    """
    if not runs:
        raise InputError("workbench() needs a run, or a folder of runs: workbench(run), workbench('runs/').")
    check_known("layout", layout, WIDTHS)
    if problem is not None and not hasattr(problem, "fingerprints"):
        raise InputError(f"workbench(): problem must be a Problem or None, got {brief(problem)}.")
    parts = parts_of(show)
    session = session_of(runs, problem)
    session.id = uuid4().hex  # so that a page tells its panels from those of the workbench that ends
    bench = Workbench(session, parts, layout)
    for other in set(OPEN) - {bench}:
        if other.folders & bench.folders:
            other.end("another workbench shows its run now")
    return bench


class Workbench:
    """Panels around one session, by name in ``panels``. Made by `workbench`."""

    def __init__(self, session: Session, parts: Mapping[str, type[Panel]], layout: str):
        self._live: Session | None = session
        self._why = ""  # it has ended
        self.panels: dict[str, Panel] = {name: part(session) for name, part in parts.items()}
        self._box = arranged(self.panels, {name: panel.room for name, panel in self.panels.items()}, layout)
        self._static: Static | None = Static(session, self.panels)
        self._display_id = uuid4().hex  # of the output of the live panels
        session.enter(self._box)
        what = session, list(self.panels.values()), self._box
        self._ending = weakref.finalize(self, take_away_aside, *what)
        self._ending.atexit = False
        OPEN.add(self)

    def _ipython_display_(self) -> None:
        """The live panels, and below them, hidden while these live, a picture for where no kernel is."""
        from IPython.display import display

        if self._static is None:
            display({"text/plain": repr(self)}, raw=True)
            return
        displayed(self)
        bundle = self._box._repr_mimebundle_() | {"text/plain": repr(self)}
        display(bundle, raw=True, display_id=self._display_id)
        self._static.handle = display(self._static.bundle(), raw=True, display_id=True)

    def __repr__(self) -> str:
        if self._live is None:
            return f"This workbench has ended: {self._why}. workbench(run), or its cell run again, brings it back."
        return "\n".join(f"{name}: {said}" for name, panel in self.panels.items() if (said := panel.summary()))

    def __enter__(self) -> "Workbench":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def _session(self) -> Session:
        if self._live is None:
            raise InputError(repr(self))
        return self._live

    @property
    def folders(self) -> set[Path]:
        """The folders of all its runs; none once it has ended."""
        return set() if self._live is None else {each.folder.resolve() for each in self._live.branches.values()}

    # What runs.

    @property
    def run(self) -> "Run":
        """The active run, opened if it is only a folder so far."""
        branch, driver = self._session.branch, self._session.driver
        if branch.run is None:
            waited(driver.do(lambda: driver.opened(branch)))
        assert branch.run is not None
        return branch.run

    @property
    def runs(self) -> "dict[str, Run]":
        """The runs of all branches that are open, by name."""
        return {name: branch.run for name, branch in self._session.branches.items() if branch.run is not None}

    def advance(self, n: int | None = 1) -> "Workbench":
        """Do the next ``n`` steps of the active run, or all that are left for None; returns when they are done.

        Raises what the run raises; an interrupt pauses it.
        """
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 0):
            raise InputError(f"advance({brief(n)}): expected a number of steps from 0, or None for all that are left.")
        self._wait(self._session.play(None if n is None else self.run.step + n))
        return self

    def play(self) -> None:
        """Train on, in the background."""
        self._session.play()

    def pause(self) -> None:
        """Stop after the step at hand."""
        self._session.pause()

    @checked
    def rewind(self, step: int) -> "Workbench":
        """Stand at a recorded step; returns when the run does."""
        self._wait(self._session.go_to(step))
        return self

    @checked
    def fork(self, name: str, *, at: int | None = None, **changes: Any) -> "Run":
        """A new branch with other options from a step on, shown beside its parent and active."""
        return waited(self._session.fork(changes, name=name, at=at))

    def _wait(self, future: "Future[Any]") -> None:
        try:
            waited(future)
            self._session.driver.settle()
        except KeyboardInterrupt:
            self._session.pause()
            raise
        if self._static is not None:
            self._static.refresh()

    # What is shown.

    @checked
    def show(self, *names: str) -> "Workbench":
        """Compare these branches in every view: one to three."""
        self._session.show(*names)
        return self

    @checked
    def view(self, how: str, *, own_axes: bool = False) -> "Workbench":
        """How points are drawn: ``pca`` or ``class_axes``, ``tsne``, ``umap`` or ``aligned_umap``.

        With ``own_axes`` every frame of the first two is drawn on axes of its own.
        """
        self._part("points").view(how, own_axes=own_axes)
        return self

    @checked
    def colour(self, by: str) -> "Workbench":
        """What points are coloured by: ``net``, ``class``, ``teacher``, ``error``, ``agreement``, ``entropy``."""
        self._part("points").colour(by)
        return self

    @property
    def selection(self) -> Int64[np.ndarray, "sample"]:
        """The selected samples, as indices in the probe set."""
        return self._session.selection.copy()

    @checked
    def select(self, samples: Sequence[int] | np.ndarray) -> "Workbench":
        """Select samples by their indices in the probe set, in every view."""
        self._session.select(samples)
        return self

    def diagnose(self) -> "diagnosis.Findings":
        """What is wrong with the active run; also in the findings panel."""
        return self._part("findings").diagnose()

    def close(self) -> None:
        """End the workbench: its panels, and its threads where no other shares the session; what plays is paused.

        Runs stay as they are. Where it was displayed its last picture stays.
        """
        SHOWN.pop(self, None)
        self.end("it was closed")

    def end(self, why: str) -> None:
        """End it for this reason, once, with words where it is displayed.

        It holds nothing any more, for notebooks keep what their cells gave.
        """
        if (session := self._live) is None:
            return
        self._ending.detach()
        self._live, self._why, self._static = None, why, None
        panels, self.panels, box = list(self.panels.values()), {}, self._box
        OPEN.discard(self)
        if SHOWN.pop(self, None):
            from IPython.display import update_display

            update_display({"text/plain": repr(self)}, raw=True, display_id=self._display_id)
        take_away(session, panels, box)

    def _part(self, name: str) -> Any:
        if name not in self.panels:
            shows = f"this workbench has no {name} panel: it shows {', '.join(self.panels)}."
            raise InputError(repr(self) if self._live is None else shows)
        return self.panels[name]


def parts_of(show: Sequence[str | type[Panel]] | None) -> dict[str, type[Panel]]:
    """The panels that are to be shown, by name: those of `PANELS` in their order, then others.

    Raises InputError for unknown ones, and for none or the same twice.
    """
    if show is None:
        return dict(PANELS)
    if not fits(show, Sequence[str | type[Panel]]):
        raise InputError(f"show={brief(show)}: expected a list of different parts of {', '.join(PANELS)}.")
    names = {part: name for name, part in PANELS.items()}
    found: list[tuple[str, type[Panel]]] = []
    for part in show:
        if isinstance(part, str) and part not in PANELS:
            raise unknown("part", part, PANELS)
        found.append((part, PANELS[part]) if isinstance(part, str) else (names.get(part, part.__name__), part))
    parts = dict(found)
    if not parts or len(parts) < len(found):
        raise InputError(f"show={brief(show)}: expected a list of different parts of {', '.join(PANELS)}.")
    return {name: PANELS[name] for name in PANELS if name in parts} | parts


def waited(future: "Future[Any]") -> Any:
    """What comes of it; nothing where it was given up for something else."""
    with suppress(CancelledError):
        return future.result()


OPEN: "weakref.WeakSet[Workbench]" = weakref.WeakSet()  # those that have not ended


def take_away(session: Session, panels: Sequence[Panel], box: Box) -> None:
    """Close the panels of a workbench and the boxes around them, and its session where no other has it."""
    for panel in panels:
        panel.close()
    for each in (*box.children, box):
        each.close()
        each.layout.close()
    box.children = ()
    session.leave(box)


def take_away_aside(*what: Any) -> None:
    """The same on a thread of its own: nobody knows on which one, and within what lock, the last reference goes."""
    threading.Thread(target=take_away, args=what, name="ka_explore end").start()


def session_of(runs: "Sequence[Run | str | Path]", problem: "Problem | None") -> Session:
    """The session of an open workbench that was made of these very runs, or a new one."""
    parts: list[tuple[Run | None, Path]] = []
    for run in runs:
        if isinstance(run, str | Path):
            parts += [(None, folder) for folder in folders_in(path_of(run))]
        elif isinstance(getattr(run, "folder", None), Path):
            parts.append((run, run.folder))
        else:
            raise InputError(f"workbench(): expected runs, or folders of runs, got {brief(run)}.")
    for bench in OPEN:
        session = bench._session
        if session.is_of(parts) and (problem is None or problem is session.problem):
            return session
    return Session([Branch(run, folder) for run, folder in parts], problem)


class Static:
    """The last pictures of the panels that can draw themselves (`Panel.drawn`), and the same in words.

    It is an output of its own below the live panels, which hide it while they live (``shared.js``): a page that cannot
    show a widget shows an error or nothing in its place, never a picture that stands in the same output.
    """

    topics = frozenset({"rows", "snapshots", "branches", "selection"})

    def __init__(self, session: Session, panels: Mapping[str, Panel]):
        self._session, self._panels, self._id = session, dict(panels), session.id
        self.handle: Any = None  # of the output that it stands in
        self._drawn_at = 0.0
        self._state: Any = None
        session.join(self)

    def refresh(self, _changed: Collection[str] = ()) -> None:
        """Draw it anew where the session stands still, if anything is new: soon, where cells follow quickly."""
        if self._session.busy or self.handle is None or self._seen() == self._state:
            return
        if (left := self._drawn_at + EVERY - time.monotonic()) > 0:
            self._session.soon(self.refresh, after=left)
        else:
            self.handle.update(self.bundle(), raw=True)

    def _seen(self) -> Any:
        """What the picture depends on."""
        stand = [(branch.name, branch.step, len(branch.rows)) for branch in self._session.compared]
        return stand, len(self._session.selection)

    def bundle(self) -> dict[str, str]:
        """HTML with the picture in it, the picture alone, and the words alone."""
        self._drawn_at, self._state = time.monotonic(), self._seen()
        text = "\n".join(line for panel in self._panels.values() for line in panel.summary().splitlines() if line)
        caption = "A static picture of what the panels showed last; run the cell for the live ones."
        inside, bundle = f"<pre>{html.escape(text)}</pre>", {"text/plain": text}
        if png := self._picture():
            inside = f'<img style="max-width:100%" alt="{html.escape(text)}" src="data:image/png;base64,{png}">'
            bundle["image/png"] = png
        of = f"ka-static ka-static-{self._id}"
        page = f'<figure class="{of}">{inside}<figcaption>{caption}</figcaption></figure>'
        return bundle | {"text/html": page}

    def _picture(self) -> str:
        """The panels that can draw themselves, side by side, as PNG in base 64; empty where there is none."""
        having = [panel for panel in self._panels.values() if panel.drawable]
        if not having:
            return ""
        figure = Figure(figsize=(5.2 * len(having), 4.0), dpi=100, layout="constrained")
        for ax, panel in zip(figure.subplots(1, len(having), squeeze=False)[0], having, strict=True):
            try:
                panel.drawn(ax)
            except KaError as error:  # there is nothing to draw yet: the reason
                ax.set_axis_off()
                dress(ax, title=type(panel).__name__, note=str(error))
        figure.savefig(target := io.BytesIO(), format="png")
        return base64.b64encode(target.getvalue()).decode()
