"""Method C, adaptive amalgamation: a component net for every wanted task, then the customised student.

Shen, Xue, Wang, Song, Sun, Song: Customizing Student Networks From Heterogeneous Teachers via Adaptive Knowledge
Amalgamation, ICCV 2019 (arXiv 1908.07121). The user names the tasks wanted, ``Run(problem, "adaptive", tasks=[…])``.

1.  sources → component, one wanted task after the other. Of all teachers that answer the task, an image is taught by
    the one that is surest of it, t*(x) = argmin_t I(p^t(x)), I(p) = −Σ_c p_c log p_c in nats. Transfer bridges join
    teacher and component block by block,
    L_t = Σ_l ‖A^s_{t,l}(F_S^l) − A^t_{t,l}(F_t^l)‖² + ‖m_t z_S − z_t‖² + Σ_l mean_o (‖w_{t,l,o}‖² − 1)²,
    A 1×1 convolutions into a narrower space, w_o the rows of the teacher's, which the last term keeps from shrinking.
2.  components → student, which has a head a task,
    L = Σ_k [Σ_l ‖A_{k,l}(F_S^l) − F_{c_k}^l‖² + ‖m_k z_S^{(k)} − z_{c_k}‖²].

The public reproduction (KamalEngine) gives every teacher its own loader and sums their means, so that an image won by
a rare teacher weighs more; ``weighting="teacher"`` does that, ``"sample"``, the default, weighs every image the same.
Where teachers of one task know different classes, a class that a teacher does not know has the target logit 0 (as an
unofficial implementation, KnowledgeAmalgamationModule, pads) or probability 0. Soft selection is ours.

``form="paper"`` has the paper's loss as above, all weights 1. For small students from scratch the default did better
on validation images (shared_digits, seed 100): a cross-entropy for the logits and a tenth of the weight on the bridges,
at a higher rate and for longer, as two students are trained one after the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ka_explore.methods.base import AmalgamationConfig, Method, Stage, StepOutput, share_of
from ka_explore.methods.config import TrainingConfig, factor, option, weight
from ka_explore.methods.losses import SoftTarget, averaged_to, entropy, gate, selection_weights, variance
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.layers import Outputs
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem
from ka_explore.problem.student import Student

Map = Float[Tensor, "batch _ _ _"]
Logits = Float[Tensor, "batch _"]


@dataclass(frozen=True)
class AdaptiveConfig(AmalgamationConfig):
    """Options of `Adaptive`; "code" is the public reproduction of the paper's group."""

    steps: int = option(1200, "steps of all components and the student together", low=0, high=1_000_000, log=True)
    learning_rate: float = option(1e-2, "largest learning rate", low=0.0, high=10.0, log=True)
    selection: Literal["hard", "soft", "claim", "none"] = option(
        "hard",
        "who teaches an image: hard: the teacher of least entropy (the paper); soft: all, weighted by it (ours); "
        "claim: all, by their share of the joint softmax (ours); none: all alike",
    )
    selection_temperature: float = factor(
        0.1, "of the soft selection, in nats: towards 0 it becomes the hard one", low=1e-4
    )
    weighting: Literal["sample", "teacher"] = option(
        "sample", "every image weighs the same, or every teacher does, whatever it won (code)"
    )
    select_components: bool = option(
        False, "step 2 as well: an image is taught only by the component of least entropy (the paper's figure)"
    )
    soft_target: SoftTarget = option(
        "stacked",
        "score_distance: squared distance of scaled logits (the paper); stacked: cross-entropy over all classes of "
        "the task; restricted or joint_posterior: within the classes that the teacher knows",
    )
    component_share: float = option(0.5, "share of the steps for step 1, all components together", low=0.0, high=1.0)
    component_width: float = factor(1.0, "channels of components, relative to the student", low=0.1, high=16.0)
    bridge_width: float = factor(
        0.5, "channels of a bridge's common space, relative to the component's", low=0.01, high=4.0
    )
    bridge_weight: float = weight(0.1, "weight of the bridges' distance", "bridges")
    logit_weight: float = weight(1.0, "weight of the soft target", "logits")
    norm_weight: float = weight(1.0, "weight of the unit-norm penalty on the bridges", "norm")


class Adaptive(Method):
    """Adaptive amalgamation (Shen, ICCV 2019): components from the surest teachers, then the student."""

    Config = AdaptiveConfig
    config: AdaptiveConfig
    needs_features = True
    forms: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"soft_target": "score_distance", "bridge_weight": 1.0},
        "code": {
            "soft_target": "score_distance", "bridge_weight": 1.0, "weighting": "teacher", "learning_rate": 5e-4,
        },
        "soft": {"selection": "soft"},
        "both_steps": {"select_components": True},
        "without_selection": {"selection": "none"},
    }  # fmt: skip

    def __init__(self, problem: Problem, config: TrainingConfig):
        super().__init__(problem, config)
        options, images = self.config, problem.pool.images[:2]
        self.check_blocks("adaptive amalgamation")
        target = self.student(images).features
        own = [target[block].shape[1] for block in self.student.blocks]
        self.components, self.bridges, self.target_bridges = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        scaled = options.soft_target == "score_distance"
        for task in self.labels.tasks:
            space = LabelSpace.of({task: (task, self.labels.class_names(task))})
            component = problem.make_student(space, width=options.component_width)
            features = component(images).features
            taught = [features[block].shape[1] for block in component.blocks]
            bridges = nn.ModuleList()
            for name in problem.labels.teachers_of(task):
                source = [problem.examples[name].features[b].shape[1] for b in problem.teacher(name).blocks]
                bridges.append(Bridge(taught, source, options.bridge_width, scaled=scaled))
            self.components.append(component)
            self.bridges.append(bridges)
            self.target_bridges.append(Bridge(own, taught, None, scaled=scaled))
        self.weights = {
            "bridges": options.bridge_weight,
            "logits": options.logit_weight,
            "norm": options.norm_weight if options.bridge_weight else 0.0,
        }

    @property
    def labels(self) -> LabelSpace:
        """One column a class: a component has one head for what several teachers know."""
        return self.problem.labels.merged

    def stages(self) -> Sequence[Stage]:
        """A component for every task, then the student from all of them."""
        tasks = self.labels.tasks
        each = share_of(self.config.steps, self.config.component_share, len(tasks))
        parts: list[Stage] = []
        for index, task in enumerate(tasks):
            bridges = self.bridges_to(task) if self.without else [self.bridges[index]]
            trains, forward = self.trained(self.components[index], bridges), partial(self.component, task=task)
            parts.append(Stage(component_stage(task), forward, trains, each, self.weights, "logits"))
        last = max(self.config.steps - each * len(tasks), min(self.config.steps, 1))
        trains = self.trained(self.student, [self.target_bridges])
        weights = {term: self.weights[term] for term in ("bridges", "logits")}
        return [*parts, Stage("target", self.target, trains, last, weights, "logits")]

    def feature_module(self, stage: Stage) -> nn.Module:
        """The last block of the component that a stage makes, else of the student: bridges end there."""
        nets = {component_stage(task): self.component_of(task)[0] for task in self.labels.tasks}
        net = nets.get(stage.name, self.student)
        return net.module_of(net.blocks[-1])

    def teacher_layers(self) -> Mapping[str, Sequence[str]]:
        """The blocks of every teacher."""
        return {teacher.name: teacher.blocks for teacher in self.problem.teachers}

    # 1. Sources to component.

    def component(self, batch: Batch, *, task: str) -> StepOutput:
        """Σ_t over the images that teacher t teaches: bridges, logits, and the unit norm of the bridges' rows."""
        names, (net, bridges) = self.taught.teachers_of(task), self.component_of(task)
        outputs: Outputs = net(batch.images)
        answered = self.answered(outputs.logits, task)
        answers = [batch.teachers[name].logits for name in names]
        weights = self.selection(answers)
        own = [outputs.features[block] for block in net.blocks]
        blocks = {n: [batch.teachers[n].features[b] for b in self.problem.teacher(n).blocks] for n in names}
        features, logits = [], []
        for name, answer, bridge in zip(names, answers, bridges, strict=True):
            features.append(bridge.distance(own, blocks[name]))
            logits.append(self.answer_loss(answered, answer, self.known(name), bridge))
        # L = Σ_t L_t, each on the images it teaches
        terms = {
            "bridges": gate(torch.stack(features, dim=1), weights, self.config.weighting),
            "logits": gate(torch.stack(logits, dim=1), weights, self.config.weighting),
            "norm": torch.stack([bridge.norm_penalty() for bridge in bridges]).sum(),
        }

        def seen() -> dict[str, Tensor]:
            """Who was chosen, how sure all are, and what the bridges leave."""
            everyone = self.problem.labels.teachers_of(task)
            indices = torch.tensor([everyone.index(name) for name in names], device=weights.device)
            shares = dict(zip(names, weights.unbind(dim=1), strict=True))
            found = {f"component/{task}": outputs.logits, f"selected/{task}": indices[weights.argmax(dim=1)]}
            for name in everyone:
                found[f"weight/{name}"] = shares.get(name, torch.zeros_like(weights[:, 0]))
                found[f"entropy/{name}"] = entropy(batch.teachers[name].logits)
            for name, bridge in zip(names, bridges, strict=True):
                left = bridge.remainder(own, blocks[name])
                found |= {f"bridge/{name}/{b}": r for b, r in zip(net.blocks, left, strict=True)}
            return found

        return StepOutput(terms, seen, tuple(names))

    def selection(self, answers: Sequence[Logits]) -> Float[Tensor, "batch teacher"]:
        """How much each teacher of a task teaches each image; rows sum to 1."""
        return selection_weights(answers, self.config.selection, self.config.selection_temperature)

    # 2. Components to student.

    def target(self, batch: Batch) -> StepOutput:
        """Σ_k over the components: bridges on the student's side, and its head for the component's task."""
        outputs = self.student(batch.images)
        with torch.no_grad():
            nets = [self.component_of(task)[0] for task in self.labels.tasks]
            parts: list[Outputs] = [net(batch.images) for net in nets]
        answers = [self.answered(part.logits, task) for task, part in zip(self.labels.tasks, parts, strict=True)]
        weights = torch.ones(len(batch.images), len(parts), device=batch.images.device)
        if self.config.select_components:
            weights = selection_weights(answers, "hard")
        own = [outputs.features[block] for block in self.student.blocks]
        sources = [[part.features[block] for block in net.blocks] for net, part in zip(nets, parts, strict=True)]
        bridges = [bridge for bridge in self.target_bridges if isinstance(bridge, Bridge)]
        features, logits = [], []
        for task, answer, source, bridge in zip(self.labels.tasks, answers, sources, bridges, strict=True):
            features.append(bridge.distance(own, source))
            head = self.answered(outputs.logits[:, self.labels.task_columns(task)], task)
            logits.append(self.answer_loss(head, answer, list(range(head.shape[1])), bridge))
        terms = {
            "bridges": gate(torch.stack(features, dim=1), weights, "sample").sum(),
            "logits": gate(torch.stack(logits, dim=1), weights, "sample").sum(),
        }

        def seen() -> dict[str, Tensor]:
            """What the components say, and what the bridges leave."""
            found = {f"component/{task}": part.logits for task, part in zip(self.labels.tasks, parts, strict=True)}
            for task, source, bridge in zip(self.labels.tasks, sources, bridges, strict=True):
                left = bridge.remainder(own, source)
                found |= {f"bridge/{task}/{b}": r for b, r in zip(self.student.blocks, left, strict=True)}
            return found

        return StepOutput(terms, seen, student=outputs)

    # Their parts.

    def component_of(self, task: str) -> tuple[Student, list["Bridge"]]:
        """A task's component net, and the bridges to it from the task's teachers that teach, in order."""
        net = self.components[self.labels.tasks.index(task)]
        assert isinstance(net, Student)
        return net, self.bridges_to(task)

    def bridges_to(self, task: str) -> list["Bridge"]:
        """The bridges to a task's component from the teachers that teach."""
        bridges = self.bridges[self.labels.tasks.index(task)]
        assert isinstance(bridges, nn.ModuleList)
        names = self.problem.labels.teachers_of(task)
        return [b for n, b in zip(names, bridges, strict=True) if n in self.teaching and isinstance(b, Bridge)]

    def answered(self, logits: Logits, task: str) -> Logits:
        """The classes of a task that some teacher who teaches knows, out of all of the task."""
        if not self.without:
            return logits
        known = self.taught.class_names(task)
        return logits[:, [i for i, name in enumerate(self.labels.class_names(task)) if name in known]]

    def answer_loss(
        self, student: Logits, answer: Logits, known: Sequence[int], bridge: "Bridge"
    ) -> Float[Tensor, "batch"]:
        """How far the student's logits for a task's taught classes are from the answer for those known, an image."""
        if self.config.soft_target == "score_distance":
            target = torch.zeros_like(student)
            target[:, known] = answer.to(target)
            return (bridge.scale * student - target).square().mean(dim=1)
        temperature = self.config.temperature
        probabilities = functional.softmax(answer / temperature, dim=1)
        if self.config.soft_target == "stacked":
            log = functional.log_softmax(student / temperature, dim=1)[:, known]
        else:
            log = functional.log_softmax(student[:, known] / temperature, dim=1)
        return -(probabilities * log).sum(dim=1) * temperature**2

    def known(self, teacher: str) -> list[int]:
        """Which classes of its task a teacher knows, by their index among those taught, in the order of its labels."""
        labels = self.taught
        start = labels.task_slice(self.problem.teacher(teacher).task).start
        return [index - start for index in labels.classes_of(teacher)]

    def trained(self, net: nn.Module, bridges: Sequence[nn.Module]) -> tuple[nn.Module, ...]:
        """The net and the bridges, where these have any weight."""
        used = self.config.bridge_weight or self.config.soft_target == "score_distance"
        return (net, *bridges) if used else (net,)


class Bridge(nn.Module):
    """The transfer bridge between one source and the net it teaches: 1×1 maps a block, and a scale of the logits.

    It is made of the channels of the taught net's blocks and of the source's, and the width of the common space
    relative to the net's; None: the source is not projected (step 2).
    """

    def __init__(self, net: Sequence[int], source: Sequence[int], width: float | None, *, scaled: bool):
        super().__init__()
        common = source if width is None else [max(round(width * channels), 1) for channels in net]
        self.net_side = nn.ModuleList(nn.Conv2d(c, o, 1) for c, o in zip(net, common, strict=True))
        self.source_side = nn.ModuleList(
            nn.Conv2d(c, o, 1) for c, o in zip(source, common, strict=True) if width is not None
        )
        if scaled:
            self.scale = nn.Parameter(torch.ones(()))

    def distance(self, net: Sequence[Map], source: Sequence[Map]) -> Float[Tensor, "batch"]:
        """Σ_l mean squared distance in the common space, an image."""
        return torch.stack([(a - b).square().mean(dim=(1, 2, 3)) for a, b in self.pairs(net, source)]).sum(dim=0)

    def remainder(self, net: Sequence[Map], source: Sequence[Map]) -> list[Float[Tensor, "batch"]]:
        """The distance a block, relative to the variance of the source's side: 1 is "no better than the mean"."""
        return [(a - b).square().mean(dim=(1, 2, 3)) / variance(b) for a, b in self.pairs(net, source)]

    def pairs(self, net: Sequence[Map], source: Sequence[Map]) -> Iterator[tuple[Map, Map]]:
        """Both sides of every block in the common space; larger maps are averaged to the smaller size."""
        for index, (own, other) in enumerate(zip(net, source, strict=True)):
            size = (min(own.shape[2], other.shape[2]), min(own.shape[3], other.shape[3]))
            own, other = averaged_to(own, size), averaged_to(other, size)
            if len(self.source_side):
                other = self.source_side[index](other)
            yield self.net_side[index](own), other

    def norm_penalty(self) -> Float[Tensor, ""]:
        """Σ_l mean over output channels o of (‖w_o‖² − 1)², w_o the rows of the source's side."""
        rows = [layer.get_parameter("weight").flatten(1) for layer in self.source_side]
        return torch.stack([(w.square().sum(dim=1) - 1).square().mean() for w in rows]).sum()


def component_stage(task: str) -> str:
    """The name of the stage that makes a task's component."""
    return f"component {task}"
