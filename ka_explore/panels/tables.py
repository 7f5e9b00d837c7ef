"""The tables: what probes say of two things at once, as numbers in coloured cells, step by step."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import traitlets
from matplotlib.axes import Axes

from ka_explore.errors import InputError, KaError
from ka_explore.panels.branch import Branch
from ka_explore.panels.cells import images_of
from ka_explore.panels.choices import Choice, choices_of, preferred
from ka_explore.panels.layout import Room
from ka_explore.panels.widget import Panel, source
from ka_explore.plots import colour_of, draw_matrix, marker_of
from ka_explore.probes.results import Matrix, as_matrix
from ka_explore.run.snapshot import Snapshot

if TYPE_CHECKING:
    from ka_explore.panels.session import Session

KEPT = 3_000  # tables in memory
CHEAP = 0.02  # seconds of computing that a table may cost while a run plays
PORTION = 0.15  # seconds of computing before somebody else may have the view thread


class Tables(Panel):
    """One table of the branches that are compared, at the step that is looked at.

    The tables of all stored snapshots are computed when the run stands still and sent once, so that scrubbing asks
    the kernel for nothing. While it plays only the newest is, if it costs little.
    """

    _esm = source("shared.js", "tables.js")
    _css = source("shared.css", "tables.css")
    topics = frozenset({"snapshots", "branches", "viewed_step"})
    room = Room(230, 350, beside="points")

    choices = traitlets.List(traitlets.Dict()).tag(sync=True)
    frames = traitlets.Dict().tag(sync=True)
    cells = traitlets.Bytes().tag(sync=True)
    newest = traitlets.Dict().tag(sync=True)  # a table that came since, by branch

    def __init__(self, session: "Session"):
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
        session.answer(self._verb, self._asked)
        super().__init__(session)
        session.changed(self._more)

    def state(self, changed: Iterable[str]) -> dict[str, Any]:  # noqa: ARG002 - what is there says what is missing
        """What can be chosen, the newest table, and when the run stands still all of them."""
        first = not self._sent
        branches = self.session.compared
        state: dict[str, Any] = {}
        choices, offered = self._offered(branches)
        if offered != getattr(self, "choices", None):
            state["choices"] = offered
        if not choices:
            return state | {"frames": self._about({}, [], ""), "cells": b""}
        choice = choices.get(self._chosen) or preferred(choices, offered)
        begun = time.perf_counter()
        if not self.session.busy or self._costs.get(choice.key, 0.0) <= CHEAP:
            for branch in branches:
                near = (
                    branch.nearest(self.session.viewed_step)
                    if not self.session.busy
                    else max(branch.steps_seen(), default=None)
                )
                if near is not None:
                    self._table(branch, near, choice)
        same = self._sent is not None and self._sent[:2] == (choice.key, [branch.name for branch in branches])
        some = self._latest if same else self._whole
        if first or self.session.busy:
            return state | some(branches, choice)
        for branch in branches:
            for step in branch.steps_sent():
                if (branch.folder, step, choice.key) not in self._tables:
                    if time.perf_counter() - begun > PORTION:
                        self.session.changed(self._more)
                        return state | some(branches, choice)
                    self._table(branch, step, choice)
        return state | self._whole(branches, choice)

    def _asked(self, message: Mapping[str, Any]) -> None:
        """Another table, or the images of a row, a column or a cell."""
        if "choose" in message:
            self._chosen = str(message["choose"])
            self.session.changed(self._more)
            return
        branch = self.session.branches.get(str(message.get("branch")))
        seen = None if branch is None else branch.nearest(float(message["step"]))
        snapshot = None if branch is None or seen is None else branch.snapshot(seen)
        if snapshot is None:
            raise InputError(f"there is no snapshot of {message.get('branch')!r} to select images of.")
        row, column = message.get("row"), message.get("column")
        mask = images_of(snapshot, str(message["table"]), row, column)
        if mask is None:
            raise InputError(f"{row or ''} {column or ''} of {message['table']} stands for no images.")
        self.session.select(np.flatnonzero(mask))

    # What there is.

    def _offered(self, branches: Sequence[Branch]) -> tuple[dict[str, Choice], list[dict[str, Any]]]:
        """What can be chosen, and how the browser lists it: what no branch's stage emits with the reason."""
        choices: dict[str, Choice] = {}
        reasons: list[dict[str, str]] = []
        for branch in branches:
            step = branch.nearest(self.session.viewed_step)
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
                    if as_matrix(choice.ask(snapshot)) is None:
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
                made = as_matrix(choice.ask(snapshot))
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
        keys = ((step, (branch.folder, step, choice.key)) for step in branch.steps_sent())
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
            near = branch.nearest(self.session.viewed_step)
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
        made: dict[str, Any] = {"rows": list(table.rows), "columns": list(table.columns), "unit": table.unit}
        made |= {"title": table.title, "centre": table.centre}
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
        branches = self.session.compared
        choices, offered = self._offered(branches)
        if not choices:
            return []
        choice = choices.get(self._chosen) or preferred(choices, offered)
        found = []
        for branch in branches:
            step = branch.nearest(self.session.viewed_step)
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
            title = table.title
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
        own = f"{branch.name}: " if len(self.session.compared) > 1 else ""
        draw_matrix(replace(table, title=f"{own}{table.title}", step=step), ax)


def nets_of(branches: Sequence[Branch]) -> dict[str, list[str]]:
    """Colour and marker of every net that may name a row or a column."""
    nets: dict[str, None] = {}
    for branch in branches:
        steps = branch.steps_seen()
        snapshot = branch.snapshot(steps[-1]) if steps else None
        nets |= dict.fromkeys(snapshot.teachers if snapshot is not None else ())
    return {net: [colour_of(net, list(nets)), marker_of(net, list(nets))] for net in nets}
