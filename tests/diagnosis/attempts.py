"""Every fork that a finding proposes, made and run: it changes the run, and it lowers the number it is about.

Each finding stands here with a broken run that has it; the digits, a few dozen steps, of common feature learning its
published terms where no other form is named. A number is the one that was held
against the threshold; where that is of a teacher, which no option of a run changes, it is what the student made of it.
"""

import contextlib
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faults
import spoil
import torch

from ka_explore import Diverged, Run
from ka_explore.diagnosis import THRESHOLDS, diagnose
from ka_explore.probes.logits import softmax
from ka_explore.run.environment import computing


def fault(name, strength, problem="digits", **options):
    """A broken run of the table of faults, with other options."""

    def make():
        about = faults.FAULTS[name]
        case = about.make(faults.problem_named(problem), about.strengths[strength])
        chosen = {**case.options, "steps": min(case.steps, 60), **options}
        return case.problem, chosen.pop("method", case.method), chosen

    return make


def healthy(method="common_feature", **options):
    """A healthy problem with these options."""
    return lambda: (faults.problem_named("digits"), method, {"steps": 60, **options})


def timid():
    """A teacher that the selection starves nearly, but not quite."""
    case = spoil.starved(faults.problem_named("digits"), 0.2)
    return case.problem, case.method, {"steps": 60, "selection_temperature": 2.0}


# By finding, broken runs that have it. Every proposal of a finding appears in one of them.
BROKEN = {
    "dominating_term": [
        fault("term dominates", "mmd 1000"),
        healthy(mmd_weight=2.0, learning_rate=1e-2),
        fault("term dominates", "rec 1000"),
        healthy(alpha=0.01),
    ],
    "dominating_teacher": [
        fault("teacher dominates", "30"),
        fault("teacher over-confident", "20", method="distillation"),
    ],
    "inert_term": [fault("weight makes a term inert", "mmd 1e-6"), fault("weight makes a term inert", "rec 1e-6")],
    "not_finite": [healthy(mmd_weight=1000.0, learning_rate=10.0, norm="none", steps=40)],
    "rate_too_high": [fault("learning rate too high", "1")],
    "rate_too_low": [fault("learning rate too low", "1e-5"), healthy("distillation", learning_rate=0.0)],
    "stopped_early": [fault("stopped early", "10")],
    "student_too_small": [fault("student too small", "0.1"), healthy(student_width=0.1, learning_rate=1e-2, steps=120)],
    "starved_teacher": [fault("selection starves", "0.1"), timid],
    "collapsed": [
        fault("common space collapses", "decay 1", steps=200),
        fault("common space collapses", "aligned only"),
    ],
    "dead_channels": [fault("learning rate too high", "1")],
    "mmd_saturated": [fault("bandwidths", "1e-3"), fault("bandwidths", "1000")],
    "not_aligned": [
        healthy(form="clouds", steps=120),
        healthy(form=None, paired_weight=1e-4, cross_weight=0.0, steps=120),
    ],
    "not_reconstructable": [fault("common width too small", "1"), healthy(reconstruction_weight=1e-3)],
    "overconfident": [fault("teacher over-confident", "10")],
    "underconfident": [fault("teacher under-confident", "0.05")],
    "normalised_answers": [fault("answers normalised", "one log_softmax")],
    "whose_image": [fault("whose image it is", "30"), healthy("distillation", soft_target="restricted", steps=20)],
}


def number_of(finding, findings, run):
    """What a finding is about, in another diagnosis; NaN where that judges it no more."""
    if finding.name in ("overconfident", "underconfident", "normalised_answers"):
        last = run.snapshot()
        joint = softmax(last.arrays["scores"])[:, list(last.knows[finding.subject])].sum(axis=1).mean()
        return abs(float(joint) - len(last.knows[finding.subject]) / len(last.classes))
    judged = [f for f in findings.judged if f.threshold == finding.threshold]
    same = [f for f in judged if f.subject == finding.subject] or judged
    return max((f.value for f in same), key=THRESHOLDS[finding.threshold].severity, default=float("nan"))


def same_weights(one, other):
    """Whether two runs have the same weights at the last step that both have reached."""
    step = min(one.recorded, other.recorded)
    first, second = (run.seek(step).method.state_dict() for run in (one, other))
    alike = first.keys() == second.keys() and all(first[n].shape == second[n].shape for n in first)
    return alike and all(torch.equal(first[n], second[n]) for n in first)


def row(finding: str, place: int) -> dict[str, Any]:
    """The number that a broken run's finding is about, and what it is in the forks proposed, by what they change.

    None: it is judged there no more. ``idle`` are the forks that changed no weight or did not lower it.
    """
    problem, method, options = BROKEN[finding][place]()
    if method == "common_feature":
        options = {"form": "clouds", **options}
    with computing(threads=1), tempfile.TemporaryDirectory() as folder:
        run = Run(problem, method, folder=Path(folder) / "run", snapshot_every=20, **options)
        with contextlib.suppress(Diverged):
            run.advance(None, progress=False)
        findings = diagnose(run)
        found = [f for f in findings.judged if f.name == finding and f.grade != "fine" and f.attempts]
        assert found, str(findings)
        chosen = max(found, key=lambda f: f.score)
        before = number_of(chosen, findings, run)
        falls = THRESHOLDS[chosen.threshold].above or finding in ("underconfident", "normalised_answers")
        forks, idle = {}, []
        for i, attempt in enumerate(a for a in chosen.attempts if a.is_fork):
            fork = attempt.fork(run, f"fork {i}")
            with contextlib.suppress(Diverged):
                fork.advance(None, progress=False)
            after = number_of(chosen, diagnose(fork), fork)
            changes = ", ".join(f"{option}={value}" for option, value in attempt.changes.items())
            forks[changes] = None if math.isnan(after) else round(after, 5)
            if (after >= before if falls else after <= before) or same_weights(run, fork):
                idle.append(changes)
    return {"threshold": chosen.threshold, "before": round(before, 5), "forks": forks, "idle": idle}


def rows() -> dict[str, dict[str, Any]]:
    """What is asked of every finding and its broken runs, by name."""
    return {f"{name}-{i}": {"finding": name, "place": i} for name, makes in BROKEN.items() for i in range(len(makes))}


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a finding as Markdown: how many forks were tried, and what one that did well changes."""
    lines = ["| finding | broken runs | forks tried | lowered its number |", "| --- | ---: | ---: | ---: |"]
    for name in BROKEN:
        mine = [row for row in found.values() if row["finding"] == name]
        tried, idle = (sum(len(row[part]) for row in mine) for part in ("forks", "idle"))
        lines.append(f"| `{name}` | {len(mine)} | {tried} | {tried - idle} |")
    return "\n".join(lines)
