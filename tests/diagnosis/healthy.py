"""Runs without a fault: which findings they get, and between which values every check's number lies.

`toy.digits_and_clothes` is not among them: its teachers do not compare, a fault by nature.

``make faults`` runs them (`experiment.py`); the ranges are what the reasons in the table
of thresholds say of healthy runs.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ka_explore import METHODS, Problem, Run, toy
from ka_explore.diagnosis import Findings, diagnose
from ka_explore.errors import InputError
from ka_explore.run.environment import computing

PROBLEMS: Mapping[str, Callable[[int], Problem]] = {
    "digits": lambda seed: toy.digits(seed=seed),
    "four": lambda seed: toy.four_teachers(seed=seed),
    "mnist": lambda seed: toy.mnist(seed=seed),
    "few": lambda seed: toy.mnist("few_images", seed=seed),
    "plenty": lambda seed: toy.mnist("plenty", seed=seed),
    "fashion": lambda seed: toy.fashion(seed=seed),
    "shared": lambda seed: toy.shared_digits(seed=seed),
    "sprites": lambda seed: toy.sprites(seed=seed),
}
SEEDS = {"digits": 10, "four": 10}  # of the others one
STEPS = {"adaptive": 400}  # of 1 200; other methods take their default options


@cache
def problem_of(name: str, seed: int) -> Problem:
    """A problem, made once a process."""
    return PROBLEMS[name](seed)


def healthy(
    problem: Problem, seed: int, steps: Mapping[str, int], methods: Sequence[str] = tuple(METHODS)
) -> Iterator[tuple[str, Findings]]:
    """By method that takes the problem: the diagnosis of a run with its default options, some for fewer steps."""
    for method in methods:
        chosen = {"steps": steps[method]} if method in steps else {}
        with tempfile.TemporaryDirectory() as folder:
            try:
                run = Run(problem, method, seed=seed, folder=Path(folder) / "run", snapshot_every=100, **chosen)
            except InputError:  # this method does not take these nets
                continue
            yield method, diagnose(run.advance(None, progress=False))


def row(problem: str, seed: int, method: str) -> dict[str, Any] | None:
    """The findings of a healthy run, and every check's smallest and largest number; None where it cannot be."""
    with computing(threads=1):
        found = dict(healthy(problem_of(problem, seed), seed, STEPS, [method]))
    if not found:
        return None
    findings, ranges = found[method], {}
    for judged in findings.judged:
        if judged.value == judged.value:
            low, high = ranges.get(judged.threshold, (judged.value, judged.value))
            ranges[judged.threshold] = (min(low, judged.value), max(high, judged.value))
    warnings = [f"{f.name} ({f.subject}, {f.value:.3g})" for f in findings.warnings]
    return {"warnings": warnings, "notes": [f.name for f in findings if f not in findings.warnings], "ranges": ranges}


def rows() -> dict[str, dict[str, Any]]:
    """What is asked of every problem, seed and method, by name."""
    return {
        f"{problem}/{method}-{seed}": {"problem": problem, "seed": seed, "method": method}
        for problem in PROBLEMS
        for seed in range(SEEDS.get(problem, 1))
        for method in METHODS
    }


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a problem as Markdown: how many runs of how many seeds, and how many got a warning, and which."""
    lines = ["| problem | seeds | runs | with a warning |", "| --- | ---: | ---: | --- |"]
    for problem in PROBLEMS:
        mine = [run for run in found.values() if run["problem"] == problem]
        warned = [f"{r['method']} (seed {r['seed']}): {', '.join(r['warnings'])}" for r in mine if r["warnings"]]
        seeds = len({run["seed"] for run in mine})
        lines.append(f"| {problem} | {seeds} | {len(mine)} | {'; '.join([str(len(warned)), *warned])} |")
    return "\n".join(lines)
