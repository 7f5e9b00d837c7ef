"""Films of t-SNE and UMAP for the points panel: which frames are drawn so, and the process that draws them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from jaxtyping import Float32

from ka_explore.errors import InputError
from ka_explore.panels.branch import Branch
from ka_explore.panels.plane import Plane, spread
from ka_explore.panels.spaces import seen
from ka_explore.probes.jobs import embed
from ka_explore.probes.results import Points
from ka_explore.probes.ways import COSTS, NAMES, announced_seconds, checked_options
from ka_explore.run.snapshot import Snapshot

WORTH_SECONDS = 60.0  # what a film of t-SNE or UMAP may take: it then has fewer frames
MOST_DRAWN = 12  # frames of such a film


class Drawing:
    """Some frames of every branch of a plane, being drawn in another way.

    Args:
        how: ``tsne``, ``umap`` or ``aligned_umap``.
        plane: what is drawn.
        flat: the frames there are on the plane, by branch and step.

    Attributes:
        frames: positions and what there is to note, by branch and step, once it is finished.

    Raises KaError where it cannot be begun.
    """

    def __init__(self, how: str, plane: Plane, flat: Mapping[Branch, Mapping[int, Mapping[str, Any]]]):
        self.how = how
        self.frames: dict[Branch, dict[int, Mapping[str, Any]]] = {}
        self._plane = plane
        self._parts: list[tuple[Branch, int, int]] = []  # which picture of the film the frame of a step is
        chosen: list[Snapshot] = []
        known: dict[tuple[int, bytes], int] = {}
        name = plane.of
        for branch, frames in flat.items():
            steps = [step for step, frame in frames.items() if not frame["said"]]
            for step in spread(steps, drawn_frames(how, plane.points, len(steps))):
                snapshot = branch.snapshot(step)
                if snapshot is None or not np.array_equal(snapshot.index, plane.index):
                    continue
                key = (step, snapshot.arrays["scores"].tobytes())  # a fork's past is its parent's
                if key not in known:
                    known[key] = len(chosen)
                    shown, name = seen(snapshot, plane.of)
                    chosen.append(shown)
                self._parts.append((branch, step, known[key]))
        self._embedding = embed(chosen, how, name)

    @property
    def done(self) -> bool:
        """Whether it is over: made, failed or cancelled."""
        return self._embedding.done

    @property
    def about(self) -> dict[str, Any]:
        """What is being made, how far it is, and how long it takes in all, in seconds."""
        now = self._embedding.progress
        return {
            "how": self.how, "name": NAMES[self.how], "share": now.share, "words": now.words,
            "announced": self._embedding.announced,
        }  # fmt: skip

    def finish(self) -> None:
        """Take the frames up. Raises KaError where it failed."""
        film = self._embedding.result()
        for branch, step, picture in self._parts:
            frame = {"xy": positions(film[picture], self._plane), "note": film[picture].note}
            self.frames.setdefault(branch, {})[step] = frame

    def behind(self) -> bool:
        """Whether a run has gone on since."""
        branches = self._plane.branches
        return any(max(b.steps_seen(), default=-1) > max(self.frames.get(b, {}), default=-1) for b in branches)

    def cancel(self) -> None:
        """End the process."""
        self._embedding.cancel()


def positions(points: Points, plane: Plane) -> Float32[np.ndarray, "point 2"]:
    """The positions of a picture in the order of the plane's nets; NaN where a net has none."""
    xy = np.full((plane.points, 2), np.nan, np.float32)
    net = np.array([plane.nets.index(net) if net in plane.nets else -1 for net in points.groups])[points.group]
    xy[net[net >= 0] * len(plane.index) + points.sample[net >= 0]] = points.xy[net >= 0]
    return xy


def drawn_frames(how: str, points: int, there: int) -> int:
    """How many frames a film of t-SNE or UMAP has, so that it does not take too long; at least three."""
    most = min(there, MOST_DRAWN)
    while most > 3 and announced_seconds(how, points, most) > WORTH_SECONDS:
        most -= 1
    return max(most, 1)


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
