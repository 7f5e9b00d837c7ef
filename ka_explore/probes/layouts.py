"""Positions in the plane: scikit-learn's t-SNE, umap-learn's UMAP, and pictures laid onto one another."""

import io
import re
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from ka_explore.errors import InputError, checked
from ka_explore.probes.clouds import cloud_of, project
from ka_explore.probes.fitting import principal_axes
from ka_explore.probes.results import Points
from ka_explore.probes.spaces import Plane, Rows, Space
from ka_explore.probes.ways import OPTIONS, Options, Watch, announced_seconds


def tsne_positions(values: Space, begin: Plane | None, chosen: Options, watch: Watch | None) -> Plane:
    """scikit-learn's t-SNE from the principal axes, or from old positions without the exaggeration of a beginning."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    iterations, exaggeration = int(chosen["iterations"]), chosen["exaggeration"]
    if begin is None:
        begin = project([values], principal_axes([cloud_of([values])]))[0]
        begin = begin / begin[:, 0].std() * 1e-4  # small, as scikit-learn does: large ones hinder the first iterations
    else:
        iterations, exaggeration = max(250, iterations // 4), 1.0
    options = {"perplexity": min(chosen["perplexity"], (len(values) - 1) / 3), "early_exaggeration": exaggeration}
    options |= {"max_iter": iterations, "random_state": int(chosen["seed"]), "n_jobs": 1, "verbose": 2 if watch else 0}
    model = TSNE(2, init=np.ascontiguousarray(begin, np.float32), **options)
    listening = redirect_stdout(Listener(r"Iteration (\d+):", iterations, watch, 0.05)) if watch else nullcontext()
    with threadpool_limits(1), listening:  # sums of several threads differ in their last bits
        return np.asarray(model.fit_transform(values))


def umap_positions(values: Space, begin: Plane | None, chosen: Options, watch: Watch | None) -> Plane:
    """UMAP with neighbours found by scikit-learn: umap-learn's own way is slow below 4 096 points."""
    from sklearn.neighbors import NearestNeighbors

    neighbours = min(int(chosen["neighbours"]), len(values) - 1)
    epochs = int(chosen["epochs"]) if begin is None else max(1, int(chosen["epochs"]) // 2)
    begin = project([values], principal_axes([cloud_of([values])]))[0] if begin is None else begin
    begin = begin - begin.min(axis=0)
    begin = 10 * begin / begin.max()  # the size umap-learn gives its own beginnings
    bar: dict[str, Any] | None = None
    if watch:
        watch(0.02, "umap-learn starts; the first time it compiles itself")
        bar = {"file": Listener(r"(\d+)/\d+", epochs, watch, 0.2), "disable": False}
        bar |= {"bar_format": "{n_fmt}/{total_fmt}", "ascii": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no TensorFlow; no transform of new points; no index of neighbours
        from umap import UMAP

        distances, nearest = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(values).kneighbors()
        # umap-learn expects a point as its own first neighbour, also where another is as near.
        nearest = np.column_stack([np.arange(len(values)), nearest[:, : neighbours - 1]])
        distances = np.column_stack([np.zeros(len(values)), distances[:, : neighbours - 1]])
        options = {"n_neighbors": neighbours, "min_dist": chosen["min_dist"], "n_epochs": epochs}
        options |= {"random_state": int(chosen["seed"]), "n_jobs": 1}
        begin, known = np.ascontiguousarray(begin, np.float32), (nearest, distances.astype(np.float32))
        model = UMAP(init=begin, precomputed_knn=known, tqdm_kwds=bar, **options)
        return np.asarray(model.fit_transform(values))


def aligned_positions(frames: Sequence[Rows], chosen: Options, tell: Watch) -> list[Plane]:
    """umap-learn's AlignedUMAP of all steps; it cannot say how far it is, so only its parts are told."""
    if len(frames) == 1:
        return [umap_positions(frames[0].values, None, {name: chosen[name] for name in OPTIONS["umap"]}, tell)]
    from sklearn.metrics import pairwise_distances

    tell(0.02, "distances of all pairs")
    # Given distances, umap-learn is spared a call of Python a pair: a quarter of the time.
    tables = [pairwise_distances(rows.values).astype(np.float32) for rows in frames]
    matches = [[index.tolist() for index in matched(rows, other)] for rows, other in pairwise(frames)]
    relations = [dict(zip(here, there, strict=True)) for here, there in matches]
    if not all(relations):
        raise InputError("two neighbouring steps have no net in common: aligned UMAP needs images seen in both.")
    about = announced_seconds("aligned_umap", max(len(table) for table in tables), len(tables))
    tell(0.1, f"{len(frames)} pictures at once, about {about:.0f} s")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no TensorFlow; one thread because of the seed; distances instead of rows
        from umap import AlignedUMAP

        options = {"n_neighbors": min(int(chosen["neighbours"]), min(len(table) for table in tables) - 1)}
        options |= {"n_epochs": int(chosen["epochs"]), "random_state": int(chosen["seed"])}
        weights = {"min_dist": chosen["min_dist"], "alignment_regularisation": chosen["alignment"]}
        window = int(chosen["window"])
        model = AlignedUMAP(alignment_window_size=window, metric="precomputed", **weights, **options)
        model.fit(tables, relations=relations)
    tell(0.95, "how far they can be trusted")
    found = [np.array(xy) for xy in model.embeddings_]
    if not all(np.isfinite(xy).all() for xy in found):
        raise InputError("aligned UMAP did not come to an end on these rows: draw them with umap or pca.")
    return found


@dataclass(eq=False)
class Listener(io.TextIOBase):
    """Takes what a library prints while it works, and tells how far it is."""

    pattern: str
    total: int
    watch: Watch
    first: float
    last: float = 0.9

    def write(self, text: str) -> int:
        """Look for the number of what is done."""
        found = re.search(self.pattern, text)
        if found:
            done = min(int(found[1]), self.total)
            self.watch(self.first + (self.last - self.first) * done / self.total, f"iteration {done} of {self.total}")
        return len(text)


def matched(one: Rows | Points, other: Rows | Points) -> tuple[np.ndarray, np.ndarray]:
    """Places of the points that are of the same net and sample in both."""
    nets = {net: index for index, net in enumerate(dict.fromkeys((*one.groups, *other.groups)))}
    most = 1 + max(int(p.sample.max(initial=0)) for p in (one, other))
    codes = (
        np.array([nets[net] for net in p.groups], np.int64)[p.group] * most + p.sample.astype(np.int64)
        for p in (one, other)
    )
    _, here, there = np.intersect1d(*codes, return_indices=True)
    return here, there


@checked
def procrustes(points: Points, onto: Points) -> Points:
    """A picture rotated, mirrored, moved and scaled so that its points come near the same points of another.

    The best rotation or reflection in the sense of least squares (Schönemann 1966). Scaled to the other's size, not
    by least squares, which would shrink pictures that have little in common. Points are the same that are of one net
    and one sample; with fewer than two of them the picture stays as it is.
    """
    here, there = matched(points, onto)
    known = np.isfinite(points.xy[here]).all(axis=1) & np.isfinite(onto.xy[there]).all(axis=1)
    here, there = here[known], there[known]
    if len(here) < 2:
        return points
    ours, theirs = points.xy[here], onto.xy[there]
    centre, goal = ours.mean(axis=0), theirs.mean(axis=0)
    ours, theirs = ours - centre, theirs - goal
    size, wanted = float(np.linalg.norm(ours)), float(np.linalg.norm(theirs))
    left, _, right = np.linalg.svd(ours.T @ theirs)
    scale = wanted / size if size > 1e-30 and wanted > 1e-30 else 1.0
    return replace(points, xy=(points.xy - centre) @ (left @ right) * scale + goal)


def positions_from(rows: Rows, start: Points) -> Plane | None:
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
