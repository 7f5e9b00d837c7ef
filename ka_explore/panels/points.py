"""The points panel: student and teachers in one plane, over the steps.

Python projects a snapshot once, when it is there, fits the axes anew when the history has doubled, and has t-SNE and
UMAP made in a process of their own.
"""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import traitlets
from matplotlib.axes import Axes

from ka_explore.errors import InputError, KaError
from ka_explore.panels.branch import Branch
from ka_explore.panels.colouring import Colours, dyed
from ka_explore.panels.drawing import Drawing, ways_to_draw
from ka_explore.panels.film import FilmPanel
from ka_explore.panels.frames import Frame, thinned
from ka_explore.panels.images import images_of, png, sheet_of, shrunk
from ka_explore.panels.layout import Room
from ka_explore.panels.pairs import pairs_in_words
from ka_explore.panels.pieces import Work
from ka_explore.panels.plane import Plane, look, newest
from ka_explore.panels.session import Session
from ka_explore.panels.spaces import nothing, said_of
from ka_explore.panels.widget import source
from ka_explore.plots import draw
from ka_explore.probes.clouds import KINDS
from ka_explore.probes.results import Points as Picture
from ka_explore.probes.ways import NAMES, checked_options

POLL = 0.3  # seconds between two looks at a process
SHEET_BYTES = 500_000  # of all images together; beyond that an image is sent when it is pointed at
SHEET_SIDE = 40  # pixels a side of an image in the sheet
LARGE_SIDE = 96  # pixels a side of an image that is sent by itself
PLANES = {"pca": "principal plane,", "class_axes": "class plane,"}  # turned within themselves: no axis is the first
NO_SNAPSHOT = "No snapshot yet. Press play: the first one is taken at step 0."
NO_STEPS = "This method trains nothing: there are no steps to look at."


class Points(FilmPanel):
    """Student and teachers in one plane: a marker a net, coloured by net, class, error, agreement or entropy.

    Args:
        session: whose branches are shown, side by side where several are compared.
        how: a way to draw: ``pca``, ``class_axes``, ``tsne``, ``umap`` or ``aligned_umap``.
        by: what points are coloured by: ``net``, ``class`` (``class/<task>`` of several tasks), ``teacher``, ``error``,
            ``agreement`` or ``entropy``; by default the net.
        of: the space; by default the common space, and the answers where there is none.
    """

    _esm = source(
        "shared.js", "film.js", "points/plane.js", "points/motion.js", "points/zoom.js", "points/scene.js",
        "points/palette.js", "points/stamp.js", "points/paint.js", "points/drawing.js", "points/pointing.js",
        "points/keyboard.js", "points/tip.js", "points/legend.js", "points/bar.js", "points/slider.js",
        "points/words.js", "points/saving.js", "points.js",
    )  # fmt: skip
    _css = source("shared.css", "points.css")
    topics = FilmPanel.topics | {"selection"}
    room = Room(506, 706)
    first_seconds = 0.06
    playing_seconds = np.inf
    all_while_playing = True

    sheet = traitlets.Bytes().tag(sync=True)  # all images, a PNG
    sheet_about = traitlets.Dict().tag(sync=True)
    job = traitlets.Dict().tag(sync=True)  # what is being made: how, share, words, announced
    trouble = traitlets.Unicode().tag(sync=True)  # what went wrong with it
    selected = traitlets.Bytes().tag(sync=True)  # int32

    def __init__(self, session: Session, *, how: str = "pca", by: str | None = None, of: str | None = None):
        self.plane = Plane(of or "")
        self.colours = Colours(by or "", self.plane)
        self.how: str = self.plane.kind  # or the way that is shown instead of the plane
        self.films: dict[str, Drawing] = {}  # what was drawn in other ways
        self._drawing: Drawing | None = None
        self._fit_asked = False
        super().__init__(session)
        if how != "pca":
            self.view(how)

    # What Python asks.

    def view(self, how: str, *, own_axes: bool = False) -> None:
        """Draw in another way: ``pca`` and ``class_axes``, in which every frame may have axes of its own, are there at
        once; ``tsne``, ``umap`` and ``aligned_umap`` are made in the background.

        Raises InputError for unknown names and what is not installed.
        """
        checked_options(how, {})
        self.request(view=how, own=own_axes)

    def colour(self, by: str) -> None:
        """Colour by something else. Raises InputError for what is not known here."""
        self.request(colour=self.colours.checked(by))

    def space(self, of: str) -> None:
        """Draw another space, one of `ka_explore.panels.spaces.spaces_of`. Raises InputError for an unknown one."""
        self.request(of=self.plane.checked(of))

    @property
    def at_work(self) -> bool:
        """Whether frames are being made, or drawn in another way."""
        return super().at_work or self._drawing is not None

    # What the browser asks; on the view thread.

    def asked(self, message: Mapping[str, Any]) -> None:
        """Take up what is asked: ``own``, ``view``, ``colour``, ``of``, ``fit``, ``cancel`` or ``image``."""
        if "own" in message:
            self.plane.own = bool(message["own"])
        if "view" in message:
            self._view(str(message["view"]))
        if "colour" in message and (by := self.colours.checked(str(message["colour"]))) != self.colours.by:
            self.colours.change(by)  # positions are not sent again
            tints = {b: {step: self._tinted(b, step) for step in steps} for b, steps in self._sent.items()}
            self.send_frames(tints, self._colouring())
        if "of" in message and (of := self.plane.checked(str(message["of"]))) != self.plane.of:
            self._cancel()
            self.plane.of = of
            self._begin()
        self._fit_asked |= "fit" in message
        if "cancel" in message:
            self._cancel()
        if "image" in message:
            self._send_image(int(message["image"]))
        if "poll" in message:
            self._poll()

    def _view(self, how: str) -> None:
        """Show another way to draw: at once where it is there, else when it is made."""
        checked_options(how, {})
        self._cancel()
        self.assign({"trouble": ""})
        if how in KINDS:
            self.plane.kind = "pca" if how == "pca" else "class_axes"
        if how in KINDS or (how in self.films and not self.films[how].behind()):
            self.how = how
            return
        try:
            self._drawing = Drawing(how, self.plane, self._flat_steps())
        except KaError as error:
            self.assign({"trouble": str(error)})
        self._poll()

    def _poll(self) -> None:
        """How far it is; swap it in when it is there."""
        drawing = self._drawing
        if drawing is not None and not drawing.embedding.done:
            self.assign({"job": drawing.about})
            self.request(POLL, poll=True)
        elif drawing is not None:
            self._drawing = None
            try:
                drawing.finish()
                self.films[drawing.how], self.how = drawing, drawing.how
                self.assign({"job": {}})
            except KaError as error:
                self.assign({"job": {}, "trouble": str(error).split("\n\n")[0]})

    def _cancel(self) -> None:
        if self._drawing is not None:
            self._drawing.embedding.cancel()
            self._drawing = None
            self.assign({"job": {}})

    # The film.

    def traits_of(self, changed: frozenset[str]) -> dict[str, Any]:
        """What is selected; axes, where the first snapshot came; and the plane itself where others are compared."""
        if self.plane.nets and self.plane.branches != self.compared:
            self._cancel()
            self._flatten()
            self.plane.compare(self.compared)
        if not self.plane.nets:
            self._begin()
        return {"selected": self.session.selection.astype(np.int32).tobytes()} if "selection" in changed else {}

    def key(self) -> Hashable:
        """On which axes, and in which way."""
        return self.plane.fit, self.plane.kind, self.plane.own, self.films.get(self.how)

    def steps(self, branch: Branch) -> Sequence[int]:
        """Every so many-th snapshot; those that were drawn, where another way is shown."""
        return thinned(branch, self.plane.most)[0] if self.how in KINDS else sorted(self._film(branch))

    def frame(self, branch: Branch, step: int) -> Frame | None:
        """A snapshot on the axes, or as it was drawn in another way."""
        if (snapshot := branch.snapshot(step)) is None:
            return None
        if self.plane.grows(snapshot):  # all frames are made anew
            self._flatten()
        self._tinted(branch, step)  # while the snapshot is at hand
        return {**self.plane.frame(snapshot), **self._film(branch).get(step, {})}

    def sent_of(self, branch: Branch, step: int, whole: bool) -> Frame | None:
        """A frame and its colours."""
        frame = super().sent_of(branch, step, whole)
        return None if frame is None else {**frame, **self._tinted(branch, step)}

    def about_branch(self, branch: Branch) -> Mapping[str, Any]:
        """Every so many-th snapshot has a frame."""
        flat, every = thinned(branch, self.plane.most)
        if self.how not in KINDS:
            every = max(round(len(flat) * every / max(len(self.steps(branch)), 1)), 1)
        return {"every": every}

    def about(self) -> Frame:
        """How it is drawn, and what is the same at every step."""
        plane = self.plane
        if not plane.nets:
            return {"picture": {"empty": self._empty()}, "nets": []}
        return {
            "nets": [look(net, plane.teachers) for net in plane.nets],
            "picture": {
                "how": self.how, "label": NAMES[self.how], "of": plane.of, "space": said_of(plane.of),
                "linear": self.how in KINDS, "own": plane.own,
                "fit": plane.fit, "axes": list(self.axes), "note": self._note(),
                "views": ways_to_draw(plane, [len(thinned(branch, plane.most)[0]) for branch in self.compared]),
                "behind": self.how not in KINDS and self.films[self.how].behind(),
                "spaces": [{"name": name, "label": said_of(name)} for name in plane.spaces],
                "empty": self._empty(),
            },
            "index": plane.index,
        } | plane.known | dict(self._colouring())  # fmt: skip

    def catch_up(self) -> Work:
        """Also fit the axes anew where it is asked for or due, and send the images after the first picture is out."""
        yield from self.make()
        if self._fit_asked or (self.how in KINDS and self.plane.due(self.session.busy)):
            self._fit_asked = False
            (basis, fitted), frames = self.plane.fitted_anew(), {}
            yield
            for branch, step in self._shown():
                if (snapshot := branch.snapshot(step)) is not None:
                    frames[branch, step] = self.plane.frame(snapshot, basis)
                yield
            self.plane.change(basis, fitted)
            self._flatten()
            self._kept.only(())
            for (branch, step), frame in frames.items():  # all at once
                self._kept.put((branch, step, self.key()), frame)
        self.publish(over=True)
        if not self.sheet_about:
            yield
            if (images := images_of(self.session, self.plane.index)) is not None:
                sheet, about = sheet_of(images, SHEET_SIDE, SHEET_BYTES)
                self.assign({"sheet": sheet, "sheet_about": about})

    def _begin(self) -> None:
        if (snapshot := newest(self.compared)) is not None:
            self._flatten()
            self.plane.begin(self.compared, snapshot)
            self.colours.begin(snapshot)

    def _flatten(self) -> None:
        """Show the plane itself, and let go of what was drawn of it."""
        self.how, self.films = self.plane.kind, {}

    def _film(self, branch: Branch) -> Mapping[int, Frame]:
        """How a branch was drawn in the way that is shown; empty for the plane itself."""
        return {} if self.how in KINDS else self.films[self.how].frames.get(branch, {})

    def _shown(self) -> list[tuple[Branch, int]]:
        return [(branch, step) for branch, steps in self.there().items() for step in steps]

    def _tinted(self, branch: Branch, step: int) -> Frame:
        """The colours of a frame, unless they are those of all."""
        at = (branch, step, (self.colours.by, self.plane.points))
        found = {} if self.colours.fixed else self._kept.get(at)
        if found is None:
            found = {"tint": self.colours.tint(branch.snapshot(step))}
            self._kept.put(at, found)
        return found

    def _colouring(self) -> Frame:
        """What colours mean; themselves where they are the same in all frames."""
        snapshot = newest(self.plane.branches)
        tints = [] if self.colours.fixed else [self._tinted(*each)["tint"] for each in self._shown()]
        return {} if snapshot is None else self.colours.about(tints, snapshot)

    def _flat_steps(self) -> dict[Branch, list[int]]:
        """The steps at which there is something on the plane, whatever is shown."""
        shown, self.how = self.how, self.plane.kind
        frames = {b: {step: self.frame_at(b, step) for step in self.steps(b)} for b in self.compared}
        self.how = shown
        return {b: [step for step, frame in its.items() if frame and not frame["said"]] for b, its in frames.items()}

    def _send_image(self, sample: int) -> None:
        """One image by itself, where all are too much for a sheet."""
        index = self.plane.index
        images = images_of(self.session, index[sample : sample + 1]) if 0 <= sample < len(index) else None
        if images is not None:
            self.send({"kind": "image", "sample": sample}, [png(shrunk(images, LARGE_SIDE)[0])])

    # In words, and for Python.

    @property
    def axes(self) -> tuple[str, str]:
        """What the two axes are."""
        name = PLANES.get(self.how, NAMES[self.how])
        return f"{name} 1", f"{name} 2"

    def _empty(self) -> str:
        """Why there is no picture at all."""
        if any((frame := self.frame_at(*each)) and not frame["said"] for each in self._shown()):
            return ""
        snapshot, run = newest(self.compared), self.session.branch.run
        if snapshot is not None and self.plane.nets:
            return nothing(snapshot, self.plane.of)
        return NO_STEPS if run is not None and run.steps == 0 else NO_SNAPSHOT

    def _note(self) -> str:
        """What the axes were fitted to, or how much there is in another way."""
        if self.how not in KINDS:
            steps = [step for _, step in self._shown()]
            return f"made of steps {min(steps, default=0)} to {max(steps, default=0)}"
        if (basis := self.plane.basis) is None:
            return ""
        if self.plane.own:
            return "each picture on axes of its own: they do not compare"
        first, last = min(basis.steps, default=0), max(basis.steps, default=0)
        fit = f"axes fitted at step {last}" + (f" (to steps {first} to {last})" if first != last else "")
        return fit + (", one pair for all branches" if len(self.compared) > 1 else "")

    def result(self, step: float | None = None) -> dict[str, Picture]:
        """What is shown at a step, a branch, as `ka_explore.plots.draw` takes it; by default the step looked at."""
        viewed = self.session.viewed_step if step is None else step
        with self._lock:
            near = {b: min(its, key=lambda there: abs(there - viewed)) for b, its in self.there().items() if its}
            pictures = {branch.name: self._picture(branch, its) for branch, its in near.items()}
        return {name: picture for name, picture in pictures.items() if picture is not None}

    def _picture(self, branch: Branch, step: int) -> Picture | None:
        snapshot, frame = branch.snapshot(step), self.frame_at(branch, step)
        if snapshot is None or frame is None or not (there := np.isfinite(frame["xy"]).all(axis=1)).any():
            return None
        group, sample = np.divmod(np.flatnonzero(there), len(self.plane.index))
        picture = Picture(
            frame["xy"][there].astype(np.float64), group, self.plane.nets, sample, axes=self.axes,
            title=f"{branch.name}: {said_of(self.plane.of)}, step {step}", note=self._said(frame),
            own_axes=self.how in KINDS and self.plane.own,
        )  # fmt: skip
        with suppress(InputError):
            return dyed(picture, snapshot, self.colours.by)
        return picture

    def _said(self, frame: Frame) -> str:
        """How far a frame can be trusted, and what share of pairs is found in its space."""
        return "; ".join(filter(None, (frame["note"], pairs_in_words(frame))))

    def summary(self) -> str:
        """What is shown, in words."""
        with self._lock:
            plane, how = self.plane, NAMES[self.how]
            if not plane.nets:
                return f"Points: {self._empty()}"
            seen = f"{len(plane.index)} images seen by {', '.join(plane.nets)}"
            lines = [f"Points: {how} of the {said_of(plane.of)}; {seen}; coloured by {self.colours.by}."]
            for branch, steps in self.there().items():
                if steps and (last := self.frame_at(branch, steps[-1])):
                    span = f"steps {steps[0]} to {steps[-1]} in {len(steps)} frames"
                    lines.append(f"{branch.name}: {span}; the last {last['said'] or self._said(last)}.")
            return "\n".join(lines)

    def drawn(self, ax: Axes) -> None:
        """What is shown of the active branch, or of the first; raises InputError where there is nothing to see."""
        if not (found := self.result()):
            raise InputError(f"points: {self._empty() or 'no frame yet.'}")
        draw(found.get(self.session.active, next(iter(found.values()))), ax)

    def close(self) -> None:
        """End what is being made."""
        with self._lock:
            self._cancel()
        super().close()
