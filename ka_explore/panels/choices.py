"""Which tables there are to choose from: the probes whose results are tables, or can be laid out as one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ka_explore.probes import PROBES
from ka_explore.probes.classes import tasks_of
from ka_explore.probes.results import Result
from ka_explore.run.snapshot import Snapshot

NAMES = {"error_by_class": "reconstruction error by class", "cka": "CKA", "mmd": "MMD", "mmd_curve": "MMD by bandwidth"}
PREFERRED = ("error_by_class", "agreement_by_class")
WITH_TEACHER = ("confusion_with", "worst_channels")  # a table a teacher
WITH_TASK = ("error_by_class", "confusion")  # a table a task


@dataclass(frozen=True)
class Choice:
    """A table that can be chosen: ``key`` is the probe, and behind a colon whose; ``tip`` says what it is."""

    key: str
    name: str
    tip: str
    ask: Callable[[Snapshot], Result]


def choices_of(snapshot: Snapshot) -> dict[str, Choice]:
    """The probes that may have a table, one a teacher or task where they take one; the same for every stage."""
    found = {}
    for name, probe in PROBES.items():
        said = NAMES.get(name, name.replace("_", " "))
        tip = (probe.__doc__ or "").strip().split("\n")[0]
        several = name in WITH_TASK and len(tasks_of(snapshot)) > 1
        whose = snapshot.teachers if name in WITH_TEACHER else tasks_of(snapshot) if several else ()
        for one in whose:
            options: dict[str, Any] = {"teacher" if name in WITH_TEACHER else "task": one}
            found[f"{name}:{one}"] = Choice(f"{name}:{one}", f"{said} · {one}", tip, partial(probe, **options))
        if not whose:
            found[name] = Choice(name, said, tip, probe)
    return found


def preferred(choices: Mapping[str, Choice], offered: Sequence[Mapping[str, Any]]) -> Choice:
    """The table that is shown unasked: reconstruction error by class where there is one, else the agreement."""
    there = [str(entry["key"]) for entry in offered if not entry["reason"]]
    first = [key for name in PREFERRED for key in there if key.partition(":")[0] == name]
    return choices[next(iter([*first, *there, *choices]))]
