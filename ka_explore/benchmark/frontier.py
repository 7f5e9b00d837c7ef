"""What alignment costs: pairs found against accuracy, for settings of common feature learning over seeds, paired.

``python -m ka_explore.benchmark.frontier`` (``make frontier``) runs what is missing, writes ``docs/frontier.json``, the
picture of it and the tables of ``docs/methods.md``; a test compares them.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ka_explore.benchmark.claims import kept
from ka_explore.benchmark.rows import markdown, quoted, write_json
from ka_explore.benchmark.trial import BASELINE, Candidate, Spread, Trial, percent, points, trial
from ka_explore.run.environment import environment

FILE, PICTURE, PAGE = Path("docs/frontier.json"), Path("docs/frontier.png"), Path("docs/methods.md")
SEEDS = 3
PROBLEMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "few_images": ("mnist", {"preset": "few_images"}),
    "noisy_teachers": ("mnist", {"preset": "noisy_teachers"}),
    "shared_digits": ("shared_digits", {}),
}
EQUAL = {"mmd_weight": 1.0, "reconstruction_weight": 1.0}
SETTINGS = (
    Candidate("default", "common_feature"),
    Candidate("handed over after a quarter", "common_feature", None, {"hand_over": 0.75}),
    Candidate("not handed over", "common_feature", None, {"hand_over": 0.0}),
    Candidate("all teachers pull alike", "common_feature", None, {"pull": "alike"}),
    Candidate("pairs and cross at a tenth", "common_feature", None, {"paired_weight": 0.1, "cross_weight": 0.1}),
    Candidate("published terms at a tenth", "common_feature", "clouds"),
    Candidate("published terms at equal weights", "common_feature", "clouds", EQUAL),
)


def frontier(folder: Path, *, jobs: int = 1) -> dict[str, Trial]:
    """By problem: its trial; rows that the folder has are not run again."""
    candidates = (*SETTINGS, Candidate(BASELINE, BASELINE))
    return {
        name: trial(problem, options=options, candidates=candidates, seeds=range(SEEDS), jobs=jobs, kept=folder / name)
        for name, (problem, options) in PROBLEMS.items()
    }


def read(file: Path) -> dict[str, Trial]:
    """The trials of a file, by problem."""
    found = json.loads(file.read_text(encoding="utf-8"))["problems"]
    return {name: Trial.from_dict(result) for name, result in found.items()}


def tables(trials: Mapping[str, Trial]) -> dict[str, str]:
    """By problem: pairs found and joint accuracy minus distillation's, a row a setting."""
    head = ["setting", "pairs found, %", "joint minus distillation, paired"]
    return {
        name: markdown(head, [[label, percent(pairs), points(gain)] for label, pairs, gain in measured(result)])
        for name, result in trials.items()
    }


def measured(result: Trial) -> list[tuple[str, Spread, Spread]]:
    """By setting: pairs found, and joint accuracy minus distillation's."""
    return [(line.label, line.pairs, line.gain) for line in result.rows() if line.pairs and line.gain]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing; write the file, the picture and the tables."""
    from ka_explore.plots import save
    from ka_explore.report.frontier import draw_frontier

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/frontier"), help="where rows are kept")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    chosen = parser.parse_args(arguments)
    trials = frontier(chosen.folder, jobs=chosen.jobs)
    about = environment(torch.device("cpu")) | {"command": "make frontier", "threads": 1}
    write_json({"about": about, "problems": {name: kept(result) for name, result in trials.items()}}, FILE, levels=5)
    found = {name: measured(result) for name, result in read(FILE).items()}
    save(draw_frontier(found), PICTURE)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(quoted(page, "frontier", tables(read(FILE))), encoding="utf-8")


if __name__ == "__main__":
    main()
