"""A sketch of an amalgamation: boxes that know their modules, and arrows, as a drawing adds them.

A box's state is read off the stage and not told: it trains if one of its modules is among those that the stage trains,
it waits if another stage trains one, and is frozen else.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from ka_explore.methods.base import Method, Stage
from ka_explore.probes.results import Box
from ka_explore.problem.teachers import Teacher
from ka_explore.run.loss import stages_of

Kind = Literal["images", "teacher", "student", "module", "loss"]
State = Literal["frozen", "trains", "waits"]

SINGLE = 3  # teachers that have boxes of their own for what belongs to them; more share one


@dataclass(frozen=True)
class Part:
    """A box and the modules it stands for."""

    box: Box
    modules: tuple[nn.Module, ...]


class Sketch:
    """Boxes by name and arrows (from, to, what flows) of a method at a stage, as they are added."""

    def __init__(self, method: Method, stage: Stage | None):
        self.method, self.problem, self.stage = method, method.problem, stage
        self.weights: Mapping[str, float] = getattr(method, "weights", {})
        self.at = stage.name if stage else ""
        self.trained = inner(stage.trains if stage else ())
        self.set = inner(stage.changes if stage else ())
        self.ever = inner(module for one in stages_of(method) for module in one.trains)
        self.images = "images"
        self.parts: dict[str, Part] = {}
        self.arrows: list[tuple[str, str, str]] = []

    def put(self, box: Box, modules: tuple[nn.Module, ...], after: Iterable[str]) -> str:
        """A box, its modules and the arrows to it; returns its name, which gets its kind behind it if it is taken."""
        name = box.name
        while name in self.parts:
            name += f" ({box.kind})"
        self.parts[name] = Part(replace(box, name=name), modules)
        self.arrow(after, name)
        return name

    def add(
        self, name: str, kind: Kind, *modules: nn.Module, text: str = "", teacher: str = "", after: Iterable[str] = ()
    ) -> str:
        """A box in the state its modules have, with arrows to it from others; returns its name."""
        own = inner(modules)
        state: State = "trains" if own & self.trained else "waits" if own & self.ever else "frozen"
        if state != "trains" and own & self.set:
            text = lines(text, "set in this stage")
        return self.put(Box(name, kind, state, text, teacher), modules, after)

    def arrow(self, starts: Iterable[str], end: str, what: str = "") -> None:
        """Arrows to a box; never two between the same boxes."""
        for start in starts:
            if (start, end) not in {(a, b) for a, b, _ in self.arrows}:
                self.arrows.append((start, end, what))

    def loss(self, name: str, sources: Iterable[str], text: str = "", *, term: str = "", acts: bool = True) -> None:
        """A loss: it acts in this stage, waits for another, or has no weight, by the method's of its term."""
        weight = self.weights[term] if term else None
        state: State = "frozen" if weight == 0 else "trains" if acts else "waits"
        said = "" if weight is None else "no weight" if weight == 0 else f"weight {weight:g}"
        self.put(Box(name, "loss", state, lines(text, said)), (), sources)

    def soft(self, sources: Iterable[str], *, term: str = "", acts: bool = True) -> None:
        """The soft target, with its kind and temperature."""
        config: Any = self.method.config
        targets = getattr(config, "targets", "own")
        given = f"targets: {targets}" if targets != "own" else ""
        text = lines(f"{config.soft_target}, temperature {config.temperature:g}", given)
        self.loss("soft target", sources, text, term=term, acts=acts)

    def nets(self, *, student: bool = True, asked: bool = True) -> tuple[dict[str, str], str]:
        """Images, every teacher, the student; returns the boxes of those that teach by name, and the student's."""
        teaching = self.method.teaching if asked else ()
        for teacher in self.problem.teachers:  # first, so that they keep their names
            text = self.about(teacher, asked=teacher.name in teaching)
            self.add(teacher.name, "teacher", teacher.module, text=text, teacher=teacher.name)
        own = self.add("student", "student", self.method.student, text=self.about_student()) if student else ""
        shape = "×".join(map(str, self.problem.pool.images.shape))
        self.images = self.add("images", "images", text=f"{len(self.problem.pool):,} of {shape}, no labels")
        for end in filter(None, (*teaching, own)):
            self.arrow([self.images], end)
        return {name: name for name in self.method.teaching}, own

    def about(self, teacher: Teacher, *, asked: bool) -> str:
        """A teacher's layers with their widths, classes and parameters."""
        example = self.problem.examples[teacher.name].features
        layers = [layer for layer in self.method.teacher_layers().get(teacher.name, ()) if layer in example]
        seen = ", ".join(f"{layer}\u00a0({example[layer].shape[1]})" for layer in layers)
        task = f"{teacher.task}: " if len(self.problem.labels.tasks) > 1 else ""
        classes, told = f"{task}{len(teacher.labels)} classes", "" if asked else "not asked"
        return lines(f"layers {seen}" if seen else "", classes, count(teacher.module), told)

    def about_student(self) -> str:
        """The student's blocks with their widths, its columns and parameters."""
        student = self.method.student
        return f"{self.widths(student)}\n{len(self.method.labels.columns)} columns\n{count(student)}"

    def widths(self, net: Any) -> str:
        """The blocks of a student, or a net like it, with their channels."""
        weight = next(net.parameters(), torch.zeros(()))
        features = net(self.problem.pool.images[:2].to(weight.device)).features
        return "layers " + ", ".join(f"{block}\u00a0({features[block].shape[1]})" for block in net.blocks)

    def each(
        self, what: str, modules: Mapping[str, nn.Module], sources: Mapping[str, str], text: Callable[[nn.Module], str]
    ) -> list[str]:
        """A box a teacher for what belongs to it, or one for all where there are many; returns the boxes."""
        if len(modules) <= SINGLE:
            return [
                self.add(f"{what} of {name}", "module", module, text=text(module), teacher=name, after=[sources[name]])
                for name, module in modules.items()
            ]
        said = list(dict.fromkeys(text(module) for module in modules.values()))
        shown, after = lines(*said[:3], "…" if len(said) > 3 else ""), [sources[name] for name in modules]
        return [self.add(f"{len(modules)} × {what}", "module", *modules.values(), text=shown, after=after)]

    def adaption(self, what: str, module: nn.Module, source: str) -> str:
        """A box for what adapts a net's or a layer's feature."""
        return self.add(f"adaption of {what}", "module", module, text=convolutions(module), after=[source])

    def complete(self) -> None:
        """What moves the weights of this stage's terms, and a box for every trained module that has none yet."""
        balances = tuple(self.method.balances.values())
        if inner(balances) & self.trained:
            terms = [n for n, part in self.parts.items() if part.box.kind == "loss" and part.box.state == "trains"]
            self.add("weights of the terms", "module", *balances, text="GradNorm moves them", after=terms)
        shown = inner(module for part in self.parts.values() for module in part.modules)
        names = {id(module): name for name, module in self.method.named_modules()}
        students = [name for name, part in self.parts.items() if part.box.kind == "student"]
        for module in self.stage.trains if self.stage else ():
            if not inner([module]) & shown:
                name = names.get(id(module)) or type(module).__name__
                self.add(name, "module", module, text=count(module), after=students[:1])


def lines(*parts: str) -> str:
    """Those that are not empty, one under the other."""
    return "\n".join(part for part in parts if part)


def inner(modules: Iterable[nn.Module]) -> set[int]:
    """The identities of modules and all modules in them."""
    return {id(part) for module in modules for part in module.modules()}


def count(*modules: nn.Module) -> str:
    """How many parameters modules have, in words."""
    total = sum(p.numel() for p in {id(p): p for module in modules for p in module.parameters()}.values())
    return f"{total:,} parameters"


def convolutions(module: nn.Module) -> str:
    """From how many channels to how many, by the first and the last convolution."""
    layers = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    if not layers:
        return count(module)
    return f"{layers[0].in_channels} → {layers[-1].out_channels} channels"
