"""The diagram says what the stage does: states are read off the modules themselves, whatever the method."""

from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ka_explore import METHODS, InputError, Run
from ka_explore.methods.base import Method, Stage
from ka_explore.plots import TEACHERS, draw, figure_for
from ka_explore.plots.layered import layers_of
from ka_explore.probes.results import Box, Diagram
from ka_explore.report.diagram import diagram, sketch_of
from ka_explore.report.sketch import inner

FORMS = {
    "common_feature": [{}, {"mmd_weight": 0.0, "paired_weight": 1.0}, {"balance": "gradnorm"}, {"form": "clouds"}],
    "layer_wise": [{}, {"form": "paper"}, {"form": "incremental"}],
    "one_stage": [{}, {"form": "kamal"}],
    "adaptive": [{}, {"form": "paper"}, {"balance": "gradnorm"}],
    "logit_space": [{}, {"branch_weight": 0.0}],
}
CASES = [(name, options, 2) for name in METHODS for options in FORMS.get(name, [{}])]
CASES += [(name, {}, 5) for name in ("common_feature", "layer_wise", "adaptive", "distillation")]


def run_of(tiny_problem, teacher, name, options, teachers=2, **more):
    """A run of any method on a problem it can work on."""
    if name in ("permutation_merging", "layer_wise", "one_stage", "adaptive"):
        kind = [
            teacher(f"teacher {i}", "conv", [f"class {3 * i + k}" for k in range(3)], seed=i) for i in range(teachers)
        ]
        base = tiny_problem(teachers, **more)
        problem = type(base)(kind, base.pool, base.student)
    else:
        problem = tiny_problem(teachers, **more)
    return Run(problem, name, **({} if name == "ensemble" else {"steps": 20}), **options)


@pytest.mark.parametrize(("name", "options", "teachers"), CASES, ids=str)
def test_every_stage_of_every_method_is_drawn_as_it_is(tiny_problem, teacher, name, options, teachers):
    run = run_of(tiny_problem, teacher, name, options, teachers)
    method = run.method
    stages = list(run.stages)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    modes = [module.training for module in method.modules()]
    for stage in stages or [None]:
        sketch = sketch_of(method, stage)
        trained = inner(stage.trains if stage else ())
        ever = inner(module for one in stages for module in one.trains)
        for part in sketch.parts.values():
            own = inner(part.modules)
            if part.modules:
                assert (part.box.state == "trains") == bool(own & trained), part.box
                assert (part.box.state == "waits") == bool(not own & trained and own & ever), part.box
        learning = {id(p) for module in (stage.trains if stage else ()) for p in module.parameters()}
        training = [part.modules for part in sketch.parts.values() if part.box.state == "trains"]
        assert learning <= {id(p) for modules in training for module in modules for p in module.parameters()}
        shown = diagram(run, stage)
        boxes = {box.name: box for box in shown.boxes}
        assert len(boxes) == len(shown.boxes)
        for one in run.problem.teachers:
            assert (boxes[one.name].kind, boxes[one.name].state) == ("teacher", "frozen")
            assert f"{len(one.labels)} classes" in boxes[one.name].text
        assert all(a in boxes and b in boxes for a, b, _ in shown.arrows)
        layers_of(list(boxes), [(a, b) for a, b, _ in shown.arrows])  # no circle
        assert ("student" in {box.kind for box in shown.boxes}) == (name != "ensemble")
        alone = set(boxes) - {end for a, b, _ in shown.arrows for end in (a, b)}
        assert alone <= (set(run.problem.names) if name == "oracle" else set())
        assert shown.title.startswith(name)
        assert stage is None or stage.name in shown.title
    assert [module.training for module in method.modules()] == modes
    after = method.state_dict()
    assert all(np.array_equal(before[key].numpy(), after[key].numpy()) for key in before)


class Newcomer(Method):
    """A method that nobody has drawn."""

    def __init__(self, problem, config):
        super().__init__(problem, config)
        self.projector = torch.nn.Linear(2, 2)

    def stages(self):
        return [Stage("one", self.step, (self.student, self.projector), 4), Stage("two", self.step, (self.student,), 4)]

    def step(self, batch):
        raise NotImplementedError


def test_a_method_without_a_drawing_is_drawn_in_general(tiny_problem, monkeypatch):
    monkeypatch.setitem(METHODS, "newcomer", Newcomer)
    run = Run(tiny_problem(2), "newcomer")
    states = {box.name: box.state for box in diagram(run).boxes}
    assert states["student"] == states["projector"] == "trains"
    assert {"teacher 0", "teacher 1", "images", "loss"} <= set(states)
    assert "projector" not in {box.name for box in diagram(run, "two").boxes}


def test_a_method_derived_from_another_is_drawn_as_that(tiny_problem, monkeypatch):
    kind = type("Variant", (METHODS["common_feature"],), {})
    monkeypatch.setitem(METHODS, "variant", kind)
    assert "shared extractor" in {box.name for box in diagram(Run(tiny_problem(2), "variant", steps=4)).boxes}


def test_the_stage_at_hand_is_drawn_unless_one_is_named(tiny_problem, teacher):
    run = run_of(tiny_problem, teacher, "layer_wise", {})
    names = [stage.name for stage in run.method.stages()]
    assert diagram(run).title == f"layer_wise: stage {names[0]}"
    assert diagram(run, "joint").title == "layer_wise: stage joint"
    with pytest.raises(InputError, match=r"unknown stage 'jont' of layer_wise\. Did you mean 'joint'"):
        diagram(run, "jont")


def test_a_teacher_may_be_called_as_a_box(tiny_problem):
    names = ("images", "shared extractor", "soft target")
    shown = diagram(Run(tiny_problem(3, names=names), "common_feature", steps=4))
    kinds = {box.name: box.kind for box in shown.boxes}
    assert [kinds[name] for name in names] == ["teacher"] * 3
    assert {"images (images)", "shared extractor (module)", "soft target (loss)"} <= set(kinds)


def test_weights_and_what_has_none_are_said(tiny_problem):
    weights = {"mmd_weight": 0.25, "reconstruction_weight": 0.0, "cross_weight": 0.0}
    shown = diagram(Run(tiny_problem(2), "common_feature", steps=4, **weights))
    texts = {box.name: box.text for box in shown.boxes}
    assert "weight 0.25" in texts["MMD"]
    assert "no weight" in texts["reconstruction"]
    states = {box.name: box.state for box in shown.boxes}
    assert states["decoder of teacher 0"] == "frozen"  # no weight reaches it
    assert states["adaption of teacher 0"] == "trains"


# Drawn


LONG = "a teacher whose name is very long and_has_one_word_that_is_longer_than_a_box_is_wide"


def drawn(result, size) -> Figure:
    figure = figure_for(result, size)
    FigureCanvasAgg(figure).draw()
    return figure


@pytest.mark.parametrize("size", ["column", "projector"])
@pytest.mark.parametrize("name", ["common_feature", "layer_wise", "adaptive"])
def test_texts_stay_in_their_boxes_and_meet_nothing(tiny_problem, teacher, name, size):
    run = run_of(tiny_problem, teacher, name, {}, 5)
    shown = diagram(run)
    boxes = [*shown.boxes, Box(LONG, "teacher", text=LONG, teacher=LONG)]
    what = (LONG, shown.boxes[-1].name, "what flows")
    figure = drawn(Diagram(tuple(boxes), (*shown.arrows, what), "title"), size)
    ax = figure.axes[0]
    patches = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    assert len(patches) == len(boxes)
    texts = [(text.get_text(), text.get_window_extent()) for text in ax.texts]
    for (one, a), (other, b) in combinations(texts, 2):
        assert min(a.x1, b.x1) - max(a.x0, b.x0) < 0.5 or min(a.y1, b.y1) - max(a.y0, b.y0) < 1.0, (one, other)
    for text, box in texts:
        inside = [
            p for p in patches if p.x0 - 0.5 <= box.x0 and box.x1 <= p.x1 + 0.5 and p.y0 <= box.y0 and box.y1 <= p.y1
        ]
        outside = all(box.x1 <= p.x0 or p.x1 <= box.x0 or box.y1 <= p.y0 or p.y1 <= box.y0 for p in patches)
        assert len(inside) == 1 or outside, text
    for patch in patches:
        assert figure.bbox.x0 - 1 <= patch.x0
        assert patch.x1 <= figure.bbox.x1 + 1
        assert figure.bbox.y0 - 1 <= patch.y0
        assert patch.y1 <= ax.title.get_window_extent().y0 + 1
    words = " ".join(text for text, _ in texts)
    assert all(box.name.split()[0] in words for box in shown.boxes)
    assert words.count("frozen") >= 5


def test_states_and_teachers_are_seen_without_reading():
    boxes = (
        Box("images", "images"), Box("one", "teacher", teacher="one"), Box("two", "teacher", teacher="two"),
        Box("student", "student", "trains"), Box("later", "module", "waits"), Box("loss", "loss", "trains"),
    )  # fmt: skip
    ax = draw(Diagram(boxes, (("images", "one", ""), ("one", "loss", "logits"), ("student", "loss", ""))))
    patches = {patch.get_label(): patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)}
    assert set(patches) == {box.name for box in boxes}
    for name, colour in zip(("one", "two"), TEACHERS, strict=False):
        assert same_color(patches[name].get_edgecolor()[:3], colour)
        assert patches[name].get_linestyle() == "--" or patches[name].get_linestyle()[1]
    assert patches["student"].get_linewidth() > 2 * patches["later"].get_linewidth()
    texts = [text.get_text() for text in ax.texts]
    assert (texts.count("frozen"), texts.count("trains"), texts.count("waits")) == (2, 1, 1)
    assert "logits" in texts


def test_an_empty_diagram_and_one_box_can_be_drawn():
    for boxes in ((), (Box("a", "images"),)):
        drawn(Diagram(boxes, ()), "projector")
    with pytest.raises(InputError, match="circle"):
        draw(Diagram((Box("a", "module"), Box("b", "module")), (("a", "b", ""), ("b", "a", ""))))
