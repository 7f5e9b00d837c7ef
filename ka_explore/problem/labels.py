"""Label spaces: which task has which classes, and which teacher owns which column.

In training every teacher keeps its own columns, side by side, also where two teachers know a class of the
same name. At prediction the columns of one name become one class: their scores are joined by
``logsumexp``, that is, their softmax probabilities are added. (Both papers that stack scores treat
overlapping labels so: duplicates are different classes in training, one class at test.)

Whether a label is one that another teacher knows too is told by its name alone. Names that differ in nothing but case,
spaces, underlines, dashes or what is not seen ("Cat", "cat ") are nearly always one class that two people wrote down,
and would silently be two: they are refused, unless one teacher tells them apart itself (letters: "A", "a"). Whoever
means two classes of different teachers gives them names that say so.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from ka_explore.errors import InputError, brief, check_known, checked, fits
from ka_explore.problem.arrays import check_table

DASH = re.compile(r"(?<=[^\W\d_])[-\u2010-\u2015](?=[^\W\d_])")
STYLES = {chr(code) for code in range(0xFE00, 0xFE10)}  # whether a character is shown in colour
MOST = 1_000_000  # labels of a teacher


@checked
@dataclass(frozen=True)
class Column:
    """One column of the stacked logits: the teacher it comes from, its task and its label."""

    teacher: str
    task: str
    label: str


@checked
@dataclass(frozen=True)
class LabelSpace:
    """The columns of all teachers in order, and the classes they stand for.

    ``columns`` are what a student is trained on: one block a task, in it one block a teacher.
    ``classes`` are what it predicts: in each task the ordered union of the labels by name.
    """

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, teachers: Mapping[str, tuple[str, Sequence[object]]]) -> "LabelSpace":
        """The label space of ``{teacher: (task, labels)}``, tasks in order of first appearance.

        Raises InputError for tasks, or for labels of one task, that are spelled nearly alike and are told apart by no
        teacher; for what is no such mapping, and for names that cannot be written as UTF-8.
        """
        teachers = as_spaces(teachers)
        tasks = dict.fromkeys(task for task, _ in teachers.values())
        check_spelling("tasks", [[task] for task in tasks])
        for wanted in tasks:
            known = [labels for task, labels in teachers.values() if task == wanted]
            check_spelling(f"labels of task {wanted!r}", known)
        return cls(
            tuple(
                Column(name, task, label)
                for wanted in tasks
                for name, (task, labels) in teachers.items()
                if task == wanted
                for label in labels
            )
        )

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The tasks in order."""
        return tuple(dict.fromkeys(column.task for column in self.columns))

    @cached_property
    def teachers(self) -> tuple[str, ...]:
        """The teachers in the order of their columns."""
        return tuple(dict.fromkeys(column.teacher for column in self.columns))

    @cached_property
    def classes(self) -> tuple[tuple[str, str], ...]:
        """(task, label) of every class, the columns of `merge`."""
        return tuple(dict.fromkeys((column.task, column.label) for column in self.columns))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Readable class names: the label, with its task in front where there are several tasks."""
        return tuple(label if len(self.tasks) == 1 else f"{task}: {label}" for task, label in self.classes)

    @cached_property
    def merged(self) -> "LabelSpace":
        """The same classes with one column each, whoever knows them; a column's "teacher" is its task."""
        return LabelSpace.of({task: (task, self.class_names(task)) for task in self.tasks})

    @checked
    def without(self, teachers: Sequence[str]) -> "LabelSpace":
        """The columns of all other teachers, and what these stand for. Raises InputError for an unknown teacher."""
        for teacher in teachers:
            check_known("teacher", teacher, self.teachers)
        return LabelSpace(tuple(column for column in self.columns if column.teacher not in teachers))

    @checked
    def class_names(self, task: str) -> tuple[str, ...]:
        """The labels of one task in order."""
        check_known("task", task, self.tasks)
        return tuple(label for t, label in self.classes if t == task)

    def task_columns(self, task: str) -> slice:
        """Where the columns of one task stand among all columns."""
        return stretch("task", task, [column.task for column in self.columns])

    def teachers_of(self, task: str) -> tuple[str, ...]:
        """The teachers of one task, in the order of their columns. Raises InputError for an unknown one."""
        check_known("task", task, self.tasks)
        return tuple(dict.fromkeys(column.teacher for column in self.columns if column.task == task))

    def columns_of(self, teacher: str) -> slice:
        """Where a teacher's logits stand among the columns."""
        return stretch("teacher", teacher, [column.teacher for column in self.columns])

    def classes_of(self, teacher: str) -> list[int]:
        """Which classes (columns of `merge`) a teacher knows, in the order of its own labels."""
        return list(self.class_of_column[self.columns_of(teacher)])

    def task_slice(self, task: str) -> slice:
        """Where the classes of one task stand among all classes."""
        return stretch("task", task, [task for task, _ in self.classes])

    @cached_property
    def class_of_column(self) -> tuple[int, ...]:
        """For every column the index of its class."""
        number = {pair: i for i, pair in enumerate(self.classes)}
        return tuple(number[column.task, column.label] for column in self.columns)

    def stack(self, logits: Mapping[str, Float[Tensor, "batch _"]]) -> Float[Tensor, "batch column"]:
        """The teachers' logits side by side, in the order of the columns.

        Raises InputError for a teacher without logits, and for logits of different images.
        """
        if not isinstance(logits, Mapping):
            raise InputError(f"expected logits by teacher, got {brief(logits)}.")
        rows: int | None = None
        for teacher in self.teachers:
            if teacher not in logits:
                raise InputError(f"no logits of teacher {teacher!r}: expected those of {', '.join(self.teachers)}.")
            check_table(f"logits of teacher {teacher!r}", logits[teacher], rows)
            rows = len(logits[teacher])
        return torch.cat([logits[teacher] for teacher in self.teachers], dim=1)

    def merge(self, scores: Float[Tensor, "batch column"]) -> Float[Tensor, "batch class"]:
        """Scores of the classes: columns of one name joined by logsumexp, all others passed through.

        Raises InputError when the number of columns is not that of this label space.
        """
        check_table("scores", scores)
        if scores.shape[1] != len(self.columns):
            raise InputError(
                f"scores have {scores.shape[1]} columns, the label space has {len(self.columns)}: "
                "build the student's head with len(labels.columns) outputs."
            )
        if len(self.classes) == len(self.columns):
            return scores
        groups: list[list[int]] = [[] for _ in self.classes]
        for column, index in enumerate(self.class_of_column):
            groups[index].append(column)
        return torch.stack([scores[:, group].logsumexp(dim=1) for group in groups], dim=1)


def stretch(kind: str, name: str, owners: Sequence[str]) -> slice:
    """From the first to the last of a task's or teacher's. Raises InputError where none of these is of that name."""
    check_known(kind, name, dict.fromkeys(owners))
    return slice(owners.index(name), len(owners) - owners[::-1].index(name))


def as_spaces(teachers: Mapping[str, tuple[str, Sequence[object]]]) -> dict[str, tuple[str, list[str]]]:
    """Task and labels by teacher, labels as text. Raises InputError where they are not there or cannot be written."""
    try:
        made = {n: (task, [str(label) for label in islice(labels, MOST + 1)]) for n, (task, labels) in teachers.items()}
    except Exception as error:  # of what is no such mapping, or of a label that cannot be made text
        raise InputError(f"expected {{teacher: (task, labels)}}, got {brief(teachers)}: {error}.") from error
    for name, (task, labels) in made.items():
        if len(labels) > MOST:
            raise InputError(f"teacher {name!r} has more than {MOST} labels.")
        for what, text in (("teacher", name), ("task", task), *(("label", label) for label in labels)):
            if not fits(text, str):
                raise InputError(f"a {what} must have a name that can be written as UTF-8, got {brief(text)}.")
    return made


def spelling(name: str) -> str:
    """A name without what two people may spell differently.

    Case, spaces, underlines, dashes between letters, forms of one character, and what is not seen (a byte order mark).
    """
    letters = unicodedata.normalize("NFKC", name).casefold().replace("_", " ")
    seen = "".join(letter for letter in letters if unicodedata.category(letter) != "Cf" and letter not in STYLES)
    return " ".join(DASH.sub(" ", seen).split())


def check_spelling(what: str, known: Sequence[Sequence[str]]) -> None:
    """Raises InputError for two names spelled nearly alike, unless one of those who know them knows both."""
    seen: dict[str, str] = {}
    for name in dict.fromkeys(name for names in known for name in names):
        other = seen.setdefault(spelling(name), name)
        if other != name and not any(name in names and other in names for names in known):
            raise InputError(
                f"{what}: {other!r} and {name!r} would be two different ones. Give both the same name if they are one, "
                "and names that differ in more than case, spaces and dashes if they are not."
            )
