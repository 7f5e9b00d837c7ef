"""What the documentation claims of the methods, as an experiment: every number of its tables, kept in one file.

``python -m ka_explore.benchmark.claims`` (``make claims``) runs what is missing, writes ``docs/claims.json`` and the
tables of README and docs from it; a test compares them.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ka_explore.benchmark.rows import quoted, write_json
from ka_explore.benchmark.tables import SECTIONS, with_refusals
from ka_explore.benchmark.trial import Trial, table
from ka_explore.run.environment import environment

FILE = Path("docs/claims.json")
PAGES = ("README.md", "docs/methods.md")
# The README's tables have these lines of a section only.
SHORT = {
    "noisy_teachers": (
        "A: common feature learning",
        "B: layer-wise, in stages",
        "B, consistent targets (ours)",
        "distillation",
        "distillation, temperature 0.25",
        "distillation, temperature 0.5",
        "distillation, consistent targets (ours)",
    ),
    "few_images": (
        "A: common feature learning",
        "A, the published terms at a tenth",
        "B in one stage, paired",
        "distillation",
        "distillation, temperature 2",
        "distillation, temperature 4",
        "distillation, temperature 8",
        "distillation, consistent targets (ours)",
    ),
}


def claims(
    folder: Path, *, sections: Sequence[str] = tuple(SECTIONS), seeds: int | None = None, jobs: int = 1
) -> dict[str, Trial]:
    """By section: its trial over all its seeds, or the first so many; rows that the folder has are not run again."""
    return {
        name: SECTIONS[name].trial(range(min(SECTIONS[name].seeds, seeds or SECTIONS[name].seeds)), jobs, folder / name)
        for name in sections
    }


def write(trials: Mapping[str, Trial], file: Path) -> None:
    """Keep the trials, with what they were run on."""
    sections = {}
    for name, result in trials.items():
        sections[name] = kept(result)
        sections[name]["candidates"] = {
            c.label: {"method": c.method, "form": c.form, "options": dict(c.options)} for c in SECTIONS[name].candidates
        }
    about = environment(torch.device("cpu")) | {"command": "make claims", "threads": 1}
    write_json({"about": about, "sections": sections}, file, levels=5)


def kept(result: Trial) -> dict[str, Any]:
    """A trial as files keep it: without its lines, which are made of the rest."""
    return {key: value for key, value in rounded(result.to_dict()).items() if key != "lines"}


def rounded(value: Any) -> Any:
    """Numbers with five decimals."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return round(value, 5) if isinstance(value, float) else value


def read(file: Path) -> dict[str, Trial]:
    """The trials of a file, by section; none if there is no file yet."""
    found = json.loads(file.read_text(encoding="utf-8"))["sections"] if file.exists() else {}
    return {name: Trial.from_dict(result) for name, result in found.items()}


def blocks(trials: Mapping[str, Trial]) -> dict[str, str]:
    """The tables that pages quote: each section's whole one, and the README's as ``<section>_short``."""
    whole = {name: with_refusals(result) for name, result in trials.items()}
    short = {}
    for name, labels in SHORT.items():
        if name in trials:
            entries = {label: trials[name].entries[label] for label in labels}
            short[f"{name}_short"] = table(replace(trials[name], entries=entries, refused={}))
    return whole | short


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing; write the file and the pages, section by section, or print the tables of fewer seeds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/claims"), help="where rows are kept")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--seeds", type=int, help="only the first so many of each section")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    chosen = parser.parse_args(arguments)
    for name in chosen.sections:
        trials = claims(chosen.folder, sections=[name], seeds=chosen.seeds, jobs=chosen.jobs)
        if chosen.seeds is not None:
            sys.stdout.write(f"\n## {name}\n\n{blocks(trials)[name]}\n")
            continue
        known = read(FILE) | trials
        write({section: known[section] for section in SECTIONS if section in known}, FILE)
        for page in map(Path, PAGES):
            text = page.read_text(encoding="utf-8")
            page.write_text(quoted(text, "claims", blocks(read(FILE))), encoding="utf-8")


if __name__ == "__main__":
    main()
