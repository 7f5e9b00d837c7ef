"""A stranger's panel: one class of some fifty lines, one script of some thirty, one row; the rest takes it as it is.

The gaps: how far the mean of every teacher lies from the student's in the common space, in units of their spread.
"""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from ipywidgets import Widget
from matplotlib.axes import Axes

from ka_explore import Run
from ka_explore.errors import InputError
from ka_explore.panels import PANELS, workbench
from ka_explore.panels.branch import Branch
from ka_explore.panels.film import FilmPanel
from ka_explore.panels.session import Session
from ka_explore.panels.widget import source
from ka_explore.plots import colour_of, draw
from ka_explore.probes.results import Scalars

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("views")]


# The files ---------------------------------------------------------------------------------------------------------

SCRIPT = """
export default {
  render({model, el}) {
    const session = sessionOf(model), film = filmOf(model);
    const {root, undo, end} = panelIn(el, "gaps", "gaps to the student", session);
    undo.push(film.follow(session, step => {
      root.replaceChildren();
      film.branches.forEach((branch, i) => {
        const frame = film.at(i, step);
        if (!frame) return;
        make("h4", root, {}, `${branch.name}, step ${frame.step}`);
        frame.gaps.forEach((gap, k) => {
          const row = make("div", root, {class: "gap", "data-net": frame.nets[k], "data-value": gap});
          make("span", row, {}, `${frame.nets[k]} `);
          make("span", row, {style: `display: inline-block; height: 10px; width: ${40 * gap}px; `
            + `background: ${film.about.colours[k]}`});
          make("span", row, {}, ` ${gap.toFixed(2)} spreads`);
        });
      });
    }));
    return end;
  },
};
"""


class Gaps(FilmPanel):
    """How far every teacher's mean lies from the student's in the common space, in units of the teacher's spread."""

    _esm = source("shared.js", "film.js") + SCRIPT
    _css = source("shared.css")

    def frame(self, branch: Branch, step: int) -> dict | None:
        """The gap of every teacher; none where the stage has no common space."""
        snapshot = branch.snapshot(step)
        if snapshot is None:
            return None
        nets = [name for name in snapshot.teachers if f"common/{name}" in snapshot.arrays]
        own = snapshot.arrays.get("common/student")
        rows = [snapshot.arrays[f"common/{name}"] for name in nets] if own is not None else []
        gaps = [np.linalg.norm(r.mean(axis=0) - own.mean(axis=0)) / np.sqrt(r.var(axis=0).sum()) for r in rows]
        return {"nets": nets, "gaps": np.array(gaps, np.float32)}

    def about(self) -> dict:
        """The colour of every teacher, the same as everywhere."""
        nets = self.compared[0].snapshot(self.compared[0].steps_seen()[-1]).teachers if self.compared else ()
        return {"colours": [colour_of(net, nets) for net in nets]}

    def gaps_at(self, step: float) -> Scalars:
        """The gaps of the first branch at the snapshot nearest to a step. Raises InputError where there is none."""
        branch = self.session.branch
        nearest = branch.nearest(step)
        frame = None if nearest is None else self.frame_at(branch, nearest)
        if not frame:
            raise InputError("no snapshot has a common space yet: press play.")
        values = dict(zip(frame["nets"], map(float, frame["gaps"]), strict=True))
        return Scalars(values, "spreads", "gap to the student", step=nearest)

    def summary(self) -> str:
        """The gaps in words."""
        values = self.gaps_at(self.session.viewed_step).values
        return ", ".join(f"{net}: {gap:.2f} spreads" for net, gap in values.items())

    def drawn(self, ax: Axes) -> None:
        """The gaps as bars, for places without a kernel."""
        draw(self.gaps_at(self.session.viewed_step), ax)


# What takes it without another line --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tiny_problem) -> Run:
    return Run(tiny_problem(), steps=30, snapshot_every=10, batch_size=16, name="base").advance(None, progress=False)


@pytest.fixture
def session(run) -> Iterator[Session]:
    session = Session([Branch(run)])
    yield session
    error = session.error
    session.close()
    assert error == ""


def test_scrubbing_shows_the_gaps_of_every_step_and_asks_the_kernel_for_nothing(run, session, bridge):
    panel = Gaps(session)
    page = bridge(session, panel)
    page.page.evaluate("document.body.style.background = 'white'")
    until = time.monotonic() + 20
    while page.page.locator(".gap").count() < len(run.problem.names):
        assert time.monotonic() < until
        page.pump(0.05)
    before = [message for message in page.messages if message["do"] != "hello"]
    for step in (0, 20, 30):
        page.page.evaluate(
            "step => { for (const session of globalThis[Symbol.for('ka_explore.sessions')].values())"
            " session.emit('time', {step, by: 'test', moving: true}); }",
            step,
        )
        page.pump(0.2)
        shown = page.page.eval_on_selector_all(".gap", "all => all.map(one => [one.dataset.net, one.dataset.value])")
        expected = panel.frame(session.branch, step)
        assert [net for net, _ in shown] == list(expected["nets"])
        np.testing.assert_allclose([float(value) for _, value in shown], expected["gaps"], rtol=1e-6)
        assert f"step {step}" in page.page.inner_text("h4")
    assert [message for message in page.messages if message["do"] != "hello"] == before
    assert page.console == []


def test_one_row_gives_it_a_place_a_summary_and_a_picture(run, monkeypatch):
    monkeypatch.setitem(PANELS, "gaps", Gaps)
    for layout in ("laptop", "projector"):
        bench = workbench(run, layout=layout)
        try:
            panel = bench.panels["gaps"]
            assert isinstance(panel, Gaps)
            inside: list[Widget] = [bench._box]
            for widget in inside:
                inside += getattr(widget, "children", ())
            assert panel in inside
            assert "spreads" in panel.summary()
            assert panel.drawable
        finally:
            bench.close()
