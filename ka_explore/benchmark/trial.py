"""Methods over seeds, paired: the same problem, the same initial student and the same batches for each.

A seed makes the problem too (split, label noise, teachers), so that the spread is the whole experiment's. Single
runs differ by two points for no reason; the paired difference to plain distillation is what can be trusted.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ka_explore.benchmark.evaluate import Entry, References, compare, references
from ka_explore.benchmark.rows import kept_rows, markdown
from ka_explore.errors import InputError, brief, check_between, check_known, checked
from ka_explore.methods import METHODS
from ka_explore.run.environment import computing
from ka_explore.run.run import Run

BASELINE = "distillation"
MOST_SEEDS = 1000
MOST_JOBS = 256


@checked
@dataclass(frozen=True)
class Candidate:
    """A method with its options, and how tables call it."""

    label: str
    method: str
    form: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


DEFAULT = (
    Candidate("common feature learning", "common_feature"),
    Candidate(BASELINE, "distillation"),
    Candidate("ensemble", "ensemble"),
    Candidate("oracle (true labels)", "oracle"),
)


@dataclass(frozen=True)
class Trial:
    """What came out: an entry a candidate and seed, and what the teachers reach by seed."""

    problem: str
    options: Mapping[str, Any]
    seeds: tuple[int, ...]
    entries: Mapping[str, Mapping[int, Entry]]
    references: Mapping[int, References]
    refused: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> list["Line"]:
        """One line a candidate, in order; those that cannot work on the problem are in ``refused`` instead."""
        return [self.line(label) for label in self.entries]

    def line(self, label: str) -> "Line":
        """Means and spreads over the seeds, and paired differences to distillation and to the teachers."""
        entries = [self.entries[label][seed] for seed in self.seeds]
        joint = [fmean(entry.joint.values()) for entry in entries]
        within = [fmean(entry.within.values()) for entry in entries]
        own = [fmean(self.references[seed].teachers.values()) for seed in self.seeds]
        pairs = [fmean(entry.pairs.values()) for entry in entries if entry.pairs]
        baseline = self.entries.get(BASELINE)
        gain = None
        if baseline is not None and label != BASELINE:
            gain = Spread.of([j - fmean(baseline[s].joint.values()) for j, s in zip(joint, self.seeds, strict=True)])
        return Line(
            label=label,
            uses_labels=entries[0].uses_labels,
            joint=Spread.of(joint),
            gain=gain,
            within=Spread.of(within),
            above_teachers=Spread.of([w - o for w, o in zip(within, own, strict=True)]),
            above_each={teacher: Spread.of(self.above(label, teacher)) for teacher in entries[0].within},
            joint_each={task: Spread.of([entry.joint[task] for entry in entries]) for task in entries[0].joint},
            within_each={t: Spread.of([entry.within[t] for entry in entries]) for t in entries[0].within},
            pairs=Spread.of(pairs) if len(pairs) == len(entries) else None,
            seconds=Spread.of([entry.seconds for entry in entries]),
            parameters=entries[0].parameters,
        )

    def above(self, label: str, teacher: str) -> list[float]:
        """By seed: accuracy within a teacher's own classes, minus the teacher's."""
        return [self.entries[label][s].within[teacher] - self.references[s].teachers[teacher] for s in self.seeds]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        return {
            "problem": self.problem,
            "options": dict(self.options),
            "seeds": list(self.seeds),
            "lines": [asdict(line) for line in self.rows()],
            "entries": {label: {s: asdict(e) for s, e in by_seed.items()} for label, by_seed in self.entries.items()},
            "references": {seed: asdict(reference) for seed, reference in self.references.items()},
            "refused": dict(self.refused),
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Trial":
        """The trial that `to_dict` wrote, also from JSON, which makes texts of seeds; else raises InputError."""
        try:
            return cls(
                found["problem"],
                found["options"],
                tuple(found["seeds"]),
                {label: {int(s): Entry(**e) for s, e in seeds.items()} for label, seeds in found["entries"].items()},
                {int(seed): References(**reference) for seed, reference in found["references"].items()},
                found["refused"],
            )
        except Exception as error:  # of whatever is not what was written
            raise InputError(f"expected what Trial.to_dict gives, got {brief(found)}: {error!r}.") from error


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation, smallest value, and how many of the seeds are above zero."""

    mean: float
    deviation: float
    smallest: float
    positive: int
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one number; the deviation of one is zero."""
        deviation = stdev(values) if len(values) > 1 else 0.0
        return cls(fmean(values), deviation, min(values), sum(v > 0 for v in values), len(values))


@dataclass(frozen=True)
class Line:
    """A candidate over all seeds: accuracies from 0 to 1, and what they are, seed by seed, above others.

    The gain is over distillation (None for itself); ``within`` is the mean over teachers, on their own classes; pairs
    found, of the probe set, too (None without a common space); seconds are of training, parameters those needed to
    predict.
    """

    label: str
    uses_labels: bool
    joint: Spread
    gain: Spread | None
    within: Spread
    above_teachers: Spread
    above_each: Mapping[str, Spread]
    joint_each: Mapping[str, Spread]
    within_each: Mapping[str, Spread]
    pairs: Spread | None
    seconds: Spread
    parameters: int


@checked
def trial(
    problem: str,
    *,
    options: Mapping[str, Any] | None = None,
    tasks: Sequence[str] | None = None,
    candidates: Sequence[Candidate] = DEFAULT,
    seeds: Sequence[int] = (0, 1, 2),
    folder: str | Path | None = None,
    jobs: int = 1,
    snapshot_every: int = 0,
    skip_refused: bool = False,
    kept: Path | None = None,
    progress: bool | None = None,
) -> Trial:
    """Run every candidate on every seed of a problem of ``toy.PROBLEMS`` and mark it on the test images.

    A seed is the problem's and the runs'. The folder keeps runs as ``<label>-<seed>``; ``kept`` is one of rows that
    need not be run again, see `kept_rows`. Each of the ``jobs`` computes on one thread. With ``skip_refused`` a
    candidate that cannot work on the problem is left out, and ``refused`` says why.

    Raises InputError for an unknown problem, option or method, no seed, a number out of range, or a candidate that
    cannot work on the problem.
    """
    from ka_explore.toy import PROBLEMS

    check_known("problem", problem, PROBLEMS)
    for name in options or {}:
        check_known("option", name, signature(PROBLEMS[problem]).parameters, where=f" of {problem}")
    check_between("jobs", jobs, 1, MOST_JOBS)
    check_between("snapshot_every", snapshot_every, 0, math.inf)
    if seeds[MOST_SEEDS:]:
        raise InputError(f"a trial of more than {MOST_SEEDS} seeds: give it fewer.")
    for seed in seeds:
        check_between("seed", seed, 0, 2**32 - 1)
    for candidate in candidates:
        check_known("method", candidate.method, METHODS)
        METHODS[candidate.method].configure(candidate.form, candidate.options)
    if not seeds or not candidates:
        raise InputError("a trial needs at least one seed and one method.")
    chosen = dict(options or {})
    rows = [(candidate, seed) for seed in seeds for candidate in (*candidates, None)]  # None: the teachers themselves
    asked = {
        name_of(candidate, seed): {"candidate": candidate and asdict(candidate), "seed": seed}
        | {"problem": problem, "options": chosen, "tasks": tasks and list(tasks)}
        for candidate, seed in rows
    }
    work = partial(row, folder=folder, snapshot_every=snapshot_every, skip_refused=skip_refused)
    found = kept_rows(kept, asked, work, jobs=jobs, title="trial", progress=progress)
    answers = {c.label: {seed: found[name_of(c, seed)] for seed in seeds} for c in candidates}
    refusals = {label: [a for a in by_seed.values() if isinstance(a, str)] for label, by_seed in answers.items()}
    return Trial(
        problem=problem,
        options=chosen,
        seeds=tuple(seeds),
        entries={
            label: {seed: Entry(**answer) for seed, answer in by_seed.items()}
            for label, by_seed in answers.items()
            if not refusals[label]
        },
        references={seed: References(**found[name_of(None, seed)]) for seed in seeds},
        refused={label: said[-1] for label, said in refusals.items() if said},
    )


def name_of(candidate: Candidate | None, seed: int) -> str:
    """How the row of a candidate and seed is called; None: of the teachers."""
    label = "teachers themselves" if candidate is None else candidate.label
    words = re.sub(r"[^\w.=+-]+", "-", label).strip("-")
    return f"{words}-{seed}"


def row(
    *,
    problem: str,
    options: Mapping[str, Any],
    tasks: Sequence[str] | None,
    candidate: Mapping[str, Any] | None,
    seed: int,
    folder: str | Path | None,
    snapshot_every: int,
    skip_refused: bool,
) -> dict[str, Any] | str:
    """The marks of a candidate on the problem of a seed, or why it cannot work on it; None: what the teachers reach."""
    from ka_explore.toy import PROBLEMS

    with computing(threads=1):
        made = PROBLEMS[problem](**options, seed=seed)
        if candidate is None:
            return asdict(references(made if tasks is None else made.for_tasks(tasks)))
        label = candidate["label"]
        try:
            run = Run(
                made,
                candidate["method"],
                name=label,
                tasks=tasks,
                seed=seed,
                form=candidate["form"],
                folder=None if folder is None else Path(folder) / f"{label.split(' (')[0].replace(' ', '-')}-{seed}",
                threads=1,
                snapshot_every=snapshot_every,
                **candidate["options"],
            )
        except InputError as error:
            if not skip_refused:
                raise
            return str(error)
        return asdict(compare([run.advance(None, progress=False)]).entries[0])


@checked
def table(result: Trial, *, each: bool = False) -> str:
    """The trial as a Markdown table; accuracies in percent, differences in points, ± one standard deviation.

    Pairs found, in percent and by chance, have a column where some candidate has a common space. ``each``: also a
    column for every task where there are several, else for every teacher's own classes.
    """
    rows = result.rows()
    references = result.references.values()
    tasks = list(rows[0].joint_each) if rows and len(rows[0].joint_each) > 1 else []
    teachers = list(rows[0].within_each) if rows and not tasks else []
    more = (tasks or teachers) if each else []
    head = ["method", "joint accuracy", "minus distillation, paired", "within own classes"]
    head += ["minus the teachers, paired", *(f"{'joint' if tasks else 'within'} {name}" for name in more)]
    chances = [entry.pairs_by_chance for by_seed in result.entries.values() for entry in by_seed.values()]
    chance = next((share for share in chances if share is not None), math.nan)
    paired = [f"pairs found (by chance {100 * chance:.1f})"] if any(row.pairs for row in rows) else []
    head += [*paired, "parameters"]
    lines = []
    for row in rows:
        gain = "–" if row.gain is None else points(row.gain)
        shares = [percent(row.joint), gain, percent(row.within), points(row.above_teachers)]
        shares += [percent((row.joint_each if tasks else row.within_each)[name]) for name in more]
        shares += ["–" if row.pairs is None else percent(row.pairs) for _ in paired]
        lines.append([row.label, *shares, f"{row.parameters:,}"])
    own = Spread.of([fmean(r.teachers.values()) for r in references])
    routed = Spread.of([fmean(r.routed.values()) for r in references])
    owns = ["–" if tasks else percent(Spread.of([r.teachers[name] for r in references])) for name in more]
    routes = [percent(Spread.of([r.routed[name] for r in references])) for name in more] if tasks else owns
    none = ["–"] * (len(paired) + 1)
    lines.append(["each teacher on its own classes", "–", "–", percent(own), "–", *owns, *none])
    lines.append(["teachers, routed by the true class", percent(routed), "–", percent(own), "–", *routes, *none])
    lines += [[label, *["–"] * (len(head) - 1)] for label in result.refused]
    return markdown(head, lines)


def percent(spread: Spread) -> str:
    """``71.3 ± 1.2``."""
    return f"{100 * spread.mean:.1f} ± {100 * spread.deviation:.1f}"


def points(spread: Spread) -> str:
    """``+0.9 ± 0.4 (8 of 8)``: how many of the seeds are above zero."""
    return f"{100 * spread.mean:+.1f} ± {100 * spread.deviation:.1f} ({spread.positive} of {spread.count})"
