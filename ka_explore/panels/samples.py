"""The samples: images of the probe set side by side, with what every net says of each."""

import base64
import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import traitlets
from jaxtyping import Float, Float32, Int64

from ka_explore.errors import unknown
from ka_explore.panels.branch import Branch
from ka_explore.panels.images import images_of, sheet_of
from ka_explore.panels.layout import Room
from ka_explore.panels.predictions import answer_rows, answers_of, truth_of
from ka_explore.panels.widget import Panel, source
from ka_explore.plots import colour_of, marker_of
from ka_explore.plots.comparing import run_colour
from ka_explore.probes.classes import classes_said, columns_of, tasks_of
from ka_explore.probes.logits import softmax
from ka_explore.run.snapshot import Snapshot

if TYPE_CHECKING:
    from ka_explore.panels.session import Session

DRAWN = 200  # images at most; of more the first are drawn, and how many there are is said
HANDFUL = 24  # images where nothing is selected
SIDE = 64  # pixels of an image's longer side at most
KEPT_BYTES = 32 * 2**20  # of answers in memory
PORTION = 0.15  # seconds of computing before somebody else may have the view thread

SELECTION = "selection"
MODES: Mapping[str, str] = {
    "handful": "some of every class",
    "error": "worst reconstructed",
    "disagree": "least as the teachers say",
    "unsure": "student least sure",
    "wrong": "surest wrong answers",
}
"""What is shown where nothing is selected, in words."""


class Samples(Panel):
    """The selected images, or some that are worth a look, with every net's answer at the step that is looked at.

    The answers of all stored snapshots are sent with the images, so that scrubbing asks the kernel for nothing.
    """

    _esm = source("shared.js", "samples.js")
    _css = source("shared.css", "samples.css")
    topics = frozenset({"snapshots", "branches", "viewed_step", "selection"})
    room = Room(218, 270)

    shown = traitlets.Dict().tag(sync=True)
    answers = traitlets.Bytes().tag(sync=True)
    sheet = traitlets.Unicode().tag(sync=True)
    selected = traitlets.Bytes().tag(sync=True)
    newest = traitlets.Dict().tag(sync=True)
    kept = traitlets.List(traitlets.Dict()).tag(sync=True)
    header = traitlets.Dict().tag(sync=True)

    def __init__(self, session: "Session"):
        self._answers: OrderedDict[tuple[Path, int], Float32[np.ndarray, "task sample 2"]] = OrderedDict()
        self._bytes = 0
        self._mode = "handful"
        self._shows = SELECTION if len(session.selection) else self._mode
        self._selection = session.selection  # as it was when images were chosen last
        self._places: np.ndarray = np.zeros(0, np.int64)
        self._title = ""
        self._stamp: Any = None
        self._chosen_for: Any = None
        self._pictures: tuple[bytes, str, dict[str, int]] = (b"", "", {})
        self._version = 0
        self._keeping: list[dict[str, Any]] = []
        self._verb = f"samples {uuid4().hex}"
        self._more = f"samples {uuid4().hex}"  # a topic of its own: there is more to compute
        self.topics = self.topics | {self._more}
        session.answer(self._verb, self._asked)
        super().__init__(session)
        session.changed(self._more)

    # What is asked.

    def _asked(self, message: Mapping[str, Any]) -> None:
        session = self.session
        count = self._count()
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
            self._own(np.union1d(session.selection, self._places))
        elif "invert" in message:
            session.select(np.setdiff1d(np.arange(count), session.selection))
        elif "clear" in message:
            session.select([])
        elif "keep" in message and len(session.selection):
            name = " ".join(str(message["keep"]).split())[:40] or self._called(session.selection)
            names = {kept["name"] for kept in self._keeping}
            free = next(n for n in (name, *(f"{name} ({i})" for i in range(2, 1000))) if n not in names)
            self._keeping.append({"name": free, "samples": session.selection.tolist()})
        elif "again" in message:
            session.select(next(kept["samples"] for kept in self._keeping if kept["name"] == message["again"]))
        elif "forget" in message:
            self._keeping = [kept for kept in self._keeping if kept["name"] != message["forget"]]
        session.changed(self._more)

    def _own(self, samples: Int64[np.ndarray, "_"]) -> None:
        """Select without changing which images are shown: a tile that is clicked must not run away."""
        self.session.select(samples)
        self._selection = self.session.selection

    # What is shown.

    def state(self, changed: Iterable[str]) -> dict[str, Any]:
        """Images and answers anew where other images are shown or all answers are there; else the newest answers."""
        del changed  # what is there says what is missing
        session, branches = self.session, self.session.compared
        first = self._stamp is None
        state: dict[str, Any] = {
            "selected": session.selection.astype("<i4").tobytes(),
            "kept": [{"name": kept["name"], "count": len(kept["samples"])} for kept in self._keeping],
        }
        snapshot = self._snapshot(branches[0])
        if snapshot is None:
            return state | ({"shown": {"version": 0, "verb": self._verb}} if first else {})
        self._choose(snapshot)
        state["header"] = {
            "title": self._title,
            "all": len(session.selection) if self._shows == SELECTION else len(self._places),
            "suggested": self._called(session.selection),
        }
        begun = time.perf_counter()
        for branch in branches:
            for step in self._foremost(branch):
                self._said(branch, step)
        stamp = (self._places.tobytes(), [branch.name for branch in branches], self._shows)
        same = self._stamp is not None and self._stamp[0] == stamp
        if session.busy or first:
            return state | (self._latest(branches) if same else self._whole(branches, snapshot, stamp))
        for branch in branches:
            for step in branch.steps_sent():
                if (branch.folder, step) not in self._answers:
                    if time.perf_counter() - begun > PORTION:
                        session.changed(self._more)
                        return state | (self._latest(branches) if same else self._whole(branches, snapshot, stamp))
                    self._said(branch, step)
        return state | self._whole(branches, snapshot, stamp)

    def _snapshot(self, branch: Branch) -> Snapshot | None:
        step = branch.nearest(self.session.viewed_step)
        return None if step is None else branch.snapshot(step)

    def _foremost(self, branch: Branch) -> list[int]:
        """The step that is looked at and the newest one, in order; none before the first snapshot."""
        near = branch.nearest(self.session.viewed_step)
        return [] if near is None else sorted({near, max(branch.steps_seen(), default=near)})

    def _count(self) -> int:
        snapshot = self._snapshot(self.session.compared[0])
        return 0 if snapshot is None else len(snapshot.index)

    def _choose(self, snapshot: Snapshot) -> None:
        """Which images are shown: what somebody selected elsewhere, or by the mode; while a run plays they stay."""
        selection = self.session.selection
        if not np.array_equal(selection, self._selection):
            self._selection = selection
            self._shows = SELECTION if len(selection) else self._mode
            self._chosen_for = None
        if self._shows == SELECTION and not len(selection) and not len(self._places):
            self._shows = self._mode
        if self._shows == SELECTION:
            if self._chosen_for != SELECTION:
                self._places = selection[:DRAWN]
                self._chosen_for = SELECTION
            self._title = described(snapshot, selection)
            return
        wanted = (self._shows, 0 if self._shows == "handful" else snapshot.step)
        stays = self.session.busy and self._chosen_for is not None and self._chosen_for[0] == self._shows
        if self._chosen_for != wanted and not stays:
            places = ranked(snapshot, self._shows)
            if places is None:
                self._shows = self._mode = "handful"
                wanted, places = ("handful", 0), ranked(snapshot, "handful")
            self._chosen_for = wanted
            self._places = np.asarray(places, np.int64)
            at = "" if self._shows == "handful" else f", chosen at step {snapshot.step}"
            self._title = f"{len(self._places)} images: {MODES[self._shows]}{at}"

    def _said(self, branch: Branch, step: int) -> Float32[np.ndarray, "task sample 2"] | None:
        """The student's answers at a step, from memory or from the snapshot."""
        key = (branch.folder, step)
        if key in self._answers:
            self._answers.move_to_end(key)
            return self._answers[key]
        snapshot = branch.snapshot(step)
        if snapshot is None:
            return None
        found = self._answers[key] = answers_of(snapshot, student=True)
        self._bytes += found.nbytes
        while self._bytes > KEPT_BYTES and len(self._answers) > 1:
            self._bytes -= self._answers.popitem(last=False)[1].nbytes
        return found

    # What is sent.

    def _known(self, branch: Branch) -> list[int]:
        return [step for step in branch.steps_sent() if (branch.folder, step) in self._answers]

    def _whole(self, branches: Sequence[Branch], snapshot: Snapshot, stamp: Any) -> dict[str, Any]:
        steps = [self._known(branch) for branch in branches]
        if self._stamp == (stamp, steps):
            return {}
        self._stamp = (stamp, steps)
        self._version += 1
        places = self._places
        tasks, truth = truth_of(snapshot)
        parts = [np.array([self._version], np.float32), truth[:, places].astype(np.float32).ravel()]
        parts.append(answers_of(snapshot, student=False)[:, places].ravel())
        names = {name: place for place, name in enumerate(list(self.session.branches))}
        about = []
        for branch, mine in zip(branches, steps, strict=True):
            place = names.get(branch.name, 0)
            about.append({"name": branch.name, "colour": run_colour(place), "steps": mine})
            parts += [self._answers[branch.folder, step][:, places].ravel() for step in mine]
        url, lying = self._images(snapshot)
        several = len(tasks_of(snapshot)) > 1
        return {
            "sheet": url,
            "answers": np.concatenate(parts).astype("<f4").tobytes(),
            "shown": {
                "version": self._version,
                "verb": self._verb,
                "places": places.tolist(),
                "index": np.asarray(snapshot.index)[places].tolist(),
                "count": len(snapshot.index),
                "shows": self._shows,
                "modes": modes_of(snapshot),
                "classes": [label for _, label in snapshot.classes],
                "tasks": list(tasks_of(snapshot)) if several else [""],
                "labelled": [list(tasks_of(snapshot)).index(task) for task in tasks],
                "teachers": [
                    {
                        "name": teacher,
                        "task": list(tasks_of(snapshot)).index(task),
                        "knows": list(snapshot.knows[teacher]),
                        "colour": colour_of(teacher, snapshot.teachers),
                        "marker": marker_of(teacher, snapshot.teachers),
                    }
                    for teacher, task in answer_rows(snapshot)
                    if teacher != "student"
                ],
                "branches": about,
                "sheet": lying,
            },
        }

    def _latest(self, branches: Sequence[Branch]) -> dict[str, Any]:
        """The answers of the newest step and the one that is looked at, where they are not there already."""
        about = []
        for branch, there in zip(branches, self._stamp[1], strict=True):
            frames = []
            for step in self._foremost(branch):
                if step in there or (branch.folder, step) not in self._answers:
                    continue
                values = self._answers[branch.folder, step][:, self._places]
                frames.append([step, [None if math.isnan(v) else round(float(v), 6) for v in values.ravel()]])
            about.append({"name": branch.name, "frames": frames})
        return {"newest": {"version": self._version, "branches": about}}

    def _images(self, snapshot: Snapshot) -> tuple[str, dict[str, int]]:
        """The images that are shown on one sheet; none where no branch has its problem at hand."""
        index = np.asarray(snapshot.index)[self._places]
        if not len(index):
            return "", {}
        if self._pictures[0] != index.tobytes():
            images = images_of(self.session, index)
            if images is None:
                return "", {}
            sheet, lying = sheet_of(images, SIDE)
            self._pictures = (index.tobytes(), f"data:image/png;base64,{base64.b64encode(sheet).decode()}", lying)
        return self._pictures[1:]

    # In words.

    def _called(self, selection: Int64[np.ndarray, "_"]) -> str:
        """A name for a selection that is kept."""
        snapshot = self._snapshot(self.session.compared[0])
        mostly = None if snapshot is None else mostly_of(snapshot, selection)
        return f"{counted(len(selection))}{'' if mostly is None else f' of {mostly}'}"

    def summary(self) -> str:
        """Which images are shown, and how many of them the student answers as is true, where that is known."""
        snapshot = self._snapshot(self.session.compared[0])
        if snapshot is None or not len(self._places):
            return self._title
        tasks, truth = truth_of(snapshot)
        said = answers_of(snapshot, student=True)
        right = []
        for task, its in zip(tasks, truth, strict=True):
            mine = said[list(tasks_of(snapshot)).index(task), :, 0][self._places]
            known = its[self._places] >= 0
            many = int((mine == its[self._places])[known].sum())
            right.append(f"{task}: the student is right on {many} of {int(known.sum())}")
        return "; ".join([f"{self._title} (step {snapshot.step})", *right])


# Which images


def modes_of(snapshot: Snapshot) -> list[dict[str, str]]:
    """What can be chosen to be shown; where the stage or the pool lacks what it takes, the reason."""
    reasons = {
        "error": "" if any(n.startswith("error/") for n in snapshot.arrays) else "this stage reconstructs nothing",
        "wrong": "" if snapshot.labels else "the pool has no labels",
    }
    return [{"key": key, "name": name, "reason": reasons.get(key, "")} for key, name in MODES.items()]


def ranked(snapshot: Snapshot, mode: str) -> Int64[np.ndarray, "shown"] | None:
    """The images of a mode, worst first; None where the snapshot lacks what it takes."""
    count = len(snapshot.index)
    if mode == "handful":
        labels = next(iter((snapshot.labels or {}).values()), None)
        return handful(classes_said(snapshot, tasks_of(snapshot)[0]) if labels is None else labels)
    if mode == "error":
        errors = [array for name, array in snapshot.arrays.items() if name.startswith("error/")]
        return worst(np.mean(errors, axis=0)) if errors else None
    if mode == "disagree":
        return worst(disagreement(snapshot))
    said = answers_of(snapshot, student=True)
    if mode == "unsure":
        return worst(-said[:, :, 1].min(axis=0))
    tasks, truth = truth_of(snapshot)
    if not tasks:
        return None
    sure = np.full(count, -np.inf)
    for task, its in zip(tasks, truth, strict=True):
        best, share = said[list(tasks_of(snapshot)).index(task)].T
        sure = np.maximum(sure, np.where((its >= 0) & (best != its) & np.isfinite(share), share, -np.inf))
    order = worst(sure)
    return order[np.isfinite(sure[order])]


def handful(classes: Int64[np.ndarray, "sample"]) -> Int64[np.ndarray, "shown"]:
    """Some images of every class, as many of each as may be, in the order of the classes."""
    turn = np.zeros(len(classes), np.int64)
    for name in np.unique(classes):
        mine = classes == name
        turn[mine] = np.arange(mine.sum())
    order = np.lexsort((classes, turn))[:HANDFUL]
    return order[np.lexsort((order, classes[order]))]


def worst(values: Float[np.ndarray, "sample"]) -> Int64[np.ndarray, "shown"]:
    """The places of the greatest values, greatest first; those that are not finite come before all."""
    return np.argsort(-np.nan_to_num(values, nan=np.inf), kind="stable")[:HANDFUL]


def disagreement(snapshot: Snapshot) -> Float[np.ndarray, "sample"]:
    """By how much a teacher is surer of its answer than the student is of the same: the largest gap over teachers.

    Both as probabilities within the teacher's classes; needs no label.
    """
    gaps = []
    rows = np.arange(len(snapshot.index))
    for teacher, columns in snapshot.knows.items():
        taught = softmax(snapshot.arrays[f"logits/{teacher}"])
        own = softmax(snapshot.arrays["scores"][:, list(columns)])
        best = np.nan_to_num(taught).argmax(axis=1)
        gaps.append(taught[rows, best] - own[rows, best])
    return np.max(gaps, axis=0)


def described(snapshot: Snapshot, selection: Int64[np.ndarray, "_"]) -> str:
    """A selection in words: how many images, of which class mostly, for which teacher worst."""
    said = [f"selection: {counted(len(selection))}"]
    if not len(selection):
        return said[0]
    mostly = mostly_of(snapshot, selection)
    if mostly is not None:
        said.append(f"{mostly} mostly")
    errors = {n.split("/", 1)[1]: a[selection] for n, a in snapshot.arrays.items() if n.startswith("error/")}
    means = {name: float(np.mean(values)) for name, values in errors.items() if np.isfinite(values).all()}
    if len(means) > 1:
        said.append(f"worst for {max(means, key=means.__getitem__)} (error {max(means.values()):.2g})")
    return ", ".join(said)


def mostly_of(snapshot: Snapshot, selection: Int64[np.ndarray, "_"]) -> str | None:
    """The class that more than half of the images have; by the student's answers where no label is known."""
    if not len(selection):
        return None
    task = next(iter(snapshot.labels or {}), tasks_of(snapshot)[0])
    columns = columns_of(snapshot, task)
    labels = (snapshot.labels or {}).get(task)
    if labels is None:
        said = answers_of(snapshot, student=True)[tasks_of(snapshot).index(task), :, 0]
        found = said[selection]
        columns_found = found[np.isfinite(found)].astype(int)
    else:
        known = labels[selection]
        columns_found = np.array(columns)[known[known >= 0]]
    if not len(columns_found):
        return None
    values, counts = np.unique(columns_found, return_counts=True)
    best = int(counts.argmax())
    by = "" if labels is not None else " (says the student)"
    return f"class {snapshot.classes[int(values[best])][1]}{by}" if 2 * counts[best] > len(selection) else None


def counted(count: int) -> str:
    """So many images."""
    return f"{count} image{'' if count == 1 else 's'}"
