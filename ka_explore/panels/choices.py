"""Which tables there are to choose from: the probes whose results are tables, or can be laid out as one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ka_explore.probes import PROBES
from ka_explore.probes.classes import tasks_of
from ka_explore.probes.results import Curves, Matrix, Result, Scalars
from ka_explore.run.snapshot import Snapshot

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
