"""What is said of runs besides pictures: problem, accuracies, options, and the commands that make them again."""

import itertools
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ka_explore.methods.config import TrainingConfig, options_of, typed
from ka_explore.report.images import some_of
from ka_explore.report.parts import Code, Folded, Part, Section, Table, Words

if TYPE_CHECKING:
    from ka_explore.benchmark.evaluate import Comparison
    from ka_explore.run.run import Run

ORACLE = "oracle: trained on true labels"


def problem_section(run: "Run") -> Section:
    """Teachers, images, student."""
    problem = run.problem
    known = [
        [
            teacher.name,
            ", ".join(teacher.labels),
            teacher.task,
            teacher.feature_layer,
            f"{sum(p.numel() for p in teacher.module.parameters()):,}",
        ]
        for teacher in problem.teachers
    ]
    name = problem.name or "made by hand"
    if problem.options:
        name += f" ({', '.join(f'{k}={v}' for k, v in problem.options.items())})"
    truth = "known for marking and colours only" if problem.pool.labels else "unknown"
    test = f"{len(problem.test.images):,} labelled test images" if problem.test else "no test images"
    shape = "×".join(map(str, problem.pool.images.shape))
    return Section(
        "Problem",
        [
            Words(
                f"{len(problem.teachers)} frozen teachers, {len(problem.pool):,} images of {shape} to learn from (true "
                f"classes {truth}), {test}. The student has {parameters(run)} parameters and answers "
                f"{len(problem.labels.classes)} classes."
            ),
            Words(f"Problem: {name}.", "quiet"),
            Table(["teacher", "labels", "task", "feature taken at", "parameters"], known),
            some_of(run),
        ],
    )


def parameters(run: "Run") -> str:
    """How many the student has."""
    return f"{sum(p.numel() for p in run.student.parameters()):,}"


def runs_section(runs: "Sequence[Run]", names: Sequence[str]) -> Section:
    """What the runs are."""
    rows = [
        [
            named(name, run),
            str(run.store.about["method"]),
            str(run.seed),
            f"{run.step} of {run.steps}",
            f"{run.parent[0]} at step {run.parent[1]}" if run.parent else "–",
            changed(run),
        ]
        for name, run in zip(names, runs, strict=True)
    ]
    title = "Runs" if len(runs) > 1 else "Run"
    return Section(
        title, [Table(["run", "method", "seed", "steps done", "forked from", "options that are not defaults"], rows)]
    )


def named(name: str, run: "Run") -> str:
    """A run's name; an oracle is marked wherever it is named."""
    return f"{name} ({ORACLE})" if run.method.uses_labels else name


def accuracy_section(comparison: "Comparison", names: Sequence[str]) -> Section:
    """The runs on the test images, the teachers beside them."""
    return Section(
        "On the test images",
        [
            Words(
                "Percent of the test images. joint: the best of all classes is right. within a teacher's classes: on "
                "images of these, the best of them is right. agrees: on all images, the same answer within the "
                "teacher's classes.",
                "quiet",
            ),
            accuracy_table(comparison, names),
        ],
    )


def accuracy_table(comparison: "Comparison", names: Sequence[str]) -> Table:
    """A row a run, the teachers below; in percent."""
    first = comparison.entries[0]
    head = ["run", *(f"joint ({task})" for task in first.joint), *(f"within {t}" for t in first.within)]
    head += [*(f"agrees with {t}" for t in first.agreement), "seconds of training", "parameters"]
    rows = []
    for name, entry in zip(names, comparison.entries, strict=True):
        name += f" ({ORACLE})" if entry.uses_labels else ""
        shares = [*entry.joint.values(), *entry.within.values(), *entry.agreement.values()]
        rows.append([name, *map(percent, shares), f"{entry.seconds:.1f}", f"{entry.parameters:,}"])
    reference = comparison.references
    blank = ["–"] * (len(first.agreement) + 2)
    own = list(map(percent, reference.teachers.values()))
    rows.append(["the teachers side by side", *map(percent, reference.ensemble.values()), *own, *blank])
    rows.append(["the teachers, routed by the true class", *map(percent, reference.routed.values()), *own, *blank])
    return Table(head, rows, frozenset(range(len(names))))


def percent(share: float) -> str:
    """A share in percent; a dash for none."""
    return f"{100 * share:.1f}" if share == share else "–"


# Options


def options_section(run: "Run") -> Section:
    """All options of a run, those that are not the defaults first."""
    fields = options_of(type(run.config)).values()
    rows, own = [], []
    for field in fields:
        value, default = typed(getattr(run.config, field.name)), typed(field.default)
        row = [field.name, value, default, field.text]
        rows.append([field.name, f"{value} (not the default)" if value != default else value, default, field.text])
        if value != default:
            own.append(row)
    head = ["option", "value", "default", "what it is"]
    parts: list[Part] = []
    if own:
        parts.append(Table(head, own))
    else:
        parts.append(Words("All options are the defaults."))
    parts += changes(run)
    strong = frozenset(place for place, row in enumerate(rows) if row[1].endswith("(not the default)"))
    parts.append(Folded(f"all {len(rows)} options", [Table(head, rows, strong)]))
    about = run.store.about
    kept = {
        "seed": run.seed,
        "device": about["device"],
        "precision": about["precision"],
        "threads": about["threads"] or "chosen by size",
        "a checkpoint every": f"{about['checkpoint_every']} steps",
        "a snapshot every": f"{about['snapshot_every']} steps" if about["snapshot_every"] else "never",
        "folder": place_of(run),
    }
    parts.append(Folded("how it was run", [Table(["", ""], [[what, str(value)] for what, value in kept.items()])]))
    return Section("Configuration", parts)


def changes(run: "Run") -> list[Part]:
    """Options that changed on the way: a fork's."""
    steps = [int(step) for step, _ in run.store.about["configs"]]
    lines = []
    for before, step in itertools.pairwise(steps):
        told = differing(run.config_at(step), run.config_at(before)).replace(" --set ", ", ").removeprefix(", ")
        lines.append(f"From step {step} on: {told or 'the same options'}.")
    return [Words(" ".join(lines))] if lines else []


def changed(run: "Run") -> str:
    """The options that are not the defaults."""
    return differing(run.config, type(run.config)()).replace(" --set ", ", ").removeprefix(", ") or "none"


def differing(config: TrainingConfig, other: TrainingConfig) -> str:
    """The options in which one config differs from another, as they are typed."""
    pairs = ((field, getattr(config, field.name)) for field in options_of(type(config)).values())
    return "".join(f" --set {f.name}={shlex.quote(typed(v))}" for f, v in pairs if v != getattr(other, f.name))


# Again


def again_section(runs: "Sequence[Run]", names: Sequence[str], page: Path) -> Section:
    """The commands that make the runs and this page again, and the versions for which that is exact."""
    environment = runs[0].store.about["environment"]
    parts: list[Part] = [
        Code("\n".join(command(run) for run in runs)),
        Words("The same as Python, or to go on from here:", "quiet"),
        Code("\n".join(f"run = ka_explore.Run.open({place_of(run)!r})" for run in runs)),
        Words("This page:", "quiet"),
        Code(f"ka-explore report {' '.join(shlex.quote(place_of(run)) for run in runs)} -o {shlex.quote(page.name)}"),
    ]
    for name, run in zip(names, runs, strict=True):
        parts += [Words(f"{name}: {note}", "quiet") for note in run.notes]
    parts.append(
        Words(
            "Bits are the same on the same machine with the same versions: "
            + ", ".join(f"{what} {value}" for what, value in environment.items())
            + "."
        )
    )
    return Section("How to reproduce", parts)


def place_of(run: "Run") -> str:
    """Where a command finds the run; a run in a temporary folder is called as if it were kept."""
    return f"runs/{run.name}" if run.folder.name.startswith("ka-explore-") else str(run.folder)


def command(run: "Run") -> str:
    """The command that makes this run again, where its problem is one of ours."""
    about = run.store.about
    if run.parent is not None:
        values = differing(run.config, run.config_at(run.parent[1] - 1) if run.parent[1] else type(run.config)())
        parent = shlex.quote(f"runs/{run.parent[0]}")
        return f"ka-explore fork {parent} {shlex.quote(run.name)} --at {run.parent[1]}{values}"
    options = "".join(
        " --option " + shlex.quote(f"{name}={value if isinstance(value, str) else json.dumps(value)}")
        for name, value in run.problem.options.items()
    )
    if about["tasks"] is not None:
        options += f" --tasks {shlex.quote(','.join(about['tasks']))}"
    problem = run.problem.name.removeprefix("ka_explore.toy:") or "MODULE:FUNCTION"
    folder = shlex.quote(f"runs/{run.name}")
    chosen = options + differing(run.config, type(run.config)())
    every = "" if about["snapshot_every"] == 50 else f" --snapshots {about['snapshot_every']}"
    return f"ka-explore run {shlex.quote(problem)} {about['method']} --folder {folder} --seed {run.seed}{every}{chosen}"
