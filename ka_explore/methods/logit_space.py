"""Learning in the logit space: every block of the student answers through an exit branch of its own.

Hao, Guo, Han, Tang, Hu, Wang, Xu: One-for-All, Bridge the Gap Between Heterogeneous Architectures in Knowledge
Distillation, NeurIPS 2023. Features of different architectures do not compare, logits do: so each block's feature is
projected to logits, and every branch is taught the teachers' answer with an enhanced target,

    L_OFA = −Σ_c [(p^T_c + 1_{c=y})^γ − 1_{c=y}] log p^S_c,      γ = 1 is the ordinary cross-entropy with p^T.

Where the paper has one teacher and true labels, here are several teachers and none: p^T is their joined answer, as the
soft target of the student's own logits takes it, and y is its argmax. The branches (separable convolutions) are thrown
away after training. The default is ours: on seeds 100 and 101 of `toy.mnist`, on its validation images, a weight of 0.1
was no worse than plain distillation on average and one of 1 was, with γ = 1 and 1.3 alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ka_explore.methods.base import AmalgamationConfig, Method, Stage, StepOutput
from ka_explore.methods.config import TrainingConfig, factor, option, weight
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem


@dataclass(frozen=True)
class LogitSpaceConfig(AmalgamationConfig):
    """Options of `LogitSpace`."""

    layers: tuple[str, ...] = option((), "the student's blocks that have an exit branch; none named: all")
    soft_weight: float = weight(1.0, "weight of the soft target of the student's own logits", "soft")
    branch_weight: float = weight(
        0.1, "weight of the exit branches' loss, mean over branches (paper: 1, a sum)", "branches"
    )
    gamma: float = option(
        1.0, "γ of the enhanced target: above 1 the teachers' best class counts more (paper: 1 to 1.5)",
        low=0.1, high=10.0,
    )  # fmt: skip
    branch_rate: float = factor(1.0, "factor on the learning rate of the branches")


class LogitSpace(Method):
    """Exit branches from every block to the logits (One-for-All, 2023): one stage, end to end."""

    Config = LogitSpaceConfig
    config: LogitSpaceConfig
    forms: ClassVar[Mapping[str, Mapping[str, Any]]] = {"enhanced": {"gamma": 1.3, "branch_weight": 1.0}}

    def __init__(self, problem: Problem, config: TrainingConfig):
        super().__init__(problem, config)
        self.layers = self.blocks_named(self.config.layers)
        features = self.student(problem.pool.images[:2]).features
        last = features[self.student.blocks[-1]].shape[1:]
        # By number: a layer's name may hold dots, a module's may not.
        branches = [branch(features[name].shape[1:], last, columns=len(self.labels.columns)) for name in self.layers]
        self.branches = nn.ModuleDict({str(index): made for index, made in enumerate(branches)})
        self.weights = {"soft": self.config.soft_weight, "branches": self.config.branch_weight}

    def stages(self) -> Sequence[Stage]:
        """One stage: the student, and its branches where they have any weight."""
        trains: tuple[nn.Module, ...] = (self.student, self.branches) if self.weights["branches"] else (self.student,)
        rates = (1.0, self.config.branch_rate)[: len(trains)]
        return [Stage("joint", self.joint, trains, self.config.steps, self.weights, rates=rates)]

    def feature_module(self, stage: Stage) -> nn.Module:  # noqa: ARG002
        """The student's last block, where the last branch begins."""
        return self.student.module_of(self.student.blocks[-1])

    def joint(self, batch: Batch) -> StepOutput:
        """The soft target of the student's logits, and the enhanced one of every branch."""
        student = self.student(batch.images)
        features = [student.features[layer] for layer in self.layers]
        logits = {n: exit_(f) for n, exit_, f in zip(self.layers, self.branches.values(), features, strict=True)}
        # L = w_C L_C + w_B · mean over blocks of L_OFA
        terms = {
            "soft": self.soft_target(student.logits, batch),
            "branches": torch.stack([self.enhanced(answer, batch) for answer in logits.values()]).mean(),
        }
        return StepOutput(terms, lambda: {f"branch/{layer}": z for layer, z in logits.items()}, student=student)

    def enhanced(self, logits: Float[Tensor, "batch column"], batch: Batch) -> Float[Tensor, ""]:
        """L_OFA of one branch, mean over tasks."""
        loss = partial(enhanced_cross_entropy, temperature=self.config.temperature, gamma=self.config.gamma)
        pairs = [self.compared(task, logits, batch) for task in self.labels.tasks]
        return torch.stack([torch.stack([loss(*pair) for pair in of_task]).mean() for of_task in pairs]).mean()

    def compared(self, task: str, logits: Tensor, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
        """A branch's logits and the teachers' over the same columns, as the kind of soft target pairs them.

        ``stacked``: all teachers' side by side, which also stands in for ``score_distance``, as that has no
        probabilities. ``restricted``: one pair a teacher, over its columns. ``joint_posterior``: one pair a teacher,
        over its classes, the branch's columns of one class joined.
        """
        labels, logits, temperature = self.taught, self.of_teaching(logits), self.config.temperature
        names = labels.teachers_of(task)
        answers = [batch.teachers[name].logits for name in names]
        if self.config.soft_target not in ("restricted", "joint_posterior"):
            yield logits[:, labels.task_columns(task)], torch.cat(answers, dim=1)
            return
        joined = labels.merge(logits / temperature) * temperature
        for name, answer in zip(names, answers, strict=True):
            together = self.config.soft_target == "joint_posterior"
            yield joined[:, labels.classes_of(name)] if together else logits[:, labels.columns_of(name)], answer


def enhanced_cross_entropy(
    student: Float[Tensor, "batch label"], target: Float[Tensor, "batch label"], temperature: float, gamma: float
) -> Float[Tensor, ""]:
    """−T² Σ_c [(p_c + 1_{c=y})^γ − 1_{c=y}] log p^S_c with p = softmax(target / T), y its argmax; batch mean, in nats.

    Hao et al. 2023, their true label replaced by the target's own best class. For γ = 1 it is the cross-entropy.
    Both are logits; no gradient goes to the target.
    """
    probabilities = functional.softmax(target.detach() / temperature, dim=1)
    best = functional.one_hot(target.argmax(dim=1), target.shape[1]).to(probabilities)
    enhanced = (probabilities + best) ** gamma - best
    log = functional.log_softmax(student / temperature, dim=1)
    return -(enhanced * log).sum(dim=1).mean() * temperature**2


def branch(feature: Sequence[int], last: Sequence[int], *, columns: int) -> nn.Sequential:
    """From a block's feature to logits: separable convolutions down to the last block's size, spatial mean, linear.

    Of the block's and the last block's channels, height and width: each convolution halves the map until it is no
    larger than the last, and doubles the channels until there are as many. There is at least one; on a small map it
    does not stride.
    """
    channels, *size = feature
    parts: list[nn.Module] = []
    while not parts or size[0] > last[1] or size[1] > last[2]:
        strides = [2 if now > end else 1 for now, end in zip(size, last[1:], strict=True)]
        size = [-(-now // stride) for now, stride in zip(size, strides, strict=True)]
        wider = max(channels, min(2 * channels, last[0]))
        normed = size[0] * size[1] > 1  # the batch of one image has no variance on a map of one place
        parts.append(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, (strides[0], strides[1]), padding=1, groups=channels, bias=False),
                nn.Conv2d(channels, wider, 1, bias=not normed),
                *([nn.BatchNorm2d(wider)] if normed else []),
                nn.ReLU(),
            )
        )
        channels = wider
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, columns))
