"""The drawings of methods: which modules stand where, and what meets in which loss.

Any method can be drawn; one that has no drawing here gets the general one, with a box for whatever it trains.
"""

from collections.abc import Mapping
from functools import partial, singledispatch

from ka_explore.methods.adaptive import Adaptive, component_stage
from ka_explore.methods.base import Method
from ka_explore.methods.baselines import Ensemble, Oracle
from ka_explore.methods.common_feature import CommonFeature
from ka_explore.methods.compress import Coded
from ka_explore.methods.layer_wise import LayerWise
from ka_explore.methods.logit_space import LogitSpace
from ka_explore.methods.merging import PermutationMerging
from ka_explore.methods.one_stage import OneStage
from ka_explore.report.sketch import Sketch, convolutions, count, lines


@singledispatch
def draw_method(method: Method, sketch: Sketch) -> None:
    """Any method: teachers and student meet in a soft target."""
    teachers, student = sketch.nets()
    loss = sketch.soft if hasattr(method.config, "soft_target") else partial(sketch.loss, "loss")
    loss([student, *teachers.values()])


@draw_method.register(CommonFeature)
def draw_common_feature(method: CommonFeature, sketch: Sketch) -> None:
    """Adaptions into one extractor, decoders out of it; soft target, MMD, reconstruction."""
    teachers, student = sketch.nets()
    adapted = [sketch.adaption("student", method.adaption_of["student"], student)]
    adapted += sketch.each("adaption", {name: method.adaption_of[name] for name in teachers}, teachers, convolutions)
    extractor = method.extractor
    common = sketch.add("shared extractor", "module", extractor, text=convolutions(extractor), after=adapted)
    decoders = {name: method.decoder_of[name] for name in teachers}
    rebuilt = sketch.each("decoder", decoders, dict.fromkeys(teachers, common), convolutions)
    sketch.soft([student, *teachers.values()], term="soft")
    sketch.loss("MMD", [common], "student to each teacher", term="mmd")
    sketch.loss("reconstruction", rebuilt, "of the teachers' features", term="reconstruction")
    for term, text in (("paired", "distance image by image"), ("classwise", "MMD a class")):
        if sketch.weights.get(term):
            sketch.loss(term, [common], text, term=term)
    if sketch.weights.get("cross"):
        sketch.loss("cross-reconstruction", rebuilt, "of the features, from the student's point", term="cross")


@draw_method.register(LayerWise)
def draw_layer_wise(method: LayerWise, sketch: Sketch) -> None:
    """Codes of the teachers' layers, and the student's segments that regress them."""
    teachers, _ = sketch.nets(student=False)
    codes = draw_codes(method, sketch, teachers)
    before, segments = [sketch.images], {}
    for layer in (*method.layers, None):
        earlier = method.before(layer)
        modules = tuple(method.between(earlier, layer))
        names = [name for name, segment in method.student.segments.items() if any(segment is m for m in modules)]
        text = lines(", ".join(names) if names != [layer] else "", count(*modules))
        name = f"student: {layer or 'heads'}"
        segments[layer] = sketch.add(name, "student", *modules, text=text, after=before)
        if earlier is not None and earlier in method.adaptions:
            sketch.arrow([sketch.adaption(earlier, method.adaptions[earlier], codes[earlier])], segments[layer])
        before = [segments[layer]]
    at = sketch.at
    compressed = [box for layer, box in codes.items() if f"{at} ".startswith(f"compress {layer} ")]
    sketch.loss("reconstruction", compressed or codes.values(), "of the teachers' features", acts=bool(compressed))
    regressed = [box for layer, box in segments.items() if at == f"regress {layer or 'scores'}"]
    targets = [box for layer, box in codes.items() if at == f"regress {layer}"]
    ends = [*regressed, *(teachers.values() if at == "regress scores" else targets)] or segments.values()
    sketch.loss("regression", ends, "distance to code or scores", acts=bool(regressed))
    sketch.soft([segments[None], *(teachers.values() if at == "joint" else ())], acts=at == "joint")


@draw_method.register(OneStage)
def draw_one_stage(method: OneStage, sketch: Sketch) -> None:
    """Codes of the teachers' layers, and the whole student with an adaption to each."""
    teachers, student = sketch.nets()
    codes = draw_codes(method, sketch, teachers)
    adaptions = {layer: method.adaptions[layer] for layer in method.layers if layer in method.adaptions}
    adapted = [sketch.adaption(layer, adaption, student) for layer, adaption in adaptions.items()]
    sketch.soft([student, *teachers.values()], term="soft")
    sketch.loss("feature", [*(adapted or [student]), *codes.values()], "distance to the code", term="feature")
    sketch.loss("reconstruction", codes.values(), "of the teachers' features", term="reconstruction")


def draw_codes(method: Coded, sketch: Sketch, teachers: Mapping[str, str]) -> dict[str, str]:
    """A box a layer for the teachers' features compressed together; returns the boxes by layer."""
    sources = list(teachers.values())
    if len(sources) * len(method.layers) > 6:
        sources = [sketch.add("features side by side", "images", text="a layer at a time", after=sources)]
    codes = {}
    how = "principal components" if method.config.amalgamation == "pca" else "linear auto-encoder"
    for layer in method.layers:
        compressor = method.compressor(layer)
        text = f"{how}\n{sum(compressor.channels)} → {method.shapes[layer][0]} channels"
        codes[layer] = sketch.add(f"code of {layer}", "module", compressor, text=text, after=sources)
    return codes


@draw_method.register(Adaptive)
def draw_adaptive(method: Adaptive, sketch: Sketch) -> None:
    """Bridges from teachers to a task's component, then from components to the student."""
    teachers, student = sketch.nets()
    last = sketch.at == "target"
    joined, taught, target, components = list[str](), list[str](), list[str](), list[str]()
    for task, bridge in zip(method.labels.tasks, method.target_bridges, strict=True):
        net, bridges = method.component_of(task)
        text = f"{sketch.widths(net)}\n{len(method.labels.class_names(task))} classes\n{count(net)}"
        components.append(component := sketch.add(f"component {task}", "module", net, text=text, after=[sketch.images]))
        names = method.taught.teachers_of(task)
        found = sketch.each("bridge", dict(zip(names, bridges, strict=True)), teachers, lambda _: "1×1 a block")
        for box in found:
            sketch.arrow([component], box)
        if last or sketch.at == component_stage(task):
            joined += found
            taught += [component, *(teachers[name] for name in names)]
        ends = (component, student)
        target.append(sketch.add(f"bridge to {task}", "module", bridge, text="1×1 a block", after=ends))
    chosen = f"image by image: {method.config.selection} selection"
    sketch.loss("bridges", joined, "teachers to component", term="bridges", acts=not last)
    sketch.loss("logits", taught, chosen, term="logits", acts=not last)
    sketch.loss("norm", joined, "rows of the bridges", term="norm", acts=not last)
    sketch.loss("bridges to student", target, term="bridges", acts=last)
    sketch.loss("logits of student", [*components, student], term="logits", acts=last)


@draw_method.register(LogitSpace)
def draw_logit_space(method: LogitSpace, sketch: Sketch) -> None:
    """Every block of the student answers through an exit branch."""
    teachers, student = sketch.nets()
    exits = [
        sketch.add(f"exit at {layer}", "module", branch, text=count(branch), after=[student])
        for layer, branch in zip(method.layers, method.branches.values(), strict=True)
    ]
    sketch.soft([student, *teachers.values()], term="soft")
    text = f"enhanced target, γ {method.config.gamma:g}"
    sketch.loss("branches", [*exits, *teachers.values()], text, term="branches")


@draw_method.register(PermutationMerging)
def draw_merging(method: PermutationMerging, sketch: Sketch) -> None:
    """Units matched, weights averaged: nothing is trained."""
    teachers, _ = sketch.nets(student=False)
    matching = sketch.add("matching", "module", method.matching, text=f"{method.config.alignment}, unit by unit")
    sketch.arrow(teachers.values(), matching, "weights")
    text = f"{sketch.about_student()}\nthe weights' average"
    sketch.add("student", "student", method.student, text=text, after=[matching])
    sketch.arrow([sketch.images], matching)


@draw_method.register(Ensemble)
def draw_ensemble(method: Ensemble, sketch: Sketch) -> None:
    """The teachers' answers side by side; there is no student."""
    teachers, _ = sketch.nets(student=False)
    text = f"{method.config.join}\n{len(method.labels.classes)} classes"
    sketch.arrow(teachers.values(), sketch.add("joined answer", "images", text=text), "logits")


@draw_method.register(Oracle)
def draw_oracle(method: Oracle, sketch: Sketch) -> None:  # noqa: ARG001 - as every drawing
    """The true labels; no teacher is asked."""
    _, student = sketch.nets(asked=False)
    labels = sketch.add("true labels", "images", text="only the oracle is given them")
    sketch.loss("cross-entropy", [student, labels])
