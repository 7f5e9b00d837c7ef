"""The tables: what probes say of two things at once, as numbers in coloured cells, step by step."""

import time
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from matplotlib.axes import Axes

from ka_explore.errors import InputError, KaError
from ka_explore.panels.branch import Branch
from ka_explore.panels.cells import images_of
from ka_explore.panels.choices import Choice, choices_of, preferred
from ka_explore.panels.film import FilmPanel
from ka_explore.panels.frames import Frame
from ka_explore.panels.layout import Room
from ka_explore.panels.plane import newest
from ka_explore.panels.session import Session
from ka_explore.panels.widget import source
from ka_explore.plots import colour_of, draw_matrix, marker_of
from ka_explore.probes.results import Matrix, as_matrix
from ka_explore.run.snapshot import Snapshot


class Tables(FilmPanel):
    """One table of the branches that are compared, at the step that is looked at."""

    _esm = source("shared.js", "film.js", "tables.js")
    _css = source("shared.css", "tables.css")
    room = Room(230, 350, beside="points")

    choices = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, session: Session):
        self._reasons: dict[tuple[Path, str], dict[str, str]] = {}  # by run and stage: why a table is not there
        self._chosen = ""  # what was asked for
        self._choice: Choice | None = None  # what is shown
        super().__init__(session)

    def traits_of(self, changed: frozenset[str]) -> dict[str, Any]:
        """What can be chosen."""
        del changed  # a stage has other tables, so every step may
        offered = self._offer(self.compared)
        return {} if offered == getattr(self, "choices", None) else {"choices": offered}

    def key(self) -> Hashable:
        """Which table."""
        return self._choice.key if self._choice else ""

    def about(self) -> Frame:
        """Which table, and how nets look."""
        last = [snapshot for branch in self.compared if (snapshot := newest([branch])) is not None]
        nets = list(dict.fromkeys(net for snapshot in last for net in snapshot.teachers))
        return {"chosen": self.key(), "nets": {net: [colour_of(net, nets), marker_of(net, nets)] for net in nets}}

    def frame(self, branch: Branch, step: int) -> Frame | None:
        """The table of a step with its names and what can be clicked; empty where the stage has none."""
        snapshot = branch.snapshot(step)
        if snapshot is None or self._choice is None:
            return None
        with suppress(KaError):  # why is said in the list of choices
            if (table := as_matrix(self._choice.ask(snapshot))) is not None:
                return {**vars(table), **self._clickable(branch, snapshot, table)}
        return {}

    def asked(self, message: Mapping[str, Any]) -> None:
        """Another table, or the images of a row, a column or a cell."""
        if "choose" in message:
            self._chosen = str(message["choose"])
            return
        branch = self.session.branches.get(str(message.get("branch")))
        snapshot = None if branch is None else self.snapshot_near(branch, float(message["step"]))
        if snapshot is None:
            raise InputError(f"there is no snapshot of {message.get('branch')!r} to select images of.")
        row, column = message.get("row"), message.get("column")
        if (mask := images_of(snapshot, str(message["table"]), row, column)) is None:
            raise InputError(f"{row or ''} {column or ''} of {message['table']} stands for no images.")
        self.session.select(np.flatnonzero(mask))

    def _offer(self, branches: Sequence[Branch]) -> list[dict[str, Any]]:
        """What can be chosen, as the browser lists it: what no branch's stage emits with the reason; and choose."""
        choices: dict[str, Choice] = {}
        reasons: list[dict[str, str]] = []
        for branch in branches:
            if (snapshot := self.snapshot_near(branch)) is not None:
                mine = choices_of(snapshot)
                choices = {**mine, **choices}
                reasons.append(self._reasons_of(branch, snapshot, mine))
        why = {key: [known.get(key, "") for known in reasons] for key in choices}
        choices = {key: choice for key, choice in choices.items() if "no table" not in why[key]}
        offered = [
            {"key": key, "name": choice.name, "tip": choice.tip, "reason": why[key][0] if all(why[key]) else ""}
            for key, choice in choices.items()
        ]
        self._choice = choices.get(self._chosen) or (preferred(choices, offered) if choices else None)
        return offered

    def _reasons_of(self, branch: Branch, snapshot: Snapshot, choices: Mapping[str, Choice]) -> dict[str, str]:
        """Why a stage has no such table, by table; asked once a stage."""
        key = (branch.folder, snapshot.stage)
        if key not in self._reasons:
            found = self._reasons[key] = {}
            for name, choice in choices.items():
                try:
                    begun = time.thread_time()
                    if as_matrix(choice.ask(snapshot)) is None:
                        found[name] = "no table"
                    self._costs.setdefault(name, time.thread_time() - begun)
                except KaError as error:
                    found[name] = str(error)
        return self._reasons[key]

    def _clickable(self, branch: Branch, snapshot: Snapshot, table: Matrix) -> Frame:
        """Which rows, columns and cells of a table stand for images; asked once a stage and names."""
        at = (branch, -1, (self.key(), snapshot.stage, table.rows, table.columns))
        if (found := self._kept.get(at)) is None:
            images = partial(images_of, snapshot, str(self.key()))
            corner = (table.rows[0], table.columns[0]) if table.rows and table.columns else None
            found = {
                "row_images": [images(row, None) is not None for row in table.rows],
                "column_images": [images(None, column) is not None for column in table.columns],
                "cell_images": corner is not None and images(*corner) is not None,
                "by": "true classes" if snapshot.labels else "classes as the student answers: no labels",
            }
            self._kept.put(at, found)
        return found

    def _shown(self) -> list[tuple[Branch, int, Matrix]]:
        """The tables that are looked at, of the branches that have one."""
        found = []
        with self._lock:
            self._offer(self.session.compared)
            for branch in self.session.compared:
                step = branch.nearest(self.session.viewed_step)
                if step is not None and (frame := self.frame_at(branch, step)):
                    found.append((branch, step, Matrix(**{one.name: frame[one.name] for one in fields(Matrix)})))
        return found

    def summary(self) -> str:
        """The table that is looked at: its title and its least and greatest number."""
        said = []
        for branch, step, table in self._shown():
            cells = {at: value for at, value in np.ndenumerate(table.values) if np.isfinite(value)}
            ends = [end(cells, key=cells.__getitem__) for end in (min, max) if cells]
            told = " to ".join(f"{cells[r, c]:.3g} ({table.rows[r]}, {table.columns[c]})" for r, c in ends)
            said.append(f"{branch.name}, step {step}: {table.title}: {told or 'no number'}")
        return "\n".join(said) or "no such table of the step that is looked at"

    def drawn(self, ax: Axes) -> None:
        """The table of the first branch that has it; raises InputError where none has."""
        if not (found := self._shown()):
            raise InputError("no snapshot has such a table yet: press play.")
        branch, step, table = found[0]
        own = f"{branch.name}: " if len(self.session.compared) > 1 else ""
        draw_matrix(replace(table, title=f"{own}{table.title}", step=step), ax)
