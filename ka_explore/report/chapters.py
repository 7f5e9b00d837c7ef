"""What is told of one run, section by section."""

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from ka_explore.plots import draw, draw_terms
from ka_explore.plots.boxes import natural_size
from ka_explore.report import sections
from ka_explore.report.facts import configuration
from ka_explore.report.figures import drawn, picture, printed
from ka_explore.report.parts import Card, Chapter, Code, Folded, Part, Picture, Section, Table, Words, missing, quiet
from ka_explore.report.run_report import RunReport
from ka_explore.report.space import space_parts
from ka_explore.report.stored import NEEDS, StoredRun
from ka_explore.run.reproduce import kept_as

Build = Callable[[RunReport], list[Part]]


def chapter_of(run_report: RunReport, bar: Any, *, titled: bool) -> Chapter:
    """All sections of a run, under its name if it is one of several; a bar is told of every one."""
    sections = []
    for title, build in SECTIONS.items():
        if parts := build(run_report):
            sections.append(Section(title, parts))
        bar.set_postfix_str(f"{run_report.name}: {title}", refresh=False)
        bar.update()
    if run_report.notes:
        sections.append(Section("Left out", [Words(note) for note in run_report.notes]))
    return Chapter(f"Run {run_report.name}" if titled else "", sections)


def findings(run_report: RunReport) -> list[Part]:
    """What the diagnosis says, worst first."""
    from ka_explore.diagnosis import diagnose

    run = run_report.run
    found = diagnose(run.store if isinstance(run, StoredRun) else run)
    parts: list[Part] = [Words(found.summary)]
    for finding in found:
        inside: list[Part] = []
        if finding.because:
            inside.append(Words(f"Probably because of: {finding.because}"))
        if finding.evidence:
            rows = [[what, v if isinstance(v, str) else f"{v:.3g}"] for what, v in finding.evidence.items()]
            inside.append(Table(["evidence", "value"], rows))
        if finding.result is not None:
            inside.append(drawn(f"{finding.name} {finding.subject}".strip(), finding.result))
        if finding.why:
            inside.append(Words(f"Why it hurts: {finding.why}"))
        for attempt in finding.attempts:
            inside.append(Words(f"Try: {attempt.text}"))
            if attempt.python():
                inside.append(Code(attempt.python()))
            if attempt.command():
                inside.append(Code(attempt.command(kept_as(run.name, run.folder))))
        parts.append(Card(finding.grade, finding.title, inside))
    for checks, title, head in (
        (found.checked, "what was checked", "value, and from where it warns"),
        (found.skipped, "what could not be checked", "why"),
    ):
        if checks:
            rows = [[name.replace("_", " "), what] for name, what in checks.items()]
            parts.append(Folded(f"{title} ({len(rows)})", [Table(["check", head], rows)]))
    return parts


def diagrams(run_report: RunReport) -> list[Part]:
    """The amalgamation as it stands, and the other stages."""
    run = run_report.run
    if isinstance(run, StoredRun):
        return [missing(NEEDS)]
    from ka_explore.report.diagram import diagram

    stages = [stage.name for stage in run.method.stages()]
    now = run.stage.name if run.stage else None

    def one(stage: str | None) -> Picture:
        shape = diagram(run, stage)
        figure = Figure(figsize=natural_size(shape, width=9.2), layout="constrained")
        draw(shape, figure.add_subplot())
        return printed(shape.title, figure)

    caption = "Frozen nets are grey and dashed, what trains in this stage has a bold outline, a loss is round."
    parts: list[Part] = [quiet(caption), one(now)]
    others = [stage for stage in dict.fromkeys(stages) if stage != now][-5:]
    if others:
        parts.append(Folded(f"the other stages ({len(others)} of {len(set(stages)) - 1})", [one(s) for s in others]))
    return parts


def terms(run_report: RunReport) -> list[Part]:
    """The terms of the loss over the steps."""
    rows = run_report.run.history()
    if not any(row["terms"] for row in rows):
        why = "no step was done yet" if run_report.run.steps else "this method trains nothing"
        return [missing(f"There is no curve: {why}.")]
    text = "The values before weighting, as each batch gave them; the weights stand in the diagram."
    return [quiet(text), picture("terms of the loss", lambda ax: draw_terms(rows, ax), height=3.8)]


SECTIONS: dict[str, Build] = {
    "Embeddings over the steps": space_parts,
    "Alignment": sections.alignment,
    "Findings": findings,
    "The amalgamation": diagrams,
    "Terms of the loss": terms,
    "Reconstruction": sections.reconstruction,
    "Worst images": sections.worst,
    "MMD by bandwidth": sections.discrepancy,
    "Likeness of layers (CKA)": sections.likeness,
    "Rank and dead channels": sections.directions,
    "Gradients": sections.gradients,
    "Agreement with the teachers": sections.agreement,
    "Calibration": sections.calibration,
    "Whose image it is": sections.choosing,
    "Probes of your own": sections.others,
    "Configuration": configuration,
}
"""Title → what stands there; a section without parts is left out."""
