"""The baselines: soft targets alone, the teachers side by side, and the supervised upper bound."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ka_explore.errors import InputError
from ka_explore.methods.base import AmalgamationConfig, Method, Stage, StepOutput
from ka_explore.methods.config import TrainingConfig, option
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem


class Distillation(Method):
    """Soft targets only (Hinton 2015, with several teachers): the baseline every amalgamation must beat."""

    Config = AmalgamationConfig
    config: AmalgamationConfig

    def stages(self) -> Sequence[Stage]:
        """One stage: the student from the teachers' answers."""
        return [Stage("distil", self.distil, (self.student,), self.config.steps)]

    def distil(self, batch: Batch) -> StepOutput:
        """The soft-target loss of the student's logits."""
        student = self.student(batch.images)
        return StepOutput({"soft": self.soft_target(student.logits, batch)}, student=student)


@dataclass(frozen=True)
class EnsembleConfig(TrainingConfig):
    """Options of `Ensemble`."""

    steps: int = option(0, "an ensemble trains nothing", low=0, high=0)
    join: Literal["logits", "probabilities", "mean"] = option(
        "logits",
        "put side by side the teachers' raw logits, or each teacher's own log-probabilities; classes that several "
        "know are joined by adding probabilities, or (mean) every class has the mean logit of those that know it",
    )


class Ensemble(Method):
    """The teachers' answers side by side: nothing is trained, all teachers are run at prediction."""

    Config = EnsembleConfig
    config: EnsembleConfig

    def stages(self) -> Sequence[Stage]:
        """None."""
        return []

    @property
    def deployed_parameters(self) -> int:
        """Those of all teachers; a module shared by two counts once."""
        modules = {id(t.module): t.module for t in self.problem.teachers}.values()
        return sum(p.numel() for module in modules for p in module.parameters())

    def predict(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch class"]:
        """The teachers' scores in the order of the label space, classes of one name joined."""
        logits = {teacher.name: teacher(images).logits for teacher in self.problem.teachers}
        if self.config.join == "probabilities":
            logits = {name: functional.log_softmax(z, dim=1) for name, z in logits.items()}
        labels = self.problem.labels
        if self.config.join == "mean":
            scores = images.new_zeros(len(images), len(labels.classes))
            known = torch.zeros(len(labels.classes))
            for name in labels.teachers:
                scores[:, labels.classes_of(name)] += logits[name]
                known[labels.classes_of(name)] += 1
            return scores / known.to(scores)
        return labels.merge(labels.stack(logits))


class Oracle(Method):
    """The supervised upper bound: the student trained on the pool's true labels. The only method given any."""

    uses_labels: ClassVar[bool] = True

    def __init__(self, problem: Problem, config: TrainingConfig):
        super().__init__(problem, config)
        if problem.pool.labels is None or set(problem.labels.tasks) - set(problem.pool.labels):
            raise InputError(
                "the oracle trains on true labels, and this problem's pool has none for "
                f"{', '.join(problem.labels.tasks)}: give Pool(labels={{task: …}}) or choose a method without labels."
            )
        self.truth = {task: torch.from_numpy(problem.pool.labels[task]) for task in problem.labels.tasks}

    def stages(self) -> Sequence[Stage]:
        """One stage: supervised learning."""
        term = "cross_entropy"
        return [Stage("supervised", self.supervised, (self.student,), self.config.steps, {term: 1.0}, term)]

    def supervised(self, batch: Batch) -> StepOutput:
        """Cross-entropy with the true label, mean over tasks; images of unknown label (-1) are left out."""
        labels, student = self.problem.labels, self.student(batch.images)
        scores = labels.merge(student.logits)
        losses = [
            functional.cross_entropy(
                scores[:, labels.task_slice(task)],
                self.truth[task][batch.index.cpu()].to(scores.device),
                ignore_index=-1,
            )
            for task in labels.tasks
        ]
        return StepOutput({"cross_entropy": torch.stack(losses).mean()}, student=student)
