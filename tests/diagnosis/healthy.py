"""Runs without a fault: which findings they get, and between which values every check's number lies.

``python tests/diagnosis/healthy.py [problem,… [seed,…]]`` prints a line a run and then the ranges, which are what the
reasons in the table of thresholds say of healthy runs.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from ka_explore import METHODS, Problem, Run, toy
from ka_explore.diagnosis import THRESHOLDS, Findings, diagnose
from ka_explore.errors import InputError

PROBLEMS: Mapping[str, Callable[[int], Problem]] = {
    "digits": lambda seed: toy.digits(seed=seed),
    "four": lambda seed: toy.four_teachers(seed=seed),
    "mnist": lambda seed: toy.mnist(seed=seed),
    "few": lambda seed: toy.mnist("few_images", seed=seed),
    "plenty": lambda seed: toy.mnist("plenty", seed=seed),
    "fashion": lambda seed: toy.fashion(seed=seed),
    "shared": lambda seed: toy.shared_digits(seed=seed),
    "clothes": lambda seed: toy.digits_and_clothes(seed=seed),
    "sprites": lambda seed: toy.sprites(seed=seed),
}


def healthy(problem: Problem, seed: int, steps: Mapping[str, int]) -> Iterator[tuple[str, Findings]]:
    """By method that takes the problem: the diagnosis of a run with its default options, some for fewer steps."""
    for method in METHODS:
        chosen = {"steps": steps[method]} if method in steps else {}
        with tempfile.TemporaryDirectory() as folder:
            try:
                run = Run(problem, method, seed=seed, folder=Path(folder) / "run", snapshot_every=100, **chosen)
            except InputError:  # this method does not take these nets
                continue
            yield method, diagnose(run.advance(None, progress=False))


def main(problems: list[str], seeds: list[int]) -> None:
    """Print the table and the ranges."""
    ranges: dict[str, list[float]] = {}
    runs = warnings = 0
    for name in problems:
        for seed in seeds:
            for method, findings in healthy(PROBLEMS[name](seed), seed, {"adaptive": 400}):
                runs, warnings = runs + 1, warnings + len(findings.warnings)
                said = ", ".join(f"{f.name} ({f.grade}, {f.subject}, {f.value:.3g})" for f in findings) or "nothing"
                print(f"{name:8} {seed} {method:20} {said}", flush=True)  # noqa: T201
                for finding in findings.judged:
                    if finding.value == finding.value:
                        ranges.setdefault(finding.threshold, []).append(finding.value)
    print(f"{runs} runs, {warnings} warnings")  # noqa: T201
    for key, values in ranges.items():
        limit = THRESHOLDS[key]
        print(f"{key:22} {min(values):10.3g} to {max(values):10.3g}   warning at {limit.warning:g}")  # noqa: T201


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = [argument.split(",") for argument in sys.argv[1:]]
    main(given[0] if given else list(PROBLEMS), [int(s) for s in given[1]] if len(given) > 1 else [0])
