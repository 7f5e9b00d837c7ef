"""The points panel: student and teachers in one plane, over the steps.

The browser holds all frames and scrubs through them by itself. Python projects a snapshot once, when it is there, fits
the axes anew when the history has doubled, and has t-SNE and UMAP made in a process of their own.
"""

import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import traitlets

from ka_explore.errors import InputError, KaError
from ka_explore.panels.drawing import Drawing, behind
from ka_explore.panels.images import images_of, png, sheet_of, shrunk
from ka_explore.panels.layout import Room
from ka_explore.panels.pieces import SLICE, Pieces, Work
from ka_explore.panels.plane import newest
from ka_explore.panels.predictions import answer_rows, answers_of, packed, truth_of
from ka_explore.panels.scene import NO_SNAPSHOT, Scene
from ka_explore.panels.session import Session
from ka_explore.panels.widget import Panel, source
from ka_explore.plots import draw
from ka_explore.probes.results import Points as Picture
from ka_explore.probes.ways import checked_options

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 4  # frames that are sent one by one while a run plays; more of them go all together
FIRST_SECONDS = 0.06  # of frames that are drawn before the panel is shown
POLL = 0.3  # seconds between two looks at a process
SHEET_BYTES = 500_000  # of all images together; beyond that an image is sent when it is pointed at
SHEET_SIDE = 40  # pixels a side of an image in the sheet
LARGE_SIDE = 96  # pixels a side of an image that is sent by itself


class Asked:
    """What all points panels of a session are asked: ``{do: "points", panel: id or nothing for all, …}``."""

    def __init__(self) -> None:
        self.panels: weakref.WeakSet[Points] = weakref.WeakSet()

    def __call__(self, message: Mapping[str, Any]) -> None:
        """Hand it on."""
        for panel in list(self.panels):
            if message.get("panel") in (None, panel.id):
                panel.asked(message)


class Points(Panel):
    """Student and teachers in one plane: a marker a net, coloured by class, error, agreement or entropy.

    Args:
        session: whose branches are shown, side by side where several are compared.
        how: a way to draw: ``pca``, ``tsne``, ``umap`` or ``aligned_umap``.
        by: what points are coloured by: ``class`` (``class/<task>`` of several tasks), ``net``, ``teacher``, ``error``,
            ``agreement`` or ``entropy``; by default the class where it is known.
        of: the space; by default the common space, and the answers where there is none.
    """

    _esm = source(
        "shared.js", "points/film.js", "points/motion.js", "points/zoom.js", "points/scene.js", "points/palette.js",
        "points/stamp.js", "points/paint.js", "points/drawing.js", "points/pointing.js", "points/keyboard.js",
        "points/tip.js", "points/legend.js", "points/bar.js", "points/slider.js", "points/words.js", "points/saving.js",
        "points.js",
    )  # fmt: skip
    _css = source("shared.css", "points.css")
    topics = frozenset({"snapshots", "selection", "branches", "viewed_step"})
    room = Room(506, 706)

    id = traitlets.Unicode().tag(sync=True)
    nets: Any = traitlets.List().tag(sync=True)  # {name, colour, marker}
    branches: Any = traitlets.List().tag(sync=True)  # {name, steps, stages, notes, said, every}
    frames = traitlets.Bytes().tag(sync=True)  # float32 (branch, frame, point, 2), point: net after net
    picture = traitlets.Dict().tag(sync=True)  # how it is drawn: way, space, axes, words
    colouring = traitlets.Dict().tag(sync=True)  # what colours mean
    tint = traitlets.Bytes().tag(sync=True)  # float32: a number a point, once or (branch, frame, point)
    classes = traitlets.Dict().tag(sync=True)  # names of the classes, who answers what, who knows what
    answers = traitlets.Bytes().tag(sync=True)  # int32 (branch, frame, student's row, sample)
    fixed = traitlets.Bytes().tag(sync=True)  # int32: (teacher's row, sample), then (task, sample) the true classes
    index = traitlets.Bytes().tag(sync=True)  # int32: which images of the pool
    sheet = traitlets.Bytes().tag(sync=True)  # all images, a PNG
    sheet_about = traitlets.Dict().tag(sync=True)
    job = traitlets.Dict().tag(sync=True)  # what is being made: how, share, words, announced
    trouble = traitlets.Unicode().tag(sync=True)  # what went wrong with it
    selected = traitlets.Bytes().tag(sync=True)  # int32

    def __init__(self, session: Session, *, how: str = "pca", by: str | None = None, of: str | None = None):
        self.scene = Scene(by or "", of or "")
        self._pieces = Pieces(lambda: self._ask(4 * SLICE if session.busy else 0.0, again=True))
        self._drawing: Drawing | None = None
        self._reached = threading.Event()
        self._lock = threading.RLock()
        super().__init__(session)
        asked = session.verbs.get("points")
        if not isinstance(asked, Asked):
            asked = Asked()
            session.answer("points", asked)
        asked.panels.add(self)
        self._pieces.ask()
        if how != "pca":
            self.view(how)

    # What Python asks.

    def view(self, how: str) -> None:
        """Draw in another way: ``pca``, ``tsne``, ``umap`` or ``aligned_umap``, which are made in the background.

        Raises InputError for unknown names and what is not installed.
        """
        checked_options(how, {})
        self._ask(view=how)

    def colour(self, by: str) -> None:
        """Colour by something else. Raises InputError for what is not known here."""
        self._ask(colour=self.scene.colours.checked(by))

    def space(self, of: str) -> None:
        """Draw another space, one of `ka_explore.panels.frames.spaces_of`. Raises InputError for an unknown one."""
        self._ask(of=self.scene.plane.checked(of))

    def settle(self, timeout: float = 60.0) -> None:
        """Wait until all frames are there and nothing is being made; TimeoutError after so many seconds."""
        until = time.monotonic() + timeout
        while True:
            self._reached.clear()
            self.session.changed("viewed_step")  # what was asked and changed before is done when this is looked at
            reached = self._reached.wait(max(until - time.monotonic(), 0.0))
            while self._pieces.at_hand and time.monotonic() < until:  # asking again would begin it again
                time.sleep(0.01)
            if reached and not self._pieces.at_hand and self._drawing is None:
                return
            if time.monotonic() > until:
                raise TimeoutError(
                    f"the points panel is not done after {timeout:g} s: {self.session.error or self.job or 'it draws'}"
                )
            time.sleep(0.01)

    def result(self, step: float | None = None) -> dict[str, Picture]:
        """What is shown at a step, a branch, as `ka_explore.plots.draw` takes it; by default the place looked at."""
        with self._lock:
            return self.scene.result(self.session.viewed_step if step is None else step)

    def summary(self) -> str:
        """What is shown, in words."""
        with self._lock:
            if not self.scene.plane.nets:
                return f"Points: {self.picture.get('empty', 'no snapshot yet.')}"
            return self.scene.summary()

    def drawn(self, ax: "Axes") -> None:
        """What is shown of the active branch, or of the first; raises InputError where there is nothing to see."""
        found = self.result()
        if not found:
            raise InputError(f"points: {self.scene.empty or 'no frame yet.'}")
        draw(found.get(self.session.active, next(iter(found.values()))), ax)

    # What the browser asks; on the view thread.

    def asked(self, message: Mapping[str, Any]) -> None:
        """Take up what is asked: ``view``, ``colour``, ``of``, ``fit``, ``cancel``, ``image`` or going on."""
        with self._lock:
            if "view" in message:
                self._view(str(message["view"]))
            if "colour" in message:
                self._colour(str(message["colour"]))
            if "of" in message:
                self._space(str(message["of"]))
            if message.get("fit"):
                self._pieces.begin(self._catch_up(fit=True))
            if message.get("cancel"):
                self._cancel()
            if "image" in message:
                self._send_image(int(message["image"]))
            if message.get("poll"):
                self._poll()
            if message.get("again"):
                self._pieces.go_on()

    def _view(self, how: str) -> None:
        """Show another way to draw: at once where it is there, else when it is made."""
        checked_options(how, {})
        self._cancel()
        scene = self.scene
        self._set({"trouble": ""})
        if how == "pca" or (how in scene.drawn and not behind(scene.drawn[how], scene.plane.films)):
            scene.how = how
            self._set(scene.traits())
            return
        try:
            self._drawing = Drawing(how, scene.plane)
        except KaError as error:
            self._set({"trouble": str(error)})
        self._poll()

    def _poll(self) -> None:
        """How far it is; swap it in when it is there."""
        drawing = self._drawing
        if drawing is None:
            return
        if not drawing.done:
            self._set({"job": drawing.about})
            self._ask(POLL, poll=True)
            return
        self._drawing = None
        try:
            self.scene.drawn[drawing.how] = drawing.result()
        except KaError as error:
            self._set({"job": {}, "trouble": str(error).split("\n\n")[0]})
            return
        self.scene.how = drawing.how
        self._set({"job": {}, **self.scene.traits()})

    def _cancel(self) -> None:
        """End what is being drawn."""
        if self._drawing is not None:
            self._drawing.cancel()
            self._drawing = None
            self._set({"job": {}})

    def _colour(self, by: str) -> None:
        colours = self.scene.colours
        if colours.checked(by) != colours.by:
            colours.change(colours.checked(by))
            self._set(self.scene.colouring())

    def _space(self, of: str) -> None:
        plane = self.scene.plane
        if plane.checked(of) != plane.of:
            self._cancel()
            plane.of = of
            self._set(self._first())
            self._pieces.ask()

    def _ask(self, seconds: float = 0.0, **what: Any) -> None:
        """Have the view thread take up a request, at once or after some seconds."""
        message = {"do": "points", "panel": self.id, **what}
        if not seconds:
            self.session.receive(message)
            return
        timer = threading.Timer(seconds, self.session.receive, [message])
        timer.daemon = True
        timer.start()

    # What changes; on the view thread.

    def state(self, changed: Iterable[str]) -> dict[str, Any]:
        """The traits that these topics change."""
        with self._lock:
            changed = set(changed)
            found: dict[str, Any] = {}
            if "selection" in changed:
                found["selected"] = np.asarray(self.session.selection, np.int32).tobytes()
            if not self.id:
                return found | {"id": uuid4().hex[:8]} | self._first()
            if not self.scene.plane.nets and changed - {"selection"}:
                found |= self._first()
                self._pieces.ask()
            else:
                if "branches" in changed:
                    found |= self._other_branches()
                if changed & {"snapshots", "viewed_step"}:  # both may come together
                    self._pieces.then(self._catch_up())
            if changed & {"snapshots", "viewed_step"}:
                if self.scene.stale and not self._pieces.at_hand and not self.session.busy:
                    found |= self.scene.traits()
                self._reached.set()
            return found

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """What a page that is loaded anew asks for: also what went out in pieces."""
        with self._lock:
            if self.scene.stale and key is None:
                self._trait_values.update(self.scene.traits())
            return super().get_state(key, drop_defaults)

    def _first(self) -> dict[str, Any]:
        """Everything anew: space, nets, axes, and the frames that are quickly there."""
        branches = self.session.compared
        snapshot = newest(branches)
        if snapshot is None:
            run = self.session.branch.run
            idle = run is not None and run.steps == 0
            empty = "This method trains nothing: there are no steps to look at." if idle else NO_SNAPSHOT
            return {"picture": {"empty": empty}, "nets": []}
        self.scene.begin(branches, snapshot)
        until = time.perf_counter() + FIRST_SECONDS
        for _ in self.scene.make():
            if time.perf_counter() > until:
                break
        self._pieces.prepare(self._catch_up())
        tasks, truth = truth_of(snapshot)
        return {
            "classes": {
                "names": [label for _, label in snapshot.classes],
                "rows": [list(row) for row in answer_rows(snapshot)],
                "tasks": tasks,
                "knows": {teacher: list(columns) for teacher, columns in snapshot.knows.items()},
            },
            "fixed": packed(answers_of(snapshot, student=False)).tobytes() + truth.tobytes(),
            "index": snapshot.index.astype(np.int32).tobytes(),
        } | self.scene.traits()

    def _other_branches(self) -> dict[str, Any]:
        """Other branches are compared, other ones of the same name, or the same by another name."""
        compared, plane = self.session.compared, self.scene.plane
        names = [about["name"] for about in self.branches]
        if plane.branches == compared and names == [branch.name for branch in compared]:
            return {}
        self._cancel()
        self.scene.flatten()
        plane.compare(compared)
        self._pieces.begin(self._catch_up())
        return self.scene.traits()

    def _catch_up(self, fit: bool = False) -> Work:
        """Make the frames that are missing, and send them one by one while a run plays, else all together."""
        scene = self.scene
        fresh = yield from scene.make()
        busy, known = self.session.busy, scene.plane.fit == self.picture.get("fit")
        if fit or (scene.how == "pca" and scene.plane.due(busy)):
            yield from scene.plane.refit()
            self._set(scene.traits())
        elif busy and scene.how == "pca" and known and len(fresh) <= FEW:
            for film, frame in fresh:
                self.send(*scene.message(film, frame))
        elif scene.stale:
            self._set(scene.traits())
        if not self.sheet_about:
            yield
            self._send_sheet()

    def _set(self, traits: Mapping[str, Any]) -> None:
        """Send these traits in one message."""
        with self.hold_sync():
            for name, value in traits.items():
                setattr(self, name, value)

    # Images.

    def _send_sheet(self) -> None:
        """All images, once, after the first picture is out."""
        images = images_of(self.session, self.scene.plane.index)
        if images is not None:
            sheet, about = sheet_of(images, SHEET_SIDE, SHEET_BYTES)
            self._set({"sheet": sheet, "sheet_about": about})

    def _send_image(self, sample: int) -> None:
        """One image by itself, where all are too much for a sheet."""
        index = self.scene.plane.index
        images = images_of(self.session, index[sample : sample + 1]) if 0 <= sample < len(index) else None
        if images is not None:
            self.send({"kind": "image", "sample": sample}, [png(shrunk(images, LARGE_SIDE)[0])])

    def close(self) -> None:
        """End what is being made."""
        with self._lock:
            self._cancel()
        super().close()
