"""Where every net puts every image in a space, frame by frame, and what the student answers there; numpy only."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int64

from ka_explore.errors import InputError
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


def frame_of(
    snapshot: Snapshot, of: str, basis: Basis | None, nets: Sequence[str], index: Int64[np.ndarray, "sample"]
) -> dict[str, Any]:
    """A snapshot on axes.

    Returns ``xy`` (point, 2), net after net, NaN where a net has no place; the student's ``answers``, packed; the
    ``stage``; ``note``, how far the picture can be trusted; and ``said``, why there is nothing to see, if so.
    """
    count = len(index)
    xy = np.full((len(nets) * count, 2), np.nan, np.float32)
    frame = {"stage": snapshot.stage, "xy": xy, "note": "", "said": ""}
    if not np.array_equal(snapshot.index, index):
        nothing_said = np.full((len(tasks_of(snapshot)), count), -1, np.int32)
        return frame | {"answers": nothing_said, "said": "These are other images than the first branch's."}
    frame["answers"] = packed(answers_of(snapshot, student=True))
    try:
        rows = rows_of(*seen(snapshot, of))
    except InputError:
        return frame | {"said": nothing(snapshot, of)}
    if basis is None or next(iter(rows.values())).shape[1] != len(basis.mean):
        return frame | {"said": f"{said_of(of)} is of another width here."}
    laid, kept = project(list(rows.values()), basis)
    for net, points in zip(rows, laid.reshape(len(rows), count, 2), strict=True):
        if net in nets:
            there = nets.index(net) * count
            xy[there : there + count] = points
    return frame | {
        "note": "all rows are the same: nothing to see" if np.isnan(kept) else f"keeps {kept:.0%} of the variance"
    }


def most_frames(points: int, branches: int) -> int:
    """How many frames of a branch are kept: fewer of very many points."""
    return int(min(MOST_FRAMES, max(MOST_BYTES // max(8 * points * branches, 1), 8)))
