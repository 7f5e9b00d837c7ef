"""The history: the terms of the loss over the steps, forks over their parents, and the step that is looked at."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64
from matplotlib.axes import Axes

from ka_explore.errors import InputError
from ka_explore.panels.branch import Branch
from ka_explore.panels.film import FilmPanel
from ka_explore.panels.frames import Frame
from ka_explore.panels.layout import Room
from ka_explore.panels.widget import source
from ka_explore.plots import TEACHERS, draw_history, draw_terms
from ka_explore.plots.comparing import run_colour
from ka_explore.plots.history import WINDOW
from ka_explore.run.run import Row

if TYPE_CHECKING:
    from ka_explore.panels.session import Session

LOSS = "loss"
MOST = 12_000  # rows of a branch that are sent whole; of longer ones, those that are some term's extremes


class History(FilmPanel):
    """Terms of the loss over the steps, of every branch that is compared.

    A frame is not of a step but up to it: all rows where all is sent, while a run plays the rows that are new.
    """

    _esm = source(
        "shared.js", "film.js", "history/rows.js", "history/scene.js", "history/axes.js", "history/lines.js",
        "history/terms.js", "history/pointing.js", "history.js",
    )  # fmt: skip
    _css = source("shared.css", "history.css")
    topics = frozenset({"rows", "branches", "viewed_step"})
    room = Room(270, 350, beside="points")

    def __init__(self, session: "Session"):
        self._records: dict[Branch, Record] = {}
        self._pasts: dict[tuple[Branch, Branch], int] = {}
        super().__init__(session)

    def traits_of(self, changed: frozenset[str]) -> dict[str, Any]:
        """Take in the rows that are new; what is no longer compared is forgotten."""
        del changed
        self._records = {branch: self._records.get(branch) or Record() for branch in self.compared}
        self._pasts = {pair: count for pair, count in self._pasts.items() if self._records.keys() >= {*pair}}
        for branch, record in self._records.items():
            record.follow(branch.rows)
        return {}

    def key(self) -> Hashable:
        """Which terms and stages there are, and whose rows: a history that was taken in anew is another one."""
        return tuple((len(record.terms), len(record.stages), record.begun) for record in self._records.values())

    def there(self) -> dict[Branch, list[int]]:
        """One frame a branch: up to its last row."""
        return {branch: [record.count] for branch, record in self._records.items()}

    def steps(self, branch: Branch) -> Sequence[int]:
        """None has a frame of its own that would have to be made."""
        del branch
        return ()

    def sent_of(self, branch: Branch, step: int, whole: bool) -> Frame:
        """Rows up to one, (column, row): steps, then each term. All, or those that are new; of many the extremes."""
        record = self._records[branch]
        start = 0 if whole else self._sent[branch][0]
        rows = extremes(record.values, MOST) if whole else np.arange(start, step)
        return {"rows": np.column_stack([record.steps[rows], record.values[rows]]).T, "start": start}

    def about(self) -> Frame:
        """The terms of all branches with their colours, and over how many rows means are taken."""
        terms = list(dict.fromkeys(term for record in self._records.values() for term in record.terms))
        colours = [{"name": term, "colour": colour_of_term(term, terms)} for term in terms]
        return {"window": WINDOW, "terms": colours}

    def about_branch(self, branch: Branch) -> Mapping[str, Any]:
        """Its terms and stages, and how many first rows it has in common with one that is drawn before it."""
        record = self._records[branch]
        return {
            "terms": record.terms, "stages": record.stages, "fork": branch.parent, "shared": self._shared(branch),
            "total": branch.run.steps if branch.run is not None else record.count,
        }  # fmt: skip

    def _shared(self, branch: Branch) -> int:
        """How many first rows a branch has in common with one that is drawn before it: the longest past."""
        longest = 0
        for other in self.compared[: self.compared.index(branch)]:
            known = self._pasts.get((other, branch), 0)
            self._pasts[other, branch] = known = self._records[other].common_past(self._records[branch], known)
            longest = max(longest, known)
        return longest

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
        begun: how often it began anew.
    """

    terms: list[str] = field(default_factory=lambda: [LOSS])
    stages: list[tuple[int, str]] = field(default_factory=list)
    count: int = 0
    begun: int = 0
    _steps: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    _values: np.ndarray = field(default_factory=lambda: np.full((256, 4), np.nan, np.float32))

    def follow(self, rows: Sequence[Row]) -> None:
        """Take in the rows that are new; a shorter list is another history and is taken in from its beginning."""
        until = len(rows)  # it grows on another thread
        if until < self.count:
            self.count, self.stages, self.terms, self.begun = 0, [], [LOSS], self.begun + 1
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
