"""The amalgamation of a run as boxes and arrows: what is where, what is frozen, what trains in a stage.

Every box knows its modules, so that its state is read off the stage and not told: it trains if one of its modules is
among those that the stage trains, it waits if another stage trains one, and is frozen else.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from ka_explore.errors import unknown
from ka_explore.methods.adaptive import Adaptive, Bridge, component_stage
from ka_explore.methods.base import Method, Stage
from ka_explore.methods.common_feature import CommonFeature
from ka_explore.methods.compress import Coded
from ka_explore.methods.layer_wise import LayerWise
from ka_explore.methods.logit_space import LogitSpace
from ka_explore.methods.merging import PermutationMerging
from ka_explore.methods.one_stage import OneStage
from ka_explore.probes.results import Box, Diagram
from ka_explore.problem.teachers import Teacher
from ka_explore.run.run import Run

SINGLE = 3  # teachers that have boxes of their own for what belongs to them; more share one

Kind = Literal["images", "teacher", "student", "module", "loss"]


def diagram(run: Run, stage: Stage | str | None = None) -> Diagram:
    """A run's amalgamation as a diagram.

    Args:
        run: whose problem and method are drawn.
        stage: or its name; by default the one the run stands in.

    Raises InputError for a stage that the method does not have.
    """
    with run.turn():  # widths are taken in eval mode, which no training thread must meet
        return drawn(run, stage)


def drawn(run: Run, stage: Stage | str | None) -> Diagram:
    """The diagram of a run that nobody moves meanwhile."""
    method = run.method
    stages = list(run.stages)
    at = run.stage if stage is None else stage
    if isinstance(at, str):
        found = [one for one in stages if one.name == at]
        if not found:
            raise unknown("stage", at, [one.name for one in stages], where=f" of {run.store.about['method']}")
        at = found[0]
    sketch = sketch_of(run.store.about["method"], method, at, stages)
    boxes = tuple(part.box for part in sketch.parts.values())
    title = f"{run.store.about['method']}: {f'stage {at.name}' if at else 'nothing is trained'}"
    return Diagram(boxes, tuple(sketch.arrows), title)


def sketch_of(name: str, method: Method, stage: Stage | None, stages: Sequence[Stage]) -> "Sketch":
    """Boxes with their modules and arrows of a method at a stage; whatever it trains has a box."""
    sketch = Sketch(method, stage, stages)
    with looking(method):
        DRAWINGS.get(name, draw_any)(sketch, method)
    sketch.complete()
    return sketch


@dataclass(frozen=True)
class Part:
    """A box and the modules it stands for."""

    box: Box
    modules: tuple[nn.Module, ...]


class Sketch:
    """Boxes and arrows as they are added.

    Args:
        method: what is drawn.
        stage: the one at hand; None for a method without stages.
        stages: all of the method's.
    """

    def __init__(self, method: Method, stage: Stage | None, stages: Sequence[Stage]):
        self.method, self.problem = method, method.problem
        self.stage = stage
        self.trained = inner(stage.trains if stage else ())
        self.set = inner(stage.changes if stage else ())
        self.ever = inner(module for one in stages for module in one.trains)
        self.parts: dict[str, Part] = {}
        self.arrows: list[tuple[str, str, str]] = []

    # What any method has.

    def add(
        self, name: str, kind: Kind, modules: Iterable[nn.Module] = (), text: str = "", *, teacher: str = ""
    ) -> str:
        """A box in the state its modules have; returns its name, which gets its kind behind it if it is taken."""
        modules = tuple(modules)
        while name in self.parts:
            name += f" ({kind})"
        own = inner(modules)
        state: Any = "trains" if own & self.trained else "waits" if own & self.ever else "frozen"
        if state != "trains" and own & self.set:
            text = "\n".join(part for part in (text, "set in this stage") if part)
        self.parts[name] = Part(Box(name, kind, state, text, teacher), modules)
        return name

    def arrow(self, starts: str | Iterable[str], end: str, what: str = "") -> None:
        """Arrows to a box; never two between the same boxes."""
        for start in [starts] if isinstance(starts, str) else starts:
            if not any((a, b) == (start, end) for a, b, _ in self.arrows):
                self.arrows.append((start, end, what))

    def loss(
        self, name: str, sources: Iterable[str], text: str = "", *, weight: float | None = None, acts: bool = True
    ) -> str:
        """A term of the loss: it acts in this stage, waits for another, or has no weight at all."""
        state: Any = "frozen" if weight == 0 else "trains" if acts else "waits"
        said = "" if weight is None else "no weight" if weight == 0 else f"weight {weight:g}"
        while name in self.parts:
            name += " (loss)"
        self.parts[name] = Part(Box(name, "loss", state, "\n".join(t for t in (text, said) if t)), ())
        self.arrow(sources, name)
        return name

    def soft(self, sources: Iterable[str], **options: Any) -> str:
        """The soft target, with its kind and temperature."""
        config: Any = self.method.config
        text = f"{config.soft_target}, temperature {config.temperature:g}"
        if getattr(config, "targets", "own") != "own":
            text += f"\ntargets: {config.targets}"
        return self.loss("soft target", sources, text, **options)

    def nets(self, *, student: bool = True, asked: bool = True) -> tuple[dict[str, str], str]:
        """Images, every teacher, the student; returns the boxes of those that teach by name, and the student's."""
        for teacher in self.problem.teachers:  # first, so that they keep their names
            modules = (teacher.module,)
            heard = asked and teacher.name in self.method.teaching
            self.add(teacher.name, "teacher", modules, self.about(teacher, asked=heard), teacher=teacher.name)
        own = self.add("student", "student", (self.method.student,), self.about_student()) if student else ""
        shape = "×".join(map(str, self.problem.pool.images.shape))
        images = self.add("images", "images", text=f"{len(self.problem.pool):,} of {shape}, no labels")
        boxes = {name: name for name in self.method.teaching}
        if asked:
            self.arrow_from(images, boxes.values())
        if own:
            self.arrow_from(images, [own])
        self.images = images
        return boxes, own

    def arrow_from(self, start: str, ends: Iterable[str]) -> None:
        """An arrow from one box to each of others."""
        for end in ends:
            self.arrow(start, end)

    def about(self, teacher: Teacher, *, asked: bool) -> str:
        """A teacher's layers with their widths, classes and parameters."""
        example = self.problem.examples[teacher.name].features
        layers = [layer for layer in self.method.teacher_layers().get(teacher.name, ()) if layer in example]
        seen = ", ".join(f"{layer}\u00a0({example[layer].shape[1]})" for layer in layers)
        task = f"{teacher.task}: " if len(self.problem.labels.tasks) > 1 else ""
        lines = [
            f"layers {seen}" if seen else "",
            f"{task}{len(teacher.labels)} classes",
            count(teacher.module),
            "" if asked else "not asked",
        ]
        return "\n".join(line for line in lines if line)

    def about_student(self) -> str:
        """The student's blocks with their widths, its columns and parameters."""
        student = self.method.student
        widths = ", ".join(f"{block}\u00a0({width})" for block, width in self.widths(student).items())
        return f"layers {widths}\n{len(self.method.labels.columns)} columns\n{count(student)}"

    def widths(self, net: Any) -> dict[str, int]:
        """Channels of a student's blocks."""
        weight = next(net.parameters(), torch.zeros(()))
        features = net(self.problem.pool.images[:2].to(weight.device)).features
        return {block: features[block].shape[1] for block in net.blocks}

    def each(
        self, what: str, modules: Mapping[str, nn.Module], sources: Mapping[str, str], text: Callable[[str], str]
    ) -> dict[str, str]:
        """A box a teacher for what belongs to it, or one for all where there are many; returns the boxes by teacher."""
        if len(modules) <= SINGLE:
            found = {}
            for name, module in modules.items():
                found[name] = self.add(f"{what} of {name}", "module", (module,), text(name), teacher=name)
                self.arrow(sources[name], found[name])
            return found
        said = list(dict.fromkeys(text(name) for name in modules))
        shown = "\n".join(said[:3]) + ("\n…" if len(said) > 3 else "")
        box = self.add(f"{len(modules)} × {what}", "module", modules.values(), shown)
        self.arrow([sources[name] for name in modules], box)
        return dict.fromkeys(modules, box)

    def complete(self) -> None:
        """What moves the weights of the terms, and a box for every trained module that has none yet."""
        balances = tuple(self.method.balances.values())
        if balances:
            own = inner(balances) & self.trained
            box = self.add("weights of the terms", "module", balances, "GradNorm moves them")
            terms = [n for n, part in self.parts.items() if part.box.kind == "loss" and part.box.state == "trains"]
            self.arrow(terms if own else (), box)
        shown = inner(module for part in self.parts.values() for module in part.modules)
        names = {id(module): name for name, module in self.method.named_modules()}
        for module in self.stage.trains if self.stage else ():
            if not inner([module]) & shown:
                box = self.add(names.get(id(module)) or type(module).__name__, "module", (module,), count(module))
                students = [name for name, part in self.parts.items() if part.box.kind == "student"]
                self.arrow(students[:1], box)


def draw_any(sketch: Sketch, method: Method) -> None:
    """Any method: teachers and student meet in a soft target."""
    teachers, student = sketch.nets()
    if hasattr(method.config, "soft_target"):
        sketch.soft([*teachers.values(), student])
    else:
        sketch.loss("loss", [*teachers.values(), student])


def draw_common_feature(sketch: Sketch, method: Method) -> None:
    """Adaptions into one extractor, decoders out of it; soft target, MMD, reconstruction."""
    assert isinstance(method, CommonFeature)
    teachers, student = sketch.nets()
    own = method.adaption_of["student"]
    adapted = [sketch.add("adaption of student", "module", (own,), convolutions(own))]
    sketch.arrow(student, adapted[0])
    by_teacher = {name: method.adaption_of[name] for name in teachers}
    found = sketch.each("adaption", by_teacher, teachers, lambda name: convolutions(by_teacher[name]))
    adapted += dict.fromkeys(found.values())
    common = sketch.add("shared extractor", "module", (method.extractor,), convolutions(method.extractor))
    sketch.arrow(adapted, common)
    decoders = {name: method.decoder_of[name] for name in teachers}
    rebuilt = sketch.each(
        "decoder", decoders, dict.fromkeys(teachers, common), lambda name: convolutions(decoders[name])
    )
    weights = method.weights
    sketch.soft([student, *teachers.values()], weight=weights["soft"])
    sketch.loss("MMD", [common], "student to each teacher", weight=weights["mmd"])
    sketch.loss(
        "reconstruction", dict.fromkeys(rebuilt.values()), "of the teachers' features", weight=weights["reconstruction"]
    )
    for term, text in (("paired", "distance image by image"), ("classwise", "MMD a class")):
        if weights.get(term):
            sketch.loss(term, [common], text, weight=weights[term])


def draw_layer_wise(sketch: Sketch, method: Method) -> None:
    """Codes of the teachers' layers, and the student's segments that regress them."""
    assert isinstance(method, LayerWise)
    teachers, _ = sketch.nets(student=False)
    draw_staged(sketch, method, teachers, draw_codes(sketch, method, teachers))


def draw_codes(sketch: Sketch, method: Coded, teachers: Mapping[str, str]) -> dict[str, str]:
    """The codes of all layers, from the teachers' features."""
    sources = list(teachers.values())
    if len(sources) * len(method.layers) > 6:
        together = sketch.add("features side by side", "images", text="a layer at a time")
        sketch.arrow(sources, together)
        sources = [together]
    codes = {}
    how = "principal components" if method.config.amalgamation == "pca" else "linear auto-encoder"
    for layer in method.layers:
        compressor = method.compressor(layer)
        text = f"{how}\n{sum(compressor.channels)} → {method.shapes[layer][0]} channels"
        codes[layer] = sketch.add(f"code of {layer}", "module", (compressor,), text)
        sketch.arrow(sources, codes[layer])
    return codes


def draw_one_stage(sketch: Sketch, method: Method) -> None:
    """Codes of the teachers' layers, and the student's features that are paired with them."""
    assert isinstance(method, OneStage)
    teachers, student = sketch.nets()
    codes = draw_codes(sketch, method, teachers)
    adapted = {}
    for layer in method.layers:
        adapted[layer] = student
        if layer in method.adaptions:
            adaption = method.adaptions[layer]
            adapted[layer] = sketch.add(f"adaption of {layer}", "module", (adaption,), convolutions(adaption))
            sketch.arrow(student, adapted[layer])
    sketch.soft([student, *teachers.values()], weight=method.weights["soft"])
    sketch.loss(
        "feature", [*adapted.values(), *codes.values()], "distance to the code", weight=method.weights["feature"]
    )
    sketch.loss("reconstruction", codes.values(), "of the teachers' features", weight=method.weights["reconstruction"])


def draw_staged(sketch: Sketch, method: LayerWise, teachers: Mapping[str, str], codes: Mapping[str, str]) -> None:
    """The student's segments with the adaption modules between them, and the losses of the three parts."""
    stage = sketch.stage.name if sketch.stage else ""
    before, segments = sketch.images, {}
    for layer in (*method.layers, None):
        earlier = method.before(layer)
        modules = tuple(method.between(earlier, layer))
        names = [name for name, segment in method.chain.segments.items() if any(segment is m for m in modules)]
        name = f"student: {layer or 'heads'}"
        text = f"{', '.join(names)}\n{count(*modules)}" if names and names != [layer] else count(*modules)
        segments[layer] = sketch.add(name, "student", modules, text)
        sketch.arrow(before, segments[layer])
        if earlier is not None and earlier in method.adaptions:
            adaption = method.adaptions[earlier]
            fam = sketch.add(f"adaption of {earlier}", "module", (adaption,), convolutions(adaption))
            sketch.arrow(codes[earlier], fam)
            sketch.arrow(fam, segments[layer])
        before = segments[layer]
    compressed = [box for layer, box in codes.items() if f"{stage} ".startswith(f"compress {layer} ")]
    sketch.loss("reconstruction", compressed or codes.values(), "of the teachers' features", acts=bool(compressed))
    regressed = [box for layer, box in segments.items() if stage == f"regress {layer or 'scores'}"]
    ends = [box for layer, box in codes.items() if stage == f"regress {layer}"]
    if stage == "regress scores":
        ends = list(teachers.values())
    sketch.loss(
        "regression", [*regressed, *ends] or segments.values(), "distance to code or scores", acts=bool(regressed)
    )
    sketch.soft([segments[None], *(teachers.values() if stage == "joint" else ())], acts=stage == "joint")


def draw_adaptive(sketch: Sketch, method: Method) -> None:
    """Bridges from teachers to a task's component, then from components to the student."""
    assert isinstance(method, Adaptive)
    teachers, student = sketch.nets()
    stage = sketch.stage.name if sketch.stage else ""
    now = stage != "target"
    joined: list[str] = []
    taught: list[str] = []
    target: list[str] = []
    components = []
    for place, task in enumerate(method.labels.tasks):
        net, bridges = method.component_of(task)
        widths = ", ".join(f"{block}\u00a0({width})" for block, width in sketch.widths(net).items())
        text = f"layers {widths}\n{len(method.labels.class_names(task))} classes\n{count(net)}"
        component = sketch.add(f"component {task}", "module", (net,), text)
        sketch.arrow(sketch.images, component)
        components.append(component)
        names = method.taught.teachers_of(task)
        found = sketch.each("bridge", dict(zip(names, bridges, strict=True)), teachers, lambda _: "1×1 a block")
        for box in dict.fromkeys(found.values()):
            sketch.arrow(component, box)
        if not now or stage == component_stage(task):
            joined += dict.fromkeys(found.values())
            taught += [component, *(teachers[name] for name in names)]
        bridge = method.target_bridges[place]
        assert isinstance(bridge, Bridge)
        last = sketch.add(f"bridge to {task}", "module", (bridge,), "1×1 a block")
        sketch.arrow((component, student), last)
        target.append(last)
    weights = method.weights
    chosen = f"image by image: {method.config.selection} selection"
    sketch.loss("bridges", joined, "teachers to component", weight=weights["bridges"], acts=now)
    sketch.loss("logits", taught, chosen, weight=weights["logits"], acts=now)
    sketch.loss("norm", joined, "rows of the bridges", weight=weights["norm"], acts=now)
    sketch.loss("bridges to student", target, weight=weights["bridges"], acts=not now)
    sketch.loss("logits of student", [*components, student], weight=weights["logits"], acts=not now)


def draw_logit_space(sketch: Sketch, method: Method) -> None:
    """Every block of the student answers through an exit branch."""
    assert isinstance(method, LogitSpace)
    teachers, student = sketch.nets()
    exits = []
    for layer, branch in zip(method.layers, method.branches.values(), strict=True):
        exits.append(sketch.add(f"exit at {layer}", "module", (branch,), count(branch)))
        sketch.arrow(student, exits[-1])
    sketch.soft([student, *teachers.values()], weight=method.weights["soft"])
    sketch.loss(
        "branches", [*exits, *teachers.values()], f"enhanced target, γ {method.config.gamma:g}",
        weight=method.weights["branches"],
    )  # fmt: skip


def draw_merging(sketch: Sketch, method: Method) -> None:
    """Units matched, weights averaged: nothing is trained."""
    assert isinstance(method, PermutationMerging)
    teachers, _ = sketch.nets(student=False)
    matching = sketch.add("matching", "module", (method.matching,), f"{method.config.alignment}, unit by unit")
    sketch.arrow(teachers.values(), matching, "weights")
    student = sketch.add("student", "student", (method.student,), f"{sketch.about_student()}\nthe weights' average")
    sketch.arrow(matching, student)
    sketch.arrow(sketch.images, matching)


def draw_distillation(sketch: Sketch, method: Method) -> None:  # noqa: ARG001 - as every drawing
    """The teachers' answers alone."""
    teachers, student = sketch.nets()
    sketch.soft([student, *teachers.values()])


def draw_ensemble(sketch: Sketch, method: Method) -> None:
    """The teachers' answers side by side; there is no student."""
    teachers, _ = sketch.nets(student=False)
    config: Any = method.config
    joined = sketch.add("joined answer", "images", text=f"{config.join}\n{len(method.labels.classes)} classes")
    sketch.arrow(teachers.values(), joined, "logits")


def draw_oracle(sketch: Sketch, method: Method) -> None:  # noqa: ARG001 - as every drawing
    """The true labels; no teacher is asked."""
    _, student = sketch.nets(asked=False)
    labels = sketch.add("true labels", "images", text="only the oracle is given them")
    sketch.loss("cross-entropy", [student, labels])


DRAWINGS: dict[str, Callable[[Sketch, Method], None]] = {
    "common_feature": draw_common_feature,
    "layer_wise": draw_layer_wise,
    "one_stage": draw_one_stage,
    "adaptive": draw_adaptive,
    "logit_space": draw_logit_space,
    "permutation_merging": draw_merging,
    "distillation": draw_distillation,
    "ensemble": draw_ensemble,
    "oracle": draw_oracle,
}


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


@contextmanager
def looking(method: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in method.modules()]
    method.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
