"""What a report tells of a run's snapshots, section by section: what comes back, the common space, the answers."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from ka_explore.errors import InputError
from ka_explore.plots import STUDENT, colour_of, draw_curves
from ka_explore.plots.comparing import run_colour
from ka_explore.probes import PROBES
from ka_explore.probes.reconstruction import worst_reconstructed
from ka_explore.probes.results import Curves, Diagram, Points, Result
from ka_explore.probes.similarity import mmd, mmd_curve
from ka_explore.report.figures import absent, coloured, drawn, height_of, lone, picture, square, table_of
from ka_explore.report.images import images_shown, misunderstood
from ka_explore.report.parts import Folded, Part, Table, missing, quiet
from ka_explore.report.run_report import KEEP, RunReport
from ka_explore.run.snapshot import Snapshot

WORST = 8  # images shown
LAYERS = 16  # of a CKA matrix: more cannot be read

Drawings = list[Result | Callable[..., object]]


def reconstruction(run_report: RunReport) -> list[Part]:
    """Reconstruction errors over the steps, by class and channel."""
    if not run_report.has("error"):
        return [absent(run_report, "reconstructs no teacher's feature", "common_feature and layer_wise do")]
    if run_report.having("error") is None:
        often = "take them more often, say snapshot_every=1 (--snapshots 1)."
        return [missing(f"Snapshots show no stage that reconstructs: {often}")]
    text = "0 is perfect, 1 is no better than the feature's mean, so that teachers can be compared."
    parts: list[Part] = [quiet(text)]
    curves = run_report.over_steps("reconstruction_error")
    if curves is None:
        parts += [lone(), drawn("reconstruction error", run_report.latest("reconstruction_error"))]
    else:
        parts.append(picture("reconstruction error over the steps", coloured(run_report, curves)))
    parts.append(drawn("reconstruction error by class", run_report.latest("error_by_class")))
    if run_report.has("channel_error"):
        by_channel = drawn("reconstruction error by channel", run_report.latest("error_by_channel"))
        parts.append(Folded("by channel", [by_channel]))
    return parts


def worst(run_report: RunReport) -> list[Part]:
    """The images worst reconstructed, or worst understood, with what all nets say of them."""
    reconstructed = run_report.having("error")
    if reconstructed is not None:
        return worst_of(run_report, reconstructed)
    none = "No snapshot of a stage that reconstructs, "
    chosen, why = misunderstood(run_report.last, WORST)
    if not chosen:
        return [missing(none + "and the student is as sure as the teachers of every image.")]
    return [
        quiet(none + "so these are the images where the student gives least probability to what a teacher is sure of."),
        images_shown(run_report.run, run_report.last, chosen, why),
    ]


def worst_of(run_report: RunReport, snapshot: Snapshot) -> list[Part]:
    """The images of a snapshot that are worst reconstructed."""
    head, rows = worst_reconstructed(snapshot, count=WORST).table()
    if not rows:
        return [missing("No reconstruction error is finite.")]
    where = {str(image): i for i, image in enumerate(snapshot.index)}
    errors = [{net: f"error {error:.2g}" for net, error in zip(head[1:], row[1:], strict=True)} for row in rows]
    why = [f"error {np.mean(row[1:]):.2g}" for row in rows]
    return [
        quiet(
            f"Of the {len(snapshot.index)} images of the probe set, at step {snapshot.step}, worst first by the mean "
            "over teachers. Each says its best label with its probability; a teacher always chooses one of its own."
        ),
        images_shown(run_report.run, snapshot, [where[row[0]] for row in rows], why, errors),
    ]


def alignment(run_report: RunReport) -> list[Part]:
    """Whether the student's points lie on the teachers': pairs, classes and means, over the steps and at the last."""
    if not run_report.has("common"):
        return [absent(run_report, "has no common space, so nothing to align in", "common_feature has")]
    text = (
        "In the common space, on the probe set. pairs found: seen from the student's point of an image, the nearest of "
        "a teacher's points is the same image's. class neighbours: it is of the image's class. gap: how far the means "
        "of student and teacher are apart, in spreads. Clouds may lie upon each other, with no gap and a small MMD, "
        "and hardly a pair be found."
    )
    parts: list[Part] = [quiet(text)]
    names, one = ("pairs_found", "class_neighbours"), {"neighbours": (1,)}
    nearest = {name.replace("_", " "): c for name in names if (c := run_report.over_steps(name, **one)) is not None}
    means = run_report.over_steps("gap")
    if means is None:
        parts.append(lone())
    else:
        drawings: Drawings = [coloured(run_report, replace(c, title=title)) for title, c in nearest.items()]
        parts.append(picture("alignment over the steps", drawings, "; ".join(c.title for c in nearest.values())))
        parts.append(Folded("the gap over the steps", [picture("gap over the steps", coloured(run_report, means))]))
    return [*parts, *(table_of(run_report.latest(name)) for name in (*names, "gap"))]


def discrepancy(run_report: RunReport) -> list[Part]:
    """The MMD a bandwidth, at the first and the last snapshot, with the floor."""
    having = [s for s in run_report.snapshots if mmd.fits(s.arrays)]
    if not having:
        return [absent(run_report, "has no common space, so no MMD", "common_feature has")]
    first, last = mmd_curve(having[0]), mmd_curve(having[-1])
    shown = {f"step {curves.step}": curves for curves in (first, last)}  # one line where both are one snapshot
    colours = {f"step {curves.step}": run_colour(i) for i, curves in enumerate((first, last))}

    def panel(teacher: str) -> Curves:
        x, y = ({step: getattr(c, axis)[teacher] for step, c in shown.items()} for axis in ("x", "y"))
        return replace(last, x=x, y=y, title=f"student and {teacher}", note="", step=None)

    teachers = [teacher for teacher in last.x if teacher in first.x]
    panels = [lambda ax, t=teacher: draw_curves(panel(t), ax, colours=colours) for teacher in teachers]
    text = quiet("A bandwidth whose value stays on the floor pulls at nothing, whatever its weight.")
    shape = picture("MMD by bandwidth", panels, last.note, height=3.0)
    return [text, shape, Folded("as a table", [table_of(mmd(having[-1]))])]


def likeness(run_report: RunReport) -> list[Part]:
    """The CKA matrix of the layers that matter most."""
    matrix = run_report.latest("cka")
    kept, count = readable(matrix.rows, run_report.nets), len(matrix.rows)
    note = matrix.note + (f"; {len(kept)} of {count} layers shown: each net's last" if len(kept) < count else "")
    names = tuple(matrix.rows[i] for i in kept)
    small = replace(matrix, values=matrix.values[np.ix_(kept, kept)], rows=names, columns=names, note=note)
    shape = picture("CKA between layers", small, width=8.0, height=min(2.2 + 0.34 * len(kept), 7.2))
    return [quiet("1: the same up to rotation and scale. About 0: nothing in common."), shape]


def readable(names: Sequence[str], nets: Sequence[str]) -> list[int]:
    """Indices of the layers shown: the last ones of every net, and the common space."""
    owners: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        net = next((n for n in sorted(nets, key=len, reverse=True) if name.startswith(n + " ")), "")
        owners.setdefault(net, []).append(i)
    return sorted(i for mine in owners.values() for i in mine[-max(LAYERS // max(len(owners), 1), 1) :])


def directions(run_report: RunReport) -> list[Part]:
    """Effective rank, dead channels and angles in the common space, else of the student's features."""
    space = "common" if run_report.has("common") else "feature"
    rank = run_report.latest("effective_rank", space=space).values
    dead = run_report.latest("dead_channels", space=space).values
    last = {name.split("/")[0]: name for name in rank}  # by net and layer: what is later takes its net's place
    chosen = [last[net] for net in run_report.nets if net in last] if space == "feature" else list(rank)
    rows = [[name.replace("/", " "), f"{rank[name]:.1f}", f"{100 * dead.get(name, np.nan):.0f} %"] for name in chosen]
    where = "the common space" if space == "common" else "each net's last named layer (there is no common space)"
    text = f"In {where}. A rank near 1 is a collapse; a dead channel says the same of every image."
    parts: list[Part] = [quiet(text), Table(["net", "effective rank (directions)", "dead channels"], rows)]
    if space == "common":
        curves, spectrum = run_report.over_steps("effective_rank"), run_report.latest("spectrum")
        shown = [spectrum] if curves is None else [coloured(run_report, curves), spectrum]
        parts.append(picture("directions in the common space", shown))
        parts.append(Folded("angles between the nets' subspaces", [table_of(run_report.latest("principal_angles"))]))
    return parts


def gradients(run_report: RunReport) -> list[Part]:
    """Sizes and cosines of the terms' gradients."""
    if not run_report.has("gradient"):
        return [missing(f"No gradient was recorded: they are part of every snapshot of a stage that trains. {KEEP}")]
    shown, curves = [run_report.latest("gradient_size")], None
    with suppress(InputError):  # no soft target to compare with
        shown.append(run_report.latest("gradient_cosine"))
    with suppress(InputError):
        curves = run_report.over_steps("gradient_ratio")
    width, height = 8.6 if len(shown) > 1 else 5.0, height_of(shown[0], least=2.6)
    return [
        quiet(
            "At the student's feature, weighted as in the loss. A term many times the soft target's and across it "
            "(cosine 0) moves the student elsewhere than to the teachers' answers."
        ),
        picture("size and direction of the gradients", shown, width=width, height=height),
        *([] if curves is None else pulls(curves)),
    ]


def pulls(curves: Curves) -> list[Part]:
    """Gradients over the steps on a log axis; terms without any are named instead."""
    values = {term: np.where(np.asarray(y) > 0, y, np.nan) for term, y in curves.y.items()}
    pulling = {term: y for term, y in values.items() if np.isfinite(y).any()}
    silent = [term for term in values if term not in pulling]
    parts: list[Part] = []
    if len(pulling) > 1:  # the soft target's alone is always once its own
        shown = replace(curves, x={term: curves.x[term] for term in pulling}, y=pulling, log=(False, True))
        parts.append(picture("size of the gradients over the steps", shown))
    if silent:
        parts.append(quiet(f"No pull at the student's feature: {', '.join(silent)}."))
    return parts


def agreement(run_report: RunReport) -> list[Part]:
    """How often the student says what a teacher says, over the steps, by class, and what is taken for what."""
    parts: list[Part] = [quiet("On the probe set, the student's answer within each teacher's classes.")]
    labelled, teachers = bool(run_report.last.labels), run_report.last.teachers
    curves = run_report.over_steps("agreement")
    if curves is None:
        parts += [lone(), table_of(run_report.latest("agreement"))]
    else:
        drawings: Drawings = [coloured(run_report, replace(curves, title="agreement"))]
        accuracy = run_report.over_steps("accuracy") if labelled else None
        if accuracy is not None:
            lines = replace(accuracy, title="accuracy")
            colours = dict.fromkeys(lines.x, STUDENT)
            colours |= {f"within {t}": colour_of(t, run_report.nets) for t in teachers}
            drawings.append(lambda ax: draw_curves(lines, ax, colours=colours))
        parts.append(picture("agreement over the steps", drawings))
    by_class = replace(run_report.latest("agreement_by_class"), unit="share of images")
    each = {t: run_report.latest("confusion_with", teacher=t) for t in teachers[:5]}
    inside: list[Part] = [square(f"student against {t}", result) for t, result in each.items()]
    if labelled:
        inside.append(square("true class and answer", run_report.latest("confusion")))
    return [*parts, drawn("agreement by class", by_class), Folded("what is taken for what", inside)]


def calibration(run_report: RunReport) -> list[Part]:
    """Reliability, expected calibration error, entropies."""
    both = [run_report.latest("reliability"), run_report.latest("entropies")]
    errors = [table_of(run_report.latest("calibration_error"))] if run_report.last.labels else []
    return [picture("reliability and entropy", both), *errors]


def choosing(run_report: RunReport) -> list[Part]:
    """Who claims which image, who was selected, what bridges leave: where a method has these."""
    text = "Mean share of an image that each teacher's classes have in the joint softmax of its task."
    parts: list[Part] = [quiet(text), table_of(run_report.latest("responsibility"))]
    if run_report.has("weight"):
        parts.append(drawn("who teaches which class", run_report.latest("selection")))
    if run_report.has("bridge"):
        parts.append(drawn("what transfer bridges leave", run_report.latest("bridges")))
    return parts


def others(run_report: RunReport) -> list[Part]:
    """The probes that somebody added from outside this package: each as its table, or its picture where it has none."""
    parts: list[Part] = []
    for name, probe in PROBES.items():
        if not probe.__module__.startswith("ka_explore."):
            try:
                result = run_report.latest(name)
            except InputError:  # of stages that this run does not have
                continue
            shown = drawn(name.replace("_", " "), result)
            wide = isinstance(result, (Points, Curves, Diagram))
            parts.append(shown if wide else Folded(shown.name, [shown, table_of(result)]))
    return parts
