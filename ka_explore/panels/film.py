"""Panels whose picture is a function of a branch and a step: frames are made once, kept, and sent in binary."""

import json
import threading
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
import traitlets

from ka_explore.panels.branch import Branch
from ka_explore.panels.frames import Frame, Kept, packed, split, thinned
from ka_explore.panels.pieces import SLICE, Pieces, Work
from ka_explore.panels.session import Session
from ka_explore.panels.widget import Panel
from ka_explore.plots.comparing import run_colour
from ka_explore.run.snapshot import Snapshot

FEW = 4  # frames that are sent by themselves while a run plays; more of them go all together
MOST_FRAMES = 200  # of a branch, about
KEPT_BYTES = 64 * 2**20  # of frames in memory

Frames = Mapping[Branch, Mapping[int, Frame | None]]  # by branch and step; None for those that are gone


class FilmPanel(Panel):
    """A panel whose picture is a function of a branch and a step.

    A panel is one class with ``frame(branch, step) -> dict of arrays``, one script that draws, and one row in
    `ka_explore.panels.workbench.PANELS`. The base keeps the frames of all branches that are compared, makes what is
    missing in the background, and sends it: all of it where the run stands still, the newest frame alone while it
    plays. So scrubbing asks the kernel for nothing::

        class Lengths(FilmPanel):
            '''How long the student's features are.'''

            _esm = source("shared.js", "film.js", "lengths.js")

            def frame(self, branch, step):
                snapshot = branch.snapshot(step)
                features = snapshot.arrays["common/student"]
                return {"lengths": np.linalg.norm(features, axis=1), "stage": snapshot.stage}

    The script ``lengths.js`` reads the nearest frame that is there, an object with ``step`` and what Python gave::

        export default panel("lengths", "lengths of features", ({model, session, root, undo}) => {
          const film = filmOf(model);
          undo.push(film.follow(session, step => {
            const frame = film.at(0, step);
            root.textContent = frame ? `${frame.stage}: ${Math.max(...frame.lengths)}` : "no snapshot yet";
          }));
        });

    Floats arrive as ``Float32Array``, whole numbers as ``Int32Array``, bytes as ``Uint8Array``, with a ``shape`` each.
    What users ask in the browser with ``film.ask({…})`` comes to `asked`.

    Attributes:
        verb: what the browser asks this panel by; also a topic: there is something to look at anew.
        first_seconds: of making other frames than the foremost before anything is shown.
        playing_seconds: what a frame may cost while a run plays; dearer ones are made when it stands still.
        all_while_playing: whether also other frames than the newest are made while a run plays.
    """

    topics = frozenset({"snapshots", "branches", "viewed_step"})
    first_seconds = 0.0
    playing_seconds = 0.02
    all_while_playing = False

    film = traitlets.Bytes().tag(sync=True)

    def __init__(self, session: Session):
        self.session = session
        self.verb = f"{type(self).__name__.lower()} {uuid4().hex}"
        self.topics = self.topics | {self.verb}
        self._lock = threading.RLock()
        self._kept = Kept(KEPT_BYTES)
        self._costs: dict[Hashable, float] = {}  # seconds of the last frame, by key
        self.compared: list[Branch] = []  # the branches whose frames are shown
        self._steps: dict[Branch, Sequence[int]] = {}  # that should have a frame
        self._stamp: Any = None  # what the frames that were sent are of
        self._sent: dict[Branch, list[int]] = {}  # steps
        self._stale = False  # whether anything was sent by itself since all was
        self._owed = False  # whether frames were
        self._number = 0  # of what was sent last
        self._pieces = Pieces(lambda: self.request(4 * SLICE if session.busy else 0.0, go_on=True))
        self._waiting: list[threading.Event] = []  # of who waits until what was asked before is looked at
        session.answer(self.verb, self._answer)
        with self._lock:
            super().__init__(session)

    # What a panel says of itself.

    def frame(self, branch: Branch, step: int) -> Frame | None:
        """What there is to draw of a branch at a step; None where its snapshot is gone."""
        raise NotImplementedError

    def key(self) -> Hashable:
        """What frames depend on beside branch and step: those of another key do not belong together."""
        return None

    def cut(self) -> Hashable:
        """What else decides on what is sent of a frame (see `sent_of`): where it changes, all are sent anew."""
        return None

    def about(self) -> Frame:
        """What is the same in all frames; it is sent with all of them."""
        return {}

    def about_branch(self, branch: Branch) -> Mapping[str, Any]:
        """What is the same in all frames of a branch; it is sent with every frame."""
        del branch
        return {}

    def steps(self, branch: Branch) -> Sequence[int]:
        """The steps that should have a frame, in order: all snapshots; of very many every second (fourth, …) one."""
        return thinned(branch, MOST_FRAMES)[0]

    def traits_of(self, changed: frozenset[str]) -> dict[str, Any]:
        """The panel's own traits that these topics change; called before all else, so that `key` may follow."""
        del changed
        return {}

    def asked(self, message: Mapping[str, Any]) -> None:
        """Take up what is asked in the browser; on the view thread. The panel is drawn anew afterwards."""

    # What it gets.

    def frame_at(self, branch: Branch, step: int) -> Frame | None:
        """The frame of a step, from memory or made now."""
        found = self._kept.get((branch, step, self.key()))
        if found is None:
            begun = time.thread_time()
            found = self.frame(branch, step)
            self._costs[self.key()] = time.thread_time() - begun
            if found is not None:
                self._kept.put((branch, step, self.key()), found)  # making it may have changed the key
        return found

    def snapshot_near(self, branch: Branch, step: float | None = None) -> Snapshot | None:
        """The snapshot of a branch that lies nearest to a step, by default to the one that is looked at, if any."""
        nearest = branch.nearest(self.session.viewed_step if step is None else step)
        return None if nearest is None else branch.snapshot(nearest)

    def request(self, seconds: float = 0.0, **what: Any) -> None:
        """Have the view thread take up a request to this panel, at once or after some seconds."""
        self.session.soon(partial(self._answer, what), after=seconds)

    @property
    def at_work(self) -> bool:
        """Whether frames are being made."""
        return self._pieces.at_hand

    def settle(self, timeout: float = 60.0) -> None:
        """Wait until all frames are there and nothing is being made; TimeoutError after so many seconds."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            reached = threading.Event()
            self.request(reached=reached)
            if reached.wait(max(until - time.monotonic(), 0.0)) and not self.at_work:
                return
            time.sleep(0.01)
        what = self.session.error or "it is at work"
        raise TimeoutError(f"the {type(self).__name__.lower()} panel is not done after {timeout:g} s: {what}")

    # What changes; on the view thread.

    def state(self, changed: Iterable[str]) -> dict[str, Any]:
        """The traits that these topics change; frames of another key or other branches begin anew."""
        with self._lock:
            self.compared = self.session.compared
            if "branches" in changed:
                self._kept.only(set(self.session.branches.values()))
            traits = self.traits_of(frozenset(changed))
            self._steps = {branch: self.steps(branch) for branch in self.compared}
            if self._stamp != self._stamp_now():
                until = time.perf_counter() + self.first_seconds
                least = len(set(self._foremost()))
                for made, _ in enumerate(self.make(), 1):
                    if made >= least and time.perf_counter() > until:
                        break
                traits["film"] = self._whole()
                self._pieces.prepare(self.catch_up())
            else:
                self._pieces.then(self.catch_up())
            while self.verb in changed and self._waiting:
                self._waiting.pop().set()
            return traits

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """What a page that is loaded anew asks for: also the frames that were sent by themselves."""
        with self._lock:
            if self._stale and key is None:
                self._trait_values["film"] = self._all_packed()
            return super().get_state(key, drop_defaults)

    def close(self) -> None:
        """Take the panel off the page and off the session."""
        self.session.verbs.pop(self.verb, None)
        super().close()

    def _answer(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            if self.comm is None:
                return  # it was closed since that was asked
            if "go_on" in message:
                self._pieces.go_on()
            elif "renew" in message:
                self.assign({"film": self._whole()})
            elif "reached" in message:
                self._waiting.append(message["reached"])
                self.session.changed(self.verb)
            else:
                self.asked(message)
                self.refresh({self.verb})

    def _stamp_now(self) -> Any:
        return self.key(), self.cut(), [(branch, *self._named(branch)) for branch in self.compared]

    def _named(self, branch: Branch) -> tuple[str, int]:
        """What a branch is called, and its index among all."""
        names = list(self.session.branches)
        return branch.name, names.index(branch.name) if branch.name in names else 0

    # Frames.

    def make(self) -> Work:
        """Make the frames that are missing, one a piece: first those of the step that is looked at and the newest."""
        tried: set[tuple[Branch, int]] = set()
        while due := next((each for each in self._wanted() if self._missing(*each) and each not in tried), None):
            tried.add(due)  # a frame may be gone, or too large to be kept
            if self.frame_at(*due) is not None and due in self._foremost():
                self.publish(over=False)
            yield

    def _foremost(self) -> Iterator[tuple[Branch, int]]:
        """Of every branch the step that is looked at, and the newest one."""
        for branch, steps in self._steps.items():
            if steps:
                yield branch, min(steps, key=lambda step: abs(step - self.session.viewed_step))
                yield branch, steps[-1]

    def _wanted(self) -> Iterator[tuple[Branch, int]]:
        busy = self.session.busy
        if not busy or self._costs.get(self.key(), 0.0) <= self.playing_seconds:
            yield from self._foremost()
        if not busy or self.all_while_playing:
            for branch in self.compared:
                yield from ((branch, step) for step in reversed(self._steps[branch]))

    def _missing(self, branch: Branch, step: int) -> bool:
        return (branch, step, self.key()) not in self._kept

    def there(self) -> dict[Branch, list[int]]:
        """The steps that have a frame, by branch."""
        return {b: [step for step in steps if not self._missing(b, step)] for b, steps in self._steps.items()}

    # What is sent.

    def catch_up(self) -> Work:
        """Make the frames that are missing, and send them."""
        yield from self.make()
        self.publish(over=True)

    def publish(self, *, over: bool) -> None:
        """Send what is new: few frames by themselves while a run plays or more are being made, else all of them."""
        there, rest, same = self.there(), over and not self.session.busy, self._stamp == self._stamp_now()
        fresh = {b: [s for s in steps if s not in self._sent.get(b, ())] for b, steps in there.items()}
        count = sum(map(len, fresh.values()))
        if same and 0 < count <= FEW and not rest:
            frames = self._frames_of(fresh)
            self._sent, self._owed = there, True
            self.send_frames(frames)
        elif over and (not same or count or (rest and (self._owed or there != self._sent))):
            self.assign({"film": self._whole()})

    def send_frames(self, frames: Frames, about: Frame | None = None) -> None:
        """Send some frames, or only parts of them, and what of `about` is new."""
        self._number += 1
        self._stale = True
        self.send({"kind": "film"}, [self._packed(frames, about or {}, whole=False)])

    def sent_of(self, branch: Branch, step: int, whole: bool) -> Frame | None:  # noqa: ARG002 - for who sends parts
        """What is sent of a frame, among all of them or by itself."""
        return self._kept.get((branch, step, self.key()))

    def _whole(self) -> bytes:
        self._number += 1
        self._stamp, self._sent, self._stale, self._owed = self._stamp_now(), self.there(), False, False
        return self._all_packed()

    def _all_packed(self) -> bytes:
        return self._packed(self._frames_of(self.there(), whole=True), self.about(), whole=True)

    def _frames_of(self, steps: Mapping[Branch, Iterable[int]], *, whole: bool = False) -> Frames:
        return {branch: {step: self.sent_of(branch, step, whole) for step in its} for branch, its in steps.items()}

    def _packed(self, frames: Frames, about: Frame, *, whole: bool) -> bytes:
        layouts: dict[str, int] = {}
        arrays: list[np.ndarray] = []

        def laid(frame: Frame) -> int:
            layout, parts = split(frame)
            arrays.extend(parts)
            return layouts.setdefault(json.dumps(layout, default=np.generic.item), len(layouts))

        common, branches = laid(about), []
        for branch, steps in self.there().items():
            name, index = self._named(branch)
            told = {"name": name, "index": index, "colour": run_colour(index), "steps": steps}
            its = [[step, laid(frame)] for step, frame in frames.get(branch, {}).items() if frame is not None]
            branches.append({**told, **self.about_branch(branch), "frames": its})
        header = {"number": self._number, "verb": self.verb, "whole": whole, "about": common, "branches": branches}
        return packed(f'{json.dumps(header)[:-1]}, "layouts": [{", ".join(layouts)}]}}', arrays)
