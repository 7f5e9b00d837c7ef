"""What is recorded of a run over its steps, as lines."""

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ka_explore.errors import InputError
from ka_explore.plots.comparing import run_colour
from ka_explore.plots.lines import draw_curves
from ka_explore.probes.results import Curves

WINDOW = 9  # steps of the running mean


def draw_history(histories: Mapping[str, Sequence[Mapping[str, Any]]], term: str, ax: Axes | None = None) -> Axes:
    """One term over the steps, a line a run, on a log axis; stage boundaries as thin lines with the stages' names.

    Args:
        histories: rows by run name, as ``run.history()`` gives them.
        term: of the loss, or ``loss``.

    Raises InputError where no run has the term.
    """
    x, y, colours = {}, {}, {}
    for index, (name, rows) in enumerate(histories.items()):
        colours[name] = run_colour(index)
        steps, values = smoothed(rows, term)
        if len(steps):
            x[name], y[name] = steps, values
    if not x:
        raise InputError(f"no run has a term {term!r} in its history.")
    curves = Curves(
        x,
        y,
        unit=term,
        title=f"{term} over the steps",
        marks=boundaries({name: histories[name] for name in x}),
        log=(False, logarithmic(y)),
        note=smoothing(x),
    )
    return draw_curves(curves, ax, colours=colours, legend=True)


def draw_terms(rows: Sequence[Mapping[str, Any]], ax: Axes | None = None, *, title: str = "") -> Axes:
    """All terms of one run over the steps, unweighted, on one log axis; stage boundaries with the stages' names.

    Args:
        rows: as ``run.history()`` gives them.
        ax: where.
        title: by default ``terms of the loss``.

    Raises InputError where there is no term.
    """
    x, y = {}, {}
    for term in dict.fromkeys(term for row in rows for term in row["terms"]):
        x[term], y[term] = smoothed(rows, term)
    if not x:
        raise InputError("the history has no term: advance the run by a step at least.")
    curves = Curves(
        x,
        y,
        unit="unweighted term",
        title=title or "terms of the loss",
        marks=boundaries({"": rows}),
        log=(False, logarithmic(y)),
        note=smoothing(x),
    )
    return draw_curves(curves, ax, colours={t: run_colour(i) for i, t in enumerate(x)}, legend=True)


def boundaries(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Where each stage begins, by its name, with the run's where runs differ; none where there is one stage only."""
    begins: dict[str, dict[str, float]] = {}
    for run, rows in histories.items():
        for before, after in pairwise(rows):
            if before["stage"] != after["stage"]:
                begins.setdefault(str(rows[0]["stage"]), {})[run] = float(rows[0]["step"])
                begins.setdefault(str(after["stage"]), {})[run] = float(after["step"])
    marks: dict[str, float] = {}
    for stage, steps in begins.items():
        same = len(set(steps.values())) == 1
        marks |= {stage: next(iter(steps.values()))} if same else {f"{stage} ({run})": s for run, s in steps.items()}
    return marks


def logarithmic(values: Mapping[str, np.ndarray]) -> bool:
    """Whether a log axis shows the values: some are above zero, none below."""
    everything = np.concatenate([*values.values(), np.zeros(0)])
    finite = everything[np.isfinite(everything)]
    return bool(finite.size and finite.max() > 0 and finite.min() >= 0)


def smoothing(x: Mapping[str, np.ndarray]) -> str:
    """What was done to the lines, in words."""
    return f"running mean over {WINDOW} steps of a stage" if max(map(len, x.values())) > 1 else ""


def smoothed(rows: Sequence[Mapping[str, Any]], term: str) -> tuple[np.ndarray, np.ndarray]:
    """A term's steps and running means, stage by stage: what one stage did must not leak into the next.

    Between two stages stands a NaN, where the line ends.
    """
    x: list[float] = []
    y: list[float] = []
    for _, part in groupby(rows, key=lambda row: row["stage"]):
        kept = [(row["step"], row["loss"] if term == "loss" else row["terms"].get(term)) for row in part]
        kept = [(step, value) for step, value in kept if value is not None]
        if kept:
            if x:
                x.append(x[-1])
                y.append(float("nan"))
            x += [float(step) for step, _ in kept]
            y += smooth([value for _, value in kept]).tolist()
    return np.array(x), np.array(y)


def smooth(values: Sequence[float], window: int = WINDOW) -> np.ndarray:
    """Running mean over steps, shorter at the ends, so that a line and not a band is seen."""
    array = np.asarray(values, dtype=float)
    window = min(window, len(array))
    sums = np.convolve(array, np.ones(window), mode="same")
    return sums / np.convolve(np.ones(len(array)), np.ones(window), mode="same")
