"""Merging by permutation: the teachers' own weights averaged, once their units are put in one order. No training.

Ainsworth, Hayase, Srinivasa: Git Re-Basin, ICLR 2023, matches units by their weights or by their activations; Xu and
others: Training-Free Pretrained Model Merging (MuDSC), CVPR 2024, by both. Renaming the units of a layer changes
nothing that a net computes, but decides what is averaged with what. Symbols as there: A_l a layer's activations over
the pool, Z_l its units' weights, P_l the permutation of a further teacher's units,

    C_l = (1 − a) corr(A_l) + a cos(Z_l | P_{l−1}, P_{l+1}),     P_l = argmax_P Σ_i C_l[i, P(i)]   (Hungarian algorithm)

layer by layer until no P_l changes. Then the weights of the bodies are averaged, the heads put side by side as the
student's columns, and the running statistics of batch norm taken anew over the pool: averaged units vary less than
each of them did.

It asks for teachers of one plain architecture, a chain of convolutions, linear layers, batch norms, activations and
pooling. The papers merge two nets; here every further teacher is matched to the first. Teachers that normalise their
images differently are averaged in this too: the student's mean and deviation lie between theirs, which is not exact
(nor is folding the difference into the first convolution, because of its padding), and close where these are.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ka_explore.errors import InputError
from ka_explore.methods.base import AmalgamationConfig, Batches, Method, Stage, StepOutput
from ka_explore.methods.config import TrainingConfig, option
from ka_explore.methods.matching import (
    NORMS,
    Moments,
    Weights,
    assign,
    check_alike,
    children_of,
    common_preprocess,
    matched,
    permuted,
    plan_of,
    rows,
    weights_of,
    weighty_parts,
)
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem
from ka_explore.problem.student import Chain, Student


@dataclass(frozen=True)
class MergingConfig(AmalgamationConfig):
    """Options of `PermutationMerging`; those of training are accepted and without effect, as nothing is trained."""

    alignment: Literal["hungarian", "none"] = option(
        "hungarian", "units matched before they are averaged, or averaged as they are numbered"
    )
    weight_share: float = option(
        0.5, "a: how much the weights count in the matching; the rest is the activations' correlation",
        low=0.0, high=1.0,
    )  # fmt: skip
    sweeps: int = option(20, "passes over the layers, at most: they end when no permutation changes", low=1, high=1000)
    shares: tuple[float, ...] = option(
        (), "the teachers' shares in the average, in their order; none given: all alike", low=0.0, high=1e6
    )
    reestimate: bool = option(True, "the running statistics of batch norm are taken anew over the pool")


class PermutationMerging(Method):
    """Plain teachers of one architecture, matched unit by unit and averaged (Git Re-Basin, MuDSC): no training."""

    Config = MergingConfig
    config: MergingConfig
    student: Chain
    forms: ClassVar[Mapping[str, Mapping[str, Any]]] = {"unaligned": {"alignment": "none"}}

    def __init__(self, problem: Problem, config: TrainingConfig):
        super().__init__(problem, config)
        self.matching = Matching([layer.units for layer in self.plan.hidden], len(problem.teachers))

    def make_student(self) -> Student:
        """The first teacher's net with all heads side by side. Raises InputError for teachers that do not fit."""
        teachers, shares = self.problem.teachers, self.config.shares
        if self.without:
            raise InputError(
                f"without={self.without!r}: merging averages the weights of all its teachers and trains nothing. Make "
                "a problem of the teachers wanted, or give a teacher a share of 0 with shares=…."
            )
        if self.config.student_width != 1:
            raise InputError(
                f"student_width={self.config.student_width:g}: a merged net is as wide as its teachers, leave it at 1."
            )
        if shares and (len(shares) != len(teachers) or not sum(shares)):
            raise InputError(f"shares={shares}: expected {len(teachers)} numbers, one a teacher, not all of them zero.")
        plans = [plan_of(teacher) for teacher in teachers]
        check_alike(teachers, plans)
        self.plan = plans[0]
        self.seen = [plan.seen for plan in plans]
        self.nets = [[weights_of(part.module) for part in plan.weighty] for plan in plans]
        return dataclasses.replace(self.problem, student=self.side_by_side).make_student(self.labels)

    def stages(self) -> Sequence[Stage]:
        """One step, at whose beginning everything is done."""
        steps = min(self.config.steps, 1)
        return [Stage("match", self.match, (), steps, begin=self.merge, changes=(self.student, self.matching))]

    def match(self, batch: Batch) -> StepOutput:
        """How far the merged net is from the teachers' answers, and how alike the units are that were averaged."""
        student = self.student(batch.images)
        soft, correlation = self.soft_target(student.logits, batch), self.matching.correlation.mean()
        return StepOutput({"soft": soft, "correlation": correlation}, student=student)

    # 1. Match.

    def merge(self, batches: Batches) -> None:
        """Match the units, average the weights, take the statistics of batch norm anew."""
        first, *others = self.nets
        correlations = self.correlations(batches)
        for index, (net, correlation) in enumerate(zip(others, correlations, strict=True)):
            orders = [torch.arange(len(c)) for c in correlation]
            if self.config.alignment == "hungarian":
                orders = matched(self.plan, first, net, correlation, self.config.weight_share, self.config.sweeps)
            self.matching.keep(index, orders, correlation)
        self.average()
        if self.config.reestimate:
            self.reestimate(batches)

    def correlations(self, batches: Batches) -> list[list[Float[Tensor, "_ _"]]]:
        """corr(A_l) of the first teacher's units with each further one's, before activations, which may be silent."""
        moments = [[Moments() for _ in self.plan.hidden] for _ in self.problem.teachers[1:]]
        for batch in batches():
            first, *others = (
                [rows(feature) for feature in teacher.run(batch.images, dict.fromkeys(seen, "auto")).features.values()]
                for teacher, seen in zip(self.problem.teachers, self.seen, strict=True)
            )
            for sums, units in zip(moments, others, strict=True):
                for moment, own, other in zip(sums, first, units, strict=True):
                    moment.add(own, other)
        return [[moment.correlation() for moment in sums] for sums in moments]

    # 2. Average.

    def average(self) -> None:
        """The mean of the bodies, every further one with its units in the first's order; heads likewise."""
        first, *others = self.nets
        nets = [first, *(permuted(self.plan, net, self.matching.orders(i)) for i, net in enumerate(others))]
        shares = torch.tensor(self.config.shares or (1.0,) * len(nets), dtype=torch.float64)
        shares = shares / shares.sum()
        body = [
            {name: torch.stack([s * w[name] for s, w in zip(shares, same, strict=True)]).sum(dim=0) for name in same[0]}
            for same in list(zip(*nets, strict=True))[:-1]
        ]
        self.fill(self.student, body, nets)

    def fill(self, chain: Chain, body: Sequence[Weights], nets: Sequence[Sequence[Weights]]) -> None:
        """Give the student a body, and each task's head the last layer's rows of the task's teachers."""
        labels = self.problem.labels
        last = dict(zip(self.problem.names, (net[-1] for net in nets), strict=True))
        for task, head in chain.heads.items():
            *inner, final = weighty_parts(chain.segments, head)
            for module, weights in zip(inner, body, strict=True):
                assign(module, weights)
            rows = [last[name] for name in labels.teachers_of(task)]
            assign(final, {name: torch.cat([row[name] for row in rows]) for name in rows[0]})

    # 3. The statistics of batch norm.

    def reestimate(self, batches: Batches) -> None:
        """Running mean and variance of every batch norm: the average of the batches' over the pool, no label needed."""
        norms = [part for part in self.student.modules() if isinstance(part, NORMS) and part.track_running_stats]
        if len(self.problem.pool) < 2:
            return  # one image need not have a variance
        momenta = [norm.momentum for norm in norms]
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # cumulative
                norm.train()
            for batch in batches():
                if len(batch.images) > 1:
                    self.student(batch.images)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
                norm.eval()

    # What the student is made of.

    def side_by_side(self, labels: LabelSpace) -> Chain:
        """A chain of copies of the first teacher's parts; its last part, one a task, ends with all rows of the task."""
        parts = children_of(self.problem.teachers[0].module)
        last, linear = parts.popitem()[1], self.plan.weighty[-1].module
        assert isinstance(linear, nn.Linear)
        heads = {}
        for task in labels.tasks:
            columns = sum(column.task == task for column in labels.columns)
            wide = nn.Linear(linear.in_features, columns, bias=linear.bias is not None, dtype=linear.weight.dtype)
            heads[task] = copy.deepcopy(last, {id(linear): wide})  # with the wide layer in the narrow one's place
        chain = Student.chain(
            {name: copy.deepcopy(part) for name, part in parts.items()},
            heads,
            preprocess=common_preprocess(self.problem.teachers),
        )
        chain.eval()
        self.fill(chain, self.nets[0][:-1], self.nets)
        return chain


class Matching(nn.Module):
    """Which units of the further teachers stand for the first's, by layer."""

    correlation: Tensor  # mean of the matched units', by further teacher and layer

    def __init__(self, units: Sequence[int], teachers: int):
        super().__init__()
        self.layers = len(units)
        for layer, count in enumerate(units):
            self.register_buffer(f"order{layer}", torch.arange(count).repeat(teachers - 1, 1))
        self.register_buffer("correlation", torch.zeros(teachers - 1, len(units)))

    def orders(self, index: int) -> list[Int64[Tensor, "_"]]:
        """By layer, the unit of a further teacher (the first of them is 0) for each of the first teacher's units."""
        return [self.get_buffer(f"order{layer}")[index].cpu() for layer in range(self.layers)]

    def keep(self, index: int, orders: Sequence[Tensor], correlation: Sequence[Tensor]) -> None:
        """Take these as the matching of a further teacher."""
        for layer, (order, alike) in enumerate(zip(orders, correlation, strict=True)):
            self.get_buffer(f"order{layer}")[index] = order
            self.correlation[index, layer] = alike.gather(1, order[:, None]).mean()
