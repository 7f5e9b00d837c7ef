"""The nets' features in the plane: student and teachers in one picture, by PCA, t-SNE or UMAP.

PCA is the picture for every day: instant, and with one basis all steps of a run are drawn alike. t-SNE and UMAP show
neighbourhoods better and everything else worse; they take seconds to minutes (`ka_explore.probes.jobs` makes them in a
process of their own and keeps them). Every picture says in its note how far it can be trusted.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from ka_explore.errors import InputError, unknown
from ka_explore.probes.colouring import colour, join_pairs, pair_length
from ka_explore.probes.linear import Basis, dressed, fit_basis, flat, pca, principal_axes, project
from ka_explore.probes.probe import renamed
from ka_explore.probes.quality import judge
from ka_explore.probes.results import Points
from ka_explore.probes.spaces import Rows, class_labels, rows_of, rows_together, spaces
from ka_explore.run.snapshot import Snapshot

__all__ = [
    "OPTIONS",
    "Basis",
    "aligned_umap",
    "announced_seconds",
    "colour",
    "film",
    "fit_basis",
    "join_pairs",
    "pair_length",
    "pca",
    "procrustes",
    "published",
    "rows_of",
    "spaces",
    "tsne",
    "umap",
]

LEAST = 10  # different points that t-SNE and UMAP need to make any sense

Watch = Callable[[float, str], None]
"""Told how far a computation is, 0 to 1, and in words."""

OPTIONS: Mapping[str, Mapping[str, float]] = {
    "pca": {},
    "tsne": {"perplexity": 30.0, "iterations": 1000, "exaggeration": 12.0, "seed": 0},
    "umap": {"neighbours": 15, "min_dist": 0.1, "epochs": 200, "seed": 0},
    "aligned_umap": {"neighbours": 15, "min_dist": 0.1, "epochs": 200, "alignment": 0.01, "window": 3, "seed": 0},
}
"""The ways to draw, with their options and defaults."""

NAMES: Mapping[str, str] = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP", "aligned_umap": "aligned UMAP"}
LIMITS: Mapping[str, tuple[float, float]] = {  # least and greatest value of an option
    "perplexity": (1, 1e6),
    "iterations": (250, 1e6),
    "exaggeration": (1, 1e3),
    "neighbours": (2, 1e6),
    "min_dist": (0, 1),
    "epochs": (1, 1e5),
    "alignment": (0, 1e3),
    "window": (1, 1e3),
    "seed": (0, 2**32 - 1),
}
FRACTIONS = ("perplexity", "exaggeration", "min_dist", "alignment")  # options that need not be whole


@renamed(of="space")
def tsne(snapshot: Snapshot, space: str = "common", start: Points | None = None, **options: float) -> Points:
    """t-SNE (van der Maaten and Hinton 2008), as scikit-learn computes it, one thread.

    Args:
        snapshot: of a stage that emits what is asked for.
        space: one of `spaces`.
        start: a picture to go on from, say of the step before: fewer iterations, and the result is laid onto it.
        options: ``perplexity`` (30), ``iterations`` (1000), ``exaggeration`` (12) at the beginning, ``seed`` (0).

    Raises InputError as `rows_of` does, and for options that are unknown or out of range.
    """
    return dressed(lay_out([rows_together(snapshot, space)], "tsne", options, start=start)[0], snapshot, space)


@renamed(of="space")
def umap(snapshot: Snapshot, space: str = "common", start: Points | None = None, **options: float) -> Points:
    """UMAP (McInnes, Healy and Melville 2018) from exact neighbours and the principal axes, one thread.

    The first one in a process takes several seconds more: umap-learn compiles itself.

    Args:
        snapshot: of a stage that emits what is asked for.
        space: one of `spaces`.
        start: a picture to go on from, say of the step before: fewer epochs, and the result is laid onto it.
        options: ``neighbours`` (15), ``min_dist`` (0.1), ``epochs`` (200), ``seed`` (0).

    Raises InputError as `rows_of` does, for options that are unknown or out of range, and without umap-learn.
    """
    return dressed(lay_out([rows_together(snapshot, space)], "umap", options, start=start)[0], snapshot, space)


@renamed(of="space")
def aligned_umap(snapshots: Sequence[Snapshot], space: str = "common", **options: float) -> list[Points]:
    """UMAP of several steps at once, each image drawn near where it is in the neighbouring steps.

    The slowest picture there is: see `announced_seconds`, and `ka_explore.probes.jobs`.

    Args:
        snapshots: of one probe set.
        space: one of `spaces`.
        options: those of `umap`, ``alignment`` (0.01, how strongly steps are held together) and ``window`` (3 steps).
    """
    return film(snapshots, "aligned_umap", space, **options)


@renamed(of="space")
def film(snapshots: Sequence[Snapshot], how: str = "pca", space: str = "common", **options: float) -> list[Points]:
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
    if how == "pca":
        checked_options(how, options)
        basis = fit_basis(snapshots, space)
        return [dressed(flat(rows, basis), s, space) for rows, s in zip(frames, snapshots, strict=True)]
    return [dressed(p, s, space) for p, s in zip(lay_out(frames, how, options), snapshots, strict=True)]


def frames_of(snapshots: Sequence[Snapshot], space: str) -> list[Rows]:
    """The rows of every step. Raises InputError where they do not belong in one film."""
    if not snapshots:
        raise InputError("got no snapshot: expected at least one.")
    if any(not np.array_equal(snapshot.index, snapshots[0].index) for snapshot in snapshots):
        raise InputError("these snapshots are of different images: a film needs one probe set.")
    return [rows_together(snapshot, space) for snapshot in snapshots]


def announced_seconds(how: str, samples: int, frames: int = 1) -> float:
    """Roughly how many seconds a picture or film takes, to be told before it is begun.

    Measured at 1 000 to 5 400 points of width 64 on one core of a virtual server of 2025 (AMD EPYC), with the
    start of a process and the compiling of umap-learn; older laptops take up to three times as long.

    Args:
        how: a way to draw.
        samples: points in a picture: images times nets.
        frames: pictures.
    """
    if how not in COSTS:
        raise unknown("way to draw", how, COSTS)
    fixed, first, more = COSTS[how]
    thousands = samples / 1000
    return fixed + thousands * (first + max(frames - 1, 0) * more)


# Seconds: before the first picture, a thousand points of the first picture, of every other.
COSTS: Mapping[str, tuple[float, float, float]] = {
    "pca": (0.0, 0.005, 0.005),
    "tsne": (1.5, 4.5, 1.2),
    "umap": (6.5, 0.5, 0.35),
    "aligned_umap": (16.0, 2.8, 2.8),
}


def checked_options(how: str, options: Mapping[str, float]) -> dict[str, float]:
    """All options of a way to draw. Raises InputError for what is unknown, out of range or not installed."""
    if how not in OPTIONS:
        raise unknown("way to draw", how, OPTIONS)
    for name, value in options.items():
        if name not in OPTIONS[how]:
            raise unknown("option", name, OPTIONS[how], where=f" of {how}")
        least, most = LIMITS[name]
        number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not number or not least <= value <= most or (name not in FRACTIONS and value != int(value)):
            kind = "a number" if name in FRACTIONS else "a whole number"
            raise InputError(f"{name}={value!r}: expected {kind} from {least:g} to {most:g}.")
    if how.endswith("umap") and find_spec("umap") is None:
        raise InputError("UMAP needs umap-learn, which is not installed: pip install umap-learn, or draw with tsne.")
    merged = {**OPTIONS[how], **options}
    return {name: float(value) if name in FRACTIONS else int(value) for name, value in merged.items()}


def lay_out(
    frames: Sequence[Rows],
    how: str,
    options: Mapping[str, float],
    *,
    start: Points | None = None,
    watch: Watch | None = None,
) -> list[Points]:
    """The pictures of several steps without titles and labels; the rows are all that is needed.

    Args:
        frames: a step each.
        how: a way to draw.
        options: of that way.
        start: a picture to go on from.
        watch: told how far it is.
    """
    chosen = checked_options(how, options)
    tell = watch or (lambda _share, _words: None)
    few = min(different(rows.values) for rows in frames)
    if how == "pca" or few < LEAST:
        basis = principal_axes([rows.parts for rows in frames]) if len(frames) > 1 else None
        before = "" if how == "pca" else f"PCA, as {NAMES[how]} needs {LEAST} different points and here are {few}; "
        return [flat(rows, basis, quality=how != "pca", before=before) for rows in frames]
    if how == "aligned_umap":
        positions = aligned_positions(frames, chosen, tell)
        return [judged(rows, xy, how, chosen) for rows, xy in zip(frames, positions, strict=True)]
    found: list[Points] = []
    previous = start
    for place, rows in enumerate(frames):
        counted = f"picture {place + 1} of {len(frames)}: " if len(frames) > 1 else ""

        def inside(share: float, words: str, place: int = place, counted: str = counted) -> None:
            tell((place + share) / len(frames), counted + words)

        inside(0.0, NAMES[how])
        begin = None if previous is None else positions_from(rows, previous)
        draw = tsne_positions if how == "tsne" else umap_positions
        xy = draw(rows.values, begin, chosen, inside if watch else None)
        if not np.isfinite(xy).all():
            found.append(flat(rows, quality=True, before=f"PCA, as {NAMES[how]} did not come to an end; "))
        else:
            inside(0.95, "how far it can be trusted")
            found.append(judged(rows, xy, how, chosen))
        if previous is not None:
            found[-1] = procrustes(found[-1], previous)
        previous = found[-1]
        inside(1.0, "done")
    return found


def judged(rows: Rows, xy: np.ndarray, how: str, chosen: Mapping[str, float]) -> Points:
    """The picture of some positions, with how far it can be trusted."""
    numbers, words = judge(rows.values, xy)
    size = f"perplexity {chosen['perplexity']:g}" if how == "tsne" else f"{chosen['neighbours']:g} neighbours"
    note = f"{NAMES[how]}, {size}; {words}; sizes of clusters and distances between them mean little"
    axes = (f"{NAMES[how]} 1 (no unit)", f"{NAMES[how]} 2 (no unit)")
    xy = np.asarray(xy, np.float64)
    return Points(xy, rows.group, rows.groups, rows.sample, quality=numbers, axes=axes, note=note)


def different(values: Float[np.ndarray, "point feature"], enough: int = LEAST) -> int:
    """How many different rows there are; counted up to ``enough``."""
    for count in range(enough):
        if not len(values):
            return count
        values = values[(values != values[0]).any(axis=1)]
    return enough


def tsne_positions(
    values: Float[np.ndarray, "point feature"],
    begin: Float[np.ndarray, "point 2"] | None,
    chosen: Mapping[str, float],
    watch: Watch | None,
) -> Float[np.ndarray, "point 2"]:
    """scikit-learn's t-SNE from the principal axes, or from old positions without the exaggeration of a beginning."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    iterations = int(chosen["iterations"])
    exaggeration = chosen["exaggeration"]
    if begin is None:
        begin = project([values], principal_axes([[values]]))[0]
        begin = begin / begin[:, 0].std() * 1e-4  # small, as scikit-learn does: large ones hinder the first iterations
    else:
        iterations, exaggeration = max(250, iterations // 4), 1.0
    model = TSNE(
        2,
        perplexity=min(chosen["perplexity"], (len(values) - 1) / 3),
        early_exaggeration=exaggeration,
        max_iter=iterations,
        init=np.ascontiguousarray(begin, np.float32),
        random_state=int(chosen["seed"]),
        n_jobs=1,
        verbose=2 if watch else 0,
    )
    listener = Listener(r"Iteration (\d+):", iterations, watch, 0.05, 0.9) if watch else io.StringIO()
    with threadpool_limits(1):  # sums of several threads differ in their last bits
        if not watch:
            return np.asarray(model.fit_transform(values))
        with redirect_stdout(listener):
            return np.asarray(model.fit_transform(values))


def umap_positions(
    values: Float[np.ndarray, "point feature"],
    begin: Float[np.ndarray, "point 2"] | None,
    chosen: Mapping[str, float],
    watch: Watch | None,
) -> Float[np.ndarray, "point 2"]:
    """UMAP with neighbours found by scikit-learn: umap-learn's own way is slow below 4 096 points."""
    from sklearn.neighbors import NearestNeighbors

    neighbours = min(int(chosen["neighbours"]), len(values) - 1)
    epochs = int(chosen["epochs"])
    if begin is None:
        begin = project([values], principal_axes([[values]]))[0]
    else:
        epochs = max(1, epochs // 2)
    begin = begin - begin.min(axis=0)
    begin = 10 * begin / begin.max()  # the size umap-learn gives its own beginnings
    if watch:
        watch(0.02, "umap-learn starts; the first time in a process it compiles itself")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no TensorFlow; no transform of new points; no index of neighbours
        from umap import UMAP

        distances, places = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(values).kneighbors()
        # umap-learn expects a point as its own first neighbour, also where another is as near.
        places = np.column_stack([np.arange(len(values)), places[:, : neighbours - 1]])
        distances = np.column_stack([np.zeros(len(values)), distances[:, : neighbours - 1]])
        model = UMAP(
            n_neighbors=neighbours,
            min_dist=chosen["min_dist"],
            n_epochs=epochs,
            init=np.ascontiguousarray(begin, np.float32),
            random_state=int(chosen["seed"]),
            n_jobs=1,
            precomputed_knn=(places, distances.astype(np.float32)),
            tqdm_kwds=counting(epochs, watch),
        )
        return np.asarray(model.fit_transform(values))


def aligned_positions(
    frames: Sequence[Rows], chosen: Mapping[str, float], tell: Watch
) -> list[Float[np.ndarray, "point 2"]]:
    """umap-learn's AlignedUMAP of all steps; it cannot say how far it is, so only its parts are told."""
    if len(frames) == 1:
        plain = {name: chosen[name] for name in OPTIONS["umap"]}
        return [umap_positions(frames[0].values, None, plain, tell)]
    from sklearn.metrics import pairwise_distances

    tell(0.02, "distances of all pairs")
    # Given distances, umap-learn is spared a call of Python a pair: a quarter of the time.
    tables = [pairwise_distances(rows.values).astype(np.float32) for rows in frames]
    relations = []
    for rows, other in pairwise(frames):
        here, there = matched(rows, other)
        relations.append(dict(zip(here.tolist(), there.tolist(), strict=True)))
    if not all(relations):
        raise InputError("two neighbouring steps have no net in common: aligned UMAP needs images seen in both.")
    about = announced_seconds("aligned_umap", max(len(table) for table in tables), len(tables))
    tell(0.1, f"{len(frames)} pictures at once, about {about:.0f} s")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no TensorFlow; one thread because of the seed; distances instead of rows
        from umap import AlignedUMAP

        model = AlignedUMAP(
            n_neighbors=min(int(chosen["neighbours"]), min(len(table) for table in tables) - 1),
            min_dist=chosen["min_dist"],
            n_epochs=int(chosen["epochs"]),
            alignment_regularisation=chosen["alignment"],
            alignment_window_size=int(chosen["window"]),
            metric="precomputed",
            random_state=int(chosen["seed"]),
        )
        model.fit(tables, relations=relations)
    tell(0.95, "how far they can be trusted")
    found = [np.array(xy) for xy in model.embeddings_]
    if not all(np.isfinite(xy).all() for xy in found):
        raise InputError("aligned UMAP did not come to an end on these rows: draw them with umap or pca.")
    return found


class Listener(io.TextIOBase):
    """Takes what a library prints while it works, and tells how far it is."""

    def __init__(self, pattern: str, total: int, watch: Watch, first: float, last: float):
        self.pattern = re.compile(pattern)
        self.total = total
        self.watch = watch
        self.first, self.last = first, last

    def write(self, text: str) -> int:
        """Look for the number of what is done."""
        found = self.pattern.search(text)
        if found:
            done = min(int(found[1]), self.total)
            share = self.first + (self.last - self.first) * done / self.total
            self.watch(share, f"iteration {done} of {self.total}")
        return len(text)


def counting(epochs: int, watch: Watch | None) -> dict[str, Any] | None:
    """Options for umap-learn's bar that make it tell how far it is instead of being shown."""
    if watch is None:
        return None
    return {
        "file": Listener(r"(\d+)/\d+", epochs, watch, 0.2, 0.9),
        "disable": False,
        "bar_format": "{n_fmt}/{total_fmt}",
        "ascii": True,
    }


def matched(one: Rows | Points, other: Rows | Points) -> tuple[np.ndarray, np.ndarray]:
    """Places of the points that are of the same net and sample in both."""
    nets = {net: place for place, net in enumerate(dict.fromkeys((*one.groups, *other.groups)))}
    most = 1 + max(int(p.sample.max(initial=0)) for p in (one, other))
    codes = [
        np.array([nets[net] for net in p.groups], np.int64)[p.group] * most + p.sample.astype(np.int64)
        for p in (one, other)
    ]
    _, here, there = np.intersect1d(codes[0], codes[1], return_indices=True)
    return here, there


def procrustes(points: Points, onto: Points) -> Points:
    """A picture rotated, mirrored, moved and scaled so that its points come near the same points of another.

    The best rotation or reflection in the sense of least squares (Schönemann 1966). Scaled to the other's size, not
    by least squares, which would shrink pictures that have little in common. Points are the same that are of one net
    and one sample; with fewer than two of them the picture stays as it is.
    """
    here, there = matched(points, onto)
    if len(here) < 2:
        return points
    ours, theirs = points.xy[here], onto.xy[there]
    centre, goal = ours.mean(axis=0), theirs.mean(axis=0)
    ours, theirs = ours - centre, theirs - goal
    size, wanted = float(np.linalg.norm(ours)), float(np.linalg.norm(theirs))
    left, _, right = np.linalg.svd(ours.T @ theirs)
    scale = wanted / size if size > 1e-30 and wanted > 1e-30 else 1.0
    return replace(points, xy=(points.xy - centre) @ (left @ right) * scale + goal)


def positions_from(rows: Rows, start: Points) -> Float[np.ndarray, "point 2"] | None:
    """Where the points were in another picture; new ones where the nearest old point was; None if all are new."""
    here, there = matched(rows, start)
    if len(here) == 0 or not np.isfinite(start.xy[there]).all() or np.ptp(start.xy[there], axis=0).max() < 1e-12:
        return None
    xy = np.empty((len(rows.values), 2))
    xy[here] = start.xy[there]
    new = np.setdiff1d(np.arange(len(xy)), here)
    old = rows.values[here].astype(np.float64)
    squares = (old**2).sum(axis=1)
    for begin in range(0, len(new), 1024):
        part = new[begin : begin + 1024]
        near = (squares[None] - 2 * rows.values[part].astype(np.float64) @ old.T).argmin(axis=1)
        xy[part] = xy[here[near]]
    return xy


@renamed(of="space")
def published(snapshot: Snapshot, space: str = "common", task: str | None = None, **options: float) -> Points:
    """The picture of the papers: t-SNE of the nets together, the class as colour, the net as marker.

    As the code of Luo et al. 2019 draws it: maps averaged over space, rows of length 1, all nets in one t-SNE with
    scikit-learn's defaults. It makes rows of length 1 first and averages then; a snapshot holds averages only, of which
    these are the lengths. Without labels the points are coloured by net.

    Args:
        snapshot: of a stage that emits what is asked for.
        space: ``common``, or ``feature`` for the picture beside it.
        task: whose classes; by default the first.
        options: of `tsne`; the seed is the published one.
    """
    chosen = {"seed": 23333, **options}
    points = dressed(lay_out([rows_together(snapshot, space)], "tsne", chosen)[0], snapshot, space)
    return colour(points, snapshot, "class" if class_labels(snapshot, task)[0] is not None else "net", task)
