"""The nets' features in the plane: student and teachers in one picture, by PCA, t-SNE or UMAP.

PCA is the picture for every day: instant, and with one basis all steps of a run are drawn alike. t-SNE and UMAP show
neighbourhoods better and everything else worse; they take seconds to minutes (`ka_explore.probes.jobs` makes them in a
process of their own and keeps them). Every picture says in its note how far it can be trusted.
"""

from collections.abc import Sequence

import numpy as np

from ka_explore.errors import InputError, checked
from ka_explore.probes.clouds import KINDS, Basis, Kind, cloud_of
from ka_explore.probes.colouring import colour, join_pairs, pair_length
from ka_explore.probes.fitting import fit_basis, principal_axes
from ka_explore.probes.layouts import aligned_positions, positions_from, procrustes, tsne_positions, umap_positions
from ka_explore.probes.linear import class_axes, dress, flat, laid, pca
from ka_explore.probes.probe import space_was_of
from ka_explore.probes.quality import judge
from ka_explore.probes.results import Points
from ka_explore.probes.spaces import Rows, Space, class_labels, rows_of, rows_together, spaces
from ka_explore.probes.ways import NAMES, OPTIONS, Options, Setting, Watch, announced_seconds, checked_options
from ka_explore.run.snapshot import Snapshot

__all__ = ["OPTIONS", "Basis", "aligned_umap", "announced_seconds", "class_axes", "colour", "film", "fit_basis"]
__all__ += ["join_pairs", "pair_length", "pca", "procrustes", "published", "rows_of", "spaces", "tsne", "umap"]

LEAST = 10  # different points that t-SNE and UMAP need to make any sense


@space_was_of
@checked
def tsne(snapshot: Snapshot, space: str = "common", start: Points | None = None, **options: Setting) -> Points:
    """t-SNE (van der Maaten and Hinton 2008), as scikit-learn computes it, one thread.

    Args:
        space: one of `spaces`.
        start: a picture to go on from, say of the step before: fewer iterations, and the result is laid onto it.
        options: ``perplexity`` (30), ``iterations`` (1000), ``exaggeration`` (12) at the beginning, ``seed`` (0).

    Raises InputError as `rows_of` does, and for options that are unknown or out of range.
    """
    return dress(lay_out(frames_of([snapshot], space), "tsne", options, start=start), [snapshot], space)[0]


@space_was_of
@checked
def umap(snapshot: Snapshot, space: str = "common", start: Points | None = None, **options: Setting) -> Points:
    """UMAP (McInnes, Healy and Melville 2018) from exact neighbours and the principal axes, one thread.

    The first one in a process takes several seconds more: umap-learn compiles itself. Workers of
    `ka_explore.probes.jobs` keep what it compiled on disk.

    Args:
        space: one of `spaces`.
        start: a picture to go on from, say of the step before: fewer epochs, and the result is laid onto it.
        options: ``neighbours`` (15), ``min_dist`` (0.1), ``epochs`` (200), ``seed`` (0).

    Raises InputError as `rows_of` does, for options that are unknown or out of range, and without umap-learn.
    """
    return dress(lay_out(frames_of([snapshot], space), "umap", options, start=start), [snapshot], space)[0]


@space_was_of
@checked
def aligned_umap(snapshots: Sequence[Snapshot], space: str = "common", **options: Setting) -> list[Points]:
    """UMAP of several steps at once, each image drawn near where it is in the neighbouring steps.

    The slowest picture there is: see `announced_seconds`, and `ka_explore.probes.jobs`.

    Args:
        snapshots: of one probe set.
        space: one of `spaces`.
        options: those of `umap`, ``alignment`` (0.01, how strongly steps are held together) and ``window`` (3 steps).
    """
    return film(snapshots, "aligned_umap", space, **options)


@space_was_of
@checked
def film(snapshots: Sequence[Snapshot], how: str = "pca", space: str = "common", **options: Setting) -> list[Points]:
    """Pictures of several steps in one system of coordinates, so that what moves has moved.

    PCA is drawn with one basis; t-SNE and UMAP go on from the picture before and are laid onto it.

    Args:
        snapshots: of one probe set, in the order they are shown.
        how: ``pca``, ``tsne``, ``umap`` or ``aligned_umap``.
        space: one of `spaces`.
        options: of that way to draw.

    Raises InputError for no snapshot, other images from step to step, or unknown names.
    """
    frames = frames_of(snapshots, space)
    if how in KINDS:
        checked_options(how, options)
        kind: Kind = "pca" if how == "pca" else "class_axes"
        basis = fit_basis(snapshots, space, kind)
        return [laid(snapshot, basis, space, kind) for snapshot in snapshots]
    return dress(lay_out(frames, how, options), snapshots, space)


def frames_of(snapshots: Sequence[Snapshot], space: str) -> list[Rows]:
    """The rows of every step. Raises InputError where they do not belong in one film."""
    if not snapshots:
        raise InputError("got no snapshot: expected at least one.")
    if any(not np.array_equal(snapshot.index, snapshots[0].index) for snapshot in snapshots):
        raise InputError("these snapshots are of different images: a film needs one probe set.")
    return [rows_together(snapshot, space) for snapshot in snapshots]


def lay_out(
    frames: list[Rows], how: str, options: Options, *, start: Points | None = None, watch: Watch | None = None
) -> list[Points]:
    """The pictures of several steps without titles and labels, by t-SNE or UMAP; the rows are all that is needed."""
    chosen = checked_options(how, options)
    tell = watch or (lambda _share, _words: None)
    few = min(different(rows.values) for rows in frames)
    if few < LEAST:
        clouds = [cloud_of(rows.parts, 1 / len(frames)) for rows in frames]
        basis = principal_axes(clouds)
        before = f"PCA, as {NAMES[how]} needs {LEAST} different points and here are {few}; "
        pairs = zip(frames, clouds, strict=True)
        return [flat(rows, cloud, basis, quality=True, before=before) for rows, cloud in pairs]
    if how == "aligned_umap":
        positions = aligned_positions(frames, chosen, tell)
        return [judged(rows, xy, how, chosen) for rows, xy in zip(frames, positions, strict=True)]
    draw = tsne_positions if how == "tsne" else umap_positions
    found, previous = list[Points](), start
    for done, rows in enumerate(frames):
        counted = f"picture {done + 1} of {len(frames)}: " if len(frames) > 1 else ""

        def inside(share: float, words: str, done: int = done, counted: str = counted) -> None:
            tell((done + share) / len(frames), counted + words)

        inside(0.0, NAMES[how])
        begin = None if previous is None else positions_from(rows, previous)
        xy = draw(rows.values, begin, chosen, inside if watch else None)
        if np.isfinite(xy).all():
            inside(0.95, "how far it can be trusted")
            drawn = judged(rows, xy, how, chosen)
        else:
            before = f"PCA, as {NAMES[how]} did not come to an end; "
            cloud = cloud_of(rows.parts)
            drawn = flat(rows, cloud, principal_axes([cloud]), quality=True, before=before)
        previous = drawn if previous is None else procrustes(drawn, previous)
        found.append(previous)
        inside(1.0, "done")
    return found


def judged(rows: Rows, xy: np.ndarray, how: str, chosen: Options) -> Points:
    """The picture of some positions, with how far it can be trusted."""
    numbers, words = judge(rows.values, xy)
    size = f"perplexity {chosen['perplexity']:g}" if how == "tsne" else f"{chosen['neighbours']:g} neighbours"
    note = f"{NAMES[how]}, {size}; {words}; sizes of clusters and distances between them mean little"
    axes = (f"{NAMES[how]} 1 (no unit)", f"{NAMES[how]} 2 (no unit)")
    return rows.drawn(np.asarray(xy, np.float64), quality=numbers, axes=axes, note=note)


def different(values: Space) -> int:
    """How many different rows there are, counted up to `LEAST`."""
    for count in range(LEAST):
        if not len(values):
            return count
        values = values[(values != values[0]).any(axis=1)]
    return LEAST


@space_was_of
@checked
def published(snapshot: Snapshot, space: str = "common", task: str | None = None, **options: Setting) -> Points:
    """The picture of the papers: t-SNE of the nets together, the class as colour, the net as marker.

    As the code of Luo et al. 2019 draws it: maps averaged over space, rows of length 1, all nets in one t-SNE with
    scikit-learn's defaults. It makes rows of length 1 first and averages then; a snapshot holds averages only, of which
    these are the lengths. Without labels the points are coloured by net.

    Args:
        space: ``common``, or ``feature`` for the picture beside it.
        task: whose classes; by default the first.
        options: of `tsne`; the seed is the published one.
    """
    (points,) = film([snapshot], "tsne", space, **{"seed": 23333, **options})
    return colour(points, snapshot, "class" if class_labels(snapshot, task)[0] is not None else "net", task)
