"""The picture of the whole demonstration."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from ka_explore.errors import InputError, brief
from ka_explore.plots import draw, draw_curves, draw_terms, style
from ka_explore.probes.alignment import CHANCE, pairs_found
from ka_explore.probes.embedding import tsne
from ka_explore.probes.results import Curves
from ka_explore.report.run_report import RunReport
from ka_explore.run.snapshot import Snapshot

if TYPE_CHECKING:
    from ka_explore.benchmark.trial import Trial
    from ka_explore.run.run import Run


def demo_figure(run: "Run", result: "Trial") -> Figure:
    """One picture for the whole demonstration: the common space before and after, the terms, the accuracies.

    Raises InputError for what is no run with a snapshot, and no result of a trial.
    """
    if not hasattr(run, "store") or not getattr(result, "entries", None):
        raise InputError(f"expected demo_figure(run, trial), got {brief(run)} and {brief(result)}.")
    figure = Figure(figsize=(12, 8.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.25, 1))  # type: ignore[misc]
    snapshots = RunReport(run).snapshots
    for ax, snapshot in zip(above.subplots(1, 2), (snapshots[0], snapshots[-1]), strict=True):
        found = pairs_found(snapshot, neighbours=(1,))
        share = 100 * fmean(found.values.values())
        drawn = tsne(snapshot, seed=0)
        title = f"common space: {share:.0f} % of pairs found"
        draw(replace(drawn, title=title), ax)
    terms, pairs, joint = below.subplots(1, 3)
    rows = run.history()
    draw_terms(rows, terms)
    draw_curves(pairs_curves(snapshots), pairs)
    pairs.set_ylim(0, 100)
    draw_joint(result, joint)
    return figure


def pairs_curves(snapshots: Sequence[Snapshot]) -> Curves:
    """Pairs found over the steps, a line a teacher, and the level of chance."""
    found = [pairs_found(snapshot, neighbours=(1,)) for snapshot in snapshots]
    steps, teachers = np.array([snapshot.step for snapshot in snapshots]), list(found[0].values)
    shares = {teacher: np.array([100 * one.values[teacher] for one in found]) for teacher in teachers}
    level, unit = {CHANCE: 100 * found[0].levels[CHANCE]}, f"share of {len(snapshots[0].index)} images (%)"
    return Curves(dict.fromkeys(teachers, steps), shares, "step", unit, "pairs found", levels=level)


def draw_joint(result: "Trial", ax: Any) -> None:
    """Joint accuracy by method, a dot a seed and the mean as a line."""
    labels = list(result.entries)
    for row, label in enumerate(labels):
        values = [100 * float(np.mean(list(result.entries[label][s].joint.values()))) for s in result.seeds]
        oracle = result.entries[label][result.seeds[0]].uses_labels
        ax.plot(values, [row] * len(values), "o", color=style.QUIET if oracle else style.STUDENT, ms=6, alpha=0.8)
        ax.plot([np.mean(values)] * 2, [row - 0.28, row + 0.28], color="#222222", lw=2)
    ax.set_yticks(range(len(labels)), [label.replace(" (", "\n(") for label in labels])
    ax.invert_yaxis()
    ax.set(title="all ten classes", xlabel="joint accuracy (%), a dot a seed")
    ax.grid(axis="x", color="#dddddd", lw=0.6)
