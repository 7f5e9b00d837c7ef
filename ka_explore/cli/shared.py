"""What the commands share: opening runs, reading options, writing tables."""

import importlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ka_explore.errors import InputError, unknown
from ka_explore.methods.config import options_of, parse
from ka_explore.run.store import Store

if TYPE_CHECKING:
    from ka_explore.benchmark.evaluate import Comparison
    from ka_explore.problem.problem import Problem
    from ka_explore.run.run import Run


def make_problem(name: str, pairs: Sequence[str]) -> "Problem":
    """A problem of ours by name, or of a function the user names; the user's word is what makes it run."""
    from ka_explore.problem.problem import Problem
    from ka_explore.toy import PROBLEMS

    options = problem_options(pairs)
    if name in PROBLEMS:
        function: Callable[..., Any] = PROBLEMS[name]
    elif ":" in name:
        module, _, attribute = name.partition(":")
        sys.path.insert(0, "")
        try:
            function = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise InputError(f"cannot import {name!r}: {error}. Expected package.module:function.") from error
    else:
        raise unknown("problem", name, PROBLEMS, where=" (or package.module:function)")
    try:
        problem = function(**options)
    except TypeError as error:
        raise InputError(f"{name} does not take these options: {error}") from error
    if not isinstance(problem, Problem):
        raise InputError(f"{name} returned a {type(problem).__name__}, expected a Problem.")
    return problem


def opened(folder: Path, problem: str | None) -> "Run":
    """A run from its folder; what was left out is told."""
    from ka_explore.run.run import Run

    run = Run.open(folder, None if problem is None else make_problem(problem, []))
    for note in run.notes:
        print(f"ka-explore: {note}", file=sys.stderr)
    return to_the_end(run)


def all_opened(folders: Sequence[Path], problem: str | None) -> "list[Run]":
    """Runs from their folders; those of one problem share it, so that teachers are asked once."""
    from ka_explore.run.run import Run

    runs: list[Run] = []
    for folder in folders:
        first = runs[0] if runs else None
        if first is not None and first.store.about["tasks"] is None and same_problem(folder, first.folder):
            run = Run.open(folder, first.problem)
            for note in run.notes:
                print(f"ka-explore: {note}", file=sys.stderr)
            runs.append(to_the_end(run))
        else:
            runs.append(opened(folder, problem))
    return runs


def same_problem(one: Path, other: Path) -> bool:
    """Whether two runs are of one problem, all of its tasks."""
    about, others = Store(one).about, Store(other).about
    return all(about[what] == others[what] for what in ("problem", "fingerprints", "tasks"))


def to_the_end(run: "Run") -> "Run":
    """The run at its last recorded step, replayed where the last checkpoint is earlier."""
    return run.advance(run.recorded - run.step) if run.recorded > run.step else run  # looking needs no lock


def settings(method: str, pairs: Sequence[str]) -> dict[str, Any]:
    """Options of a method from name=value, each read as the option's type."""
    from ka_explore.methods import METHODS

    if method not in METHODS:
        raise unknown("method", method, METHODS)
    fields = options_of(METHODS[method].Config)
    values = {}
    for name, text in split(pairs):
        if name not in fields:
            raise unknown("option", name, fields, where=f" of {method}")
        values[name] = parse(fields[name], text)
    return values


def problem_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Options of a problem from name=value: numbers, true, false and null as in JSON, all else text."""
    values: dict[str, Any] = {}
    for name, text in split(pairs):
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def split(pairs: Sequence[str]) -> list[tuple[str, str]]:
    """(name, value) of each name=value."""
    for pair in pairs:
        if "=" not in pair or pair.startswith("="):
            raise InputError(f"{pair!r}: expected NAME=VALUE.")
    return [(pair.partition("=")[0].strip().replace("-", "_"), pair.partition("=")[2].strip()) for pair in pairs]


def finite(value: Any) -> Any:
    """The same with null for numbers that are not finite, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def positive(name: str, value: int) -> int:
    """The number, if it is at least 1."""
    if value < 1:
        raise InputError(f"--{name} {value}: expected at least 1.")
    return value


def comparison_table(comparison: "Comparison") -> str:
    """Runs and references as text; accuracies in percent."""
    lines: list[dict[str, Any]] = []
    for entry in comparison.entries:
        line = {
            "run": entry.name + (" (oracle: trained on true labels)" if entry.uses_labels else ""),
            "method": entry.method,
            "steps": entry.steps,
        }
        line |= {joint(task): f"{100 * value:.1f}" for task, value in entry.joint.items()}
        line |= {f"within {teacher}": f"{100 * value:.1f}" for teacher, value in entry.within.items()}
        line |= {f"agrees with {teacher}": f"{100 * value:.1f}" for teacher, value in entry.agreement.items()}
        lines.append(line | {"seconds": f"{entry.seconds:.1f}", "parameters": f"{entry.parameters:,}"})
    reference = comparison.references
    own = {f"within {teacher}": f"{100 * value:.1f}" for teacher, value in reference.teachers.items()}
    ensemble = {joint(task): f"{100 * value:.1f}" for task, value in reference.ensemble.items()}
    routed = {joint(task): f"{100 * value:.1f}" for task, value in reference.routed.items()}
    lines.append({"run": "the teachers side by side"} | ensemble | own)
    lines.append({"run": "the teachers, routed by the true class"} | routed | own)
    return text_table(list(lines[0]), lines)


def joint(task: str) -> str:
    """The column of a task's joint accuracy."""
    return "joint" if task == "class" else f"joint {task}"


def text_table(columns: Sequence[str], lines: Sequence[dict[str, Any]]) -> str:
    """Columns as wide as their text; missing values as a dash."""
    cells = [[format_cell(line.get(column)) for column in columns] for line in lines]
    widths = [max([len(column), *(len(row[i]) for row in cells)]) for i, column in enumerate(columns)]
    rows = [list(columns), *cells]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    errors = [f"{line['folder']}: {line['error']}" for line in lines if "error" in line]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:], *errors])


def format_cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return " @ ".join(map(str, value))
    return str(value)
