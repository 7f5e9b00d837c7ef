"""What the documentation claims of the methods, as an experiment: every number of its tables, kept in one file.

``python -m ka_explore.benchmark.claims`` (``make claims``) runs what is missing, writes ``docs/claims.json`` and the
tables of README and docs from it; a test compares them.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ka_explore.benchmark.evaluate import Entry, References
from ka_explore.benchmark.rows import kept_rows, quoted, write_json
from ka_explore.benchmark.tables import SECTIONS, named, with_refusals
from ka_explore.benchmark.trial import Trial, file_name, joined, references_of, run_one, table
from ka_explore.errors import InputError
from ka_explore.run.environment import environment

PAGES = ("README.md", "docs/methods.md")
TEACHERS = "teachers"  # the row of what the teachers themselves reach
# The README's tables have these lines of a section only.
SHORT = {
    "noisy_teachers": (
        "B: layer-wise, in stages",
        "B, consistent targets (ours)",
        "distillation",
        "distillation, temperature 0.25",
        "distillation, temperature 0.5",
        "distillation, consistent targets (ours)",
    ),
    "few_images": (
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
    many = {name: range(min(named(name).seeds, seeds or named(name).seeds)) for name in sections}
    asked: dict[str, dict[str, Any]] = {}
    for name in sections:
        part = named(name)
        for seed in many[name]:
            common = {"problem": part.problem, "options": dict(part.options), "tasks": part.tasks, "seed": seed}
            asked[f"{name}/{TEACHERS}-{seed}"] = common | {"candidate": None}
            for candidate in part.candidates:
                asked[f"{name}/{file_name(candidate.label)}-{seed}"] = common | {"candidate": asdict(candidate)}
    rows = kept_rows(folder, asked, row, jobs=jobs)
    trials = {}
    for name in sections:
        part, results = named(name), {}
        for seed in many[name]:
            found = {c.label: rows[f"{name}/{file_name(c.label)}-{seed}"] for c in part.candidates}
            results[seed] = (
                {label: Entry(**answer) for label, answer in found.items() if isinstance(answer, dict)},
                References(**rows[f"{name}/{TEACHERS}-{seed}"]),
                {label: answer for label, answer in found.items() if isinstance(answer, str)},
            )
        trials[name] = joined(part.problem, part.options, part.candidates, results)
    return trials


def row(
    problem: str,
    options: Mapping[str, Any],
    tasks: Sequence[str] | None,
    seed: int,
    candidate: Mapping[str, Any] | None,
) -> dict[str, Any] | str:
    """The marks of one candidate on the problem of one seed, or why it cannot work on it; None: of the teachers."""
    from ka_explore.benchmark.trial import Candidate
    from ka_explore.toy import PROBLEMS

    made = PROBLEMS[problem](**options, seed=seed)
    if candidate is None:
        return asdict(references_of(made, tasks))
    try:
        return asdict(run_one(made, Candidate(**candidate), seed, tasks=tasks))
    except InputError as error:
        return str(error)


def write(trials: Mapping[str, Trial], file: Path) -> None:
    """Keep the trials, with what they were run on."""
    sections = {}
    for name, result in trials.items():
        sections[name] = {key: value for key, value in rounded(result.to_dict()).items() if key != "lines"}
        sections[name]["candidates"] = {
            c.label: {"method": c.method, "form": c.form, "options": dict(c.options)} for c in named(name).candidates
        }
    about = environment(torch.device("cpu")) | {"command": "make claims", "threads": 1}
    write_json({"about": about, "sections": sections}, file, levels=5)


def rounded(value: Any) -> Any:
    """Numbers with five decimals."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return round(value, 5) if isinstance(value, float) else value


def read(file: Path) -> dict[str, Trial]:
    """The trials of a file, by section."""
    return {
        name: Trial.from_dict(found) for name, found in json.loads(file.read_text(encoding="utf-8"))["sections"].items()
    }


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
    """Run what is missing; if nothing is left out, write the file and the pages, else print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/claims"), help="where rows are kept")
    parser.add_argument("--sections", nargs="*", default=list(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--seeds", type=int, help="only the first so many of each section")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    chosen = parser.parse_args(arguments)
    trials = claims(chosen.folder, sections=chosen.sections, seeds=chosen.seeds, jobs=chosen.jobs)
    if set(trials) < set(SECTIONS) or chosen.seeds is not None:
        for name, text in blocks(trials).items():
            sys.stdout.write(f"\n## {name}\n\n{text}\n")
        return
    file = Path("docs/claims.json")
    write(trials, file)
    for page in map(Path, PAGES):
        text = page.read_text(encoding="utf-8")
        page.write_text(quoted(text, "claims", blocks(read(file))), encoding="utf-8")


if __name__ == "__main__":
    main()
