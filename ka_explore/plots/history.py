"""What is recorded of a run over its steps, as lines."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ka_explore.errors import InputError, Number, brief, check_between, checked, fits, in_words, short
from ka_explore.plots import style
from ka_explore.plots.comparing import run_colour
from ka_explore.plots.lines import draw_curves
from ka_explore.probes.results import Curves, as_numbers

WINDOW = 9  # steps of the running mean
ROW = {"step": int, "stage": str, "loss": Number, "terms": Mapping[str, Number | None]}


@checked
def draw_history(histories: Mapping[str, Sequence[Mapping[str, Any]]], term: str, ax: Axes | None = None) -> Axes:
    """One term over the steps, a line a run, on a log axis; stage boundaries as thin lines with the stages' names.

    The rows are those of ``run.history()``, by the run's name; the term is one of the loss, or ``loss`` itself.

    Raises InputError where no run has the term.
    """
    for rows in histories.values():
        check_rows(rows)
    lines = {name: smoothed(rows, term) for name, rows in histories.items()}
    having = {name: rows for name, rows in histories.items() if len(lines[name][0])}
    if not having:
        raise InputError(f"no run has a term {short(term)!r} in its history.")
    shown = {name: lines[name] for name in having}
    colours = {name: run_colour(i) for i, name in enumerate(histories)}
    return draw_lines(shown, ax, colours, unit=term, title=f"{term} over the steps", marks=boundaries(having))


@checked
def draw_terms(rows: Sequence[Mapping[str, Any]], ax: Axes | None = None, *, title: str = "") -> Axes:
    """All terms of one run over the steps, on one log axis; stage boundaries with the stages' names.

    Terms are unweighted and of each step's batch. The rows are those of ``run.history()``. Raises InputError where
    there is no term.
    """
    check_rows(rows)
    lines = {term: smoothed(rows, term) for term in dict.fromkeys(term for row in rows for term in row["terms"])}
    if not lines:
        raise InputError("the history has no term: advance the run by a step at least.")
    title = title or "terms of the loss"
    colours = style.colours_of_terms(lines)
    return draw_lines(
        lines, ax, colours, unit="term, unweighted, of each step's batch", title=title, marks=boundaries({"": rows})
    )


def check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises InputError unless rows are those of a history."""
    for row in rows:
        for what, hint in ROW.items():
            if not fits(row.get(what), hint):
                raise InputError(f"{brief(row)} is no row of a history: {what} must be {in_words(hint)}.")


def draw_lines(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]], ax: Axes | None, colours: Mapping[str, str], **about: Any
) -> Axes:
    """Steps and smoothed values in colours by name; a log axis where some are above zero and none below."""
    x, y = ({name: line[i] for name, line in lines.items()} for i in (0, 1))
    finite = style.finite(y.values())
    log = bool(finite.size and finite.max() > 0 and finite.min() >= 0)
    note = f"running mean over {WINDOW} steps of a stage" if max(map(len, x.values())) > 1 else ""
    return draw_curves(Curves(x, y, log=(False, log), note=note, **about), ax, colours=colours, legend=True)


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


def smoothed(rows: Sequence[Mapping[str, Any]], term: str) -> tuple[np.ndarray, np.ndarray]:
    """A term's steps and running means, stage by stage: what one stage did must not leak into the next.

    Between two stages stands a NaN, where the line ends.
    """
    x: list[float] = []
    y: list[float] = []
    for _, part in groupby(rows, key=lambda row: row["stage"]):
        said = [(float(row["step"]), row["loss"] if term == "loss" else row["terms"].get(term)) for row in part]
        kept = {step: value for step, value in said if value is not None}
        if kept:
            x += [*x[-1:], *kept]
            y += [*([float("nan")] if y else []), *smooth([*kept.values()]).tolist()]
    return np.array(x), np.array(y)


@checked
def smooth(values: Sequence[Number] | np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Running mean over steps, shorter at the ends, so that a line and not a band is seen."""
    check_between("window", window, 1, math.inf)
    array = as_numbers("values", values).astype(float)
    if not len(array):
        return array
    window = min(window, len(array))
    sums = np.convolve(array, np.ones(window), mode="same")
    return sums / np.convolve(np.ones(len(array)), np.ones(window), mode="same")
