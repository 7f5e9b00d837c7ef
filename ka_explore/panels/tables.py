"""The tables: what probes say of two things at once, as numbers in coloured cells, step by step."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import traitlets
from jaxtyping import Bool
from matplotlib.axes import Axes

from ka_explore.errors import InputError, KaError
from ka_explore.panels.branch import Branch
from ka_explore.panels.widget import Panel, source
from ka_explore.plots import colour_of, draw_matrix, marker_of
from ka_explore.probes import PROBES
from ka_explore.probes.classes import classes_said, columns_of, names_of, task_of, tasks_of
from ka_explore.probes.selection import shares
from ka_explore.results import Curves, Matrix, Result, Scalars
from ka_explore.snapshot import Snapshot

if TYPE_CHECKING:
    from ka_explore.panels.desk import Desk

FRAMES = 200  # steps of a branch at most; of more, every second one
KEPT = 3_000  # tables in memory
CHEAP = 0.02  # seconds of computing that a table may cost while a run plays
PORTION = 0.15  # seconds of computing before somebody else may have the view thread
POINTS = 64  # of a curve at most, to be a row of numbers

NAMES = {
    "error_by_class": "reconstruction error by class",
    "cka": "CKA",
    "mmd": "MMD",
    "mmd_curve": "MMD by bandwidth",
}
PREFERRED = ("error_by_class", "agreement_by_class")
WITH_TEACHER = ("confusion_with", "worst_channels")  # a table a teacher
WITH_TASK = ("error_by_class", "confusion")  # a table a task


@dataclass(frozen=True)
class Choice:
    """A table that can be chosen.

    Attributes:
        key: the probe, and behind a colon whose.
        name: in words.
        tip: what it is, a sentence.
        ask: the probe with its options.
    """

    key: str
    name: str
    tip: str
    ask: Callable[[Snapshot], Result]

    @property
    def probe(self) -> str:
        """The probe's name."""
        return self.key.partition(":")[0]

    @property
    def whose(self) -> str:
        """The teacher or task of a table that there is one of each."""
        return self.key.partition(":")[2]


class Tables(Panel):
    """One table of the branches that are compared, at the step that is looked at.

    The tables of all stored snapshots are computed when the run stands still and sent once, so that scrubbing asks
    the kernel for nothing. While it plays only the newest is, if it costs little.
    """

    _esm = source("shared.js", "tables.js")
    _css = source("shared.css", "tables.css")
    topics = frozenset({"snapshots", "branches", "place"})

    choices = traitlets.List(traitlets.Dict()).tag(sync=True)
    frames = traitlets.Dict().tag(sync=True)
    cells = traitlets.Bytes().tag(sync=True)
    newest = traitlets.Dict().tag(sync=True)  # a table that came since, by branch

    def __init__(self, desk: "Desk"):
        self._tables: OrderedDict[tuple[Path, int, str], Matrix | None] = OrderedDict()
        self._reasons: dict[tuple[Path, str], dict[str, str]] = {}  # by run and stage: why a table is not there
        self._costs: dict[str, float] = {}
        self._chosen = ""
        self._version = 0
        self._sent: Any = None
        self._new: Any = None
        self._verb = f"table {uuid4().hex}"
        self._more = f"table {uuid4().hex}"  # a topic of its own: there is more to compute
        self.topics = self.topics | {self._more}
        desk.answer(self._verb, self._asked)
        super().__init__(desk)
        desk.changed(self._more)

    def state(self, changed: Iterable[str]) -> dict[str, Any]:  # noqa: ARG002 - what is there says what is missing
        """What can be chosen, the newest table, and when the run stands still all of them."""
        first = not self._sent
        branches = self.desk.compared
        state: dict[str, Any] = {}
        choices, offered = self._offered(branches)
        if offered != getattr(self, "choices", None):
            state["choices"] = offered
        if not choices:
            return state | {"frames": self._about({}, [], ""), "cells": b""}
        choice = choices.get(self._chosen) or preferred(choices, offered)
        begun = time.perf_counter()
        if not self.desk.busy or self._costs.get(choice.key, 0.0) <= CHEAP:
            for branch in branches:
                near = branch.nearest(self.desk.place) if not self.desk.busy else max(branch.steps_seen(), default=None)
                if near is not None:
                    self._table(branch, near, choice)
        same = self._sent is not None and self._sent[:2] == (choice.key, [branch.name for branch in branches])
        some = self._latest if same else self._whole
        if first or self.desk.busy:
            return state | some(branches, choice)
        for branch in branches:
            for step in spread(branch.steps_seen()):
                if (branch.folder, step, choice.key) not in self._tables:
                    if time.perf_counter() - begun > PORTION:
                        self.desk.changed(self._more)
                        return state | some(branches, choice)
                    self._table(branch, step, choice)
        return state | self._whole(branches, choice)

    def _asked(self, message: Mapping[str, Any]) -> None:
        """Another table, or the images of a row, a column or a cell."""
        if "choose" in message:
            self._chosen = str(message["choose"])
            self.desk.changed(self._more)
            return
        branch = self.desk.branches.get(str(message.get("branch")))
        seen = None if branch is None else branch.nearest(float(message["step"]))
        snapshot = None if branch is None or seen is None else branch.snapshot(seen)
        if snapshot is None:
            raise InputError(f"there is no snapshot of {message.get('branch')!r} to select images of.")
        row, column = message.get("row"), message.get("column")
        mask = images_of(snapshot, str(message["table"]), row, column)
        if mask is None:
            raise InputError(f"{row or ''} {column or ''} of {message['table']} stands for no images.")
        self.desk.select(np.flatnonzero(mask))

    # What there is.

    def _offered(self, branches: Sequence[Branch]) -> tuple[dict[str, Choice], list[dict[str, Any]]]:
        """What can be chosen, and how the browser lists it: what no branch's stage emits with the reason."""
        choices: dict[str, Choice] = {}
        reasons: list[dict[str, str]] = []
        for branch in branches:
            step = branch.nearest(self.desk.place)
            snapshot = None if step is None else branch.snapshot(step)
            if snapshot is not None:
                mine = choices_of(snapshot)
                choices = {**mine, **choices}
                reasons.append(self._reasons_of(branch, snapshot, mine))
        offered = []
        for choice in list(choices.values()):
            why = [known.get(choice.key, "") for known in reasons]
            if "no table" in why:
                del choices[choice.key]
            else:
                reason = next(iter(why), "") if all(why) else ""
                offered.append({"key": choice.key, "name": choice.name, "tip": choice.tip, "reason": reason})
        return choices, offered

    def _reasons_of(self, branch: Branch, snapshot: Snapshot, choices: Mapping[str, Choice]) -> dict[str, str]:
        """Why a stage has no such table, by table; asked once a stage."""
        key = (branch.folder, snapshot.stage)
        if key not in self._reasons:
            found = {}
            for name, choice in choices.items():
                try:
                    begun = time.thread_time()
                    if as_table(choice.ask(snapshot)) is None:
                        found[name] = "no table"
                    self._costs.setdefault(name, time.thread_time() - begun)
                except KaError as error:
                    found[name] = str(error)
            self._reasons[key] = found
            while len(self._reasons) > 200:
                self._reasons.pop(next(iter(self._reasons)))
        return self._reasons[key]

    def _table(self, branch: Branch, step: int, choice: Choice) -> Matrix | None:
        """A table of a branch and step, from memory or computed; None where the stage has none."""
        key = (branch.folder, step, choice.key)
        if key in self._tables:
            self._tables.move_to_end(key)
            return self._tables[key]
        snapshot = branch.snapshot(step)
        made = None
        begun = time.thread_time()
        if snapshot is not None:
            try:
                made = as_table(choice.ask(snapshot))
            except KaError:
                made = None  # why is said in the list of choices
        self._costs[choice.key] = time.thread_time() - begun
        self._tables[key] = made
        while len(self._tables) > KEPT:
            self._tables.popitem(last=False)
        return made

    # What is sent.

    def _known(self, branch: Branch, choice: Choice) -> list[tuple[int, Matrix | None]]:
        """The steps that were asked, with their tables; None where the stage has none."""
        keys = ((step, (branch.folder, step, choice.key)) for step in spread(branch.steps_seen()))
        return [(step, self._tables[key]) for step, key in keys if key in self._tables]

    def _whole(self, branches: Sequence[Branch], choice: Choice) -> dict[str, Any]:
        tables = {branch.name: self._known(branch, choice) for branch in branches}
        stamp = (choice.key, list(tables), [[step for step, _ in known] for known in tables.values()])
        if stamp == self._sent:
            return {}
        self._sent = stamp
        self._version += 1
        layouts: list[dict[str, Any]] = []
        parts = [np.array([self._version], np.float32)]
        about = []
        for branch in branches:
            entries: list[list[Any]] = []
            for step, table in tables[branch.name]:
                if table is None:
                    entries.append([step, -1, ""])
                    continue
                entries.append([step, self._layout(branch, step, table, choice, layouts), table.note])
                parts.append(np.asarray(table.values, np.float32).ravel())
            about.append({"name": branch.name, "frames": entries})
        return {
            "cells": np.concatenate(parts).astype("<f4").tobytes(),
            "frames": self._about({"layouts": layouts, "branches": about}, branches, choice.key),
        }

    def _latest(self, branches: Sequence[Branch], choice: Choice) -> dict[str, Any]:
        """The last table of every branch and the one that is looked at, alone: the others are there already."""
        stamp = self._sent[2] if self._sent and self._sent[0] == choice.key else [[] for _ in branches]
        layouts: list[dict[str, Any]] = []
        about = []
        for branch, there in zip(branches, stamp, strict=False):
            near = branch.nearest(self.desk.place)
            entries: list[list[Any]] = []
            for step, table in self._known(branch, choice):
                if step not in there and (step == near or step == max(branch.steps_seen())):
                    if table is None:
                        entries.append([step, -1, "", []])
                        continue
                    values = [None if not np.isfinite(v) else float(v) for v in np.asarray(table.values, float).ravel()]
                    layout = self._layout(branch, step, table, choice, layouts)
                    entries.append([step, layout, table.note, values])
            about.append({"name": branch.name, "frames": entries})
        sent = self._about({"layouts": layouts, "branches": about}, branches, choice.key)
        return {"newest": sent} if any(b["frames"] for b in about) else {}

    def _about(self, what: Mapping[str, Any], branches: Sequence[Branch], chosen: str) -> dict[str, Any]:
        return {
            "version": self._version,
            "verb": self._verb,
            "nets": nets_of(branches),
            "chosen": chosen,
            "branches": [{"name": branch.name, "frames": []} for branch in branches],
            "layouts": [],
            **what,
        }

    def _layout(self, branch: Branch, step: int, table: Matrix, choice: Choice, layouts: list[dict[str, Any]]) -> int:
        """The place of a table's names, unit and what can be clicked among the layouts; it is added if it is new."""
        title = table.title.split(", step ")[0]
        made = {"rows": list(table.rows), "columns": list(table.columns), "unit": table.unit, "title": title}
        made["centre"] = table.centre  # type: ignore[assignment]
        for place, layout in enumerate(layouts):
            if all(layout[name] == value for name, value in made.items()):
                return place
        snapshot = branch.snapshot(step)
        can = {"row_images": [], "column_images": [], "cell_images": False, "by": ""}
        if snapshot is not None:
            asked = partial(images_of, snapshot, choice.key)
            can = {
                "row_images": [asked(row, None) is not None for row in table.rows],
                "column_images": [asked(None, column) is not None for column in table.columns],
                "cell_images": bool(table.rows and table.columns)
                and asked(table.rows[0], table.columns[0]) is not None,
                "by": "true classes" if snapshot.labels else "classes as the student answers: no labels",
            }
        layouts.append(made | can)
        return len(layouts) - 1

    # For places without a kernel.

    def _shown(self) -> list[tuple[Branch, int, Matrix]]:
        """The tables that are looked at, of the branches that have one."""
        branches = self.desk.compared
        choices, offered = self._offered(branches)
        if not choices:
            return []
        choice = choices.get(self._chosen) or preferred(choices, offered)
        found = []
        for branch in branches:
            step = branch.nearest(self.desk.place)
            table = None if step is None else self._table(branch, step, choice)
            if step is not None and table is not None:
                found.append((branch, step, table))
        return found

    def summary(self) -> str:
        """The table that is looked at: its title and its least and greatest number."""
        said = []
        shown = self._shown()
        if not shown:
            return "no such table of the step that is looked at"
        for branch, step, table in shown:
            title = table.title.split(", step ")[0]
            finite = np.argwhere(np.isfinite(table.values))
            if not len(finite):
                said.append(f"{branch.name}, step {step}: {title}: no number")
                continue
            numbers = table.values[tuple(finite.T)]
            low, high = finite[numbers.argmin()], finite[numbers.argmax()]
            names = [f"{table.values[r, c]:.3g} ({table.rows[r]}, {table.columns[c]})" for r, c in (low, high)]
            said.append(f"{branch.name}, step {step}: {title}: {names[0]} to {names[1]}")
        return "\n".join(said)

    def drawn(self, ax: Axes) -> None:
        """The table of the first branch that has it; raises InputError where none has."""
        found = self._shown()
        if not found:
            raise InputError("no snapshot has such a table yet: press play.")
        branch, step, table = found[0]
        own = f"{branch.name}: " if len(self.desk.compared) > 1 else ""
        draw_matrix(replace(table, title=f"{own}{table.title.split(', step ')[0]}, step {step}"), ax)


# Tables


def nets_of(branches: Sequence[Branch]) -> dict[str, list[str]]:
    """Colour and marker of every net that may name a row or a column."""
    nets: dict[str, None] = {}
    for branch in branches:
        steps = branch.steps_seen()
        snapshot = branch.snapshot(steps[-1]) if steps else None
        nets |= dict.fromkeys(snapshot.teachers if snapshot is not None else ())
    return {net: [colour_of(net, list(nets)), marker_of(net, list(nets))] for net in nets}


def choices_of(snapshot: Snapshot) -> dict[str, Choice]:
    """The probes that may have a table, one a teacher or task where they take one; the same for every stage."""
    found = {}
    for name, probe in PROBES.items():
        said = NAMES.get(name, name.replace("_", " "))
        tip = (probe.__doc__ or "").strip().split("\n")[0]
        whose: Sequence[str] = ()
        option = "teacher" if name in WITH_TEACHER else "task"
        if name in WITH_TEACHER:
            whose = snapshot.teachers
        elif name in WITH_TASK and len(tasks_of(snapshot)) > 1:
            whose = tasks_of(snapshot)
        if whose:
            for one in whose:
                key = f"{name}:{one}"
                found[key] = Choice(key, f"{said} · {one}", tip, partial(probe, **{option: one}))
        else:
            found[name] = Choice(name, said, tip, probe)
    return found


def preferred(choices: Mapping[str, Choice], offered: Sequence[Mapping[str, Any]]) -> Choice:
    """The table that is shown unasked: reconstruction error by class where there is one, else the agreement."""
    there = [str(entry["key"]) for entry in offered if not entry["reason"]]
    for name in PREFERRED:
        for key in there:
            if choices[key].probe == name:
                return choices[key]
    return choices[there[0]] if there else next(iter(choices.values()))


def as_table(result: Result) -> Matrix | None:
    """A result as a table: numbers as one column, curves over the same few places as rows; None for other shapes."""
    if isinstance(result, Matrix):
        return result
    if isinstance(result, Scalars):
        values = np.array(list(result.values.values()), float)[:, None]
        return Matrix(values, tuple(result.values), (result.unit or "value",), result.unit, result.title)
    if isinstance(result, Curves) and result.x:
        first = next(iter(result.x.values()))
        if len(first) <= POINTS and all(np.array_equal(x, first) for x in result.x.values()):
            levels = [f"{name} = {value:.3g}" for name, value in result.levels.items()]
            return Matrix(
                np.stack([np.asarray(y, float) for y in result.y.values()]),
                tuple(result.y),
                tuple(f"{x:g}" for x in first),
                result.unit,
                result.title,
                note="; ".join([f"columns: {result.across}", *levels, *([result.note] if result.note else [])]),
            )
    return None


def spread(steps: Sequence[int]) -> list[int]:
    """At most so many of the steps as are sent, evenly, the last among them."""
    every = -(-len(steps) // FRAMES) or 1
    return sorted({*steps[::every], *steps[-1:]})


# The images that a row, a column or a cell stands for


Mask = Bool[np.ndarray, "sample"]


def images_of(snapshot: Snapshot, table: str, row: Any, column: Any) -> Mask | None:
    """Which images a row, a column or a cell of a table stands for; None where it stands for none.

    Args:
        snapshot: whose.
        table: the key of a `Choice`.
        row: its name, or None for a whole column.
        column: its name, or None for a whole row.
    """
    probe, _, whose = table.partition(":")
    given = [(name, place) for place, name in enumerate((row, column)) if name is not None]
    masks = [side_of(snapshot, probe, whose, str(name), place) for name, place in given]
    if probe in ("error_by_class", "agreement_by_class", "worst_reconstructed") and len(masks) == 2:
        # the error of a teacher on the images of a class: these images, whoever knows the class
        place = 0 if probe == "worst_reconstructed" else 1
        if probe != "agreement_by_class":
            return masks[place]
        said = [i for i, name in enumerate(class_names(snapshot)) if name == str(column)]
        return None if not said or row not in snapshot.knows else teacher_says(snapshot, str(row), said[0])
    if probe == "claims" and len(masks) == 2:
        return claimed_most(snapshot, str(row), str(column))
    there = [mask for mask in masks if mask is not None]  # a column of numbers alone stands for no images
    return np.logical_and.reduce(there) if there else None


def side_of(snapshot: Snapshot, probe: str, whose: str, name: str, place: int) -> Mask | None:
    """The images of a row (place 0) or a column (1) by its name."""
    if probe == "worst_reconstructed" and place == 0:
        return np.asarray(snapshot.index.astype(str) == name)
    if probe == "selection" and place == 0 and name == "all images":
        return np.ones(len(snapshot.index), bool)
    if probe == "selection" and place == 1 and (chosen := chosen_by(snapshot, name)) is not None:
        return chosen
    if probe == "confusion_with" and whose in snapshot.knows:
        label = name.partition(": ")[2]
        columns = snapshot.knows[whose]
        at = next((i for i, c in enumerate(columns) if snapshot.classes[c][1] == label), None)
        if at is None:
            return None
        logits = snapshot.arrays[f"logits/{whose}"] if place == 0 else snapshot.arrays["scores"][:, list(columns)]
        return answered(logits, at)
    task = whose if whose in tasks_of(snapshot) else next(iter(snapshot.labels or {}), tasks_of(snapshot)[0])
    if probe == "confusion":
        label = name.partition(": ")[2]
        return class_images(snapshot, task, label, student=place == 1)
    if name in snapshot.knows:
        return teacher_images(snapshot, name)
    if probe == "error_by_class":
        return class_images(snapshot, task, name, said=True)
    if name in class_names(snapshot):
        its_task, label = snapshot.classes[class_names(snapshot).index(name)]
        return class_images(snapshot, its_task, label)
    return None


def class_names(snapshot: Snapshot) -> list[str]:
    """Readable names of all classes: with their task in front where there are several."""
    several = len(tasks_of(snapshot)) > 1
    return [f"{task}: {label}" if several else label for task, label in snapshot.classes]


def answered(logits: np.ndarray, place: int) -> Mask:
    """Where the largest logit stands at a place; nowhere where one is not finite."""
    return np.asarray((logits.argmax(axis=1) == place) & np.isfinite(logits).all(axis=1))


def class_images(
    snapshot: Snapshot, task: str, label: str, *, student: bool = False, said: bool = False
) -> Mask | None:
    """The images of a class: truly, or where nobody knows as the student answers.

    Args:
        snapshot: whose.
        task: of the class.
        label: of the class.
        student: as the student answers in any case.
        said: where there are no labels, as the teachers together name them, which is what the table counts.
    """
    names = names_of(snapshot, task)
    if label not in names:
        return None
    labels = (snapshot.labels or {}).get(task)
    if labels is not None and not student:
        return np.asarray(labels == names.index(label))
    if said and not student:
        return np.asarray(classes_said(snapshot, task) == names.index(label))
    return answered(snapshot.arrays["scores"][:, columns_of(snapshot, task)], names.index(label))


def teacher_images(snapshot: Snapshot, teacher: str) -> Mask:
    """The images of a teacher's classes: truly, or where nobody knows as the student answers."""
    task = task_of(snapshot, teacher)
    columns = columns_of(snapshot, task)
    places = [columns.index(column) for column in snapshot.knows[teacher]]
    labels = (snapshot.labels or {}).get(task)
    if labels is None:
        scores = snapshot.arrays["scores"][:, columns]
        labels = np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), -1)
    return np.isin(labels, places)


def teacher_says(snapshot: Snapshot, teacher: str, column: int) -> Mask | None:
    """The images of which a teacher says so; None where it does not know the class."""
    if column not in snapshot.knows[teacher]:
        return None
    return answered(snapshot.arrays[f"logits/{teacher}"], snapshot.knows[teacher].index(column))


def chosen_by(snapshot: Snapshot, teacher: str) -> Mask | None:
    """The images that a teacher teaches most; None where the stage chooses none."""
    if teacher not in snapshot.knows:
        return None
    task = task_of(snapshot, teacher)
    chosen = snapshot.arrays.get(f"selected/{task}")
    if chosen is None:
        return None
    teachers = [name for name in snapshot.teachers if task_of(snapshot, name) == task]
    return np.asarray(chosen == teachers.index(teacher))


def claimed_most(snapshot: Snapshot, by: str, teacher: str) -> Mask | None:
    """The images of which a teacher claims more than the others of its task, by an evidence of the claims' table."""
    claims = claims_by(snapshot, by)
    if teacher not in claims:
        return None
    mine = [name for name in claims if task_of(snapshot, name) == task_of(snapshot, teacher)]
    together = np.stack([claims[name] for name in mine], axis=1)
    return answered(together, mine.index(teacher))


def claims_by(snapshot: Snapshot, by: str) -> dict[str, np.ndarray]:
    """Every teacher's claim of every image by an evidence: share of the joint softmax of its task."""
    if by == "own answers":
        logits = {teacher: snapshot.arrays[f"logits/{teacher}"] for teacher in snapshot.knows}
    elif by == "student":
        logits = {t: snapshot.arrays["scores"][:, list(columns)] for t, columns in snapshot.knows.items()}
    else:
        given = {teacher: f"claim/{by}/{teacher}" for teacher in snapshot.knows}
        return {teacher: snapshot.arrays[name] for teacher, name in given.items() if name in snapshot.arrays}
    return dict(zip(logits, shares(snapshot, logits).T, strict=True))
