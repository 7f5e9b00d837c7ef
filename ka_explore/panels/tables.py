"""The tables: what probes say of two things at once, as numbers in coloured cells, step by step."""

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from ka_explore.panels.widget import source
from ka_explore.plots import colour_of, draw_matrix, marker_of
from ka_explore.probes.results import Matrix, as_matrix
from ka_explore.run.snapshot import Snapshot

if TYPE_CHECKING:
    from ka_explore.panels.session import Session

REASONS = 200  # of stages that are kept in memory, and so many layouts


class Tables(FilmPanel):
    """One table of the branches that are compared, at the step that is looked at."""

    _esm = source("shared.js", "film.js", "tables.js")
    _css = source("shared.css", "tables.css")
    room = Room(230, 350, beside="points")

    choices = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, session: "Session"):
        self._reasons: dict[tuple[Path, str], dict[str, str]] = {}  # by run and stage: why a table is not there
        self._layouts: dict[tuple[Any, ...], dict[str, Any]] = {}
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
        return {"chosen": self.key(), "nets": nets_of(self.compared)}

    def frame(self, branch: Branch, step: int) -> Frame | None:
        """The table of a step with its names and what can be clicked; empty where the stage has none."""
        snapshot = branch.snapshot(step)
        if snapshot is None or self._choice is None:
            return None
        try:
            table = as_matrix(self._choice.ask(snapshot))
        except KaError:  # why is said in the list of choices
            table = None
        if table is None:
            return {}
        return {**vars(table), **self._clickable(snapshot, table, self._choice.key)}

    def asked(self, message: Mapping[str, Any]) -> None:
        """Another table, or the images of a row, a column or a cell."""
        if "choose" in message:
            self._chosen = str(message["choose"])
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

    def _offer(self, branches: Sequence[Branch]) -> list[dict[str, Any]]:
        """What can be chosen, as the browser lists it: what no branch's stage emits with the reason; and choose."""
        choices: dict[str, Choice] = {}
        reasons: list[dict[str, str]] = []
        for branch in branches:
            step = branch.nearest(self.viewed_step)
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
        self._choice = choices.get(self._chosen) or (preferred(choices, offered) if choices else None)
        return offered

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
            while len(self._reasons) > REASONS:
                self._reasons.pop(next(iter(self._reasons)))
        return self._reasons[key]

    def _clickable(self, snapshot: Snapshot, table: Matrix, name: str) -> dict[str, Any]:
        """Which rows, columns and cells of a table stand for images; asked once a stage and names."""
        key = (name, snapshot.stage, table.rows, table.columns)
        if key not in self._layouts:
            images = partial(images_of, snapshot, name)
            corner = (table.rows[0], table.columns[0]) if table.rows and table.columns else None
            self._layouts[key] = {
                "row_images": [images(row, None) is not None for row in table.rows],
                "column_images": [images(None, column) is not None for column in table.columns],
                "cell_images": corner is not None and images(*corner) is not None,
                "by": "true classes" if snapshot.labels else "classes as the student answers: no labels",
            }
            while len(self._layouts) > REASONS:
                self._layouts.pop(next(iter(self._layouts)))
        return self._layouts[key]

    # For places without a kernel.

    def _shown(self) -> list[tuple[Branch, int, Matrix]]:
        """The tables that are looked at, of the branches that have one."""
        found = []
        with self._lock:
            self._offer(self.session.compared)
            for branch in self.session.compared:
                step = branch.nearest(self.viewed_step)
                frame = None if step is None else self.frame_at(branch, step)
                if step is not None and frame:
                    found.append((branch, step, Matrix(**{one.name: frame[one.name] for one in fields(Matrix)})))
        return found

    def summary(self) -> str:
        """The table that is looked at: its title and its least and greatest number."""
        said = []
        for branch, step, table in self._shown():
            finite = np.argwhere(np.isfinite(table.values))
            told = "no number"
            if len(finite):
                numbers = table.values[tuple(finite.T)]
                ends = finite[numbers.argmin()], finite[numbers.argmax()]
                told = " to ".join(f"{table.values[r, c]:.3g} ({table.rows[r]}, {table.columns[c]})" for r, c in ends)
            said.append(f"{branch.name}, step {step}: {table.title}: {told}")
        return "\n".join(said) or "no such table of the step that is looked at"

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
