"""The samples: images of the probe set side by side, with what every net says of each."""

import base64
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import traitlets
from jaxtyping import Int64

from ka_explore.errors import unknown
from ka_explore.panels.branch import Branch
from ka_explore.panels.choosing import MODES, counted, described, modes_of, mostly_of, ranked
from ka_explore.panels.film import FilmPanel
from ka_explore.panels.frames import Frame
from ka_explore.panels.images import images_of, sheet_of
from ka_explore.panels.layout import Room
from ka_explore.panels.predictions import answers_of, heads_of, truth_of
from ka_explore.panels.session import Session
from ka_explore.panels.widget import source
from ka_explore.plots import colour_of, marker_of
from ka_explore.probes.classes import tasks_of
from ka_explore.run.snapshot import Snapshot

DRAWN = 200  # images at most; of more the first are drawn, and how many there are is said
SIDE = 64  # pixels of an image's longer side at most
SELECTION = "selection"


class Samples(FilmPanel):
    """The selected images, or some that are worth a look, with every net's answer at the step that is looked at."""

    _esm = source("shared.js", "film.js", "samples.js")
    _css = source("shared.css", "samples.css")
    topics = FilmPanel.topics | {"selection"}
    room = Room(218, 270)

    sheet = traitlets.Unicode().tag(sync=True)
    selected = traitlets.Bytes().tag(sync=True)
    kept = traitlets.List(traitlets.Dict()).tag(sync=True)
    header = traitlets.Dict().tag(sync=True)

    def __init__(self, session: Session):
        self._mode = "handful"
        self._shows = SELECTION if len(session.selection) else self._mode
        self._selection = session.selection  # as it was when images were chosen last
        self._samples: np.ndarray = np.zeros(0, np.int64)  # which are shown
        self._title = ""
        self._chosen_for: Any = None
        self._pictures: tuple[bytes, str, dict[str, int]] = (b"", "", {})
        self._keeping: dict[str, np.ndarray] = {}  # selections by name
        super().__init__(session)

    def asked(self, message: Mapping[str, Any]) -> None:
        """Show other images, select some of them, or keep a selection under a name."""
        session = self.session
        if "mode" in message:
            mode = str(message["mode"])
            if mode != SELECTION and mode not in MODES:
                raise unknown("choice of images", mode, [SELECTION, *MODES])
            self._shows = mode
            self._mode = self._mode if mode == SELECTION else mode
            self._chosen_for = None
        elif "toggle" in message:
            self._own(np.setxor1d(session.selection, [int(message["toggle"])]))
        elif "all" in message:
            self._own(np.union1d(session.selection, self._samples))
        elif "invert" in message:
            count = 0 if (snapshot := self._snapshot()) is None else len(snapshot.index)
            session.select(np.setdiff1d(np.arange(count), session.selection))
        elif "clear" in message:
            session.select([])
        elif "keep" in message and len(session.selection):
            name = " ".join(str(message["keep"]).split())[:40] or self._called(session.selection)
            free = next(n for n in (name, *(f"{name} ({i})" for i in range(2, 1000))) if n not in self._keeping)
            self._keeping[free] = session.selection
        elif "again" in message:
            session.select(self._keeping[message["again"]])
        elif "forget" in message:
            self._keeping.pop(message["forget"], None)

    def _own(self, samples: Int64[np.ndarray, "_"]) -> None:
        """Select without changing which images are shown: a tile that is clicked must not run away."""
        self.session.select(samples)
        self._selection = self.session.selection

    def traits_of(self, changed: frozenset[str]) -> dict[str, Any]:
        """What is selected and kept, which images are shown, and the sheet they are on."""
        del changed  # what is there says what is missing
        selection = self.session.selection
        traits: dict[str, Any] = {
            "selected": selection.astype("<i4").tobytes(),
            "kept": [{"name": name, "count": len(samples)} for name, samples in self._keeping.items()],
        }
        if (snapshot := self._snapshot()) is None:
            return traits
        self._choose(snapshot)
        count = len(selection) if self._shows == SELECTION else len(self._samples)
        header = {"title": self._title, "all": count, "suggested": self._called(selection)}
        return traits | {"header": header, "sheet": self._images(snapshot)[0]}

    def frame(self, branch: Branch, step: int) -> Frame | None:
        """What the student of a branch says of all images at a step: (task, image, class and share)."""
        snapshot = branch.snapshot(step)
        return None if snapshot is None else {"answers": answers_of(snapshot, student=True)}

    def cut(self) -> Hashable:
        """Which images are shown, and why."""
        return self._samples.tobytes(), self._shows

    def sent_of(self, branch: Branch, step: int, whole: bool) -> Frame | None:
        """What the student says of the images that are shown."""
        frame = super().sent_of(branch, step, whole)
        return None if frame is None else {"answers": frame["answers"][:, self._samples]}

    def about(self) -> Frame:
        """The images that are shown, what is true, and what teachers say."""
        if (snapshot := self._snapshot()) is None:
            return {}
        mine, all_tasks = self._samples, list(tasks_of(snapshot))
        tasks, truth = truth_of(snapshot)
        return {
            "samples": mine.tolist(), "index": np.asarray(snapshot.index)[mine].tolist(), "shows": self._shows,
            "modes": modes_of(snapshot), "classes": [label for _, label in snapshot.classes],
            "tasks": all_tasks if len(all_tasks) > 1 else [""], "labelled": [all_tasks.index(task) for task in tasks],
            "truth": truth[:, mine], "taught": answers_of(snapshot, student=False)[:, mine],
            "sheet": self._images(snapshot)[1],
            "teachers": [
                {
                    "name": teacher, "task": all_tasks.index(task), "knows": columns,
                    "colour": colour_of(teacher, snapshot.teachers), "marker": marker_of(teacher, snapshot.teachers),
                }
                for teacher, task, columns, _ in heads_of(snapshot)
                if teacher != "student"
            ],
        }  # fmt: skip

    def _snapshot(self) -> Snapshot | None:
        """The one of the first branch that is looked at."""
        return self.snapshot_near(self.session.compared[0])

    def _choose(self, snapshot: Snapshot) -> None:
        """Which images are shown: what somebody selected elsewhere, or by the mode; while a run plays they stay."""
        selection = self.session.selection
        if not np.array_equal(selection, self._selection):
            self._selection = selection
            self._shows = SELECTION if len(selection) else self._mode
            self._chosen_for = None
        if self._shows == SELECTION and not len(selection) and not len(self._samples):
            self._shows = self._mode
        if self._shows == SELECTION:
            if self._chosen_for != SELECTION:
                self._samples, self._chosen_for = selection[:DRAWN], SELECTION
            self._title = described(snapshot, selection)
            return
        stays = self.session.busy and self._chosen_for is not None and self._chosen_for[0] == self._shows
        if self._chosen_for != (self._shows, self._shows != "handful" and snapshot.step) and not stays:
            if (chosen := ranked(snapshot, self._shows)) is None:
                self._shows = self._mode = "handful"
                chosen = ranked(snapshot, "handful")
            self._chosen_for = (self._shows, self._shows != "handful" and snapshot.step)
            self._samples = np.asarray(chosen, np.int64)
            at = "" if self._shows == "handful" else f", chosen at step {snapshot.step}"
            self._title = f"{len(self._samples)} images: {MODES[self._shows]}{at}"

    def _images(self, snapshot: Snapshot) -> tuple[str, dict[str, int]]:
        """The images that are shown on one sheet; none where no branch has its problem at hand."""
        index = np.asarray(snapshot.index)[self._samples]
        if self._pictures[0] != index.tobytes():
            if not len(index) or (images := images_of(self.session, index)) is None:
                return "", {}
            sheet, lying = sheet_of(images, SIDE)
            self._pictures = (index.tobytes(), f"data:image/png;base64,{base64.b64encode(sheet).decode()}", lying)
        return self._pictures[1:]

    def _called(self, selection: Int64[np.ndarray, "_"]) -> str:
        """A name for a selection that is kept."""
        mostly = mostly_of(snapshot, selection) if (snapshot := self._snapshot()) is not None else None
        return f"{counted(len(selection))}{'' if mostly is None else f' of {mostly}'}"

    def summary(self) -> str:
        """Which images are shown, and how many of them the student answers as is true, where that is known."""
        snapshot = self._snapshot()
        if snapshot is None or not len(self._samples):
            return self._title
        tasks, truth = truth_of(snapshot)
        said = answers_of(snapshot, student=True)[:, self._samples, 0]
        words = [f"{self._title} (step {snapshot.step})"]
        for task, true in zip(tasks, truth[:, self._samples], strict=True):
            right = said[tasks_of(snapshot).index(task)] == true  # where it is not known it is below 0
            words.append(f"{task}: the student is right on {right.sum()} of {(true >= 0).sum()}")
        return "; ".join(words)
