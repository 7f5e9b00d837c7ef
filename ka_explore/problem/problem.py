"""A problem: which teachers, which unlabelled images, which student."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ka_explore.errors import InputError, check_known, checked, theirs, told
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.layers import Outputs
from ka_explore.problem.pool import Images, Pool
from ka_explore.problem.student import Chain, Student
from ka_explore.problem.teachers import Teacher
from ka_explore.problem.truth import as_labels, indexed


@checked
@dataclass(frozen=True)
class Labelled:
    """Images with the true class of each by task, for marking only.

    Attributes:
        images: `ka_explore.problem.pool.Images`, or what these are made of.
        labels: by task one name an image, or one whole number; see `ka_explore.problem.pool.Pool`.
        classes: what whole numbers index, if not the union of the teachers' labels; see there.

    Raises InputError for labels that are neither, or not one an image.
    """

    images: Images | Any  # made `Images`
    labels: Mapping[str, Any]
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        images = self.images if isinstance(self.images, Images) else Images(self.images)
        labels, classes = as_labels(self.labels, self.classes, len(images))
        for name, value in (("images", images), ("labels", labels), ("classes", classes)):
            object.__setattr__(self, name, value)

    def indexed(self, space: LabelSpace) -> "Labelled":
        """The same images with labels that index the classes of a label space."""
        labels, classes = indexed(self.labels, self.classes, space, "test")
        return Labelled(self.images, labels, classes)

    def __repr__(self) -> str:
        return f"Labelled({self.images!r}, labels of {', '.join(self.labels)})"


@checked
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

    def __repr__(self) -> str:
        shown = [
            self.name or "made by hand",
            f"teachers {', '.join(self.names)}",
            f"{len(self.labels.classes)} classes of {', '.join(self.labels.tasks)}",
            f"pool of {self.pool.images!r}" + (" with labels" if self.pool.labels else ""),
            f"test of {self.test.images!r}" if self.test else "no test",
        ]
        return f"Problem({'; '.join(shown)})"

    def __post_init__(self) -> None:
        object.__setattr__(self, "teachers", tuple(self.teachers))
        names = [teacher.name for teacher in self.teachers]
        if not names:
            raise InputError("a problem needs at least one teacher, got none.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"teachers' names must differ, got {', '.join(twice)} more than once.")
        object.__setattr__(self, "pool", self.pool.indexed(self.labels))
        if self.test is not None:
            object.__setattr__(self, "test", self.test.indexed(self.labels))
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

    @checked
    def make_student(self, labels: LabelSpace | None = None, *, width: float = 1.0) -> Student:
        """A fresh student, checked: it takes the pool's images and has a logit for every column.

        Args:
            labels: what it answers; by default all columns of the teachers, side by side.
            width: channels relative to the problem's own student; other than 1 it needs ``student(labels, width=…)``.

        Raises InputError when it does not, or when it shares weights with a teacher.
        """
        labels = self.labels if labels is None else labels
        make: Callable[..., Any] = self.student
        if width != 1:
            if not takes_width(make):
                raise InputError(
                    f"student_width={width:g}: this problem's student comes in one width; give Problem a student "
                    "function with a keyword width (channels relative to its usual ones)."
                )
            make = partial(make, width=width)
        student = theirs("the problem's student function", make, labels)
        if not isinstance(student, Student):
            raise InputError(
                f"student(labels) returned a {type(student).__name__}: expected a Student; "
                "wrap a net with Student.of(module, layers=[…], labels=labels)."
            )
        if any(map(is_lazy, (*student.parameters(), *student.buffers()))):
            raise InputError(
                "the student has lazy layers, whose sizes are not known before they run: give these sizes, or run the "
                "net once on images of the pool's shape in the student function."
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
        if tuple(outputs.logits.shape[1:]) != (len(labels.columns),):
            raise InputError(
                f"the student has {'×'.join(map(str, outputs.logits.shape[1:]))} outputs, the label space "
                f"{len(labels.columns)} columns: build its heads from labels.columns."
            )
        return student

    @checked
    def teacher(self, name: str) -> Teacher:
        """The teacher of that name. Raises InputError for an unknown one."""
        check_known("teacher", name, self.names)
        return self.teachers[self.names.index(name)]

    @property
    def names(self) -> tuple[str, ...]:
        """The teachers' names in order."""
        return tuple(teacher.name for teacher in self.teachers)

    def without_labels(self) -> "Problem":
        """The same problem with no true label in reach: what a method that claims to need none is given."""
        return dataclasses.replace(self, pool=self.pool.without_labels(), test=None)

    @checked
    def for_tasks(self, tasks: Sequence[str] | str) -> "Problem":
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
            labels, classes = of_tasks(pool.labels, wanted), of_tasks(pool.classes, wanted)
            pool = Pool(pool.images, labels=labels, classes=classes, probe=pool.probe, augment=pool.augment)
        if test is not None:
            test = Labelled(test.images, of_tasks(test.labels, wanted), of_tasks(test.classes, wanted))
        teachers = [teacher for teacher in self.teachers if teacher.task in wanted]
        return dataclasses.replace(self, teachers=teachers, pool=pool, test=test)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of the pool and of every teacher: a run on disk belongs to these."""
        return {"pool": self.pool.images.fingerprint} | {f"teacher/{t.name}": t.fingerprint for t in self.teachers}


def memory_of(net: nn.Module) -> set[int]:
    """The addresses of a net's parameters: two nets that share one train each other."""
    return {p.untyped_storage().data_ptr() for p in net.parameters() if p.numel()}


def takes_width(make: Callable[..., Any]) -> bool:
    """Whether a student function can be asked for other widths."""
    try:
        return "width" in inspect.signature(make).parameters
    except (TypeError, ValueError):  # written in C
        return False


def of_tasks(found: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    """What there is of some tasks."""
    return {task: of_task for task, of_task in found.items() if task in tasks}


def outputs_of(owner: str, net: Callable[[Tensor], Outputs], images: Tensor) -> Outputs:
    """What a net says of images; what it raises becomes an InputError that says what the images are like.

    Raises InputError as well where it returns something else, or changes the images, which others are given too.
    """
    given = images.clone()
    try:
        outputs: object = net(images)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{owner} cannot take images of shape {tuple(images.shape[1:])} (channel, height, width): {error} "
            "Give it preprocess=Preprocess(size=…, channels=…, mean=…, std=…)."
        ) from error
    if not isinstance(outputs, Outputs):
        raise InputError(f"{owner} returned {told(outputs)}: expected Outputs(logits, features).")
    if not torch.equal(given, images):
        raise InputError(
            f"{owner} changes the images it is given in place, and others are given the same ones: let its preprocess "
            "and first layers make new tensors (no inplace=True, no method that ends in _)."
        )
    return outputs
