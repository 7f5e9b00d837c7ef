"""Runs written up: one self-contained page, with its figures in it."""

import base64
import io
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jinja2
import numpy as np
from matplotlib.figure import Figure

from ka_explore.config import TrainingConfig, options_of, typed
from ka_explore.errors import InputError
from ka_explore.evaluate import Comparison, compare
from ka_explore.plots import STUDENT, colour_of, draw, draw_history
from ka_explore.probes.embedding import fit_basis, pca
from ka_explore.probes.reconstruction import reconstruction_error
from ka_explore.run import Run
from ka_explore.snapshot import Snapshot
from ka_explore.store import replace_file, writing
from ka_explore.trial import Trial

# Names come from users: both formats are escaped, as Markdown may hold HTML.
TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("ka_explore"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def write_report(runs: Sequence[Run], output: str | Path, *, kind: Literal["html", "md"] = "html") -> Path:
    """Write a report of runs of one problem.

    Args:
        runs: at least one; the first one's common space is drawn.
        output: the file; Markdown puts its figures in a folder beside it.
        kind: ``html`` is one file that needs no network; ``md`` is Markdown.

    Raises InputError for no run or runs of different problems, StoreError when the file cannot be written.
    """
    if not runs:
        raise InputError("nothing to report: give at least one run.")
    output = Path(output)
    comparison = compare(runs) if runs[0].problem.test is not None else None
    figures = {name: picture(figure) for name, figure in figures_of(runs).items()}
    with writing(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
        if kind == "html":
            sources = {n: "data:image/png;base64," + base64.b64encode(data).decode() for n, data in figures.items()}
        else:
            beside = output.with_suffix("").name + "-figures"
            (output.parent / beside).mkdir(exist_ok=True)
            sources = {n: f"{beside}/{i}-{file_name(n)}.png" for i, n in enumerate(figures, start=1)}
            for name, data in figures.items():
                (output.parent / sources[name]).write_bytes(data)
        text = TEMPLATES.get_template(f"report.{kind}").render(
            figures=sources, comparison=comparison and tables(comparison), **facts(runs)
        )
        replace_file(output, lambda file: file.write(text.encode()))
    return output


def facts(runs: Sequence[Run]) -> dict[str, Any]:
    """What the page says besides numbers and figures."""
    first = runs[0]
    problem = first.problem
    return {
        "title": " · ".join(run.name for run in runs),
        "teachers": [
            {
                "name": t.name,
                "labels": ", ".join(t.labels),
                "task": t.task,
                "layer": t.feature_layer,
                "parameters": f"{sum(p.numel() for p in t.module.parameters()):,}",
            }
            for t in problem.teachers
        ],
        "problem": f"{problem.name or 'made by hand'}"
        + (f" ({', '.join(f'{k}={v}' for k, v in problem.options.items())})" if problem.options else ""),
        "images": len(problem.pool),
        "shape": "×".join(map(str, problem.pool.images.shape)),
        "student": f"{sum(p.numel() for p in first.student.parameters()):,}",
        "runs": [
            {
                "name": run.name,
                "method": run.store.about["method"],
                "oracle": run.method.uses_labels,
                "seed": run.seed,
                "step": f"{run.step} of {run.steps}",
                "parent": f"{run.parent[0]} at step {run.parent[1]}" if run.parent else "–",
                "options": changed(run),
                "command": command(run),
                "notes": run.notes,
            }
            for run in runs
        ],
        "environment": first.store.about["environment"],
    }


def command(run: Run) -> str:
    """The command that makes this run again, where its problem is one of ours."""
    about = run.store.about
    if run.parent is not None:
        values = differing(run.config, run.config_at(run.parent[1] - 1) if run.parent[1] else type(run.config)())
        parent = shlex.quote(f"runs/{run.parent[0]}")
        return f"ka-explore fork {parent} {shlex.quote(run.name)} --at {run.parent[1]}{values}"
    options = "".join(
        f" --option {name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in run.problem.options.items()
    )
    if run.store.about["tasks"] is not None:
        options += f" --tasks {shlex.quote(','.join(run.store.about['tasks']))}"
    problem = run.problem.name.removeprefix("ka_explore.toy:") or "MODULE:FUNCTION"
    folder = shlex.quote(f"runs/{run.name}")
    chosen = options + differing(run.config, type(run.config)())
    return f"ka-explore run {problem} {about['method']} --folder {folder} --seed {run.seed}{chosen}"


def changed(run: Run) -> str:
    """The options that are not the defaults."""
    return differing(run.config, type(run.config)()).replace(" --set ", ", ").removeprefix(", ") or "defaults"


def differing(config: TrainingConfig, other: TrainingConfig) -> str:
    """The options in which one config differs from another, as they are typed."""
    pairs = ((field, getattr(config, field.name)) for field in options_of(type(config)).values())
    return "".join(f" --set {f.name}={typed(value)}" for f, value in pairs if value != getattr(other, f.name))


def tables(comparison: Comparison) -> dict[str, Any]:
    """The comparison as rows of text; accuracies in percent."""
    first = comparison.entries[0]
    head = ["run", *(f"joint ({task})" for task in first.joint), *(f"within {t}" for t in first.within)]
    head += [*(f"agrees with {t}" for t in first.agreement), "seconds", "parameters"]
    rows = []
    for entry in comparison.entries:
        name = entry.name + (" — oracle: trained on true labels" if entry.uses_labels else "")
        shares = [*entry.joint.values(), *entry.within.values(), *entry.agreement.values()]
        rows.append([name, *(f"{100 * v:.1f}" for v in shares), f"{entry.seconds:.1f}", f"{entry.parameters:,}"])
    reference = comparison.references
    blank = ["–"] * (len(first.agreement) + 2)
    own = [f"{100 * v:.1f}" for v in reference.teachers.values()]
    rows.append(["the teachers side by side", *(f"{100 * v:.1f}" for v in reference.ensemble.values()), *own, *blank])
    rows.append(
        ["the teachers, routed by the true class", *(f"{100 * v:.1f}" for v in reference.routed.values()), *own, *blank]
    )
    return {"head": head, "rows": rows}


def figures_of(runs: Sequence[Run]) -> dict[str, Figure]:
    """The pictures that these runs allow."""
    figures = {}
    names = names_of(runs)
    trained = {name: run.history() for name, run in zip(names, runs, strict=True) if run.step}
    terms = list(dict.fromkeys(term for rows in trained.values() for term in rows[-1]["terms"]))
    if terms:
        figure = Figure(figsize=(10, 3.2 * ((len(terms) + 1) // 2)), layout="constrained")
        for place, term in enumerate(terms):
            ax = figure.add_subplot((len(terms) + 1) // 2, 2, place + 1)
            draw_history(trained, term, ax)  # of all runs, so that each keeps its colour
        figures["terms of the loss"] = figure
    for name, run in zip(names, runs, strict=True):
        snapshots = [s for s in stored(run) if any(name.startswith("common/") for name in s.arrays)]
        if snapshots:
            figures[f"common space of {name}"] = common_space(snapshots[0], snapshots[-1])
            figure = Figure(figsize=(6, 3.6), layout="constrained")
            draw(reconstruction_error(snapshots[-1]), figure.add_subplot())
            figures[f"reconstruction of {name}"] = figure
    return figures


def names_of(runs: Sequence[Run]) -> list[str]:
    """The runs' names; where two have the same, with their places behind them."""
    names = [run.name for run in runs]
    return [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names, start=1)]


def file_name(text: str) -> str:
    """A text as part of a file's name on any system."""
    return re.sub(r"[^\w-]+", "-", text).strip("-")[:60]


def stored(run: Run) -> list[Snapshot]:
    """The first stored snapshot up to the cursor, and how things are now."""
    steps = [step for step in run.store.snapshot_steps() if step < run.step]
    return [run.store.load_snapshot(step) for step in steps[:1]] + [run.snapshot()]


def common_space(first: Snapshot, last: Snapshot) -> Figure:
    """The common space at two steps, side by side, drawn with the last one's axes."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    basis = fit_basis(last)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    draw(pca(first, basis), left)
    legend = left.get_legend()
    if legend is not None and last.labels:
        legend.remove()  # the classes stand once, on the right
    draw(pca(last, basis), right)
    return figure


def demo_figure(run: Run, result: Trial) -> Figure:
    """One picture for the whole demonstration: the common space before and after, the terms, the accuracies."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    above, below = halves
    snapshots = stored(run)
    basis = fit_basis(snapshots[-1])
    left, right = above.subplots(1, 2, sharex=True, sharey=True)
    draw(pca(snapshots[0], basis), left)
    if left.get_legend() is not None:
        left.get_legend().remove()
    draw(pca(snapshots[-1], basis), right)
    terms, within, joint = below.subplots(1, 3)
    rows = run.history()
    for place, term in enumerate(("soft", "mmd", "reconstruction")):
        draw_history({term: rows}, term, terms)
        terms.lines[-1].set(color=(STUDENT, "#0072B2", "#D55E00")[place], linestyle=("-", "--", ":")[place], label=term)
    terms.set(title="the three terms", ylabel="value (soft in nats)")
    terms.legend(fontsize=8)
    draw_within(result, within)
    draw_joint(result, joint)
    return figure


def draw_within(result: Trial, ax: Any) -> None:
    """Each teacher and the student within the teacher's own classes, a line a seed."""
    label = next(iter(result.entries))
    teachers = list(result.references[result.seeds[0]].teachers)
    for place, teacher in enumerate(teachers):
        colour = colour_of(teacher, teachers)
        for seed in result.seeds:
            pair = result.references[seed].teachers[teacher], result.entries[label][seed].within[teacher]
            ax.plot((place - 0.2, place + 0.2), [100 * v for v in pair], color=colour, lw=1.4)
            ax.plot(
                place - 0.2, 100 * pair[0], "s", color=colour, ms=7, label="teacher" if place == seed == 0 else None
            )
            ax.plot(
                place + 0.2, 100 * pair[1], "o", color=STUDENT, ms=7, label="student" if place == seed == 0 else None
            )
    ax.set_xticks(range(len(teachers)), teachers)
    ax.set(title="within the teacher's own classes", ylabel="accuracy (%)", xlim=(-0.6, len(teachers) - 0.4))
    ax.legend(fontsize=8)


def draw_joint(result: Trial, ax: Any) -> None:
    """Joint accuracy by method, a dot a seed and the mean as a line."""
    labels = list(result.entries)
    for place, label in enumerate(labels):
        values = [100 * float(np.mean(list(result.entries[label][s].joint.values()))) for s in result.seeds]
        oracle = result.entries[label][result.seeds[0]].uses_labels
        ax.plot(values, [place] * len(values), "o", color="#D55E00" if oracle else "#0072B2", ms=6, alpha=0.8)
        ax.plot([np.mean(values)] * 2, [place - 0.28, place + 0.28], color="#222222", lw=2)
    ax.set_yticks(range(len(labels)), [label.replace(" (", "\n(") for label in labels])
    ax.invert_yaxis()
    ax.set(title="all ten classes", xlabel="joint accuracy (%), a dot a seed")
    ax.grid(axis="x", color="#dddddd", lw=0.6)


def picture(figure: Figure) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
