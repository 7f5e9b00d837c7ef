"""The points panel: student and teachers in one plane, over the steps; what it shows is put together here.

The browser holds all frames and scrubs through them by itself. Python projects a snapshot once, when it is there, fits
the axes anew when the history has doubled, and has t-SNE and UMAP made in a process of their own.
"""

import threading
import time
import weakref
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import traitlets
from jaxtyping import Int64

from ka_explore.embed import Embedding, embed, read_basis, view_path
from ka_explore.errors import InputError, KaError, unknown
from ka_explore.panels.branch import Branch
from ka_explore.panels.desk import Desk
from ka_explore.panels.frames import (
    FIT_SNAPSHOTS,
    MOST_FRAMES,
    Film,
    Frame,
    answer_rows,
    answers_of,
    drawn_frames,
    fitted,
    frame_of,
    laid_onto,
    most_frames,
    nets_in,
    nothing,
    pictures,
    png,
    range_of,
    said_of,
    seen,
    sheet_of,
    spaces_of,
    spread,
    tint_of,
    truth_of,
    ways_to_colour,
)
from ka_explore.panels.widget import Panel, source
from ka_explore.plots import colour_of, draw, label_colours, marker_of
from ka_explore.plots.looks import UNKNOWN, hexadecimal
from ka_explore.probes.embedding import COSTS, NAMES, announced_seconds, checked_options
from ka_explore.probes.linear import Basis
from ka_explore.results import Points as Picture
from ka_explore.snapshot import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NO_SNAPSHOT = "No snapshot yet. Press play: the first one is taken at step 0."
FEW = 4  # frames that are sent one by one while a run plays; more of them go all together
FIRST_SECONDS = 0.06  # of frames that are drawn before the panel is shown
SLICE = 0.05  # seconds of work before the view thread looks up
POLL = 0.3  # seconds between two looks at a process
LARGE_IMAGE = 96  # pixels a side of an image that is sent by itself

Work = Generator[None, None, None]
"""A job on the view thread in short pieces."""


class Asked:
    """What all points panels of a desk are asked: ``{do: "points", panel: id or nothing for all, …}``."""

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
        desk: whose branches are shown, side by side where several are compared.
        how: a way to draw: ``pca``, ``tsne``, ``umap`` or ``aligned_umap``.
        by: what points are coloured by: ``class`` (``class/<task>`` of several tasks), ``net``, ``teacher``, ``error``,
            ``agreement`` or ``entropy``; by default the class where it is known.
        of: the space; by default the common space, and the answers where there is none.
    """

    _esm = source("shared.js", "points.js")
    _css = source("shared.css", "points.css")
    topics = frozenset({"snapshots", "selection", "branches", "place"})

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

    def __init__(self, desk: Desk, *, how: str = "pca", by: str | None = None, of: str | None = None):
        self.how = "pca"
        self.by = by
        self.of = of
        self.basis: Basis | None = None
        self.order: tuple[str, ...] = ()  # the nets
        self.films: dict[str, Film] = {}
        self._made_pictures: dict[str, dict[str, dict[int, Frame]]] = {}  # way → branch → step → frame
        self._probe: np.ndarray = np.zeros(0, np.int64)
        self._tints: dict[tuple[str, int], np.ndarray] = {}
        self._said: dict[tuple[str, int], np.ndarray] = {}  # the student's answers
        self._labels: Picture | None = None  # what labels or values mean
        self._range: tuple[float, float] | None = None
        self._fit = 0  # how often axes were fitted: frames of other axes do not belong
        self._fitted_to = 0  # snapshots there were
        self._work: Work | None = None
        self._embedding: Embedding | None = None
        self._parts: list[tuple[str, int, int]] = []  # (branch, step, place in the film that is made)
        self._stale = False  # traits are behind what was sent in pieces
        self._more = self._grown = False  # changes since the work began; a net that was not there before
        self._spaces: dict[str, None] = {}
        self._rows: list[tuple[str, str]] = []
        self._knows: tuple[str, ...] = ()
        self._wanted = ""  # the way that is being made
        self._reached = threading.Event()
        self._lock = threading.RLock()
        super().__init__(desk)
        asked = desk.verbs.get("points")
        if not isinstance(asked, Asked):
            asked = Asked()
            desk.answer("points", asked)
        asked.panels.add(self)
        self._again()
        if how != "pca":
            self.view(how)

    # What Python asks.

    def view(self, how: str) -> None:
        """Draw in another way: ``pca``, ``tsne``, ``umap`` or ``aligned_umap``, which are made in the background.

        Raises InputError for unknown names and what is not installed.
        """
        checked_options(how, {})
        self.desk.receive({"do": "points", "panel": self.id, "view": how})

    def colour(self, by: str) -> None:
        """Colour by something else. Raises InputError for what is not known here."""
        by = "teacher" if by == "selected" else by
        known = self.colouring.get("ways", {})
        if by not in known and not (by == "class" and self._class_way()):
            raise unknown("colour", by, known)
        self.desk.receive({"do": "points", "panel": self.id, "colour": by})

    def space(self, of: str) -> None:
        """Draw another space, one of `ka_explore.panels.frames.spaces_of`. Raises InputError for an unknown one."""
        known = [one["name"] for one in self.picture.get("spaces", ())]
        if of not in known:
            raise unknown("space", of, known)
        self.desk.receive({"do": "points", "panel": self.id, "of": of})

    def settle(self, timeout: float = 60.0) -> None:
        """Wait until all frames are there and nothing is being made; TimeoutError after so many seconds."""
        until = time.monotonic() + timeout
        while True:
            self._reached.clear()
            self.desk.changed("place")  # what was asked and changed before is done when this is looked at
            reached = self._reached.wait(max(until - time.monotonic(), 0.0))
            while self._work is not None and time.monotonic() < until:  # asking again would begin it again
                time.sleep(0.01)
            if reached and self._work is None and self._embedding is None:
                return
            if time.monotonic() > until:
                raise TimeoutError(
                    f"the points panel is not done after {timeout:g} s: {self.desk.error or self.job or 'it draws'}"
                )
            time.sleep(0.01)

    def result(self, step: float | None = None) -> dict[str, Picture]:
        """What is shown at a step, a branch, as `ka_explore.plots.draw` takes it; by default the place looked at."""
        place = self.desk.place if step is None else step
        found = {}
        with self._lock:
            for branch in self.desk.compared:
                frames = self._frames(branch.name)
                if not frames:
                    continue
                nearest = min(frames, key=lambda there: abs(there - place))
                frame, snapshot = frames[nearest], branch.snapshot(nearest)
                there = np.isfinite(frame.xy).all(axis=1)
                if snapshot is None or not there.any():
                    continue
                count = len(self._probe)
                group, sample = np.divmod(np.flatnonzero(there), count)
                tint, labels = tint_of(snapshot, self.by or "net", self.order, self._probe)
                points = Picture(
                    frame.xy[there].astype(np.float64), group, self.order, sample, axes=self._axes(),
                    title=f"{branch.name}: {said_of(self.of or '')}, step {nearest}", note=frame.note,
                )  # fmt: skip
                if labels is not None and labels.value is not None:
                    points = Picture(**{**vars(points), "value": tint[there].astype(np.float64), "unit": labels.unit})
                elif labels is not None and labels.label is not None:
                    label = tint[there].astype(np.int64)
                    points = Picture(
                        **{**vars(points), "label": label, "labels": labels.labels, "legend": labels.legend}
                    )
                found[branch.name] = points
        return found

    def summary(self) -> str:
        """What is shown, in words."""
        with self._lock:
            if not self.order:
                return f"Points: {self.picture.get('empty', 'no snapshot yet.')}"
            lines = [
                f"Points: {NAMES[self.how]} of the {said_of(self.of or '')}; {len(self._probe)} images seen by "
                f"{', '.join(self.order)}; coloured by {self.by}."
            ]
            for branch in self.desk.compared:
                frames = self._frames(branch.name)
                if frames:
                    steps = list(frames)
                    last = frames[steps[-1]]
                    lines.append(
                        f"{branch.name}: steps {steps[0]} to {steps[-1]} in {len(steps)} frames; the last "
                        f"{last.said or last.note}."
                    )
            return "\n".join(lines[:4])

    def drawn(self, ax: "Axes") -> None:
        """What is shown of the active branch, or of the first; raises InputError where there is nothing to see."""
        found = self.result()
        if not found:
            raise InputError(f"points: {self._empty() or 'no frame yet.'}")
        draw(found.get(self.desk.active, next(iter(found.values()))), ax)

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
                self._begin(self._refit())
            if message.get("cancel"):
                self._cancel()
            if "image" in message:
                self._send_image(int(message["image"]))
            if message.get("poll"):
                self._poll()
            if message.get("again"):
                self._go_on(SLICE)

    def state(self, changed: Iterable[str]) -> dict[str, Any]:
        """The traits that these topics change."""
        with self._lock:
            changed = set(changed)
            found: dict[str, Any] = {}
            if not self.id:
                return {"id": uuid4().hex[:8], **self._first(), **self._selection()}
            if "selection" in changed:
                found |= self._selection()
            empty = not self.order
            if "branches" in changed:
                found |= self._other_branches()
            if changed & {"snapshots", "place"}:  # both may come together
                if not self.order:
                    found |= self._first()
                elif self._work is None:
                    self._begin(self._catch_up())
                else:
                    self._more = True
                if self._stale and self._work is None and not self.desk.busy:
                    found |= self._film_traits()
                self._reached.set()
            if empty:  # what the first picture left to do
                self._again()
            return found

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """What a page that is loaded anew asks for: also what went out in pieces."""
        with getattr(self, "_lock", threading.RLock()):
            if getattr(self, "_stale", False) and key is None:
                self._trait_values.update(self._film_traits())
            return super().get_state(key, drop_defaults)

    # The first picture.

    def _first(self) -> dict[str, Any]:
        """Everything anew: space, nets, axes, and the frames that are quickly there."""
        snapshot = self._any_snapshot()
        if snapshot is None:
            run = self.desk.branch.run
            idle = run is not None and run.steps == 0
            empty = "This method trains nothing: there are no steps to look at." if idle else NO_SNAPSHOT
            return {"picture": {"empty": empty}, "nets": []}
        self._probe = np.asarray(snapshot.index, np.int64)
        if self.of is None:
            self.of = spaces_of(snapshot)[0]
        if self.by is None or self.by == "class":
            self.by = self._class_way(snapshot) or "net"
        self._rows = answer_rows(snapshot)
        self._knows = snapshot.teachers
        self._spaces |= dict.fromkeys(spaces_of(snapshot))
        self._reset()
        until = time.perf_counter() + FIRST_SECONDS
        for _ in self._made([]):
            if time.perf_counter() > until:
                break
        self._work = self._catch_up()
        if self.id:
            self._again()
        return {
            "classes": self._class_traits(snapshot),
            "fixed": answers_of(snapshot, False).tobytes() + truth_of(snapshot)[1].tobytes(),
            "index": self._probe.astype(np.int32).tobytes(),
        } | self._film_traits()

    def _any_snapshot(self) -> Snapshot | None:
        """A snapshot of the first branch that has one: the last."""
        for branch in self.desk.compared:
            for step in reversed(branch.steps_seen()):
                found = branch.snapshot(step)
                if found is not None:
                    return found
        return None

    def _reset(self) -> None:
        """Films without frames, in the space at hand, and its nets and axes."""
        compared = self.desk.compared
        self._made_pictures = {}
        self.basis, self.order = self._disk_basis(compared[0]), ()
        for branch in compared:
            for step in reversed(branch.steps_seen()):
                snapshot = branch.snapshot(step)
                if snapshot is None:
                    continue
                with suppress(InputError):
                    nets = nets_in(snapshot, self.of or "")
                    self.order = tuple(sorted(dict.fromkeys((*self.order, *nets)), key=self._place_of(snapshot)))
                    break
        self._make_films()
        if self.basis is None:
            self.basis = self._new_basis()
        self._fitted_to = len(self._longest().steps_seen())
        self._fit += 1

    def _longest(self) -> Branch:
        """The branch that axes are fitted to: the one with the most snapshots, a parent before its forks."""
        return max(self.desk.compared, key=lambda branch: len(branch.steps_seen()))

    def _place_of(self, snapshot: Snapshot) -> Any:
        order = ["student", *snapshot.teachers]
        return lambda net: order.index(net) if net in order else len(order)

    def _make_films(self) -> None:
        compared = self.desk.compared
        most = most_frames(max(len(self.order), 1) * len(self._probe), len(compared))
        self.films = {branch.name: Film(branch, most) for branch in compared}
        self._tints, self._said, self._labels = {}, {}, None

    def _disk_basis(self, branch: Branch) -> Basis | None:
        """The axes that the run's folder keeps, where they were fitted to most of what is stored."""
        found = read_basis(view_path(branch.store.folder, self.of or ""), self.of or "")
        stored = branch.store.snapshot_steps()
        return found if found is not None and stored and max(found.steps, default=0) >= 0.5 * stored[-1] else None

    def _new_basis(self) -> Basis | None:
        """Axes fitted to a few snapshots of the longest branch that has the space."""
        of = self.of or ""
        for branch in sorted(self.desk.compared, key=lambda branch: -len(branch.steps_seen())):
            steps = branch.steps_seen()
            for tried in (spread(steps, FIT_SNAPSHOTS), spread(steps, MOST_FRAMES)):  # few stages may have the space
                snapshots = [snapshot for step in tried if (snapshot := branch.snapshot(step)) is not None]
                with suppress(InputError):
                    return fitted(snapshots, of)
        return None

    # Work in pieces.

    def _begin(self, work: Work) -> None:
        """Start some work; what was at hand is given up (frames that are missing are found missing again)."""
        self._work = work
        self._go_on(SLICE)

    def _go_on(self, seconds: float) -> None:
        """Work for so long, then look up; the rest comes later."""
        if self._work is None:
            return
        begun = time.perf_counter()
        while time.perf_counter() < begun + seconds:
            work = self._work
            if next(work, self) is self:
                self._work = self._catch_up() if self._more else None
                self._more = False
                if self._work is None:
                    return
        self._again()

    def _again(self) -> None:
        """Ask for the rest of the work; while a run plays after a pause, so that it trains meanwhile."""
        if self._work is None:
            return
        message = {"do": "points", "panel": self.id, "again": True}
        if self.desk.busy:
            self._later(4 * SLICE, message)
        else:
            self.desk.receive(message)

    def _later(self, seconds: float, message: Mapping[str, Any]) -> None:
        timer = threading.Timer(seconds, self.desk.receive, [message])
        timer.daemon = True
        timer.start()

    def _made(self, fresh: list[tuple[int, Frame]]) -> Work:
        """Make the frames that are missing, and note them."""
        for place, film in enumerate(list(self.films.values())):
            before = len(film.frames)
            missing = film.missing()
            self._stale |= len(film.frames) < before
            for step in missing:
                frame = self._frame(film.branch, step)
                if self._grown:
                    self._grown = False
                    fresh.clear()
                    yield from self._made(fresh)
                    return
                if frame is not None:
                    film.add(frame)
                    fresh.append((place, frame))
                    self._stale = True
                yield

    def _catch_up(self) -> Work:
        """Make the frames that are missing, and send them one by one while a run plays, else all together."""
        fresh: list[tuple[int, Frame]] = []
        yield from self._made(fresh)
        self._forget()
        if self._due():
            yield from self._refit()
        elif self.desk.busy and self.how == "pca" and len(fresh) <= FEW:
            for place, frame in fresh:
                self._send_frame(place, frame)
        elif self._stale:
            self._sync(self._film_traits())
        yield from self._send_sheet()

    def _frame(self, branch: Branch, step: int) -> Frame | None:
        """The frame of a snapshot, and its colours and answers."""
        snapshot, of = branch.snapshot(step), self.of or ""
        if snapshot is None:
            return None
        self._spaces |= dict.fromkeys(spaces_of(snapshot))
        with suppress(InputError):
            nets = nets_in(snapshot, of)
            if set(nets) - set(self.order):
                self.order = tuple(sorted(dict.fromkeys((*self.order, *nets)), key=self._place_of(snapshot)))
                self.basis = self.basis or self._new_basis()
                self._make_films()
                self._fit += 1
                self._grown = True
                return None
        key = (branch.name, step)
        self._tints.pop(key, None)
        self._said.pop(key, None)
        self._colours(key, snapshot)
        return frame_of(snapshot, of, self.basis, self.order, self._probe)

    def _colours(self, key: tuple[str, int], snapshot: Snapshot) -> np.ndarray:
        """Colours and answers of a snapshot, made once."""
        if key not in self._tints:
            if self._static() and self._labels is not None and self._tints:
                self._tints[key] = next(iter(self._tints.values()))
            else:
                self._tints[key], labels = tint_of(snapshot, self.by or "net", self.order, self._probe)
                self._labels = labels or self._labels
        if key not in self._said:
            fits = np.array_equal(snapshot.index, self._probe)
            said = answers_of(snapshot, True)
            self._said[key] = said if fits else np.full((len(said), len(self._probe)), -1, np.int32)
        return self._tints[key]

    def _static(self) -> bool:
        """Whether colours are the same in all frames."""
        return self.by is None or self.by == "net" or self.by.split("/")[0] == "class"

    # Axes.

    def _due(self) -> bool:
        """Whether the history has doubled since axes were fitted, or the run has come to its end since."""
        longest = self._longest()
        count = len(longest.steps_seen())
        ended = longest.run is not None and longest.run.done and self._fitted_to < count
        return self.how == "pca" and (count >= 2 * max(self._fitted_to, 1) or (bool(ended) and not self.desk.busy))

    def _refit(self) -> Work:
        """New axes from the snapshots there are, laid onto the old picture; all frames on them; then all at once."""
        before, basis = self.basis, self._new_basis()
        count = len(self._longest().steps_seen())
        yield
        newest = self._any_snapshot()
        if basis is not None and before is not None and newest is not None:
            basis = laid_onto(basis, before, newest, self.of or "")
        made: dict[str, dict[int, Frame]] = {}
        for film in self.films.values():
            made[film.branch.name] = {}
            for step in list(film.frames):
                snapshot = film.branch.snapshot(step)
                if snapshot is not None:
                    frame = frame_of(snapshot, self.of or "", basis, self.order, self._probe)
                    made[film.branch.name][step] = frame
                yield
        for name, film in self.films.items():
            film.frames = made.get(name, film.frames)
        self.basis, self._fitted_to = basis, count
        self._fit += 1
        self._sync(self._film_traits())
        yield from self._send_sheet()

    # What is asked.

    def _space(self, of: str) -> None:
        known = [one["name"] for one in self.picture.get("spaces", ())]
        if of not in known:
            raise unknown("space", of, known)
        if of != self.of:
            self._cancel()
            self.of, self.how = of, "pca"
            self._sync(self._first())

    def _colour(self, by: str) -> None:
        by = (self._class_way() or "net") if by == "class" else "teacher" if by == "selected" else by
        if by not in self.colouring.get("ways", {}):
            raise unknown("colour", by, self.colouring.get("ways", {}))
        if by != self.by:
            self.by = by
            self._tints, self._labels = {}, None
            self._sync(self._colour_traits())

    def _class_way(self, snapshot: Snapshot | None = None) -> str:
        """The first way to colour by a class; empty where no class is known."""
        ways = self.colouring.get("ways", {}) if snapshot is None else self._ways(snapshot)
        return next((name for name in ways if name.split("/")[0] == "class"), "")

    def _ways(self, snapshot: Snapshot) -> dict[str, str]:
        return ways_to_colour(snapshot)

    def _other_branches(self) -> dict[str, Any]:
        """Other branches are compared, or other ones of the same name."""
        compared = self.desk.compared
        now = {name: film.branch for name, film in self.films.items()}
        if self.order and list(now.items()) == [(branch.name, branch) for branch in compared]:
            return {}
        if not self.order:
            return self._first()
        kept = {film.branch: film for film in self.films.values()}
        tints, said, labels = self._tints, self._said, self._labels
        names = {film.branch: name for name, film in self.films.items()}
        self._make_films()
        for branch in compared:
            if branch in kept:
                film, old = self.films[branch.name], names[branch]
                film.frames, film.every = kept[branch].frames, kept[branch].every
                for table, before in ((self._tints, tints), (self._said, said)):
                    table |= {(branch.name, step): value for (n, step), value in before.items() if n == old}
        self._labels = labels
        if any(self._made_pictures.get(self.how, {}).keys() ^ self.films.keys()):
            self._cancel()
            self.how = "pca"
        self._made_pictures = {}
        self._fitted_to = min(self._fitted_to, len(self._longest().steps_seen()))
        self._begin(self._catch_up())
        return self._film_traits()

    # t-SNE and UMAP.

    def _view(self, how: str) -> None:
        """Show another way to draw: at once where it is there, else when it is made."""
        checked_options(how, {})
        self._cancel()
        self._sync({"trouble": ""})
        if how == "pca" or (how in self._made_pictures and not self._behind(how)):
            self.how = how
            self._sync(self._film_traits())
            return
        chosen: list[Snapshot] = []
        self._parts = []
        known: dict[tuple[int, bytes], int] = {}
        name = self.of or ""
        for branch in self.desk.compared:
            steps = [step for step, frame in self.films[branch.name].frames.items() if not frame.said]
            most = drawn_frames(how, len(self.order) * len(self._probe), len(steps))
            for step in spread(steps, most):
                snapshot = branch.snapshot(step)
                if snapshot is None or not np.array_equal(snapshot.index, self._probe):
                    continue
                key = (step, snapshot.arrays["scores"].tobytes())  # a fork's past is its parent's
                if key not in known:
                    known[key] = len(chosen)
                    shown, name = seen(snapshot, self.of or "")
                    chosen.append(shown)
                self._parts.append((branch.name, step, known[key]))
        try:
            self._embedding = embed(chosen, how, name)
        except KaError as error:
            self._sync({"trouble": str(error)})
            return
        self._wanted = how
        self._poll()

    def _poll(self) -> None:
        """How far it is; swap it in when it is there."""
        made = self._embedding
        if made is None:
            return
        if not made.done:
            now = made.progress
            self._sync(
                {
                    "job": {
                        "how": self._wanted, "name": NAMES[self._wanted], "share": now.share, "words": now.words,
                        "announced": made.announced,
                    }
                }
            )  # fmt: skip
            self._later(POLL, {"do": "points", "panel": self.id, "poll": True})
            return
        self._embedding = None
        try:
            film = made.result()
        except KaError as error:
            self._sync({"job": {}, "trouble": str(error).split("\n\n")[0]})
            return
        frames: dict[str, dict[int, Frame]] = {branch.name: {} for branch in self.desk.compared}
        for name, step, place in self._parts:
            if name in self.films and step in self.films[name].frames:
                flat = self.films[name].frames[step]
                frames[name][step] = self._placed(film[place], flat)
        self._made_pictures[self._wanted] = frames
        self.how = self._wanted
        self._sync({"job": {}, **self._film_traits()})

    def _placed(self, points: Picture, flat: Frame) -> Frame:
        """A drawn picture as a frame: points in the order of the nets."""
        count = len(self._probe)
        xy = np.full((len(self.order) * count, 2), np.nan, np.float32)
        places = np.array([self.order.index(net) if net in self.order else -1 for net in points.groups])
        place = places[points.group]
        xy[place[place >= 0] * count + points.sample[place >= 0]] = points.xy[place >= 0]
        return Frame(flat.step, flat.stage, xy, points.note)

    def _cancel(self) -> None:
        if self._embedding is not None:
            self._embedding.cancel()
            self._embedding = None
            self._sync({"job": {}})

    def _behind(self, how: str) -> bool:
        """Whether the run has gone on since a picture was made."""
        drawn = self._made_pictures.get(how, {})
        return any(
            film.frames and max(film.frames) > max(drawn.get(name, {}), default=-1) for name, film in self.films.items()
        )

    # What is sent.

    def _sync(self, traits: Mapping[str, Any]) -> None:
        with self.hold_sync():
            for name, value in traits.items():
                setattr(self, name, value)

    def _frames(self, name: str) -> dict[int, Frame]:
        """The frames of a branch as they are shown."""
        if self.how != "pca":
            return self._made_pictures.get(self.how, {}).get(name, {})
        return self.films[name].frames if name in self.films else {}

    def _film_traits(self) -> dict[str, Any]:
        """All frames and what belongs to them."""
        self._stale = False
        self._forget()
        frames = [list(self._frames(name).values()) for name in self.films]
        every = [self._every(name) for name in self.films]
        return {
            "nets": [self._look(net) for net in self.order],
            "branches": [
                {
                    "name": name, "steps": [f.step for f in one], "stages": [f.stage for f in one],
                    "notes": [f.note for f in one], "said": [f.said for f in one], "every": k,
                }
                for name, one, k in zip(self.films, frames, every, strict=True)
            ],
            "frames": b"".join(frame.xy.tobytes() for one in frames for frame in one),
            "answers": b"".join(self._answers(name, f.step).tobytes() for name in self.films for f in
                                self._frames(name).values()),
            "picture": self._picture_traits(),
        } | self._colour_traits()  # fmt: skip

    def _forget(self) -> None:
        """Let go of colours and answers of frames that are gone."""
        kept = {(name, step) for name in self.films for step in (*self.films[name].frames, *self._frames(name))}
        self._tints = {key: tint for key, tint in self._tints.items() if key in kept}
        self._said = {key: said for key, said in self._said.items() if key in kept}

    def _every(self, name: str) -> int:
        """Only every so many-th snapshot is shown."""
        if self.how == "pca":
            return self.films[name].every
        return max(round(len(self.films[name].frames) * self.films[name].every / max(len(self._frames(name)), 1)), 1)

    def _look(self, net: str) -> dict[str, str]:
        nets = ["student", *self._knows]
        if net in nets:
            return {"name": net, "colour": colour_of(net, nets), "marker": marker_of(net, nets)}
        return {"name": net, "colour": "#808080", "marker": "X" if net == "code" else "o"}

    def _picture_traits(self) -> dict[str, Any]:
        points = len(self.order) * len(self._probe)
        branches = max(len(self.films), 1)
        ways = []
        for how in COSTS:
            with suppress(InputError):
                checked_options(how, {})
                frames = sum(drawn_frames(how, points, len(film.frames)) for film in self.films.values())
                ways.append(
                    {"name": how, "label": NAMES[how], "seconds": announced_seconds(how, points, max(frames, branches))}
                )
        return {
            "how": self.how, "label": NAMES[self.how], "of": self.of, "space": said_of(self.of or ""), "fit": self._fit,
            "axes": list(self._axes()), "note": self._basis_words(), "views": ways, "behind": self._behind(self.how)
            if self.how != "pca" else False,
            "spaces": [{"name": name, "label": said_of(name)} for name in self._spaces], "empty": self._empty(),
        }  # fmt: skip

    def _empty(self) -> str:
        """Why there is no picture at all."""
        if self.order and any(not f.said for name in self.films for f in self._frames(name).values()):
            return ""
        snapshot = self._any_snapshot()
        return nothing(snapshot, self.of or "") if snapshot is not None else NO_SNAPSHOT

    def _axes(self) -> tuple[str, str]:
        if self.how == "pca":
            return "principal plane, 1", "principal plane, 2"
        return f"{NAMES[self.how]} 1", f"{NAMES[self.how]} 2"

    def _basis_words(self) -> str:
        """What the axes were fitted to, or how much of the film there is."""
        if self.how == "pca":
            if self.basis is None:
                return ""
            steps = self.basis.steps
            first, last = min(steps, default=0), max(steps, default=0)
            fit = f"axes fitted at step {last}" + (f" (to steps {first} to {last})" if first != last else "")
            return fit + (", one pair for all branches" if len(self.films) > 1 else "")
        steps_drawn = [step for name in self.films for step in self._frames(name)]
        return f"made of steps {min(steps_drawn, default=0)} to {max(steps_drawn, default=0)}"

    def _colour_traits(self) -> dict[str, Any]:
        """Colours of all frames and what they mean."""
        static = self._static()
        newest = self._any_snapshot()
        ways = self._ways(newest) if newest is not None else {}
        rows: list[np.ndarray] = []
        for name, film in self.films.items():
            for step in self._frames(name):
                snapshot = None if (name, step) in self._tints else film.branch.snapshot(step)
                if snapshot is not None:
                    self._colours((name, step), snapshot)
                if (name, step) in self._tints:
                    rows.append(self._tints[name, step])
                else:
                    rows.append(np.full(len(self.order) * len(self._probe), np.nan, np.float32))
                if static:
                    break
            if static and rows:
                break
        found = self._labels
        about: dict[str, Any] = {"by": self.by, "ways": ways, "fixed": static, "kind": "net", "said": ""}
        if found is not None and found.value is not None:
            if self.by == "entropy":
                self._range = (0.0, 1.0)
            else:
                self._range = range_of(rows)
            low, high = self._range or (0.0, 1.0)
            about |= {
                "kind": "value",
                "unit": found.unit,
                "low": low,
                "high": high,
                "legend": ways.get(self.by or "", ""),
            }
        elif found is not None and found.label is not None:
            colours = label_colours(found.labels, "net" if found.legend == "claimed by" else found.legend)
            if self.by == "agreement":
                colours = ["#0072B2", "#D55E00"]
            about |= {
                "kind": "label", "legend": found.legend, "unknown": UNKNOWN,
                "labels": [
                    {"name": name, "colour": hexadecimal(colour)}
                    for name, colour in zip(found.labels, colours, strict=True)
                ],
            }  # fmt: skip
        elif self.by != "net":
            about["said"] = f"No {ways.get(self.by or '', self.by)} in this stage: coloured by net."
        return {"colouring": about, "tint": np.concatenate(rows).tobytes() if rows else b""}

    def _answers(self, name: str, step: int) -> np.ndarray:
        if (name, step) not in self._said:
            snapshot = self.films[name].branch.snapshot(step)
            if snapshot is not None:
                self._colours((name, step), snapshot)
        tasks = sum(net == "student" for net, _ in self._rows)
        return self._said.get((name, step), np.full((tasks, len(self._probe)), -1, np.int32))

    def _class_traits(self, snapshot: Snapshot) -> dict[str, Any]:
        tasks, _ = truth_of(snapshot)
        return {
            "names": [label for _, label in snapshot.classes],
            "rows": [list(row) for row in self._rows],
            "tasks": tasks,
            "knows": {teacher: list(columns) for teacher, columns in snapshot.knows.items()},
        }

    def _selection(self) -> dict[str, Any]:
        return {"selected": np.asarray(self.desk.selection, np.int32).tobytes()}

    def _send_frame(self, place: int, frame: Frame) -> None:
        """One frame in a message of its own, while the run plays."""
        name = list(self.films)[place]
        film = self.films[name]
        tint = b"" if self.colouring.get("fixed") else self._tints[name, frame.step].tobytes()
        self.send(
            {
                "kind": "frame", "branch": place, "name": name, "fit": self._fit, "step": frame.step,
                "stage": frame.stage, "note": frame.note, "said": frame.said, "steps": list(film.frames),
                "every": film.every, "by": self.by,
            },
            [frame.xy.tobytes(), tint, self._answers(name, frame.step).tobytes()],
        )  # fmt: skip

    # Images.

    def _images(self, places: Int64[np.ndarray, "sample"]) -> np.ndarray | None:
        """The images of some samples; None where no problem is open."""
        for branch in self.desk.compared:
            problem = branch.run.problem if branch.run is not None else self.desk.problem
            if problem is not None and (not len(places) or places.max() < len(problem.pool)):
                return np.asarray(problem.pool.images[places])
        return None

    def _send_sheet(self) -> Work:
        """The images, once, after the first picture is out."""
        if self.sheet_about:
            return
        yield
        images = self._images(self._probe)
        if images is not None:
            sheet, about = sheet_of(images)
            self._sync({"sheet": sheet, "sheet_about": about})

    def _send_image(self, sample: int) -> None:
        """One image by itself, where all are too much for a sheet."""
        if 0 <= sample < len(self._probe):
            images = self._images(self._probe[sample : sample + 1])
            if images is not None:
                self.send({"kind": "image", "sample": sample}, [png(pictures(images, LARGE_IMAGE)[0])])

    def close(self) -> None:
        """End what is being made."""
        with self._lock:
            if self._embedding is not None:
                self._embedding.cancel()
                self._embedding = None
        super().close()
