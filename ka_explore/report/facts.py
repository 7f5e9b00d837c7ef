"""What is said of runs besides pictures: problem, accuracies, options, and the commands that make them again."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ka_explore.methods.config import options_of, typed
from ka_explore.report.images import some_of
from ka_explore.report.parts import Code, Folded, Part, Section, Table, Words, missing, quiet
from ka_explore.report.run_report import RunReport
from ka_explore.report.stored import NEEDS, StoredRun
from ka_explore.run.reproduce import (
    command,
    defaults_of,
    differences,
    in_words,
    kept_as,
    open_lines,
    plain_value,
    run_command,
)

if TYPE_CHECKING:
    from torch import nn

    from ka_explore.benchmark.evaluate import Comparison
    from ka_explore.run.run import Run

ORACLE = "oracle: trained on true labels"


def problem_section(run: "Run | StoredRun") -> Section:
    """Teachers, images, student."""
    if isinstance(run, StoredRun):
        teachers = run.store.about["teachers"]
        known = [[t["name"], ", ".join(t["labels"]), t["task"], ", ".join(t["layers"])] for t in teachers]
        name = str(run.store.about["problem"]["name"]) or "made by hand"
        table = Table(["teacher", "labels", "task", "layers"], known)
        return Section("Problem", [quiet(f"Problem: {name}. {NEEDS}"), table])
    problem = run.problem
    known = [[t.name, ", ".join(t.labels), t.task, t.feature_layer, parameters(t.module)] for t in problem.teachers]
    name = problem.name or "made by hand"
    if problem.options:
        name += f" ({', '.join(f'{k}={v}' for k, v in problem.options.items())})"
    truth = "known for marking and colours only" if problem.pool.labels else "unknown"
    test = f"{len(problem.test.images):,} labelled test images" if problem.test else "no test images"
    shape = "×".join(map(str, problem.pool.images.shape))
    words = (
        f"{len(problem.teachers)} frozen teachers, {len(problem.pool):,} images of {shape} to learn from (true "
        f"classes {truth}), {test}. The student has {parameters(run.student)} parameters and answers "
        f"{len(problem.labels.classes)} classes."
    )
    table = Table(["teacher", "labels", "task", "feature taken at", "parameters"], known)
    return Section("Problem", [Words(words), quiet(f"Problem: {name}."), table, some_of(run)])


def parameters(net: "nn.Module") -> str:
    """How many a net has."""
    return f"{sum(p.numel() for p in net.parameters()):,}"


def options_in(run: "Run | StoredRun") -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a run's method where nothing is said, and those in force."""
    if isinstance(run, StoredRun):
        return defaults_of(run.store.about), run.store.about["configs"][-1][1]
    return asdict(type(run.config)()), asdict(run.config)


def runs_section(runs: "Sequence[Run | StoredRun]", names: Sequence[str]) -> Section:
    """What the runs are."""
    rows = [
        [
            f"{name} ({ORACLE})" if run.store.about["uses_labels"] else name,
            str(run.store.about["method"]),
            str(run.seed),
            str(run.step) if isinstance(run, StoredRun) else f"{run.step} of {run.steps}",
            f"{run.parent[0]} at step {run.parent[1]}" if run.parent else "–",
            in_words(differences(*options_in(run))) or "none",
        ]
        for name, run in zip(names, runs, strict=True)
    ]
    head = ["run", "method", "seed", "steps done", "forked from", "options that are not defaults"]
    return Section("Runs" if len(runs) > 1 else "Run", [Table(head, rows)])


def accuracy_section(runs: "Sequence[Run | StoredRun]", names: Sequence[str]) -> Section:
    """The runs on the test images, the teachers beside them."""
    title = "On the test images"
    opened = [run for run in runs if not isinstance(run, StoredRun)]
    if len(opened) < len(runs):
        return Section(title, [missing(NEEDS)])
    from ka_explore.benchmark.evaluate import compare

    if opened[0].problem.test is None:
        none = "This problem has no labelled test images: Problem(test=Labelled(…)) gives it some."
        return Section(title, [missing(none)])
    text = (
        "Percent of the test images. joint: the best of all classes is right. within a teacher's classes: on images of "
        "these, the best of them is right. agrees: on all images, the same answer within the teacher's classes."
    )
    comparison = compare(opened)
    if comparison.paired:
        text += (
            " pairs found: not of the test images but of the probe set, the student's point in the common space is "
            "nearest to the teacher's point of the same image."
        )
    return Section(title, [quiet(text), accuracy_table(comparison, names)])


def accuracy_table(comparison: "Comparison", names: Sequence[str]) -> Table:
    """A row a run, the teachers below; in percent."""
    first, paired = comparison.entries[0], comparison.paired
    head = ["run", *(f"joint ({task})" for task in first.joint), *(f"within {t}" for t in first.within)]
    head += [*(f"agrees with {t}" for t in first.agreement), *(f"pairs found, {t}" for t in paired)]
    head += ["seconds of training", "parameters"]
    rows = []
    for name, entry in zip(names, comparison.entries, strict=True):
        name += f" ({ORACLE})" if entry.uses_labels else ""
        shares = [*entry.joint.values(), *entry.within.values(), *entry.agreement.values()]
        shares += [entry.pairs.get(teacher, math.nan) for teacher in paired]
        rows.append([name, *map(percent, shares), f"{entry.seconds:.1f}", f"{entry.parameters:,}"])
    reference = comparison.references
    behind = [*map(percent, reference.teachers.values()), *["–"] * (len(first.agreement) + len(paired) + 2)]
    rows.append(["the teachers side by side", *map(percent, reference.ensemble.values()), *behind])
    rows.append(["the teachers, routed by the true class", *map(percent, reference.routed.values()), *behind])
    if paired:
        before = ["–"] * (len(head) - len(paired) - 3)
        rows.append([comparison.chance_row, *before, *[percent(comparison.pairs_by_chance)] * len(paired), "–", "–"])
    return Table(head, rows, frozenset(range(len(names))))


def percent(share: float) -> str:
    """A share in percent; a dash for none."""
    return f"{100 * share:.1f}" if share == share else "–"


def configuration(run_report: RunReport) -> list[Part]:
    """All options of a run, those that are not the defaults first."""
    run, about = run_report.run, run_report.run.store.about
    usual, chosen = options_in(run)
    texts = {} if isinstance(run, StoredRun) else {f.name: f.text for f in options_of(type(run.config)).values()}
    rows = [
        [name, typed(plain_value(value)), typed(usual[name]) if name in usual else "not known", texts.get(name, "")]
        for name, value in chosen.items()
    ]
    own = [row for row in rows if row[1] != row[2]]
    head = ["option", "value", "default", "what it is"]
    changes = " ".join(
        f"From step {step} on: {in_words(differences(before, after)) or 'the same options'}."
        for (_, before), (step, after) in itertools.pairwise(about["configs"])
    )
    strong = frozenset(i for i, row in enumerate(rows) if row in own)
    marked = [[name, f"{v} (not the default)" if v != usual else v, usual, text] for name, v, usual, text in rows]
    kept = {"seed": run.seed, "device": about["device"], "precision": about["precision"]}
    kept["threads"] = about["threads"] or "chosen by size"
    kept["a checkpoint every"] = f"{about['checkpoint_every']} steps"
    kept["a snapshot every"] = f"{about['snapshot_every']} steps" if about["snapshot_every"] else "never"
    kept["folder"] = kept_as(run.name, run.folder)
    return [
        Table(head, own) if own else Words("All options are the defaults."),
        *([Words(changes)] if changes else []),
        Folded(f"all {len(rows)} options", [Table(head, marked, strong)]),
        Folded("how it was run", [Table(["", ""], [[what, str(value)] for what, value in kept.items()])]),
    ]


def again_section(runs: "Sequence[Run | StoredRun]", names: Sequence[str], page: Path) -> Section:
    """The commands that make the runs and this page again, and the versions for which that is exact."""
    folders = [kept_as(run.name, run.folder) for run in runs]
    versions = ", ".join(f"{what} {value}" for what, value in runs[0].store.about["environment"].items())
    parts: list[Part] = [
        Code("\n".join(run_command(run.store.about) for run in runs)),
        quiet("The same as Python, or to go on from here:"),
        Code(open_lines(*folders)),
        quiet("This page:"),
        Code(command("report", *folders, "-o", page.name)),
        *(quiet(f"{name}: {note}") for name, run in zip(names, runs, strict=True) for note in run.notes),
        Words(f"Bits are the same on the same machine with the same versions: {versions}."),
    ]
    return Section("How to reproduce", parts)
