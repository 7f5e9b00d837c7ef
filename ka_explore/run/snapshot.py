"""A snapshot: named arrays seen at one step of a run, on the probe set; numpy from here on.

The names of the arrays (first axis: sample; maps are averaged over space):

===========================  ===========================================================================================
``scores``                   what the method would answer, a column a class (always)
``logits/student``           the student's logits, a column a column of the label space
``logits/<teacher>``         a teacher's logits (always)
``feature/<net>/<layer>``    a named layer of the student or a teacher (teachers always)
``common/<net>``             the common space (method A)
``error/<teacher>``          reconstruction error a sample, relative to the feature's variance (methods A and B)
``channel_error/<teacher>``  the same a sample and channel, relative to the channel's own variance (methods A and B); in
                             half precision, NaN beyond the first 128 samples
``mmd/<teacher>/<σ>``        what a sample adds to the squared MMD of the student to a teacher, at a bandwidth: its mean
                             over samples is the MMD of the method, on whole maps where the method takes these (method
                             A)
``gradient/<term>``          size of the gradient of a term, weighted as in the loss, at the student's feature of a
                             sample; also ``gradient/<term>/<teacher>``, the part of it that one teacher causes. NaN for
                             samples beyond the first batch of the probe set (see `ka_explore.run.gradients`)
``along/<term>``             the inner product of that gradient and the soft target's, a sample; also a teacher
``bridge/<source>/<block>``  what is left of a transfer bridge's source after it, relative to the variance (method C)
``code/<layer>``             the teachers' features of a layer, compressed together (method B)
``regressed/<layer>``        what the student makes of that layer (method B)
``entropy/<teacher>``        of its answer, in nats (method C)
``weight/<teacher>``         how much it teaches the image, 0 to 1, a task's teachers sum to 1 (method C)
``selected/<task>``          which of the task's teachers teaches it most, by place (method C)
``component/<task>``         logits of the task's component net (method C)
``branch/<layer>``           logits of the exit branch at a layer of the student (logit space)
``claim/<by>/<teacher>``     share of the image that the teacher claims among its task's: by its ``own`` answer, by the
                             ``neighbours`` … and in the ``target`` (where targets are not the teachers' own)
``neighbours``               which images of the pool were asked, nearest first (the same)
===========================  ===========================================================================================
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ka_explore.errors import InputError, checked, short

# The terms about the answers as the methods of the table call them: for what was kept before stages declared theirs.
SOFT_TERMS = ("soft", "logits", "cross_entropy")
VOCABULARY = (
    r"scores|neighbours",
    r"(logits|common|error|channel_error|code|regressed|entropy|weight)/[^/]+",
    r"(mmd|claim)/[^/]+/[^/]+",
    r"(gradient|along)/[^/]+(/[^/]+)?",
    r"(feature|bridge)/[^/]+/.+",
    r"(selected|component|branch)/.+",
)


# By the first word of an array's name, how many axes it has.
AXES: Mapping[str, int] = {
    **dict.fromkeys(("scores", "logits", "feature", "common", "channel_error", "code", "regressed"), 2),
    **dict.fromkeys(("component", "branch", "neighbours"), 2),
    **dict.fromkeys(("error", "mmd", "gradient", "along", "bridge", "entropy", "weight", "selected", "claim"), 1),
}


class Arrays(dict[str, np.ndarray]):
    """Arrays by name; one that is asked for and not there is told with those that are."""

    def __missing__(self, name: str) -> np.ndarray:
        raise InputError(f"this snapshot has no array {name!r}: it has {', '.join(self) or 'none'}.")


@checked
@dataclass(frozen=True)
class Snapshot:
    """Named arrays seen at one step. Raises InputError where they do not fit one another.

    Attributes:
        step: steps done when it was taken.
        stage: the stage of that step.
        index: which images of the pool these are.
        labels: true class index by task, -1 where unknown; None where the pool has none.
        classes: (task, label) of every column of ``scores``.
        knows: by teacher, which of the classes its logits stand for.
        arrays: by name; see this module's table.
        soft_term: the term of the stage that is about the answers; other gradients are compared with its.
    """

    step: int
    stage: str
    index: np.ndarray
    labels: Mapping[str, np.ndarray] | None
    classes: tuple[tuple[str, str], ...]
    knows: Mapping[str, tuple[int, ...]]
    arrays: Mapping[str, np.ndarray]
    soft_term: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrays", Arrays(self.arrays))
        tasks, count = [task for task, _ in self.classes], len(self.classes)
        demand(self.index.ndim == 1 and are_whole(self.index, 0), "index: one row of places in the pool")
        for task, y in (self.labels or {}).items():
            demand(y.shape == self.index.shape, f"labels of {task!r}: one for each of {len(self.index)} samples")
            demand(are_whole(y, -1, tasks.count(task)), f"labels of {task!r}: -1 to {tasks.count(task) - 1}")
        demand(self.knows, "knows: the classes of at least one teacher")
        for teacher, known in self.knows.items():
            fit = known and all(0 <= c < count for c in known) and len({tasks[c] for c in known}) == 1
            demand(fit, f"what {teacher!r} knows: places of one task's classes, 0 to {count - 1}")
        widths = {"scores": count} | {f"logits/{teacher}": len(known) for teacher, known in self.knows.items()}
        for name, array in self.arrays.items():
            if not any(re.fullmatch(pattern, name) for pattern in VOCABULARY):
                raise InputError(f"{name!r} is not a name of a snapshot's array: see ka_explore.run.snapshot.")
            if array.ndim == 0 or len(array) != len(self.index):
                rows = len(array) if array.ndim else "no"
                raise InputError(f"array {name!r} has {rows} rows for {len(self.index)} samples.")
            axes = AXES[name.split("/")[0]]
            demand(array.dtype.kind in "fiu" and array.ndim == axes, f"array {name!r}: numbers with {axes} axes")
            demand(name not in widths or array.shape[1] == widths[name], f"array {name!r}: {widths.get(name)} columns")

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teachers' names in order."""
        return tuple(self.knows)

    @checked
    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays under a prefix, by what follows it: ``group("common")`` gives ``{net: array}``.

        Raises InputError that lists what there is when there is none.
        """
        found = {name.split("/", 1)[1]: a for name, a in self.arrays.items() if name.startswith(prefix + "/")}
        if not found:
            there = sorted({name.split("/")[0] for name in self.arrays})
            raise InputError(
                f"this snapshot (stage {self.stage!r}) has no {short(prefix)}/…: it has {', '.join(there)}. "
                "The stage does not emit what this probe needs."
            )
        return found


def demand(fits: object, what: str) -> None:
    """Raises InputError with what is expected, unless it is so."""
    if not fits:
        raise InputError(f"this is no snapshot: expected {what}.")


def are_whole(array: np.ndarray, least: int, below: int = 2**63) -> bool:
    """Whether an array holds whole numbers of that range alone."""
    if array.dtype.kind not in "iu":
        return False
    return not array.size or (least <= int(array.min()) and int(array.max()) < below)
