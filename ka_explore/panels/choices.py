"""Which tables there are to choose from: the probes whose results are tables, or can be laid out as one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ka_explore.probes import PROBES
from ka_explore.probes.classes import tasks_of
from ka_explore.probes.results import Result
from ka_explore.run.snapshot import Snapshot

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
                key, options = f"{name}:{one}", dict[str, Any]({option: one})
                found[key] = Choice(key, f"{said} · {one}", tip, partial(probe, **options))
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
