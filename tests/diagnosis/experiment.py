"""What the diagnosis finds, as an experiment; ``make faults`` runs it for hours, and killed, it goes on where it was.

Its parts: faults injected, those set aside among them, runs without a fault, and every fork that a finding proposes.
It keeps what came out in ``docs/faults.json`` and writes the tables of ``docs/looking.md``.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attempts
import healthy
import numpy as np
import torch
from faults import FAULTS, Fault, outcome, place_of, problem_named
from unseen import UNSEEN

from ka_explore import Problem
from ka_explore.benchmark.rows import kept_rows, quoted, write_json
from ka_explore.diagnosis.examine import CHUNK, answers, own_labels
from ka_explore.run.environment import computing, environment

ROOT = Path(__file__).parents[2]
QUARTER = 0.25  # of a teacher's right answers, lost to a fault
FILE, PAGE = ROOT / "docs" / "faults.json", ROOT / "docs" / "looking.md"


def row(fault: str, strength: str, problem: str, form: str | None) -> dict[str, Any]:
    """Where the right finding stands, and what else is found, in common feature learning of this form."""
    about, healthy = {**FAULTS, **UNSEEN}[fault], problem_named(problem)
    with computing(threads=1), tempfile.TemporaryDirectory() as folder:
        case = about.make(healthy, about.strengths[strength])
        findings = outcome(case, Path(folder) / "run", form=form)
        lost = {teacher: right - right_of(case.problem)[teacher] for teacher, right in right_of(healthy).items()}
    said = [f.name + ("" if f.grade == "warning" else " (note)") for f in findings[:5]]
    found = {"strong": strength in about.strong, "place": place_of(about, findings), "said": said}
    return found | {"cost": round(max(lost.values()), 3)}


@torch.no_grad()
def right_of(problem: Problem) -> dict[str, float]:
    """By teacher: the share of its own images of the pool whose label it tells, of up to 256 images of the pool."""
    index, shares = np.arange(min(len(problem.pool), 256)), {}
    for teacher in problem.teachers:
        truth = own_labels(problem, teacher, index)
        images = problem.pool.images[index[truth >= 0]]
        given = teacher.preprocess(images) if teacher.preprocess else images
        said = torch.cat([answers(teacher, part) for part in given.split(CHUNK)]).argmax(dim=1).numpy()
        shares[teacher.name] = float((said == truth[truth >= 0]).mean())
    return shares


def rows_of(faults: Mapping[str, Fault], form: str | None) -> dict[str, dict[str, str | None]]:
    """What is asked of every fault, strength and problem, by name."""
    return {
        f"{name}/{strength}-{problem}".replace("1/255", "1 by 255").replace(" ", "-"): {
            "fault": name, "strength": strength, "problem": problem, "form": form,
        }
        for name, fault in faults.items()
        for problem in fault.problems
        for strength in fault.strengths
    }  # fmt: skip


def table(rows: Mapping[str, Mapping[str, Any]], faults: Mapping[str, Fault]) -> str:
    """A line a fault as Markdown: how often it is found where it is strong, and where it is not."""
    lines = ["| fault | named by | strong: first or second | weaker: named at all |", "| --- | --- | ---: | ---: |"]
    for name, fault in faults.items():
        mine = [found for found in rows.values() if found["fault"] == name]
        strong = [found["place"] in (1, 2) for found in mine if found["strong"]]
        weak = [found["place"] > 0 for found in mine if not found["strong"]]
        counts = " | ".join(f"{sum(found)} of {len(found)}" if found else "–" for found in (strong, weak))
        lines.append(f"| {name} | {', '.join(f'`{n}`' for n in fault.named)} | {counts} |")
    return "\n".join(lines)


def recall_and_precision(rows: Mapping[str, Mapping[str, Any]], faults: Mapping[str, Fault]) -> str:
    """In words: how many strong faults are named first or second, by what they cost, and how many warnings name one."""
    rows = {name: found for name, found in rows.items() if found["strong"]}
    first = [(said, found["fault"]) for found in rows.values() for said in found["said"][:2] if "(note)" not in said]
    right = sum(said in faults[fault].named for said, fault in first)
    silent = sum(all("(note)" in said for said in found["said"]) for found in rows.values())
    large, small = recalls(rows)
    return (
        f"Named first or second: {large} of those that cost the teacher a quarter of its right answers or more, or are "
        f"no teacher's; {small} of those that cost less. Of the {len(first)} warnings in these places {right} name the "
        f"fault, a precision of {right / max(len(first), 1):.2f}; false alarms, which name something else: "
        f"{len(first) - right}. Runs without any warning: {silent}."
    )


def recalls(rows: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """As ``19 of 20``: named first or second, of faults that cost a quarter or are no teacher's, and of the others."""
    small = [found for found in rows.values() if 0.01 < found["cost"] < QUARTER]
    large = [found for found in rows.values() if found not in small]
    counts = ([found["place"] in (1, 2) for found in part] for part in (large, small))
    return tuple(f"{sum(hits)} of {len(hits)}" for hits in counts)  # type: ignore[return-value]


@dataclass(frozen=True)
class Part:
    """One of the experiment: what is asked, by name, of which function, and how docs show the answers."""

    asked: Mapping[str, Mapping[str, Any]]
    row: Callable[..., Any]
    shown: Callable[[Mapping[str, Any]], str]

    def rows(self, folder: Path | None, *, only: Sequence[str] = (), jobs: int = 1) -> dict[str, dict[str, Any]]:
        """What was asked and answered, by name, or those whose name has one of these words; kept in the folder."""
        asked = {name: a for name, a in self.asked.items() if not only or any(word in name for word in only)}
        told = kept_rows(folder, asked, self.row, jobs=jobs, title=(folder and folder.name) or "rows")
        return {name: {**asked[name], **answer} for name, answer in told.items() if answer is not None}


PARTS = {
    "injected": Part(rows_of(FAULTS, "clouds"), row, lambda rows: table(rows, FAULTS)),
    "aside": Part(rows_of(UNSEEN, None), row, lambda r: f"{table(r, UNSEEN)}\n\n{recall_and_precision(r, UNSEEN)}"),
    "healthy": Part(healthy.rows(), healthy.row, healthy.table),
    "tried": Part(attempts.rows(), attempts.row, attempts.table),
}


def quotes(found: Mapping[str, Any]) -> dict[str, str]:
    """What docs quote of the parts that there are of ``docs/faults.json``, by part."""
    return {name: part.shown(found[name]) for name, part in PARTS.items() if name in found}


def main() -> None:
    """Run what is missing; write the file and the page, part by part, or print rows of some names."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/faults"), help="where rows are kept")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--only", nargs="+", default=[], help="words of the names of rows to print")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    chosen = parser.parse_args()
    for name in chosen.parts:
        rows = PARTS[name].rows(chosen.folder / name, only=chosen.only, jobs=chosen.jobs)
        if chosen.only:
            print(json.dumps(rows, indent=2))  # noqa: T201
            continue
        known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
        found = {part: rows if part == name else known[part] for part in PARTS if part == name or part in known}
        write_json({"about": environment(torch.device("cpu")), **found}, FILE, levels=2)
        PAGE.write_text(quoted(PAGE.read_text(encoding="utf-8"), "faults", quotes(found)), encoding="utf-8")


if __name__ == "__main__":
    import experiment  # by its name, under which other processes find it: this script's folder is in their path

    experiment.main()
