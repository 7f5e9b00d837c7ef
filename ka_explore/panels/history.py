"""The history: the terms of the loss over the steps, forks over their parents, and the step that is looked at."""

from array import array
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
from ka_explore.plots import draw_history, draw_terms
from ka_explore.plots.history import WINDOW
from ka_explore.plots.style import colours_of_terms

if TYPE_CHECKING:
    from ka_explore.run.run import Row

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
    _records: Mapping[Branch, "Record"] = {}

    def traits_of(self, changed: frozenset[str]) -> dict[str, Any]:
        """Take in the rows that are new; what is no longer compared is forgotten."""
        del changed
        self._records = {branch: self._records.get(branch) or Record() for branch in self.compared}
        for branch, record in self._records.items():
            record.follow(branch.rows)
        return {}

    def key(self) -> Hashable:
        """Which terms and stages there are, and whose rows: a history that was taken in anew is another one."""
        return tuple((len(record.terms), len(record.stages), record.begun) for record in self._records.values())

    def there(self) -> dict[Branch, list[int]]:
        """One frame a branch: up to its last row."""
        return {branch: [len(record.steps)] for branch, record in self._records.items()}

    def steps(self, branch: Branch) -> Sequence[int]:
        """None has a frame of its own that would have to be made."""
        del branch
        return ()

    def sent_of(self, branch: Branch, step: int, whole: bool) -> Frame | None:
        """Rows up to one, (column, row): steps, then each term. All, or those that are new; of many the extremes."""
        record, start = self._records[branch], 0 if whole else self._sent[branch][0]
        rows = extremes(record.values, MOST) if whole else np.arange(start, step)
        return {"rows": np.column_stack([np.array(record.steps)[rows], record.values[rows]]).T, "start": start}

    def about(self) -> Frame:
        """The terms of all branches with their colours, and over how many rows means are taken."""
        terms = dict.fromkeys(term for record in self._records.values() for term in record.terms)
        coloured = colours_of_terms(terms).items()  # as in the static pictures
        return {"window": WINDOW, "terms": [{"name": term, "colour": colour} for term, colour in coloured]}

    def about_branch(self, branch: Branch) -> Mapping[str, Any]:
        """Its terms and stages, and how many first rows it has in common with one that is drawn before it."""
        record = self._records[branch]
        before = self.compared[: self.compared.index(branch)]
        return {
            "terms": list(record.terms), "stages": record.stages, "fork": branch.parent,
            "shared": max((self._records[other].common_past(record) for other in before), default=0),
            "total": branch.run.steps if branch.run is not None else len(record.steps),
        }  # fmt: skip

    def summary(self) -> str:
        """The last loss and terms of every branch that is compared."""
        said = {branch.name: "no step yet" for branch in self.session.compared}
        for branch in self.session.compared:
            for row in branch.rows[-1:]:
                terms = ", ".join(f"{term} {value:.3g}" for term, value in row["terms"].items())
                said[branch.name] = f"loss {row['loss']:.3g} after step {row['step']} ({terms})"
        return "\n".join(f"{name}: {words}" for name, words in said.items())

    def drawn(self, ax: Axes) -> None:
        """The terms of one branch, or the loss of several."""
        rows = {branch.name: branch.rows[:] for branch in self.session.compared}
        if not any(rows.values()):
            raise InputError("no step is recorded yet: press play.")
        if len(rows) == 1:
            draw_terms(next(iter(rows.values())), ax)
        else:
            draw_history(rows, LOSS, ax)


@dataclass
class Record:
    """What is recorded of a branch as columns, step by step.

    First the loss, then its terms as they first appear; NaN where a stage has no such term.
    """

    terms: "dict[str, array[float]]" = field(default_factory=lambda: {LOSS: array("f")})
    steps: "array[int]" = field(default_factory=lambda: array("q"))  # of every row
    stages: list[tuple[int, str]] = field(default_factory=list)  # (first step, name) in order
    begun: int = 0  # how often it began anew

    def follow(self, rows: "Sequence[Row]") -> None:
        """Take in the rows that are new; a shorter list is another history and is taken in from its beginning."""
        until = len(rows)  # it grows on another thread
        if until < len(self.steps):
            self.terms, self.steps, self.stages, self.begun = {LOSS: array("f")}, array("q"), [], self.begun + 1
        for row in rows[len(self.steps) : until]:
            values = {LOSS: row["loss"], **row["terms"]}
            new = [term for term in values if term not in self.terms]
            self.terms |= {term: array("f", [np.nan]) * len(self.steps) for term in new}
            for term, column in self.terms.items():
                column.append(values.get(term, np.nan))
            if not self.stages or self.stages[-1][1] != row["stage"]:
                self.stages.append((int(row["step"]), str(row["stage"])))
            self.steps.append(row["step"])

    @property
    def values(self) -> Float32[np.ndarray, "row term"]:
        """The terms of every row."""
        return np.column_stack(list(self.terms.values()))

    def common_past(self, other: "Record") -> int:
        """How many first rows are the same in both."""
        until = min(len(self.steps), len(other.steps))
        same, missing = np.equal(self.steps[:until], other.steps[:until]), array("f", [np.nan]) * until
        for term in self.terms | other.terms:
            mine, its = (np.asarray(record.terms.get(term, missing)[:until]) for record in (self, other))
            same &= (mine == its) | (np.isnan(mine) & np.isnan(its))
        return int(np.logical_and.accumulate(same).sum())


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
