"""What a method of amalgamation is: modules, and a table of stages.

A stage is a name, a function from a batch to a loss, and the modules it trains. `Run` drives the stages; a
method never keeps count, never makes an optimiser, never switches a module to training.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ka_explore.errors import InputError, check_known, checked
from ka_explore.methods.config import TrainingConfig, factor, option
from ka_explore.methods.losses import SoftTarget, soft_target
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.layers import Outputs
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem
from ka_explore.problem.student import Student
from ka_explore.problem.targets import TargetKind

# The whole pool in order, as batches, as often as it is called.
Batches = Callable[[], Iterable[Batch]]


@dataclass(frozen=True)
class StepOutput:
    """What a stage makes of a batch. `Run` adds up, balances and records.

    Attributes:
        terms: the parts of the loss, unweighted, by name: each a scalar, or one number a teacher, which sum to it. A
            term without a weight in the stage is recorded only.
        seen: by-products worth seeing, by the names of `ka_explore.run.snapshot`; only a snapshot calls it, in eval
            mode and without gradients.
        teachers: whom the numbers of a term belong to, in order; None for all that teach.
        student: what the student put out, where the stage asked it, so that a snapshot need not ask again.
    """

    terms: Mapping[str, Float[Tensor, "..."]]
    seen: Callable[[], Mapping[str, Float[Tensor, "batch *_"]]] = dict
    teachers: tuple[str, ...] | None = None
    student: Outputs | None = None


@checked
@dataclass(frozen=True)
class Stage:
    """A part of a method with its own trained modules.

    Attributes:
        name: shown as it stands.
        forward: from a batch to a `StepOutput`; a bound method.
        trains: the modules that learn, the taught net first; all else is frozen and in eval mode.
        steps: how many batches.
        weights: of the terms that make the loss, Σ weight · term; the others are recorded only.
        soft_term: the term that is about the answers; others are seen beside it.
        competes: whether the terms pull at one net, so that there is something to balance.
        rates: a factor on the learning rate for each of ``trains``; empty for 1 everywhere.
        begin: done once before the first step, on the whole pool, batch by batch; without gradients.
        finish: the same after the last step. Both may change weights, those of this stage or of others, as a function
            of the weights, the pool and torch's random numbers (which are seeded); what they did is in the checkpoint.
        changes: modules that these two change besides ``trains``.
    """

    name: str
    forward: Callable[[Batch], StepOutput]
    trains: tuple[nn.Module, ...]
    steps: int
    weights: Mapping[str, float] = field(default_factory=lambda: {"soft": 1.0})
    soft_term: str = "soft"
    competes: bool = True
    rates: tuple[float, ...] = ()
    begin: Callable[["Batches"], None] | None = None
    finish: Callable[["Batches"], None] | None = None
    changes: tuple[nn.Module, ...] = ()


@dataclass(frozen=True)
class AmalgamationConfig(TrainingConfig):
    """Options of every method that learns from the teachers' answers."""

    soft_target: SoftTarget = option(
        "stacked",
        "stacked: one softmax over all teachers' logits; restricted: a softmax a teacher; joint_posterior: the same "
        "with classes that several teachers know taken as one (UHC); score_distance: squared distance of the logits",
    )
    temperature: float = factor(1.0, "divides the logits of teacher and student", low=0.05)
    targets: TargetKind = option(
        "own",
        "own: each teacher's own answer; standardised: its largest logit standardised over the pool; consistent: "
        "made to agree with the image's neighbours in the pool, as far as the pool supports it (ours)",
    )
    balance: Literal["fixed", "gradnorm"] = option(
        "fixed", "weights of the terms: as given, or moving so that the terms train at like rates (GradNorm)"
    )
    without: tuple[str, ...] = option(
        (), "teachers that do not teach: their answers and features are left out of every term"
    )


class Method(nn.Module, ABC):
    """A way of amalgamating; it owns every module it will ever train.

    A method is built inside a seeded context. It makes the student first, so that runs of one seed start from
    the same student whatever the method.

    Class attributes:
        Config: its options.
        forms: named sets of options, such as a published code's.
        uses_labels: whether it is given the true labels. Only the oracle is.
        needs_features: whether its batches carry the teachers' features.

    Attributes:
        without: the teachers that do not teach, in the problem's order.
        teaching: the others.
        came_frozen: the names of parameters that came with ``requires_grad=False``; stages train what they name.
        taught: the columns of those that teach; `of_teaching` takes these out of the student's.

    Raises:
        InputError: for options that do not fit the problem: an unknown teacher, or a task that nobody is left to teach.
    """

    Config: ClassVar[type[TrainingConfig]] = TrainingConfig
    forms: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    uses_labels: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False

    student: Student
    came_frozen: Collection[str] = ()

    def __init__(self, problem: Problem, config: TrainingConfig):
        super().__init__()
        self.problem = problem
        self.config = config
        self.without = left_out(problem, getattr(config, "without", ()))
        self.teaching = tuple(name for name in problem.names if name not in self.without)
        self.taught = problem.labels.without(self.without)
        self.balances = nn.ModuleDict()  # by stage, what moves the weights of its terms: `Run` fills it
        self.student = self.make_student()

    def make_student(self) -> Student:
        """The net to be trained, made before any other module: by default the problem's own student."""
        return self.problem.make_student(self.labels, width=self.config.student_width)

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """The table of contents: what is trained, in which order, for how long."""

    def teacher_layers(self) -> Mapping[str, Sequence[str]]:
        """Which layers of each teacher its batches carry: by default the feature layer, if it needs any."""
        return {t.name: (t.feature_layer,) if self.needs_features else () for t in self.problem.teachers}

    def predict(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch class"]:
        """Scores of the classes of ``problem.labels``; a softmax over a task gives probabilities."""
        return self.labels.merge(self.outputs(images).logits)

    def outputs(self, images: Float[Tensor, "batch channel height width"]) -> Outputs:
        """The student's logits and features, with whatever the stage at hand has put between its segments."""
        return self.student(images)

    def feature_module(self, stage: Stage) -> nn.Module:  # noqa: ARG002 - methods that train other nets look at it
        """The module that puts out the feature of the net which a stage trains: by default the student's."""
        return self.student.module_of(self.student.feature_layer)

    @property
    def labels(self) -> LabelSpace:
        """The columns of the student's logits, by default every teacher's own; the classes stay the problem's."""
        return self.problem.labels

    @property
    def deployed_parameters(self) -> int:
        """How many parameters prediction needs."""
        return sum(p.numel() for p in self.student.parameters())

    def soft_target(self, logits: Float[Tensor, "batch column"], batch: Batch) -> Float[Tensor, "teacher"]:
        """What each teacher adds to the soft target, mean over tasks; no softmax spans two tasks or who is left out."""
        labels, logits, config = self.taught, self.of_teaching(logits), self.config
        assert isinstance(config, AmalgamationConfig)
        parts: dict[str, Tensor] = {}
        for task in labels.tasks:
            names = labels.teachers_of(task)
            of_task = soft_target(
                logits[:, labels.task_columns(task)],
                [batch.teachers[name].logits for name in names],
                kind=config.soft_target,
                temperature=config.temperature,
                classes=labels.class_of_column[labels.task_columns(task)],
            )
            parts |= dict(zip(names, of_task / len(labels.tasks), strict=True))
        return torch.stack([parts[name] for name in self.teaching])

    def of_teaching(self, logits: Float[Tensor, "batch column"]) -> Float[Tensor, "batch taught"]:
        """The columns of the teachers that teach, out of those of all teachers."""
        if not self.without:
            return logits
        return logits[:, [i for i, c in enumerate(self.problem.labels.columns) if c.teacher in self.teaching]]

    def blocks_named(self, layers: Sequence[str]) -> tuple[str, ...]:
        """The student's blocks of these names, in its order; all for none. Raises InputError for an unknown name."""
        for layer in layers:
            check_known("layer", layer, self.student.blocks, where=" of the student")
        return tuple(block for block in self.student.blocks if block in (layers or self.student.blocks))

    def check_blocks(self, what: str) -> None:
        """Raises InputError unless every teacher has as many blocks as the student."""
        blocks = self.student.blocks
        for teacher in self.problem.teachers:
            if len(teacher.blocks) != len(blocks):
                raise InputError(
                    f"{what} matches blocks one for one: the student has {len(blocks)} ({', '.join(blocks)}), teacher "
                    f"{teacher.name!r} {len(teacher.blocks)} ({', '.join(teacher.blocks)}). Name as many with "
                    "Teacher(blocks=[…])."
                )

    @classmethod
    @checked
    def configure(cls, form: str | None, options: Mapping[str, Any]) -> TrainingConfig:
        """A config from a named form (or the defaults) and options on top of it.

        Raises InputError for an unknown form or option, or a value that does not fit.
        """
        if form is not None:
            check_known("form", form, cls.forms, where=f" of {cls.__name__}")
        try:
            return cls.Config.of(dict(cls.forms[form] if form else {}) | dict(options))
        except InputError as error:
            raise InputError(f"{cls.__name__}: {error}") from None


def left_out(problem: Problem, without: Sequence[str]) -> tuple[str, ...]:
    """The teachers that do not teach, in the problem's order.

    Raises InputError for an unknown teacher, or when a task has no teacher left.
    """
    for name in without:
        check_known("teacher", name, problem.names, where=" in without")
    for task in problem.labels.tasks:
        names = problem.labels.teachers_of(task)
        if set(names) <= set(without):
            other = ", or ask for other tasks with Run(problem, tasks=[…])" if len(problem.labels.tasks) > 1 else ""
            raise InputError(
                f"without={tuple(without)!r} leaves task {task!r} without a teacher: keep at least one of "
                f"{', '.join(names)}{other}."
            )
    return tuple(name for name in problem.names if name in without)


def share_of(total: int, share: float, stages: int) -> int:
    """Steps of each of some stages that share a part of all steps: at least one, if there is any."""
    return max(round(total * share / stages), min(total, 1))
