"""Films of t-SNE and UMAP for the points panel: which frames are drawn so, and the process that draws them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ka_explore.errors import InputError
from ka_explore.panels.branch import Branch
from ka_explore.panels.plane import Plane
from ka_explore.panels.spaces import seen
from ka_explore.probes.jobs import embed
from ka_explore.probes.samples import evenly
from ka_explore.probes.ways import COSTS, NAMES, announced_seconds, checked_options
from ka_explore.run.snapshot import Snapshot

WORTH_SECONDS = 60.0  # what a film of t-SNE or UMAP may take: it then has fewer frames
MOST_DRAWN = 12  # frames of such a film


class Drawing:
    """Frames of these steps of every branch of a plane, being drawn as ``tsne``, ``umap`` or ``aligned_umap``.

    Raises KaError where it cannot be begun.
    """

    def __init__(self, how: str, plane: Plane, steps: Mapping[Branch, Sequence[int]]):
        self.how = how
        self.frames: dict[Branch, dict[int, Mapping[str, Any]]] = {}  # positions and notes, once it is finished
        self._plane = plane
        self._parts: list[tuple[Branch, int, int]] = []  # which picture of the film the frame of a step is
        chosen: dict[tuple[int, bytes], Snapshot] = {}
        name = plane.of
        for branch, its in steps.items():
            for step in evenly(its, drawn_frames(how, plane.points, len(its))):
                snapshot = branch.snapshot(step)
                if snapshot is not None and np.array_equal(snapshot.index, plane.index):
                    key = (step, snapshot.arrays["scores"].tobytes())  # a fork's past is its parent's
                    if key not in chosen:
                        chosen[key], name = seen(snapshot, plane.of)
                    self._parts.append((branch, step, list(chosen).index(key)))
        self.embedding = embed([*chosen.values()], how, name)  # the process

    @property
    def about(self) -> dict[str, Any]:
        """What is being made, how far it is, and how long it takes in all, in seconds."""
        announced = self.embedding.announced
        return {"how": self.how, "name": NAMES[self.how], "announced": announced, **vars(self.embedding.progress)}

    def finish(self) -> None:
        """Take the frames up. Raises KaError where it failed."""
        film, plane = self.embedding.result(), self._plane
        for branch, step, picture in self._parts:
            points, xy = film[picture], np.full((plane.points, 2), np.nan, np.float32)
            net = np.array([plane.nets.index(net) if net in plane.nets else -1 for net in points.groups])[points.group]
            xy[net[net >= 0] * len(plane.index) + points.sample[net >= 0]] = points.xy[net >= 0]
            self.frames.setdefault(branch, {})[step] = {"xy": xy, "note": points.note, "warns": False}

    def behind(self) -> bool:
        """Whether a run has gone on since."""
        branches = self._plane.branches
        return any(max(b.steps_seen(), default=-1) > max(self.frames.get(b, {}), default=-1) for b in branches)


def drawn_frames(how: str, points: int, there: int) -> int:
    """How many frames a film of t-SNE or UMAP has, so that it does not take too long; at least three."""
    most = range(min(there, MOST_DRAWN), 3, -1)
    cheap = (count for count in most if announced_seconds(how, points, count) <= WORTH_SECONDS)
    return next(cheap, min(max(there, 1), 3))


def ways_to_draw(plane: Plane, there: Sequence[int]) -> list[dict[str, Any]]:
    """What a plane can be drawn in, of so many frames a branch, and about how many seconds it takes."""
    ways = []
    for how in COSTS:
        with suppress(InputError):  # not installed
            checked_options(how, {})
            frames = sum(drawn_frames(how, plane.points, count) for count in there)
            seconds = announced_seconds(how, plane.points, frames)
            ways.append({"name": how, "label": NAMES[how], "seconds": seconds})
    return ways
