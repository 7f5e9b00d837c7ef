"""The amalgamation of a run as boxes and arrows: what is where, what is frozen, what trains in a stage."""

from ka_explore.errors import unknown
from ka_explore.methods.base import Method, Stage
from ka_explore.probes.results import Diagram
from ka_explore.report.drawings import draw_method
from ka_explore.report.sketch import Sketch
from ka_explore.run.run import Run
from ka_explore.run.step import in_eval_mode


def diagram(run: Run, stage: Stage | str | None = None) -> Diagram:
    """A run's amalgamation as a diagram, at a stage or its name, by default the one the run stands in.

    Raises InputError for a stage that the method does not have.
    """
    name = run.store.about["method"]
    with run.turn():  # widths are taken in eval mode, which no training thread must meet
        at = run.stage if stage is None else stage
        if isinstance(at, str):
            stages = {one.name: one for one in run.stages}
            if at not in stages:
                raise unknown("stage", at, stages, where=f" of {name}")
            at = stages[at]
        sketch = sketch_of(run.method, at)
    boxes = tuple(part.box for part in sketch.parts.values())
    return Diagram(boxes, tuple(sketch.arrows), f"{name}: {f'stage {at.name}' if at else 'nothing is trained'}")


def sketch_of(method: Method, stage: Stage | None) -> Sketch:
    """Boxes with their modules and arrows of a method at a stage; whatever it trains has a box."""
    sketch = Sketch(method, stage)
    with in_eval_mode(method):
        draw_method(method, sketch)
    sketch.complete()
    return sketch
