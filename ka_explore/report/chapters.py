"""What is told of one run, section by section."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from ka_explore.errors import InputError
from ka_explore.plots import STUDENT, colour_of, draw, draw_curves, draw_terms
from ka_explore.plots.boxes import natural_size
from ka_explore.plots.comparing import run_colour
from ka_explore.probes import PROBES
from ka_explore.probes.agreement import confusion_with
from ka_explore.probes.gradients import gradient_cosine, gradient_ratio, gradient_size
from ka_explore.probes.reconstruction import error_by_channel, error_by_class, reconstruction_error, worst_reconstructed
from ka_explore.probes.results import Curves, Matrix, Result, Scalars
from ka_explore.probes.similarity import cka, mmd, mmd_curve
from ka_explore.report.facts import options_section
from ka_explore.report.figures import height_of, picture, printed
from ka_explore.report.images import exhibits, misunderstood
from ka_explore.report.parts import Card, Chapter, Code, Folded, Gallery, Part, Picture, Section, Table, Words
from ka_explore.report.render import absent, coloured, drawn, fell_between, lone, square, table_of
from ka_explore.report.run_report import KEEP, RunReport, without
from ka_explore.report.space import space_parts
from ka_explore.run.reproduce import kept_as
from ka_explore.run.snapshot import Snapshot

WORST = 8  # images shown
LAYERS = 16  # of a CKA matrix: more cannot be read

Build = Callable[[RunReport], list[Part]]


def chapter_of(run_report: RunReport, *, titled: bool, told: Callable[[str], None]) -> Chapter:
    """All sections of a run.

    Args:
        run_report: the run.
        titled: whether the run's name stands above, because there are several.
        told: called with the title of every section that is done.
    """
    sections = []
    for title, build in SECTIONS.items():
        parts = build(run_report)
        if parts:
            sections.append(Section(title, parts))
        told(title)
    if run_report.notes:
        sections.append(Section("Left out", [Words(note) for note in run_report.notes]))
    return Chapter(f"Run {run_report.name}" if titled else "", sections)


# The diagnosis


def findings(run_report: RunReport) -> list[Part]:
    """What the diagnosis says, worst first."""
    from ka_explore.diagnosis import diagnose

    found = diagnose(run_report.run)
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
                inside.append(Code(attempt.command(kept_as(run_report.run.name, run_report.run.folder))))
        parts.append(Card(finding.grade, finding.title, inside))
    if found.checked:
        rows = [[name.replace("_", " "), what] for name, what in found.checked.items()]
        parts.append(
            Folded(f"what was checked ({len(rows)})", [Table(["check", "value, and from where it warns"], rows)])
        )
    if found.skipped:
        rows = [[name.replace("_", " "), why] for name, why in found.skipped.items()]
        parts.append(Folded(f"what could not be checked ({len(rows)})", [Table(["check", "why"], rows)]))
    return parts


# What is where


def diagrams(run_report: RunReport) -> list[Part]:
    """The amalgamation as it stands, and the other stages."""
    from ka_explore.report.diagram import diagram

    run = run_report.run
    stages = [stage.name for stage in run.method.stages()]
    now = run.stage.name if run.stage else None

    def one(stage: str | None) -> Picture:
        shape = diagram(run, stage)
        figure = Figure(figsize=natural_size(shape, width=9.2), layout="constrained")
        draw(shape, figure.add_subplot())
        return printed(shape.title, figure)

    caption = "Frozen nets are grey and dashed, what trains in this stage has a bold outline, a loss is round."
    parts: list[Part] = [Words(caption, "quiet"), one(now)]
    others = [stage for stage in dict.fromkeys(stages) if stage != now][-5:]
    if others:
        parts.append(Folded(f"the other stages ({len(others)} of {len(set(stages)) - 1})", [one(s) for s in others]))
    return parts


def terms(run_report: RunReport) -> list[Part]:
    """The terms of the loss over the steps."""
    rows = run_report.run.history()
    if not any(row["terms"] for row in rows):
        why = "no step was done yet" if run_report.run.steps else "this method trains nothing"
        return [Words(f"There is no curve: {why}.", "missing")]
    return [
        Words("The values before weighting, as each batch gave them; the weights stand in the diagram.", "quiet"),
        picture("terms of the loss", lambda ax: draw_terms(rows, ax), height=3.8),
    ]


# What comes back


def reconstruction(run_report: RunReport) -> list[Part]:
    """Reconstruction errors over the steps, by class and channel."""
    if not run_report.has("error"):
        return [absent(run_report, "reconstructs no teacher's feature", "common_feature and layer_wise do")]
    if run_report.having("error") is None:
        return [fell_between("no stage that reconstructs")]
    parts: list[Part] = [
        Words("0 is perfect, 1 is no better than the feature's mean, so that teachers can be compared.", "quiet")
    ]
    curves = run_report.over_steps(reconstruction_error)
    if curves is None:
        parts.append(lone())
        parts.append(drawn("reconstruction error", run_report.latest(reconstruction_error)))
    else:
        parts.append(picture("reconstruction error over the steps", coloured(run_report, curves)))
    by_class = run_report.latest(error_by_class)
    parts.append(drawn("reconstruction error by class", by_class))
    if run_report.has("channel_error"):
        parts.append(
            Folded("by channel", [drawn("reconstruction error by channel", run_report.latest(error_by_channel))])
        )
    return parts


def worst(run_report: RunReport) -> list[Part]:
    """The images worst reconstructed, or worst understood, with what all nets say of them."""
    reconstructed = run_report.having("error")
    if reconstructed is not None:
        return worst_of(run_report, reconstructed)
    last = run_report.last
    places, why = misunderstood(last, WORST)
    if not places:
        return [
            Words(
                "No snapshot of a stage that reconstructs, and the student is as sure as the teachers of every image.",
                "missing",
            )
        ]
    return [
        Words(
            "No snapshot of a stage that reconstructs, so these are the images where the student gives least "
            "probability to what a teacher is sure of.",
            "quiet",
        ),
        Gallery(exhibits(run_report.run, last, places, why)),
    ]


def worst_of(run_report: RunReport, snapshot: Snapshot) -> list[Part]:
    """The images of a snapshot that are worst reconstructed."""
    ranked = worst_reconstructed(snapshot, count=WORST)
    if not ranked.rows:
        return [Words("No reconstruction error is finite.", "missing")]
    where = {int(image): place for place, image in enumerate(snapshot.index)}
    places = [where[int(row)] for row in ranked.rows]
    why = [f"error {np.mean(row):.2g}" for row in ranked.values]
    errors = [
        {teacher: f"error {value:.2g}" for teacher, value in zip(ranked.columns, row, strict=True)}
        for row in ranked.values
    ]
    return [
        Words(
            f"Of the {len(snapshot.index)} images of the probe set, at step {snapshot.step}, worst first by the mean "
            "over teachers. Each says its best label with its probability; a teacher always chooses one of its own.",
            "quiet",
        ),
        Gallery(exhibits(run_report.run, snapshot, places, why, errors)),
    ]


# The common space


def discrepancy(run_report: RunReport) -> list[Part]:
    """The MMD a bandwidth, at the first and the last snapshot, with the floor."""
    having = [s for s in run_report.snapshots if any(n.startswith(("mmd/", "common/")) for n in s.arrays)]
    if not having:
        return [absent(run_report, "has no common space, so no MMD", "common_feature has")]
    first, last = mmd_curve(having[0]), mmd_curve(having[-1])
    steps = [f"step {snapshot.step}" for snapshot in (having[0], having[-1])]
    colours = {step: run_colour(i) for i, step in enumerate(steps)}

    def panel(teacher: str) -> Curves:
        shown = dict(zip(steps, (first, last), strict=True))  # one line where both are one snapshot
        x, y = ({step: getattr(c, axis)[teacher] for step, c in shown.items()} for axis in ("x", "y"))
        return without(last, x=x, y=y, title=f"student and {teacher}", note="", step=None)

    teachers = [teacher for teacher in last.x if teacher in first.x]
    panels = [lambda ax, t=teacher: draw_curves(panel(t), ax, colours=colours) for teacher in teachers]
    return [
        Words("A bandwidth whose value stays on the floor pulls at nothing, whatever its weight.", "quiet"),
        picture("MMD by bandwidth", panels, last.note, height=3.0),
        Folded("as a table", [table_of(mmd(having[-1]))]),
    ]


def likeness(run_report: RunReport) -> list[Part]:
    """The CKA matrix of the layers that matter most."""
    matrix = run_report.latest(cka)
    kept = readable(matrix.rows, run_report.nets)
    note = matrix.note
    if len(kept) < len(matrix.rows):
        note += f"; {len(kept)} of {len(matrix.rows)} layers shown: each net's last"
    names = tuple(matrix.rows[i] for i in kept)
    small = without(matrix, values=matrix.values[np.ix_(kept, kept)], rows=names, columns=names, note=note)
    return [
        Words("1: the same up to rotation and scale. About 0: nothing in common.", "quiet"),
        picture("CKA between layers", small, width=8.0, height=min(2.2 + 0.34 * len(kept), 7.2)),
    ]


def readable(names: Sequence[str], nets: Sequence[str], most: int = LAYERS) -> list[int]:
    """Places of the layers shown: the last ones of every net, and the common space."""
    owners: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        net = next((n for n in sorted(nets, key=len, reverse=True) if name.startswith(n + " ")), "")
        owners.setdefault(net, []).append(place)
    each = max(most // max(len(owners), 1), 1)
    return sorted(place for places in owners.values() for place in places[-each:])


def directions(run_report: RunReport) -> list[Part]:
    """Effective rank, dead channels and angles in the common space, else of the student's features."""
    space = "common" if run_report.has("common") else "feature"
    rank = run_report.latest(PROBES["effective_rank"], space=space)
    dead = run_report.latest(PROBES["dead_channels"], space=space)
    assert isinstance(rank, Scalars)
    assert isinstance(dead, Scalars)
    chosen = list(rank.values)
    if space == "feature":  # by net and layer: the last of each
        chosen = [[name for name in rank.values if name.split("/")[0] == net][-1:] for net in run_report.nets]  # type: ignore[misc]
        chosen = [name for names in chosen for name in names]
    rows = [
        [name.replace("/", " "), f"{rank.values[name]:.1f}", f"{100 * dead.values.get(name, np.nan):.0f} %"]
        for name in chosen
    ]
    where = "the common space" if space == "common" else "each net's last named layer (there is no common space)"
    parts: list[Part] = [
        Words(f"In {where}. A rank near 1 is a collapse; a dead channel says the same of every image.", "quiet"),
        Table(["net", "effective rank (directions)", "dead channels"], rows),
    ]
    if space == "common":
        curves = run_report.over_steps(PROBES["effective_rank"])
        shown: list[Result | Callable[..., object]] = [] if curves is None else [coloured(run_report, curves)]
        spectrum = run_report.latest(PROBES["spectrum"])
        parts.append(picture("directions in the common space", [*shown, spectrum]))
        angles = run_report.latest(PROBES["principal_angles"])
        parts.append(Folded("angles between the nets' subspaces", [table_of(angles)]))
    return parts


# What moves the student


def gradients(run_report: RunReport) -> list[Part]:
    """Sizes and cosines of the terms' gradients."""
    if not run_report.has("gradient"):
        return [
            Words(
                f"No gradient was recorded: they are part of every snapshot of a stage that trains. {KEEP}", "missing"
            )
        ]
    parts: list[Part] = [
        Words(
            "At the student's feature, weighted as in the loss. A term many times the soft target's and across it "
            "(cosine 0) moves the student elsewhere than to the teachers' answers.",
            "quiet",
        )
    ]
    size = run_report.latest(gradient_size)
    height = height_of(size, least=2.6)
    try:
        cosine: Matrix | None = run_report.latest(gradient_cosine)
    except InputError:
        cosine = None
    shown = [size] if cosine is None else [size, cosine]
    parts.append(picture("size and direction of the gradients", shown, width=8.6 if cosine else 5.0, height=height))
    try:
        curves = run_report.over_steps(gradient_ratio)
    except InputError:
        curves = None
    if curves is not None:
        parts += pulls(curves)
    return parts


def pulls(curves: Curves) -> list[Part]:
    """Gradients over the steps on a log axis; terms without any are named instead."""
    values = {term: np.where(np.asarray(y) > 0, y, np.nan) for term, y in curves.y.items()}
    pulling = {term: y for term, y in values.items() if np.isfinite(y).any()}
    silent = [term for term in values if term not in pulling]
    parts: list[Part] = []
    if len(pulling) > 1:  # the soft target's alone is always once its own
        shown = without(curves, x={term: curves.x[term] for term in pulling}, y=pulling, log=(False, True))
        parts.append(picture("size of the gradients over the steps", shown))
    if silent:
        parts.append(Words(f"No pull at the student's feature: {', '.join(silent)}.", "quiet"))
    return parts


# The answers


def agreement(run_report: RunReport) -> list[Part]:
    """How often the student says what a teacher says, over the steps, by class, and what is taken for what."""
    parts: list[Part] = [Words("On the probe set, the student's answer within each teacher's classes.", "quiet")]
    curves = run_report.over_steps(PROBES["agreement"])
    if curves is None:
        parts.append(lone())
        parts.append(table_of(run_report.latest(PROBES["agreement"])))
    else:
        drawings: list[Result | Callable[..., object]] = [coloured(run_report, without(curves, title="agreement"))]
        accuracy = run_report.over_steps(PROBES["accuracy"]) if run_report.last.labels else None
        if accuracy is not None:
            teachers = {f"within {t}": colour_of(t, run_report.nets) for t in run_report.last.teachers}
            colours = {line: teachers.get(line, STUDENT) for line in accuracy.x}
            lines = without(accuracy, title="accuracy")
            drawings.append(lambda ax: draw_curves(lines, ax, colours=colours))
        parts.append(picture("agreement over the steps", drawings))
    by_class = run_report.latest(PROBES["agreement_by_class"])
    parts.append(drawn("agreement by class", without(by_class, unit="share of images")))
    inside: list[Part] = [
        square(f"student against {teacher}", run_report.latest(partial(confusion_with, teacher=teacher)))
        for teacher in run_report.last.teachers[:5]
    ]
    if run_report.last.labels:
        inside.append(square("true class and answer", run_report.latest(PROBES["confusion"])))
    parts.append(Folded("what is taken for what", inside))
    return parts


def calibration(run_report: RunReport) -> list[Part]:
    """Reliability, expected calibration error, entropies."""
    parts: list[Part] = [
        picture(
            "reliability and entropy",
            [run_report.latest(PROBES["reliability"]), run_report.latest(PROBES["entropies"])],
        )
    ]
    if run_report.last.labels:
        parts.append(table_of(run_report.latest(PROBES["calibration_error"])))
    return parts


def choosing(run_report: RunReport) -> list[Part]:
    """Who claims which image, who was selected, what bridges leave: where a method has these."""
    parts: list[Part] = [
        Words("Mean share of an image that each teacher's classes have in the joint softmax of its task.", "quiet"),
        table_of(run_report.latest(PROBES["responsibility"])),
    ]
    if run_report.has("weight"):
        parts.append(drawn("who teaches which class", run_report.latest(PROBES["selection"])))
    if run_report.has("bridge"):
        parts.append(drawn("what transfer bridges leave", run_report.latest(PROBES["bridges"])))
    return parts


def configuration(run_report: RunReport) -> list[Part]:
    """All options."""
    return list(options_section(run_report.run).parts)


SECTIONS: dict[str, Build] = {
    "Findings": findings,
    "The amalgamation": diagrams,
    "Terms of the loss": terms,
    "Embeddings over the steps": space_parts,
    "Reconstruction": reconstruction,
    "Worst images": worst,
    "MMD by bandwidth": discrepancy,
    "Likeness of layers (CKA)": likeness,
    "Rank and dead channels": directions,
    "Gradients": gradients,
    "Agreement with the teachers": agreement,
    "Calibration": calibration,
    "Whose image it is": choosing,
    "Configuration": configuration,
}
"""Title → what stands there; a section without parts is left out."""
