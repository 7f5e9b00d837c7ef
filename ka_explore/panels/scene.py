"""What the points panel shows: the films of a plane, as principal axes or another way draw them, and their colours."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ka_explore.errors import InputError
from ka_explore.panels.branch import Branch
from ka_explore.panels.colouring import Colours, dyed
from ka_explore.panels.drawing import Drawn, behind, ways_to_draw
from ka_explore.panels.frames import Film, Frame, nothing, said_of
from ka_explore.panels.plane import Plane, newest
from ka_explore.plots import colour_of, marker_of
from ka_explore.probes.results import Points as Picture
from ka_explore.probes.ways import NAMES
from ka_explore.run.snapshot import Snapshot

NO_SNAPSHOT = "No snapshot yet. Press play: the first one is taken at step 0."
NO_NET = "#808080"  # of what is no net: a teachers' code


class Scene:
    """The frames of all branches that are compared, in the way they are drawn.

    Args:
        by: what points are coloured by; empty for the class where it is known.
        of: the space; empty for the common one, or the answers.

    Attributes:
        plane: the films.
        colours: what their points are coloured by.
        how: ``pca``, or the way that is shown instead of the plane.
        drawn: what was drawn in other ways.
        stale: whether frames came or went since the traits were made last.
    """

    def __init__(self, by: str, of: str):
        self.plane = Plane(of)
        self.colours = Colours(by, self.plane)
        self.how = "pca"
        self.drawn: dict[str, Drawn] = {}
        self.stale = False

    def begin(self, branches: Sequence[Branch], snapshot: Snapshot) -> None:
        """Everything anew, for the images of a snapshot."""
        self.flatten()
        self.plane.begin(branches, snapshot)
        self.colours.begin(snapshot)

    def flatten(self) -> None:
        """Show the plane itself, and let go of what was drawn of it."""
        self.how, self.drawn = "pca", {}

    def frames(self, film: Film) -> Mapping[int, Frame]:
        """The frames of a film as they are shown."""
        return film.frames if self.how == "pca" else self.drawn[self.how].get(film.branch, {})

    def make(self) -> Generator[None, None, list[tuple[Film, Frame]]]:
        """Make the frames that are missing, one a piece; what is made is returned."""
        fresh = []
        for film in self.plane.films:
            before = len(film.frames)
            missing = film.missing()
            self.stale |= len(film.frames) < before
            for step in missing:
                snapshot = film.branch.snapshot(step)
                if snapshot is not None:
                    if self.plane.grows(snapshot):
                        self.flatten()
                        self.colours.clear()
                        return (yield from self.make())
                    film.add(self.plane.frame(snapshot))
                    self.colours.add(film.branch, snapshot)
                    fresh.append((film, film.frames[step]))
                    self.stale = True
                yield
        self.forget()
        return fresh

    def forget(self) -> None:
        """Let go of the colours of frames that are gone."""
        kept = {(film.branch, step) for film in self.plane.films for step in (*film.frames, *self.frames(film))}
        self.colours.forget(kept)

    # For the browser.

    def traits(self) -> dict[str, Any]:
        """All frames and what belongs to them."""
        self.stale = False
        self.forget()
        films = [(film, list(self.frames(film).values())) for film in self.plane.films]
        return {
            "nets": [look(net, self.plane.teachers) for net in self.plane.nets],
            "branches": [
                {
                    "name": film.branch.name, "steps": [f.step for f in frames], "stages": [f.stage for f in frames],
                    "notes": [f.note for f in frames], "said": [f.said for f in frames], "every": self._every(film),
                }
                for film, frames in films
            ],
            "frames": b"".join(frame.xy.tobytes() for _, frames in films for frame in frames),
            "answers": b"".join(frame.answers.tobytes() for _, frames in films for frame in frames),
            "picture": {
                "how": self.how, "label": NAMES[self.how], "of": self.plane.of, "space": said_of(self.plane.of),
                "fit": self.plane.fit, "axes": list(self.axes), "note": self._note(),
                "views": ways_to_draw(self.plane),
                "behind": self.how != "pca" and behind(self.drawn[self.how], self.plane.films),
                "spaces": [{"name": name, "label": said_of(name)} for name in self.plane.spaces],
                "empty": self.empty,
            },
        } | self.colouring()  # fmt: skip

    def colouring(self) -> dict[str, Any]:
        """The colours of all frames and what they mean."""
        return self.colours.traits([(film.branch, step) for film in self.plane.films for step in self.frames(film)])

    def message(self, film: Film, frame: Frame) -> tuple[dict[str, Any], list[bytes]]:
        """One frame by itself."""
        about = {
            "kind": "frame", "branch": self.plane.films.index(film), "name": film.branch.name, "fit": self.plane.fit,
            "step": frame.step, "stage": frame.stage, "note": frame.note, "said": frame.said,
            "steps": list(film.frames), "every": film.every, "by": self.colours.by,
        }  # fmt: skip
        tint = b"" if self.colours.fixed else self.colours.tint(film.branch, frame.step).tobytes()
        return about, [frame.xy.tobytes(), tint, frame.answers.tobytes()]

    def _every(self, film: Film) -> int:
        """Only every so many-th snapshot is shown."""
        if self.how == "pca":
            return film.every
        return max(round(len(film.frames) * film.every / max(len(self.frames(film)), 1)), 1)

    @property
    def empty(self) -> str:
        """Why there is no picture at all."""
        if any(not frame.said for film in self.plane.films for frame in self.frames(film).values()):
            return ""
        snapshot = newest(self.plane.branches)
        return NO_SNAPSHOT if snapshot is None else nothing(snapshot, self.plane.of)

    @property
    def axes(self) -> tuple[str, str]:
        """What the two axes are."""
        name = "principal plane," if self.how == "pca" else NAMES[self.how]
        return f"{name} 1", f"{name} 2"

    def _note(self) -> str:
        """What the axes were fitted to, or how much of the films there is."""
        basis, films = self.plane.basis, self.plane.films
        if self.how != "pca":
            steps = [step for film in films for step in self.frames(film)]
            return f"made of steps {min(steps, default=0)} to {max(steps, default=0)}"
        if basis is None:
            return ""
        first, last = min(basis.steps, default=0), max(basis.steps, default=0)
        fit = f"axes fitted at step {last}" + (f" (to steps {first} to {last})" if first != last else "")
        return fit + (", one pair for all branches" if len(films) > 1 else "")

    # For Python.

    def result(self, place: float) -> dict[str, Picture]:
        """What is shown of every branch at the frame nearest to a step."""
        found = {}
        for film in self.plane.films:
            frames = self.frames(film)
            step = min(frames, key=lambda there: abs(there - place), default=None)
            snapshot = None if step is None else film.branch.snapshot(step)
            if step is None or snapshot is None:
                continue
            xy, name = frames[step].xy.astype(np.float64), film.branch.name
            there = np.isfinite(xy).all(axis=1)
            if not there.any():
                continue
            group, sample = np.divmod(np.flatnonzero(there), len(self.plane.index))
            picture = Picture(
                xy[there], group, self.plane.nets, sample, axes=self.axes,
                title=f"{name}: {said_of(self.plane.of)}, step {step}", note=frames[step].note,
            )  # fmt: skip
            with suppress(InputError):
                picture = dyed(picture, snapshot, self.colours.by)
            found[name] = picture
        return found

    def summary(self) -> str:
        """What is shown, in words."""
        lines = [
            f"Points: {NAMES[self.how]} of the {said_of(self.plane.of)}; {len(self.plane.index)} images seen by "
            f"{', '.join(self.plane.nets)}; coloured by {self.colours.by}."
        ]
        for film in self.plane.films:
            steps, frames = list(self.frames(film)), list(self.frames(film).values())
            if frames:
                told = frames[-1].said or frames[-1].note
                lines.append(
                    f"{film.branch.name}: steps {steps[0]} to {steps[-1]} in {len(steps)} frames; the last {told}."
                )
        return "\n".join(lines)


def look(net: str, teachers: Sequence[str]) -> dict[str, str]:
    """How a net is drawn."""
    nets = ["student", *teachers]
    if net in nets:
        return {"name": net, "colour": colour_of(net, nets), "marker": marker_of(net, nets)}
    return {"name": net, "colour": NO_NET, "marker": "X" if net == "code" else "o"}
