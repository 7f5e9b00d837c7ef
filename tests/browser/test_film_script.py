"""A panel that somebody else writes: some thirty lines of Python and as many of JavaScript, in Chromium."""

import numpy as np
import pytest

from ka_explore import Run
from ka_explore.panels.branch import Branch
from ka_explore.panels.film import FilmPanel
from ka_explore.panels.session import Session
from ka_explore.panels.widget import source

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("film")]

SCRIPT = """
export default {
  render({model, el}) {
    const session = sessionOf(model), film = filmOf(model);
    const {root, undo, end} = panelIn(el, "lengths", "lengths of features", session);
    undo.push(film.follow(session, step => {
      const frame = film.at(0, step);
      root.textContent = frame ? `step ${frame.step} ${frame.stage} ${Math.max(...frame.lengths)}` : "no snapshot yet";
    }));
    return end;
  },
};
"""


def test_the_example_of_the_base_follows_the_step_without_a_message(bridge, tiny_problem, tmp_path):
    (tmp_path / "lengths.js").write_text(SCRIPT)

    class Lengths(FilmPanel):
        """How long the student's features are."""

        _esm = source("shared.js", "film.js", str(tmp_path / "lengths.js"))

        def frame(self, branch, step):
            snapshot = branch.snapshot(step)
            features = snapshot.arrays["common/student"]
            return {"lengths": np.linalg.norm(features, axis=1), "stage": snapshot.stage}

    run = Run(tiny_problem(), steps=12, snapshot_every=4, batch_size=16).advance(None, progress=False)
    session = Session([Branch(run)])
    try:
        panel = Lengths(session)
        panel.settle()
        page = bridge(session, panel)
        for near, step in ((None, 12), (0, 0), (7, 8), (99, 12)):
            if near is not None:
                page.page.evaluate(
                    "step => { for (const session of globalThis[Symbol.for('ka_explore.sessions')].values())"
                    " session.emit('time', {step, by: 'test', moving: true}); }",
                    near,
                )
            page.pump(0.15)
            expected = np.linalg.norm(session.branch.snapshot(step).arrays["common/student"], axis=1).max()
            told = page.page.locator(".ka-lengths").text_content().split()
            assert told[:3] == ["step", str(step), session.branch.snapshot(step).stage]
            assert float(told[3]) == pytest.approx(expected, rel=1e-6)
        assert [message for message in page.messages if message["do"] != "hello"] == []
        assert page.console == []
    finally:
        session.close()
