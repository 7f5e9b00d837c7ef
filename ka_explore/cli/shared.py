"""What the commands share: opening runs, reading options, writing tables."""

import importlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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


def opened(folder: Path, problem: "str | Problem | None") -> "Run":
    """A run from its folder at its last recorded step; what was left out is told."""
    from ka_explore.run.run import Run

    run = Run.open(folder, make_problem(problem, []) if isinstance(problem, str) else problem)
    for note in run.notes:
        print(f"ka-explore: {note}", file=sys.stderr)
    return run.advance(run.recorded - run.step) if run.recorded > run.step else run  # looking needs no lock


def all_opened(folders: Sequence[Path], problem: str | None) -> "list[Run]":
    """Runs from their folders; those of one problem share it, so that teachers are asked once."""
    runs: list[Run] = []
    for folder in folders:
        told: str | Problem | None = problem
        if runs and runs[0].store.about["tasks"] is None:  # of all tasks of their problem
            about, others = Store(folder).about, Store(runs[0].folder).about
            if all(about[what] == others[what] for what in ("problem", "fingerprints", "tasks")):
                told = runs[0].problem
        runs.append(opened(folder, told))
    return runs


def settings(method: str, pairs: Sequence[str]) -> dict[str, Any]:
    """Options of a method from name=value, each read as the option's type."""
    from ka_explore.methods import METHODS

    if method not in METHODS:
        raise unknown("method", method, METHODS)
    fields, values = options_of(METHODS[method].Config), {}
    for name, text in split(pairs):
        if name not in fields:
            raise unknown("option", name, fields, where=f" of {method}")
        values[name] = parse(fields[name], text)
    return values


def problem_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Options of a problem from name=value: numbers, true, false and null as in JSON, all else text."""
    values: dict[str, Any] = dict(split(pairs))
    for name, text in values.items():
        with suppress(ValueError, RecursionError):
            values[name] = json.loads(text)
    return values


def split(pairs: Sequence[str]) -> list[tuple[str, str]]:
    """(name, value) of each name=value."""
    for pair in pairs:
        if "=" not in pair or pair.startswith("="):
            raise InputError(f"{pair!r}: expected NAME=VALUE.")
    return [(pair.partition("=")[0].strip().replace("-", "_"), pair.partition("=")[2].strip()) for pair in pairs]


def print_json(value: Any) -> None:
    """Print a value as JSON, with null for numbers that are not finite, which JSON has no word for."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(finite(value), indent=2))


def positive(name: str, value: int) -> int:
    """The number, if it is at least 1."""
    if value < 1:
        raise InputError(f"--{name} {value}: expected at least 1.")
    return value


def comparison_table(comparison: "Comparison") -> str:
    """Runs and references as text; accuracies in percent."""

    def percent(values: Mapping[str, float], what: str = "") -> dict[str, str]:
        usual = {"class": "joint"}  # where there is only one task it needs no name
        names = [f"{what} {name}" if what else usual.get(name, f"joint {name}") for name in values]
        return {name: f"{100 * value:.1f}" for name, value in zip(names, values.values(), strict=True)}

    lines: list[dict[str, Any]] = []
    no_pairs: dict[str, Any] = dict.fromkeys(f"pairs found {teacher}" for teacher in comparison.paired)
    for entry in comparison.entries:
        name = entry.name + (" (oracle: trained on true labels)" if entry.uses_labels else "")
        line: dict[str, Any] = {"run": name, "method": entry.method, "steps": entry.steps} | percent(entry.joint)
        line |= percent(entry.within, "within") | percent(entry.agreement, "agrees with")
        line |= no_pairs | percent(entry.pairs, "pairs found")
        lines.append(line | {"seconds": f"{entry.seconds:.1f}", "parameters": f"{entry.parameters:,}"})
    own = percent(comparison.references.teachers, "within")
    lines.append({"run": "the teachers side by side"} | percent(comparison.references.ensemble) | own)
    lines.append({"run": "the teachers, routed by the true class"} | percent(comparison.references.routed) | own)
    if comparison.paired:
        chance = dict.fromkeys(comparison.paired, comparison.pairs_by_chance)
        lines.append({"run": comparison.chance_row} | percent(chance, "pairs found"))
    return ruled(list(lines[0]), lines)


def text_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of columns as wide as their text; missing values as a dash."""
    cells = [list(head), *([format_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def ruled(head: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str:
    """A table of values by name, with a line under its head."""
    table = text_table(head, [[line.get(name) for name in head] for line in lines])
    return "\n".join([table[0], "-" * len(table[0]), *table[1:]])


def format_cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return " @ ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
