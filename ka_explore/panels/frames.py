"""The film of a branch: where every net puts every image in a space, frame by frame, and what it answers there.

numpy only. A frame is projected once, when its snapshot is there.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int32, Int64

from ka_explore.errors import InputError
from ka_explore.panels.branch import Branch
from ka_explore.panels.predictions import answers_of, packed
from ka_explore.probes.classes import columns_of, tasks_of
from ka_explore.probes.linear import Basis, project
from ka_explore.probes.logits import softmax
from ka_explore.probes.spaces import members, rows_of, spaces, width_of
from ka_explore.run.snapshot import Snapshot

MOST_FRAMES = 64  # of a branch; beyond that every second one is dropped
MOST_BYTES = 16 * 2**20  # of positions that are sent to the browser, of all branches together

PREDICTIONS = "answers"
"""The space that every stage of every method has: each net's answer as shares of the classes it knows."""


# Spaces


def spaces_of(snapshot: Snapshot) -> tuple[str, ...]:
    """What can be drawn of a snapshot, what is drawn unasked first: the common space, or the answers."""
    found = [name for name in spaces(snapshot) if name != "logits"]
    return (*(["common"] if "common" in found else []), PREDICTIONS, *(n for n in found if n != "common"))


def with_answers(snapshot: Snapshot) -> Snapshot:
    """A snapshot whose ``logits/<net>`` are each net's shares of the classes: a softmax a task, 0 where it knows none.

    So student and teachers lie in one space even where no method has laid them there.
    """
    shape = (len(snapshot.index), len(snapshot.classes))
    nets = {net: np.zeros(shape, np.float32) for net in ("student", *snapshot.knows)}
    for task in tasks_of(snapshot):
        columns = columns_of(snapshot, task)
        nets["student"][:, columns] = softmax(snapshot.arrays["scores"][:, columns])
    for teacher, classes in snapshot.knows.items():
        nets[teacher][:, list(classes)] = softmax(snapshot.arrays[f"logits/{teacher}"])
    return replace(snapshot, arrays={f"logits/{net}": rows for net, rows in nets.items()})


def seen(snapshot: Snapshot, of: str) -> tuple[Snapshot, str]:
    """What the probes are asked for, so that they draw a space."""
    return (with_answers(snapshot), "logits") if of == PREDICTIONS else (snapshot, of)


def nets_in(snapshot: Snapshot, of: str) -> tuple[str, ...]:
    """The nets of a space in order. Raises InputError where there are none."""
    if of == PREDICTIONS:
        return ("student", *snapshot.teachers)
    width_of(snapshot, of)  # refuses what makes no picture
    if of.startswith("code/"):
        return ("student", "code")  # what the student makes of it comes in a later stage
    return in_order(members(snapshot, of), snapshot)


def in_order(nets: Iterable[str], snapshot: Snapshot) -> tuple[str, ...]:
    """The student first, teachers in their order, then what is no net."""
    order = ["student", *snapshot.teachers]
    return tuple(sorted(nets, key=lambda net: order.index(net) if net in order else len(order)))


def said_of(of: str) -> str:
    """A space in words."""
    kind, _, rest = of.partition("/")
    if of == PREDICTIONS:
        return "answers (shares of the classes)"
    if kind == "feature" and rest:
        net, _, layer = rest.partition("/")
        return f"features of {net}, {layer}"
    return {
        "common": "common space", "feature": "last features", "scores": "scores", "logits": f"logits of {rest}",
        "code": f"code of {rest}",
    }.get(kind, of)  # fmt: skip


def nothing(snapshot: Snapshot, of: str) -> str:
    """Why a space is not there, and what is."""
    return f"Stage “{snapshot.stage}” has no {said_of(of)}. Choose another space, for example the answers."


# Frames


@dataclass(frozen=True)
class Frame:
    """A step in the plane.

    Attributes:
        step: of the snapshot.
        stage: of that step.
        xy: net after net; NaN where a net has no place.
        answers: the student's, packed.
        note: how far the picture can be trusted.
        said: why there is nothing to see; empty where there is something.
    """

    step: int
    stage: str
    xy: Float32[np.ndarray, "point 2"]
    answers: Int32[np.ndarray, "task sample"]
    note: str = ""
    said: str = ""


def frame_of(
    snapshot: Snapshot, of: str, basis: Basis | None, nets: Sequence[str], index: Int64[np.ndarray, "sample"]
) -> Frame:
    """A snapshot on axes, its points in the order of the nets; empty, with the reason, where it has no such space."""
    count = len(index)
    xy = np.full((len(nets) * count, 2), np.nan, np.float32)
    nowhere = Frame(snapshot.step, snapshot.stage, xy, np.full((len(tasks_of(snapshot)), count), -1, np.int32))
    if not np.array_equal(snapshot.index, index):
        return replace(nowhere, said="These are other images than the first branch's.")
    nowhere = replace(nowhere, answers=packed(answers_of(snapshot, student=True)))
    try:
        rows = rows_of(*seen(snapshot, of))
    except InputError:
        return replace(nowhere, said=nothing(snapshot, of))
    if basis is None or next(iter(rows.values())).shape[1] != len(basis.mean):
        return replace(nowhere, said=f"{said_of(of)} is of another width here.")
    laid, kept = project(list(rows.values()), basis)
    for net, places in zip(rows, laid.reshape(len(rows), count, 2), strict=True):
        if net in nets:
            there = nets.index(net) * count
            xy[there : there + count] = places
    note = "all rows are the same: nothing to see" if np.isnan(kept) else f"keeps {kept:.0%} of the variance"
    return replace(nowhere, xy=xy, note=note)


class Film:
    """The frames of a branch on one pair of axes.

    Attributes:
        branch: whose.
        most: how many frames there may be.
        frames: by step, in order.
        every: only every so many-th snapshot has a frame.
    """

    def __init__(self, branch: Branch):
        self.branch = branch
        self.most = MOST_FRAMES
        self.frames: dict[int, Frame] = {}
        self.every = 1

    def wanted(self) -> list[int]:
        """The steps that should have a frame: every so many-th stored snapshot, the last, and where the run stands."""
        stored = self.branch.store.snapshot_steps()
        while math.ceil(len(stored) / self.every) > self.most:
            self.every *= 2
        steps = set(stored[:: self.every]) | set(stored[-1:])
        live = self.branch.live
        return sorted(steps | ({live.step} if live is not None else set()))

    def missing(self) -> list[int]:
        """The steps without a frame, the last first; frames that are no longer wanted go."""
        wanted = self.wanted()
        self.frames = {step: self.frames[step] for step in wanted if step in self.frames}
        return [step for step in reversed(wanted) if step not in self.frames]

    def add(self, frame: Frame) -> None:
        """Take a frame in, in order."""
        self.frames[frame.step] = frame
        self.frames = dict(sorted(self.frames.items()))


def most_frames(points: int, branches: int) -> int:
    """How many frames of a branch are kept: fewer of very many points."""
    return int(min(MOST_FRAMES, max(MOST_BYTES // max(8 * points * branches, 1), 8)))
