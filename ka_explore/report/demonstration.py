"""The picture of the whole demonstration."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from ka_explore.errors import InputError, brief
from ka_explore.plots import STUDENT, colour_of, draw, draw_history
from ka_explore.probes.embedding import fit_basis, pca
from ka_explore.report.run_report import RunReport

if TYPE_CHECKING:
    from ka_explore.benchmark.trial import Trial
    from ka_explore.run.run import Run


def demo_figure(run: "Run", result: "Trial") -> Figure:
    """One picture for the whole demonstration: the common space before and after, the terms, the accuracies.

    Raises InputError for what is no run with a snapshot, and no result of a trial.
    """
    if not hasattr(run, "store") or not getattr(result, "entries", None):
        raise InputError(f"expected demo_figure(run, trial), got {brief(run)} and {brief(result)}.")
    figure = Figure(figsize=(12, 8), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.1, 1))  # type: ignore[misc]
    snapshots = RunReport(run).snapshots
    basis = fit_basis([snapshots[0], snapshots[-1]])
    left, right = above.subplots(1, 2, sharex=True, sharey=True)
    draw(pca(snapshots[0], basis), left)
    if left.get_legend() is not None:
        left.get_legend().remove()
    draw(pca(snapshots[-1], basis), right)
    terms, within, joint = below.subplots(1, 3)
    rows = run.history()
    for row, term in enumerate(("soft", "mmd", "reconstruction")):
        draw_history({term: rows}, term, terms)
        terms.lines[-1].set(color=(STUDENT, "#0072B2", "#D55E00")[row], linestyle=("-", "--", ":")[row], label=term)
    terms.set(title="the three terms", ylabel="value (soft in nats)", yscale="log")
    terms.autoscale()  # the limits are the last term's
    terms.legend(fontsize=8)
    draw_within(result, within)
    draw_joint(result, joint)
    return figure


def draw_within(result: "Trial", ax: Any) -> None:
    """Each teacher and the student within the teacher's own classes, a line a seed."""
    label = next(iter(result.entries))
    teachers = list(result.references[result.seeds[0]].teachers)
    for row, teacher in enumerate(teachers):
        colour = colour_of(teacher, teachers)
        for seed in result.seeds:
            pair = result.references[seed].teachers[teacher], result.entries[label][seed].within[teacher]
            ax.plot((row - 0.2, row + 0.2), [100 * v for v in pair], color=colour, lw=1.4)
            ax.plot(row - 0.2, 100 * pair[0], "s", color=colour, ms=7, label="teacher" if row == seed == 0 else None)
            ax.plot(row + 0.2, 100 * pair[1], "o", color=STUDENT, ms=7, label="student" if row == seed == 0 else None)
    ax.set_xticks(range(len(teachers)), teachers)
    ax.set(title="within the teacher's own classes", ylabel="accuracy (%)", xlim=(-0.6, len(teachers) - 0.4))
    ax.legend(fontsize=8)


def draw_joint(result: "Trial", ax: Any) -> None:
    """Joint accuracy by method, a dot a seed and the mean as a line."""
    labels = list(result.entries)
    for row, label in enumerate(labels):
        values = [100 * float(np.mean(list(result.entries[label][s].joint.values()))) for s in result.seeds]
        oracle = result.entries[label][result.seeds[0]].uses_labels
        ax.plot(values, [row] * len(values), "o", color="#D55E00" if oracle else "#0072B2", ms=6, alpha=0.8)
        ax.plot([np.mean(values)] * 2, [row - 0.28, row + 0.28], color="#222222", lw=2)
    ax.set_yticks(range(len(labels)), [label.replace(" (", "\n(") for label in labels])
    ax.invert_yaxis()
    ax.set(title="all ten classes", xlabel="joint accuracy (%), a dot a seed")
    ax.grid(axis="x", color="#dddddd", lw=0.6)
