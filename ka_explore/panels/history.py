"""The history: the terms of the loss over the steps, forks over their parents, and the step that is looked at."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import traitlets
from jaxtyping import Float32, Int64
from matplotlib.axes import Axes

from ka_explore.errors import InputError
from ka_explore.panels.branch import Branch
from ka_explore.panels.layout import Room
from ka_explore.panels.widget import Panel, source
from ka_explore.plots import TEACHERS, draw_history, draw_terms
from ka_explore.plots.comparing import run_colour
from ka_explore.plots.history import WINDOW
from ka_explore.run.run import Row

if TYPE_CHECKING:
    from ka_explore.panels.session import Session

LOSS = "loss"
MOST = 12_000  # rows of a branch that are sent whole; of longer ones, those that are some term's extremes
RENEWED = 500  # rows that are sent one by one before all are sent anew, for views that come later


class History(Panel):
    """Terms of the loss over the steps, of every branch that is compared.

    All rows are sent once; while a run plays only what is new.
    """

    _esm = source(
        "shared.js", "history/rows.js", "history/scene.js", "history/axes.js", "history/lines.js", "history/terms.js",
        "history/pointing.js", "history.js",
    )  # fmt: skip
    _css = source("shared.css", "history.css")
    topics = frozenset({"rows", "branches", "viewed_step"})
    room = Room(270, 350, beside="points")

    lines = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)

    def __init__(self, session: "Session"):
        self._records: dict[Path, Record] = {}
        self._pasts: dict[tuple[Path, Path], int] = {}
        self._sent: list[tuple[Path, int, int, int]] = []  # of every branch shown: folder, columns, stages, rows
        self._version = 0
        self._renewed_at = 0  # rows in all when all were sent last
        self._verb = f"history {uuid4().hex}"
        session.answer(self._verb, lambda _: self._renew())
        super().__init__(session)

    def state(self, changed: Iterable[str]) -> dict[str, Any]:
        """Everything anew where the run stands still; while it plays the new rows alone go to the browser."""
        shown = self._follow()
        now = [(b.folder, len(r.terms), len(r.stages), r.count) for b, r in shown]
        if now == self._sent and "branches" not in changed:
            standing = self._renewed_at == sum(r.count for _, r in shown)
            return {} if standing or self.session.busy else self._whole(shown)
        same = [known[:3] for known in now] == [known[:3] for known in self._sent]
        fresh = sum(record.count for _, record in shown) - self._renewed_at
        if same and "branches" not in changed and self.session.busy and fresh < RENEWED:
            starts = [known[3] for known in self._sent]
            self._sent = now
            records = [record for _, record in shown]
            self.send(
                {
                    "kind": "rows",
                    "version": self._version,
                    "starts": starts,
                    "counts": [record.count for record in records],
                    "shared": [self._shared(shown, place)[0] for place in range(len(shown))],
                },
                [record.packed(np.arange(start, record.count)) for record, start in zip(records, starts, strict=True)],
            )
            return {}
        return self._whole(shown)

    def _renew(self) -> None:
        """Send everything: a view came later than rows that were sent one by one."""
        state = self._whole(self._follow())
        with self.hold_sync():
            for name, value in state.items():
                setattr(self, name, value)

    def _follow(self) -> "list[tuple[Branch, Record]]":
        """The branches that are compared with what is recorded of them; what is no longer compared is forgotten."""
        branches = self.session.compared
        kept = {branch.folder for branch in branches}
        self._records = {folder: record for folder, record in self._records.items() if folder in kept}
        self._pasts = {pair: count for pair, count in self._pasts.items() if kept.issuperset(pair)}
        for branch in branches:
            self._records.setdefault(branch.folder, Record()).follow(branch.rows)
        return [(branch, self._records[branch.folder]) for branch in branches]

    def _whole(self, shown: "Sequence[tuple[Branch, Record]]") -> dict[str, Any]:
        self._version += 1
        self._sent = [(b.folder, len(r.terms), len(r.stages), r.count) for b, r in shown]
        self._renewed_at = sum(record.count for _, record in shown)
        terms = list(dict.fromkeys(term for _, record in shown for term in record.terms))
        places = {name: place for place, name in enumerate(list(self.session.branches))}
        about, buffers = [], [np.array([self._version], "<f4").tobytes()]
        for place, (branch, record) in enumerate(shown):
            kept = record.kept()
            shared, of = self._shared(shown, place)
            about.append(
                {
                    "name": branch.name,
                    "place": places.get(branch.name, place),
                    "colour": run_colour(places.get(branch.name, place)),
                    "terms": record.terms,
                    "count": record.count,
                    "kept": len(kept),
                    "stages": record.stages,
                    "fork": None if branch.parent is None else list(branch.parent),
                    "shared": shared,
                    "of": of,
                    "total": branch.run.steps if branch.run is not None else record.count,
                }
            )
            buffers.append(record.packed(kept))
        return {
            "data": b"".join(buffers),
            "lines": {
                "version": self._version,
                "verb": self._verb,
                "window": WINDOW,
                "terms": [{"name": term, "colour": colour_of_term(term, terms)} for term in terms],
                "branches": about,
            },
        }

    def _shared(self, shown: "Sequence[tuple[Branch, Record]]", place: int) -> tuple[int, int]:
        """How many first rows a branch has in common with one that is drawn before it, and which: the longest past."""
        best = (0, -1)
        branch, record = shown[place]
        for earlier, (other, its) in enumerate(shown[:place]):
            key = (other.folder, branch.folder)
            known = self._pasts.get(key, 0)
            self._pasts[key] = known = its.common_past(record, known)
            if known > best[0]:
                best = (known, earlier)
        return best

    def summary(self) -> str:
        """The last loss and terms of every branch that is compared."""
        said = []
        for branch in self.session.compared:
            rows = branch.rows
            if not rows:
                said.append(f"{branch.name}: no step yet")
                continue
            row = rows[-1]
            terms = ", ".join(f"{term} {value:.3g}" for term, value in row["terms"].items())
            said.append(f"{branch.name}: loss {row['loss']:.3g} after step {row['step']} ({terms})")
        return "\n".join(said)

    def drawn(self, ax: Axes) -> None:
        """The terms of one branch, or the loss of several."""
        branches = self.session.compared
        if not any(branch.rows for branch in branches):
            raise InputError("no step is recorded yet: press play.")
        if len(branches) == 1:
            draw_terms(branches[0].rows[:], ax)
        else:
            draw_history({branch.name: branch.rows[:] for branch in branches}, LOSS, ax)


@dataclass
class Record:
    """What is recorded of a branch as columns, step by step.

    Attributes:
        terms: the loss, then its terms in the order in which they first appear.
        stages: (first step, name) in order.
        count: rows.
    """

    terms: list[str] = field(default_factory=lambda: [LOSS])
    stages: list[tuple[int, str]] = field(default_factory=list)
    count: int = 0
    _steps: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    _values: np.ndarray = field(default_factory=lambda: np.full((256, 4), np.nan, np.float32))

    def follow(self, rows: Sequence[Row]) -> None:
        """Take in the rows that are new; a shorter list is another history and is taken in from its beginning."""
        until = len(rows)  # it grows on another thread
        if until < self.count:
            self.count, self.stages, self.terms = 0, [], [LOSS]
            self._values[:] = np.nan
        for row in rows[self.count : until]:
            self._add(row)

    def _add(self, row: Mapping[str, Any]) -> None:
        for term in row["terms"]:
            if term not in self.terms:
                self.terms.append(term)
        rows, columns = self._values.shape
        if self.count == rows or len(self.terms) > columns:
            grown = np.full(
                (2 * rows if self.count == rows else rows, max(columns, 2 * len(self.terms))), np.nan, np.float32
            )
            grown[:rows, :columns] = self._values
            self._values = grown
            self._steps = np.concatenate([self._steps, np.zeros(len(grown) - rows, np.int64)])
        self._steps[self.count] = row["step"]
        values = self._values[self.count]
        values[:] = np.nan
        values[0] = row["loss"]
        for term, value in row["terms"].items():
            values[self.terms.index(term)] = value
        if not self.stages or self.stages[-1][1] != row["stage"]:
            self.stages.append((int(row["step"]), str(row["stage"])))
        self.count += 1

    @property
    def steps(self) -> Int64[np.ndarray, "row"]:
        """The step of every row."""
        return self._steps[: self.count]

    @property
    def values(self) -> Float32[np.ndarray, "row term"]:
        """The terms of every row; NaN where a stage has no such term."""
        return self._values[: self.count, : len(self.terms)]

    def kept(self) -> Int64[np.ndarray, "kept"]:
        """Which rows are sent: all, or of many the `extremes`, the last ones all."""
        return extremes(self.values, MOST)

    def packed(self, rows: Int64[np.ndarray, "kept"]) -> bytes:
        """Steps, then each term, a column after the other, as float32 little endian."""
        columns = np.column_stack([self.steps[rows].astype(np.float32), self.values[rows]])
        return columns.T.astype("<f4").tobytes()

    def common_past(self, other: "Record", known: int = 0) -> int:
        """How many first rows are the same in both, where so many are known to be."""
        until = min(self.count, other.count)
        if known >= until:
            return min(known, until)
        terms = list(dict.fromkeys([*self.terms, *other.terms]))
        mine, its = (r.columns(terms, known, until) for r in (self, other))
        same = ((mine == its) | (np.isnan(mine) & np.isnan(its))).all(axis=1)
        same &= self.steps[known:until] == other.steps[known:until]
        return known + (int(same.argmin()) if not same.all() else len(same))

    def columns(self, terms: Sequence[str], start: int, stop: int) -> Float32[np.ndarray, "row term"]:
        """These terms of the rows ``start`` to ``stop``; NaN for those it does not have."""
        missing = np.full(stop - start, np.nan, np.float32)
        columns = [self.values[start:stop, self.terms.index(term)] if term in self.terms else missing for term in terms]
        return np.stack(columns, axis=1)


def extremes(values: Float32[np.ndarray, "row term"], most: int) -> Int64[np.ndarray, "kept"]:
    """Which rows stand for all of them: in every piece of the history the least and the greatest of every term.

    At most ``most`` rows and some, whole ones; all of them where they are no more. The last row is among them.
    """
    count, terms = values.shape
    if count <= most:
        return np.arange(count)
    pieces = max(most // (2 * terms + 1), 1)
    size = -(-count // pieces)
    padded = np.full((pieces * size, terms), np.nan, np.float32)
    padded[:count] = values
    cut = padded.reshape(pieces, size, terms)
    starts = (np.arange(pieces) * size)[:, None]
    least = starts + np.where(np.isnan(cut), np.inf, cut).argmin(axis=1)
    greatest = starts + np.where(np.isnan(cut), -np.inf, cut).argmax(axis=1)
    found = np.unique(np.concatenate([least.ravel(), greatest.ravel(), [count - 1]]))
    return found[found < count].astype(np.int64)


def colour_of_term(term: str, terms: Sequence[str]) -> str:
    """The loss is dark, its terms have the colours of the static pictures, in their order."""
    others = [name for name in terms if name != LOSS]
    return run_colour(0) if term == LOSS else TEACHERS[others.index(term) % len(TEACHERS)]
