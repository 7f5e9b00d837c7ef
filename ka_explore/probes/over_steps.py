"""A probe over the steps of a run: one line a number; or its answer to the first snapshot that has what it needs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from ka_explore.errors import InputError, KaError, brief, checked
from ka_explore.probes.results import Curves, Distribution, Matrix, Result, Scalars
from ka_explore.run.snapshot import Snapshot

R = TypeVar("R", bound=Result)


class ProbeFailed(KaError):
    """A probe raised what says nothing of the snapshot: a user's own has a fault, or takes no such option."""


NONE = "no snapshots: give a run snapshot_every=… and advance it."


@checked
def over_steps(probe: Callable[..., Result], snapshots: Iterable[Snapshot], **options: Any) -> Curves:
    """What a probe says at every snapshot, as lines over the steps, with the beginnings of stages marked.

    Args:
        probe: one that gives Scalars (a line each), a Matrix (a line a cell, ``row · column``) or a Distribution (a
            line the median of each group). Levels of Scalars are those of the last snapshot.
        snapshots: of one run, in any order. Those of stages that do not emit what the probe needs are left out, and
            the note counts them.
        options: of the probe.

    A stage begins, as far as snapshots tell, at its first one; one stage alone is not marked.
    Raises InputError when no snapshot has what the probe needs, or for a probe that gives another shape.
    """
    ordered = sorted(each_of(snapshots), key=lambda snapshot: snapshot.step)
    found: list[tuple[int, Result]] = []
    refusal: InputError | None = None
    for snapshot in ordered:
        try:
            found.append((snapshot.step, ask(probe, snapshot, options)))
        except InputError as error:
            refusal = error
    if not found:
        raise refusal or InputError(NONE)
    lines: dict[str, list[tuple[int, float]]] = {}
    for step, result in found:
        for name, value in numbers(result).items():
            lines.setdefault(name, []).append((step, value))
    beginnings: dict[str, float] = {}  # of stages, as far as snapshots tell
    for snapshot in ordered:
        beginnings.setdefault(snapshot.stage, float(snapshot.step))
    last, left = found[-1][1], len(ordered) - len(found)
    x, y = ({name: np.array([p[i] for p in points]) for name, points in lines.items()} for i in (0, 1))
    title, unit = ("median " if isinstance(last, Distribution) else "") + last.title, getattr(last, "unit", "")
    note = f"{left} of {len(ordered)} snapshots are of stages without it" if left else ""
    levels, marks = getattr(last, "levels", {}), beginnings if len(beginnings) > 1 else {}
    return Curves(x, y, unit=unit, title=title, levels=levels, marks=marks, note=note)


@checked
def first_answer(probe: Callable[..., R], snapshots: Iterable[Snapshot], **options: Any) -> R:
    """What a probe says of the first of these snapshots that has what it needs; else its refusal of the very first."""
    refusal: InputError | None = None
    for snapshot in each_of(snapshots):
        try:
            return ask(probe, snapshot, options)
        except InputError as error:
            refusal = refusal or error
    raise refusal or InputError(NONE)


def ask(probe: Callable[..., R], snapshot: Snapshot, options: Mapping[str, Any]) -> R:
    """What a probe says. Raises InputError as the probe does, ProbeFailed for what else goes wrong in it."""
    try:
        return probe(snapshot, **options)
    except KaError:
        raise
    except Exception as error:
        raise ProbeFailed(f"the probe failed at step {snapshot.step}: {type(error).__name__}: {error}") from error


def each_of(snapshots: Iterable[Snapshot]) -> Iterator[Snapshot]:
    """Snapshots one after the other. Raises InputError at the first thing that is none."""
    try:
        for each in snapshots:
            if not isinstance(each, Snapshot):
                raise InputError(f"expected snapshots, got {brief(each)} among them.")
            yield each
    except (TypeError, RuntimeError) as error:  # of what only looks as if it could be gone through
        raise InputError(f"expected snapshots, got {brief(snapshots)}: {error}.") from error


def numbers(result: Result) -> dict[str, float]:
    """A result as numbers by name; raises InputError for a shape that is none."""
    if isinstance(result, Scalars):
        return dict(result.values)
    if isinstance(result, Matrix):
        cells = ((row, column) for row in result.rows for column in result.columns)
        return {f"{row} · {column}": float(v) for (row, column), v in zip(cells, result.values.flat, strict=True)}
    if isinstance(result, Distribution):
        finite = {name: values[np.isfinite(values)] for name, values in result.values.items()}
        return {name: float(np.median(values)) if len(values) else float("nan") for name, values in finite.items()}
    why = f"a probe that gives {type(result).__name__} has no lines over steps"
    raise InputError(f"{why}: choose one that gives Scalars, Matrix or Distribution.")
