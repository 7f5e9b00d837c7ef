"""Which spaces points can be drawn in, what they are called, and which nets lie there; numpy only."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ka_explore.panels.predictions import heads_of
from ka_explore.probes.logits import softmax
from ka_explore.probes.spaces import members, spaces, width_of
from ka_explore.run.snapshot import Snapshot

MOST_FRAMES = 64  # of a branch; beyond that every second one is dropped
MOST_BYTES = 16 * 2**20  # of positions that are sent to the browser, of all branches together

PREDICTIONS = "answers"
"""The space that every stage of every method has: each net's answer as shares of the classes it knows."""


def spaces_of(snapshot: Snapshot) -> tuple[str, ...]:
    """What can be drawn of a snapshot, what is drawn unasked first: the common space, or the answers."""
    found = [name for name in spaces(snapshot) if name != "logits"]
    return (*(["common"] if "common" in found else []), PREDICTIONS, *(n for n in found if n != "common"))


def seen(snapshot: Snapshot, of: str) -> tuple[Snapshot, str]:
    """What the probes are asked for, so that they draw a space.

    For the answers ``common/<net>`` of a snapshot that holds each net's shares of the classes: a softmax a task, 0
    where it knows none; and the logits. So student and teachers lie in one space even where no method has laid them
    there.
    """
    if of != PREDICTIONS:
        return snapshot, of
    shape = (len(snapshot.index), len(snapshot.classes))
    nets = {net: np.zeros(shape, np.float32) for net in ("student", *snapshot.knows)}
    for net, _, columns, logits in heads_of(snapshot):
        nets[net][:, columns] = softmax(logits)
    arrays = {name: array for name, array in snapshot.arrays.items() if name.startswith("logits/")}
    return replace(snapshot, arrays=arrays | {f"common/{net}": rows for net, rows in nets.items()}), "common"


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
    return {
        PREDICTIONS: "answers (shares of the classes)", "common": "common space", "scores": "scores",
        "feature": f"features of {rest.replace('/', ', ', 1)}" if rest else "last features",
        "logits": f"logits of {rest}", "code": f"code of {rest}",
    }.get(kind, of)  # fmt: skip


def nothing(snapshot: Snapshot, of: str) -> str:
    """Why a space is not there, and what is."""
    return f"Stage “{snapshot.stage}” has no {said_of(of)}. Choose another space, for example the answers."


def most_frames(points: int, branches: int) -> int:
    """How many frames of a branch are kept: fewer of very many points."""
    return int(min(MOST_FRAMES, max(MOST_BYTES // max(8 * points * branches, 1), 8)))
