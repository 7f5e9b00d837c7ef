"""Several runs beside one another."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ka_explore.errors import InputError
from ka_explore.plots import draw_comparison, draw_curves, draw_history
from ka_explore.plots.comparing import run_colour
from ka_explore.probes import PROBES
from ka_explore.probes.over_steps import over_steps
from ka_explore.probes.results import Curves, Result
from ka_explore.report.figures import picture, printed
from ka_explore.report.parts import Part, Section, missing
from ka_explore.report.run_report import RunReport


def comparison_section(reports: Sequence[RunReport]) -> Section:
    """Runs in one figure each: terms over the steps, and numbers of the last snapshot."""
    parts: list[Part] = []
    hireports = {run_report.name: run_report.run.history() for run_report in reports}
    trained = {name: rows for name, rows in hireports.items() if rows}
    found = list(
        dict.fromkeys(term for rows in trained.values() for row in (rows[0], rows[-1]) for term in row["terms"])
    )
    if found:
        drawings = [lambda ax, term=term: draw_history(trained, term, ax) for term in found]
        parts.append(picture("terms of the loss", drawings, height=3.0))
    for name, title in TITLES.items():
        answers: dict[str, Result] = {}
        for run_report in reports:
            try:
                answers[run_report.name] = replace(run_report.latest(name), title=title, step=None)
            except InputError:
                continue
        if len(answers) > 1:
            parts.append(printed(f"{name} of the runs".replace("_", " "), draw_comparison(answers)))
    lines = agreement_lines(reports)
    if lines is not None:
        colours = {run_report.name: run_colour(i) for i, run_report in enumerate(reports)}
        parts.append(
            picture("agreement of the runs over the steps", lambda ax: draw_curves(lines, ax, colours=colours))
        )
    return Section("The runs compared", parts or [missing("No run has trained yet: there is nothing to compare.")])


TITLES = {
    "accuracy": "accuracy on the probe set (share of images)",
    "agreement": "agreement with each teacher (share of images)",
    "effective_rank": "effective rank in the common space",
    "gradient_ratio": "size of the gradients",
}


def agreement_lines(reports: Sequence[RunReport]) -> Curves | None:
    """The mean agreement with the teachers over the steps, a line a run; None where no run has two snapshots."""
    x, y = {}, {}
    for run_report in reports:
        curves = over_steps(PROBES["agreement"], run_report.snapshots)
        steps = next(iter(curves.x.values()))
        if len(steps) > 1:
            x[run_report.name], y[run_report.name] = steps, np.mean(list(curves.y.values()), axis=0)
    if not x:
        return None
    return Curves(x, y, unit="share of images", title="mean agreement with the teachers over the steps")
