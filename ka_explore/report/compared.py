"""Several runs beside one another."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from ka_explore.errors import InputError
from ka_explore.plots import draw_comparison, draw_curves, draw_history
from ka_explore.plots.comparing import run_colour
from ka_explore.probes.results import Curves, Result
from ka_explore.report.figures import picture, printed
from ka_explore.report.parts import Part, Section, missing
from ka_explore.report.run_report import RunReport


def comparison_section(reports: Sequence[RunReport]) -> Section:
    """Runs in one figure each: terms over the steps, and numbers of the last snapshot."""
    parts: list[Part] = []
    trained = {run_report.name: rows for run_report in reports if (rows := run_report.run.history())}
    found = dict.fromkeys(term for rows in trained.values() for row in (rows[0], rows[-1]) for term in row["terms"])
    if found:
        drawings = [lambda ax, term=term: draw_history(trained, term, ax) for term in found]
        parts.append(picture("terms of the loss", drawings, height=3.0))
    for name, title in TITLES.items():
        answers: dict[str, Result] = {}
        for run_report in reports:
            with suppress(InputError):
                answers[run_report.name] = replace(run_report.latest(name), title=title, step=None)
        if len(answers) > 1:
            parts.append(printed(f"{name} of the runs".replace("_", " "), draw_comparison(answers)))
    lines = {run_report.name: run_report.over_steps("agreement") for run_report in reports}
    curves = {name: found for name, found in lines.items() if found is not None}
    if curves:
        x = {name: next(iter(found.x.values())) for name, found in curves.items()}
        y = {name: np.mean(list(found.y.values()), axis=0) for name, found in curves.items()}
        mean = Curves(x, y, unit="share of images", title="mean agreement with the teachers over the steps")
        colours = {run_report.name: run_colour(i) for i, run_report in enumerate(reports)}
        name = "agreement of the runs over the steps"
        parts.append(picture(name, lambda ax: draw_curves(mean, ax, colours=colours)))
    return Section("The runs compared", parts or [missing("No run has trained yet: there is nothing to compare.")])


TITLES = {
    "accuracy": "accuracy on the probe set (share of images)",
    "agreement": "agreement with each teacher (share of images)",
    "pairs_found": "pairs found in the common space (share of the probe set's images)",
    "effective_rank": "effective rank in the common space",
    "gradient_ratio": "size of the gradients",
}
