"""The nets' features in the plane, over the steps: a film that is scrubbed on the page itself."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from ka_explore.errors import InputError, StoreError
from ka_explore.plots import draw_steps
from ka_explore.plots.film import film_fragment
from ka_explore.probes.axes import basis_of
from ka_explore.probes.clouds import Kind
from ka_explore.probes.colouring import colour
from ka_explore.probes.fitting import fit_basis
from ka_explore.probes.jobs import embed, kept
from ka_explore.probes.linear import laid
from ka_explore.probes.results import Points
from ka_explore.probes.samples import evenly
from ka_explore.probes.spaces import name_of, spaces, width_of
from ka_explore.probes.ways import NAMES
from ka_explore.report.figures import printed
from ka_explore.report.parts import Film, Part, Picture, Words, missing, quiet
from ka_explore.report.run_report import KEEP, RunReport
from ka_explore.run.snapshot import Snapshot
from ka_explore.run.store import Store

SAMPLES = 1500  # images drawn in a film at most
POINTS = 60_000  # of all frames together: some 700 kB of the page
NEIGHBOURHOODS = 8  # frames of t-SNE and UMAP, which take seconds each
STILLS = 4
CLASS_AXES = (
    "The same on class axes, which separate the classes that the teachers name best (no label was looked at to find "
    "them): do the student's points of a class lie on the teachers'?"
)


def space_parts(run_report: RunReport) -> list[Part]:
    """The film by PCA, stills on class axes, and the film by t-SNE or UMAP that was asked for or lies on the disk.

    Raises InputError where nothing can be drawn, and what drawing raises.
    """
    space, snapshots = what_to_draw(run_report.snapshots)
    parts: list[Part] = [Words(words_of(space))]
    if len(snapshots) < 2:
        parts.append(missing(f"There is only one snapshot of it, so nothing moves. {KEEP}"))
    parts.append(film_of(run_report, linear(run_report.stores, space, snapshots), snapshots, space, NAMES["pca"]))
    if space == "common":
        frames = linear(run_report.stores, space, snapshots, "class_axes")
        parts += [quiet(CLASS_AXES), stills_of(run_report, frames, snapshots, space, NAMES["class_axes"])]
    chosen, more = evenly(snapshots, NEIGHBOURHOODS), True
    for way in ("tsne", "umap"):
        asked = way == run_report.embedding
        film = embed(chosen, way, space).result(show=None) if asked else kept(chosen, way, space)
        if film is not None:
            parts.append(film_of(run_report, film, chosen, space, NAMES[way]))
            more = False
    if more:
        parts.append(
            quiet("t-SNE or UMAP as well, in seconds to minutes: ka-explore report … --embedding tsne (or umap).")
        )
    return parts


def what_to_draw(snapshots: Sequence[Snapshot]) -> tuple[str, list[Snapshot]]:
    """The common space, else the student's last feature, else the answers; and the snapshots that have it.

    Of a space that fewer than half of the snapshots have, not much can be seen: the next is taken.
    """
    drawable = [spaces(snapshot) for snapshot in snapshots]
    features = [space for space in drawable[-1] if space.startswith("feature/student/")][::-1]
    for space in ("common", *features, "scores"):
        having = [s for s, found in zip(snapshots, drawable, strict=True) if space in found]
        if 2 * len(having) >= len(snapshots):
            return space, alike(having, space)
    raise InputError("no snapshot holds features that can be drawn.")


def alike(snapshots: Sequence[Snapshot], space: str) -> list[Snapshot]:
    """Those that show the same nets at the same width as the last one: only these make one film."""

    def shape(snapshot: Snapshot) -> list[tuple[str, int]]:
        return [(n, a.shape[1]) for n, a in snapshot.arrays.items() if n == space or n.startswith(space + "/")]

    return [snapshot for snapshot in snapshots if shape(snapshot) == shape(snapshots[-1])]


def words_of(space: str) -> str:
    """What is drawn, and why that."""
    if space == "common":
        points = "an image is a point of each net, and alignment is that the points of one image come together."
        return f"Student and teachers in the common space: {points}"
    if space == "scores":
        return "This run has no common space and no feature of a student: drawn are the answers, a point an image."
    layer = space.split("/", 2)[2]
    return f"This method has no common space: drawn is the student's own feature (layer {layer}), a point an image."


def linear(stores: Sequence[Store], space: str, snapshots: Sequence[Snapshot], kind: Kind = "pca") -> list[Points]:
    """Snapshots of the first run on the axes that these runs share; on their own where these do not fit.

    Raises InputError where a space has no such axes.
    """
    basis = None
    with suppress(InputError, StoreError):  # nothing to fit to, or a damaged snapshot
        basis = basis_of(stores, space, kind)
    if basis is None or len(basis.mean) != width_of(snapshots[-1], space):
        basis = fit_basis(snapshots, space, kind)
    return [laid(snapshot, basis, space, kind) for snapshot in snapshots]


def film_of(
    run_report: RunReport, frames: Sequence[Points], snapshots: Sequence[Snapshot], space: str, way: str
) -> Film:
    """Frames coloured by class, by the teacher that claims the image where classes are unknown; as film and stills."""
    still = stills_of(run_report, frames, snapshots, space, way)
    coloured = [coloured_by(points, snapshot) for points, snapshot in zip(frames, snapshots, strict=True)]
    shown = evenly(coloured, max(POINTS // max(len(coloured[-1].xy), 1), 2))
    fragment = film_fragment([thinned(points) for points in shown], title=still.name)
    return Film(fragment, still, f"{way}. Move the slider, or press ← and →; a click on a name hides it.")


def stills_of(
    run_report: RunReport, frames: Sequence[Points], snapshots: Sequence[Snapshot], space: str, way: str
) -> Picture:
    """A few of these frames side by side, coloured as in the film."""
    pairs = evenly([*zip(frames, snapshots, strict=True)], STILLS)
    title = f"{name_of(space)} of {run_report.name}, {way}"
    return printed(title, draw_steps([coloured_by(points, snapshot) for points, snapshot in pairs]))


def coloured_by(points: Points, snapshot: Snapshot) -> Points:
    """By the true class where it is known, else by the teacher that claims the image."""
    return colour(points, snapshot, "teacher") if points.label is None else points


def thinned(points: Points, most: int = SAMPLES) -> Points:
    """The points of at most so many images, evenly."""
    samples = np.unique(points.sample)
    if len(samples) <= most:
        return points
    kept = np.isin(points.sample, evenly(samples.tolist(), most))
    arrays = {name: getattr(points, name) for name in ("xy", "group", "sample", "label", "value")}
    shown = {name: array[kept] for name, array in arrays.items() if array is not None}
    own = None if points.own is None else thinned(points.own, most)
    return replace(points, note=f"{points.note}; {most} of {len(samples)} images shown", own=own, **shown)
