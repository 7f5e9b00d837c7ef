"""What a diagnosis judges: what the run is, its history, its snapshots, and what was found of the teachers."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ka_explore.diagnosis.findings import Attempt, Finding, Value
from ka_explore.diagnosis.thresholds import THRESHOLDS, Grade
from ka_explore.diagnosis.wording import WORDS
from ka_explore.errors import KaError, checked
from ka_explore.probes.results import Result
from ka_explore.run.snapshot import SOFT_TERMS, Snapshot

Examined = Mapping[str, Any]  # what was found of a teacher, see `ka_explore.diagnosis.examine`


class CannotCheck(KaError):
    """What a check needs is not there; says what."""


@checked
@dataclass(frozen=True)
class Evidence:
    """All that is known of a run, as plain values and numpy arrays.

    Attributes:
        about: what ``run.json`` holds.
        rows: of the history, a step each.
        snapshots: in order of their steps.
        examination: what `ka_explore.diagnosis.examine` found of the teachers; None if they were not examined.
        steps: of all stages together; None where it is not known.
    """

    about: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] = ()
    snapshots: Sequence[Snapshot] = ()
    examination: Mapping[str, Any] | None = None
    steps: int | None = None

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.about.get("method", ""))

    @property
    def options(self) -> Mapping[str, Any]:
        """The options in force at the last step."""
        configs = self.about.get("configs") or [[0, {}]]
        return dict(next((held for start, held in reversed(configs) if start <= len(self.rows)), configs[0][1]))

    @property
    def last(self) -> Snapshot:
        """The last snapshot. Raises CannotCheck when there is none."""
        if not self.snapshots:
            raise CannotCheck("there is no snapshot: run with snapshot_every, or diagnose the opened run.")
        return self.snapshots[-1]

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teachers' names in order."""
        if self.snapshots:
            return self.snapshots[-1].teachers
        return tuple(t["name"] for t in self.about.get("teachers", ()))

    @property
    def teaching(self) -> tuple[str, ...]:
        """The teachers that the options in force let teach."""
        return tuple(name for name in self.teachers if name not in self.options.get("without", ()))

    @cached_property
    def task_of(self) -> dict[str, str]:
        """By teacher, its task."""
        return {teacher: self.last.classes[known[0]][0] for teacher, known in self.last.knows.items()}

    def mates(self, teacher: str) -> list[str]:
        """The other teachers of its task."""
        return [name for name, task in self.task_of.items() if task == self.task_of[teacher] and name != teacher]

    def rivals(self, teachers: Sequence[str]) -> dict[str, list[str]]:
        """Of these teachers those that share their task with others of them, by name. Raises CannotCheck for none."""
        mates = {name: [mate for mate in self.mates(name) if mate in teachers] for name in teachers}
        if not any(mates.values()):
            raise CannotCheck("no task has two teachers.")
        return {name: others for name, others in mates.items() if others}

    def logits(self, teacher: str) -> np.ndarray:
        """Of a teacher, (sample, label); raises CannotCheck where the snapshots hold none."""
        try:
            return self.last.arrays[f"logits/{teacher}"]
        except KeyError:
            raise CannotCheck(f"the last snapshot has no logits of {teacher!r}.") from None

    def truth(self, teacher: str) -> np.ndarray:
        """True classes (places in the snapshot's ``classes``) by sample, -1 where not known.

        Raises CannotCheck where the pool has no labels of the teacher's task.
        """
        task = self.task_of[teacher]
        y = (self.last.labels or {}).get(task)
        if y is None:
            raise CannotCheck("the pool has no labels (they would be used for marking only).")
        return np.where(y >= 0, y + [t for t, _ in self.last.classes].index(task), -1)

    def examined(self) -> Mapping[str, Examined]:
        """What was found of every teacher. Raises CannotCheck when they were not examined."""
        if not self.examination or not self.examination.get("teachers"):
            raise CannotCheck("the teachers were not examined: diagnose the opened run, Run.open(folder), once.")
        return dict(self.examination["teachers"])

    def found_of(self, teacher: str) -> Examined:
        """What was found of a teacher; empty where it was not examined."""
        return (self.examination or {}).get("teachers", {}).get(teacher, {})

    def feature_layer(self, teacher: str) -> str:
        """The layer that is a teacher's feature; empty where it was not examined."""
        return str(self.found_of(teacher).get("feature_layer", ""))

    def layers_taken(self, teacher: str) -> Sequence[str]:
        """The layers of a teacher that the method takes, as it declared; its feature where that is not known."""
        taken: Mapping[str, Sequence[str]] | None = (self.examination or {}).get("layers_taken")
        return (self.feature_layer(teacher),) if taken is None else taken.get(teacher, ())

    def weights(self) -> dict[str, float]:
        """By term, the weight in force at the last step; terms that are recorded only are left out."""
        return dict(self.rows[-1].get("weights", {})) if self.rows else {}

    @property
    def soft_terms(self) -> Collection[str]:
        """The terms that are about the answers, as the method's stages declare them."""
        return dict(self.about.get("soft_terms", {})).values() or SOFT_TERMS

    def forks(self, *choices: tuple[str, Mapping[str, Any]]) -> tuple[Attempt, ...]:
        """Changes in words and as options, each as a fork from the start; those that the method has options for."""
        return tuple(Attempt(text, changes, at=0) for text, changes in choices if set(changes) <= set(self.options))

    def lower_rate(self) -> dict[str, float]:
        """A tenth of the learning rate, as a change of options."""
        return {"learning_rate": float(f"{float(self.options.get('learning_rate', 1e-3)) / 10:.3g}")}

    def term(self, name: str) -> np.ndarray:
        """A term's values over the rows of the last stage."""
        return np.array([row["terms"].get(name, math.nan) for row in self.last_stage()], np.float64)

    def last_stage(self) -> Sequence[Mapping[str, Any]]:
        """The rows of the last stage reached."""
        rows = self.rows
        return [row for row in rows if row["stage"] == rows[-1]["stage"]] if rows else []

    def answer_term(self) -> str:
        """The term of the last stage that carries the teachers' answers. Raises CannotCheck for none."""
        for name in self.soft_terms if self.rows else ():
            if name in self.rows[-1]["terms"]:
                return name
        raise CannotCheck("no step of the last stage has a term that carries the teachers' answers.")


def group(snapshot: Snapshot, prefix: str) -> dict[str, np.ndarray]:
    """The arrays under a prefix by what follows it; empty for none."""
    start = f"{prefix}/"
    return {name.removeprefix(start): array for name, array in snapshot.arrays.items() if name.startswith(start)}


def judged(
    key: str,
    value: float,
    subject: str = "",
    evidence: Mapping[str, Value] | None = None,
    *,
    attempts: Sequence[Attempt] = (),
    result: Result | None = None,
    depth: float = math.nan,
    at_most: Grade = "warning",
    **told: Any,
) -> Finding:
    """The finding of a value against its threshold, in the words of a row of `wording`; ``fine`` where it stays below.

    The ``depth`` is given where it is not as the row says, the attempts come after the row's, and ``at_most`` is
    ``note`` where a second sign is missing that a warning needs.
    """
    row = WORDS[key].filled(subject=subject, value=value, **told)
    limit = THRESHOLDS[row.threshold]
    grade = limit.grade(value)
    side = "from" if limit.above else "down to"
    return Finding(
        row.name,
        row.title,
        at_most if grade == "warning" else grade,
        (row.depth if math.isnan(depth) else depth) + 0.1 * limit.severity(value),  # depths are at least 0.1 apart
        {row.measure: float(value), f"a warning {side}": limit.warning, **(evidence or {})},
        row.why,
        (*([Attempt(row.attempt, code=row.code)] if row.attempt else []), *attempts),
        result,
        subject,
        threshold=row.threshold,
        value=float(value),
    )
