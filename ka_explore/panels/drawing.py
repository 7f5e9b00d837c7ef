"""Films of t-SNE and UMAP for the points panel: which frames are drawn so, and the process that draws them."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from ka_explore.errors import InputError
from ka_explore.panels.branch import Branch
from ka_explore.panels.frames import Film, Frame, seen
from ka_explore.panels.plane import Plane, spread
from ka_explore.probes.jobs import embed
from ka_explore.probes.results import Points
from ka_explore.probes.ways import COSTS, NAMES, announced_seconds, checked_options
from ka_explore.run.snapshot import Snapshot

WORTH_SECONDS = 60.0  # what a film of t-SNE or UMAP may take: it then has fewer frames
MOST_DRAWN = 12  # frames of such a film

Drawn = Mapping[Branch, Mapping[int, Frame]]
"""Frames that were drawn in some way: by branch and step."""


class Drawing:
    """Some frames of every film of a plane, being drawn in another way.

    Args:
        how: ``tsne``, ``umap`` or ``aligned_umap``.
        plane: what is drawn.

    Raises KaError where it cannot be begun.
    """

    def __init__(self, how: str, plane: Plane):
        self.how = how
        self._plane = plane
        self._parts: list[tuple[Branch, Frame, int]] = []  # which picture of the film a frame is
        chosen: list[Snapshot] = []
        known: dict[tuple[int, bytes], int] = {}
        name = plane.of
        for film in plane.films:
            steps = [step for step, frame in film.frames.items() if not frame.said]
            for step in spread(steps, drawn_frames(how, plane.points, len(steps))):
                snapshot = film.branch.snapshot(step)
                if snapshot is None or not np.array_equal(snapshot.index, plane.index):
                    continue
                key = (step, snapshot.arrays["scores"].tobytes())  # a fork's past is its parent's
                if key not in known:
                    known[key] = len(chosen)
                    shown, name = seen(snapshot, plane.of)
                    chosen.append(shown)
                self._parts.append((film.branch, film.frames[step], known[key]))
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

    def result(self) -> Drawn:
        """The frames. Raises KaError where it failed."""
        film = self._embedding.result()
        drawn: dict[Branch, dict[int, Frame]] = {}
        for branch, flat, place in self._parts:
            frame = replace(flat, xy=placed(film[place], self._plane), note=film[place].note)
            drawn.setdefault(branch, {})[frame.step] = frame
        return drawn

    def cancel(self) -> None:
        """End the process."""
        self._embedding.cancel()


def placed(points: Points, plane: Plane) -> Float32[np.ndarray, "point 2"]:
    """The positions of a picture in the order of the plane's nets; NaN where a net has none."""
    xy = np.full((plane.points, 2), np.nan, np.float32)
    places = np.array([plane.nets.index(net) if net in plane.nets else -1 for net in points.groups])
    place = places[points.group]
    xy[place[place >= 0] * len(plane.index) + points.sample[place >= 0]] = points.xy[place >= 0]
    return xy


def drawn_frames(how: str, points: int, there: int) -> int:
    """How many frames a film of t-SNE or UMAP has, so that it does not take too long; at least three."""
    most = min(there, MOST_DRAWN)
    while most > 3 and announced_seconds(how, points, most) > WORTH_SECONDS:
        most -= 1
    return max(most, 1)


def ways_to_draw(plane: Plane) -> list[dict[str, Any]]:
    """What the films of a plane can be drawn in, and about how many seconds it takes."""
    ways = []
    for how in COSTS:
        with suppress(InputError):  # not installed
            checked_options(how, {})
            frames = sum(drawn_frames(how, plane.points, len(film.frames)) for film in plane.films)
            seconds = announced_seconds(how, plane.points, frames)
            ways.append({"name": how, "label": NAMES[how], "seconds": seconds})
    return ways


def behind(drawn: Drawn, films: Iterable[Film]) -> bool:
    """Whether a run has gone on since its frames were drawn."""
    return any(film.frames and max(film.frames) > max(drawn.get(film.branch, {}), default=-1) for film in films)
