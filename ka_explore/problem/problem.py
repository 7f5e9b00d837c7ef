"""A problem: which teachers, which unlabelled images, which student."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ka_explore.errors import InputError, check_known
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.layers import Outputs
from ka_explore.problem.pool import Images, Pool, as_labels
from ka_explore.problem.student import Chain, Student
from ka_explore.problem.teachers import Teacher


@dataclass(frozen=True)
class Labelled:
    """Images with the true class index a task, for marking only.

    Attributes:
        images: see `ka_explore.problem.pool.Images`.
        labels: by task, one index an image into ``labels.class_names(task)``; -1 where it is not known.
    """

    images: Images
    labels: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        checked = {task: as_labels(task, y, len(self.images)) for task, y in self.labels.items()}
        object.__setattr__(self, "labels", checked)


@dataclass(frozen=True)
class Problem:
    """What is to be amalgamated: teachers, a pool of images without labels, and a student to be made.

    Attributes:
        teachers: at least one, with different names.
        pool: the unlabelled images.
        student: makes a fresh student for a label space; with a keyword ``width`` also a wider one.
        test: labelled images on which the student is marked; no method sees them.
        name: of the function that makes this problem (``ka_explore.toy:mnist``), so that a run on disk can
            name it; empty for a problem made by hand.
        options: the arguments of that function.

    Raises:
        InputError: no teacher, names that repeat, a teacher that cannot take the images, whose
            logits do not fit its labels, labels out of range, two teachers of one name.
    """

    teachers: Sequence[Teacher]
    pool: Pool
    student: Callable[..., Student]
    test: Labelled | None = None
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "teachers", tuple(self.teachers))
        names = [teacher.name for teacher in self.teachers]
        if not names:
            raise InputError("a problem needs at least one teacher, got none.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"teachers' names must differ, got {', '.join(twice)} more than once.")
        for where, labels in (("pool", self.pool.labels), ("test", self.test and self.test.labels)):
            for task, y in (labels or {}).items():
                count = len(self.labels.class_names(task))
                if len(y) and (int(np.min(y)) < -1 or int(np.max(y)) >= count):
                    raise InputError(
                        f"labels of task {task!r} in the {where} go from {np.min(y)} to {np.max(y)}, "
                        f"expected 0 to {count - 1} (or -1 for unknown): they index labels.class_names({task!r})."
                    )
        if self.test is not None and set(self.test.labels) != set(self.labels.tasks):
            raise InputError(
                f"the test has labels of {', '.join(self.test.labels) or 'no task'}, the teachers' tasks are "
                f"{', '.join(self.labels.tasks)}: give labels of each, -1 where they are not known."
            )
        if self.test is not None and self.test.images.shape != self.pool.images.shape:
            raise InputError(
                f"test images have shape {self.test.images.shape}, the pool's {self.pool.images.shape}: "
                "they must be alike (channel, height, width)."
            )

    @cached_property
    def labels(self) -> LabelSpace:
        """Columns and classes of all teachers together."""
        return LabelSpace.of({teacher.name: (teacher.task, teacher.labels) for teacher in self.teachers})

    @cached_property
    def examples(self) -> dict[str, Outputs]:
        """What every teacher says of the first two images: the shapes to build on.

        Raises InputError when a teacher cannot take the pool's images or its answer does not fit.
        """
        images = self.pool.images[:2]
        return {teacher.name: outputs_of(f"teacher {teacher.name!r}", teacher, images) for teacher in self.teachers}

    def check(self) -> None:
        """Ask every teacher for the first images. Raises InputError when one cannot take them or does not fit."""
        for name, outputs in self.examples.items():
            for what, values in [("logits", outputs.logits), *outputs.features.items()]:
                if not bool(torch.isfinite(values).all()):
                    raise InputError(
                        f"teacher {name!r} gives NaN or infinity ({what}) for the first images of the pool: check its "
                        "weights and its preprocess."
                    )

    def make_student(self, labels: LabelSpace | None = None, *, width: float = 1.0) -> Student:
        """A fresh student, checked: it takes the pool's images and has a logit for every column.

        Args:
            labels: what it answers; by default all columns of the teachers, side by side.
            width: channels relative to the problem's own student; other than 1 it needs ``student(labels, width=…)``.

        Raises InputError when it does not, or when it shares weights with a teacher.
        """
        labels = self.labels if labels is None else labels
        if width != 1 and "width" not in inspect.signature(self.student).parameters:
            raise InputError(
                f"student_width={width:g}: this problem's student comes in one width; give Problem a student function "
                "with a keyword width (channels relative to its usual ones)."
            )
        student = self.student(labels) if width == 1 else self.student(labels, width=width)
        if not isinstance(student, Student):
            raise InputError(
                f"student(labels) returned a {type(student).__name__}: expected a Student; "
                "wrap a net with Student.of(module, layers=[…], labels=labels)."
            )
        own = memory_of(student)
        for teacher in self.teachers:
            if own & memory_of(teacher.module):
                raise InputError(
                    f"the student shares weights with teacher {teacher.name!r}: give it a copy (deepcopy)."
                )
        if isinstance(student, Chain):
            heads = tuple(student.heads)
            if heads != labels.tasks and set(heads) == set(labels.tasks):
                raise InputError(
                    f"the student's heads are in the order {', '.join(heads)}, the tasks in the order "
                    f"{', '.join(labels.tasks)}: build the heads in the order of labels.tasks."
                )
        student.eval()
        outputs = outputs_of("the student", student, self.pool.images[:2])
        if outputs.logits.shape[1] != len(labels.columns):
            raise InputError(
                f"the student has {outputs.logits.shape[1]} outputs, the label space {len(labels.columns)} "
                "columns: build its heads from labels.columns."
            )
        return student

    def teacher(self, name: str) -> Teacher:
        """The teacher of that name."""
        return self.teachers[self.names.index(name)]

    @property
    def names(self) -> tuple[str, ...]:
        """The teachers' names in order."""
        return tuple(teacher.name for teacher in self.teachers)

    def without_labels(self) -> "Problem":
        """The same problem with no true label in reach: what a method that claims to need none is given."""
        return dataclasses.replace(self, pool=self.pool.without_labels(), test=None)

    def for_tasks(self, tasks: Sequence[str]) -> "Problem":
        """The same problem with only the wanted tasks: their teachers, their labels.

        Raises InputError for no task, one named twice, or one that no teacher answers.
        """
        wanted = tuple(tasks)
        for task in wanted:
            check_known("task", task, self.labels.tasks)
        if isinstance(tasks, str) or not wanted or len(set(wanted)) < len(wanted):
            raise InputError(f"tasks={tasks!r}: expected a list of different tasks of {', '.join(self.labels.tasks)}.")
        pool, test = self.pool, self.test
        if pool.labels is not None:
            kept = {task: y for task, y in pool.labels.items() if task in wanted}
            pool = Pool(pool.images, labels=kept, probe=pool.probe, augment=pool.augment)
        if test is not None:
            test = Labelled(test.images, {task: y for task, y in test.labels.items() if task in wanted})
        teachers = [teacher for teacher in self.teachers if teacher.task in wanted]
        return dataclasses.replace(self, teachers=teachers, pool=pool, test=test)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of the pool and of every teacher: a run on disk belongs to these."""
        return {"pool": self.pool.images.fingerprint} | {f"teacher/{t.name}": t.fingerprint for t in self.teachers}


def memory_of(net: nn.Module) -> set[int]:
    """The addresses of a net's parameters: two nets that share one train each other."""
    return {p.untyped_storage().data_ptr() for p in net.parameters() if p.numel()}


def outputs_of(owner: str, net: Callable[[Tensor], Outputs], images: Tensor) -> Outputs:
    """What a net says of images; what it raises becomes an InputError that says what the images are like."""
    try:
        return net(images)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{owner} cannot take images of shape {tuple(images.shape[1:])} (channel, height, width): {error} "
            "Give it preprocess=Preprocess(size=…, channels=…, mean=…, std=…)."
        ) from error
