"""Marking on the problem's test images: the one place that reads their labels.

Two accuracies that are easily confused stand side by side everywhere, by these names:

* **joint**: the best-scored of all classes of the task is the true one;
* **within <teacher>**: on images of the teacher's own classes, the best-scored *of these* is the true one. That is
  what a teacher itself is marked on; it does not ask whose image it is.

**agreement with <teacher>** needs no label: on how many of all images the student, looking at the teacher's classes
only, gives the teacher's answer.

**pairs found with <teacher>** is of the probe set instead, in the common space where a method has one: on how many of
its images the student's point is nearest to the teacher's of the same image (`ka_explore.probes.alignment`).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ka_explore.errors import InputError, checked
from ka_explore.probes.alignment import CHANCE, pairs_found
from ka_explore.probes.results import Tabular
from ka_explore.problem.cache import TeacherCache
from ka_explore.problem.problem import Labelled, Problem
from ka_explore.run.run import Run

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Marks:
    """What a run, or a reference, gets right on the test images: shares from 0 to 1, by task and twice by teacher."""

    joint: Mapping[str, float]
    within: Mapping[str, float]
    agreement: Mapping[str, float]


@dataclass(frozen=True)
class Entry:
    """One line of a comparison: a run and its marks.

    The pairs found are shares of the probe set's images by teacher, and what share is found by chance; none without a
    common space.
    """

    name: str
    method: str
    uses_labels: bool
    seed: int
    steps: int
    joint: Mapping[str, float]
    within: Mapping[str, float]
    agreement: Mapping[str, float]
    seconds: float
    parameters: int
    pairs: Mapping[str, float] = field(default_factory=dict)
    pairs_by_chance: float | None = None


@dataclass(frozen=True)
class References:
    """What the teachers reach on the test images: each within its own classes; by task, their raw logits side by side.

    Routed: by task, if every image went to the first teacher that knows its class, the ceiling of choosing among them.
    """

    teachers: Mapping[str, float]
    ensemble: Mapping[str, float]
    routed: Mapping[str, float]


@dataclass(frozen=True)
class Comparison(Tabular):
    """Runs of one problem side by side, with the teachers beside them."""

    entries: Sequence[Entry]
    references: References

    @property
    def paired(self) -> tuple[str, ...]:
        """The teachers of which some run has found pairs."""
        return tuple(dict.fromkeys(teacher for entry in self.entries for teacher in entry.pairs))

    @property
    def pairs_by_chance(self) -> float:
        """The share of pairs that is found by chance; NaN where no run has a common space."""
        return next((e.pairs_by_chance for e in self.entries if e.pairs_by_chance is not None), float("nan"))

    @property
    def chance_row(self) -> str:
        """What the row is called that says how many pairs are found by chance: among how many images."""
        share = self.pairs_by_chance
        return "pairs by chance" + (f", of the probe set's {1 / share:.0f} images" if share == share else "")

    def to_pandas(self) -> "pandas.DataFrame":
        """A row a run, the teachers below, and what share of pairs is found by chance; all in percent."""
        import pandas

        def row(**groups: Mapping[str, float]) -> dict[tuple[str, str], float]:
            return {(group, name): 100 * v for group, values in groups.items() for name, v in values.items()}

        rows = {
            e.name: row(joint=e.joint, within=e.within, agreement=e.agreement, **{"pairs found": e.pairs})
            for e in self.entries
        }
        teachers = self.references.teachers
        rows["teachers side by side"] = row(joint=self.references.ensemble, within=teachers)
        rows["teachers routed by the true class"] = row(joint=self.references.routed, within=teachers)
        if self.paired:
            rows[self.chance_row] = row(**{"pairs found": dict.fromkeys(self.paired, self.pairs_by_chance)})
        return pandas.DataFrame.from_dict(rows, orient="index").round(1)

    def to_dict(self) -> dict[str, object]:
        """Plain dicts and numbers, for JSON."""
        return {"runs": [asdict(entry) for entry in self.entries], "references": asdict(self.references)}


def labelled(problem: Problem) -> Labelled:
    """The problem's labelled test images. Raises InputError where it has none."""
    if problem.test is None:
        raise InputError("this problem has no labelled test images to mark on: give Problem(test=Labelled(…)).")
    return problem.test


def teacher_answers(problem: Problem) -> dict[str, Tensor]:
    """Every teacher's logits for the test images, from a cache of their own."""
    images = labelled(problem).images
    cache = TeacherCache(problem.teachers, images, {})
    return {name: outputs.logits for name, outputs in cache[np.arange(len(images))].items()}


def mark(problem: Problem, scores: Tensor, answers: Mapping[str, Tensor]) -> Marks:
    """Marks of scores (image, class, in the order of the problem's) of test images, and agreement with the answers."""
    labels, truth = problem.labels, labelled(problem).labels
    joint = {}
    for task in labels.tasks:
        y = torch.from_numpy(np.asarray(truth[task]))
        right = scores[:, labels.task_slice(task)].argmax(dim=1) == y
        joint[task] = share(right, y >= 0)
    within, agreement = {}, {}
    for teacher in problem.teachers:
        columns = torch.tensor(labels.classes_of(teacher.name))
        answer = columns[scores[:, columns].argmax(dim=1)]
        y = torch.from_numpy(np.asarray(truth[teacher.task])) + labels.task_slice(teacher.task).start
        within[teacher.name] = share(answer == y, torch.isin(y, columns))
        said = columns[answers[teacher.name].argmax(dim=1)]
        agreement[teacher.name] = share(answer == said, torch.ones_like(y, dtype=torch.bool))
    return Marks(joint, within, agreement)


def share(right: Tensor, asked: Tensor) -> float:
    """Share of the asked that are right; NaN if none is asked."""
    return float(right[asked].float().mean())


def references(problem: Problem, answers: Mapping[str, Tensor] | None = None) -> References:
    """What the teachers alone, side by side, and routed by the true class reach."""
    answers = teacher_answers(problem) if answers is None else answers
    labels, truth = problem.labels, labelled(problem).labels
    side_by_side = mark(problem, labels.merge(labels.stack(answers)), answers)
    own, routed = {}, {}
    for teacher in problem.teachers:
        scores = torch.full((len(answers[teacher.name]), len(labels.classes)), -torch.inf)
        scores[:, labels.classes_of(teacher.name)] = answers[teacher.name]
        own[teacher.name] = mark(problem, scores, answers).within[teacher.name]
    for task in labels.tasks:
        y = torch.from_numpy(np.asarray(truth[task])) + labels.task_slice(task).start
        right, asked = torch.zeros_like(y, dtype=torch.bool), torch.zeros_like(y, dtype=torch.bool)
        for teacher in (t for t in problem.teachers if t.task == task):
            columns = torch.tensor(labels.classes_of(teacher.name))
            mine = torch.isin(y, columns) & ~asked
            right |= mine & (columns[answers[teacher.name].argmax(dim=1)] == y)
            asked |= mine
        routed[task] = share(right, asked)
    return References(own, side_by_side.joint, routed)


@checked
def compare(runs: Sequence[Run]) -> Comparison:
    """Runs of one problem marked on its test images, with the pairs they find, the teachers beside them.

    Raises InputError for no run, runs of different problems, or a problem without test images.
    """
    if not runs:
        raise InputError("nothing to compare: give at least one run.")
    problem = runs[0].problem
    for run in runs[1:]:
        if run.problem is not problem and run.problem.fingerprints != problem.fingerprints:
            raise InputError(
                f"runs {runs[0].name!r} and {run.name!r} are of different problems: compare like with like."
            )
    answers, entries = teacher_answers(problem), []
    for run in runs:
        marks = mark(problem, run.predict(labelled(problem).images[:]), answers)
        entries.append(
            Entry(
                name=run.name,
                method=run.store.about["method"],
                uses_labels=run.method.uses_labels,
                seed=run.seed,
                steps=run.step,
                **vars(marks),
                seconds=round(sum(row["seconds"] for row in run.history()), 3),
                parameters=run.method.deployed_parameters,
                **pairs_of(run),
            )
        )
    return Comparison(entries, references(problem, answers))


def pairs_of(run: Run) -> dict[str, Any]:
    """What an entry says of the pairs that a run finds on the probe set as it is; nothing without a common space."""
    snapshot = run.snapshot()
    with suppress(InputError):
        found = pairs_found(snapshot, neighbours=(1,))
        return {"pairs": dict(found.values), "pairs_by_chance": found.levels[CHANCE]}
    return {}
