"""The film of a branch: where every net puts every image, frame by frame; and what colours, hovering and images need.

numpy only. A frame is projected once, when its snapshot is there; the axes are one pair for all frames and all
branches that are compared, so that what moves in the picture has moved.
"""

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Int32, Int64, UInt8

from ka_explore.errors import InputError
from ka_explore.panels.branch import Branch
from ka_explore.probes.colouring import colour
from ka_explore.probes.embedding import announced_seconds
from ka_explore.probes.linear import Basis, fit_basis, project
from ka_explore.probes.selection import logsumexp, relative_entropy
from ka_explore.probes.spaces import class_labels, members, rows_of, spaces, width_of
from ka_explore.results import Points
from ka_explore.snapshot import Snapshot

MOST_FRAMES = 64  # of a branch; beyond that every second one is dropped
MOST_BYTES = 16 * 2**20  # of positions that are sent to the browser, of all branches together
FIT_SNAPSHOTS = 5  # at most: what axes are fitted to
WORTH_SECONDS = 60.0  # what a film of t-SNE or UMAP may take: it then has fewer frames
MOST_DRAWN = 12  # frames of such a film
SHEET_BYTES = 500_000  # of all images together; beyond that an image is sent when it is pointed at
SHEET_SIDE = 40  # pixels a side of an image in the sheet

ANSWERS = "answers"
"""The space that every stage of every method has: each net's answer as shares of the classes it knows."""


# Spaces


def spaces_of(snapshot: Snapshot) -> tuple[str, ...]:
    """What can be drawn of a snapshot, what is drawn unasked first: the common space, or the answers."""
    found = [name for name in spaces(snapshot) if name != "logits"]
    return (*(["common"] if "common" in found else []), ANSWERS, *(n for n in found if n != "common"))


def with_answers(snapshot: Snapshot) -> Snapshot:
    """A snapshot whose ``logits/<net>`` are each net's shares of the classes: a softmax a task, 0 where it knows none.

    So student and teachers lie in one space even where no method has laid them there.
    """
    tasks = [task for task, _ in snapshot.classes]
    columns = [[i for i, t in enumerate(tasks) if t == task] for task in dict.fromkeys(tasks)]
    nets = {"student": np.concatenate([softmax(snapshot.arrays["scores"][:, mine]) for mine in columns], axis=1)}
    order = np.argsort(np.concatenate(columns), kind="stable")
    nets["student"] = nets["student"][:, order]
    for teacher, classes in snapshot.knows.items():
        rows = np.zeros((len(snapshot.index), len(tasks)), np.float32)
        rows[:, list(classes)] = softmax(snapshot.arrays[f"logits/{teacher}"])
        nets[teacher] = rows
    return replace(snapshot, arrays={f"logits/{net}": rows for net, rows in nets.items()})


def seen(snapshot: Snapshot, of: str) -> tuple[Snapshot, str]:
    """What the probes are asked for, so that they draw a space."""
    return (with_answers(snapshot), "logits") if of == ANSWERS else (snapshot, of)


def nets_in(snapshot: Snapshot, of: str) -> tuple[str, ...]:
    """The nets of a space, the student first, teachers in their order. Raises InputError where there are none."""
    if of == ANSWERS:
        return ("student", *snapshot.teachers)
    width_of(snapshot, of)  # refuses what makes no picture
    there = tuple(members(snapshot, of))
    if of.startswith("code/"):
        return ("code", "student")  # what the student makes of it comes in a later stage
    order = ["student", *snapshot.teachers]
    return tuple(sorted(there, key=lambda net: order.index(net) if net in order else len(order)))


def said_of(of: str) -> str:
    """A space in words."""
    kind, _, rest = of.partition("/")
    if of == ANSWERS:
        return "answers (shares of the classes)"
    if kind == "feature" and rest:
        net, _, layer = rest.partition("/")
        return f"features of {net}, {layer}"
    return {
        "common": "common space", "feature": "last features", "scores": "scores", "logits": f"logits of {rest}",
        "code": f"code of {rest}",
    }.get(kind, of)  # fmt: skip


# Frames


@dataclass(frozen=True)
class Frame:
    """A step in the plane.

    Attributes:
        step: of the snapshot.
        stage: of that step.
        xy: net after net; NaN where a net has no place.
        note: how far the picture can be trusted.
        said: why there is nothing to see; empty where there is something.
    """

    step: int
    stage: str
    xy: Float32[np.ndarray, "point 2"]
    note: str = ""
    said: str = ""


def frame_of(
    snapshot: Snapshot, of: str, basis: Basis | None, nets: Sequence[str], index: Int64[np.ndarray, "sample"]
) -> Frame:
    """A snapshot on axes, its points in the order of the nets; empty, with the reason, where it has no such space."""
    empty = np.full((len(nets) * len(index), 2), np.nan, np.float32)
    if not np.array_equal(snapshot.index, index):
        return Frame(snapshot.step, snapshot.stage, empty, said="These are other images than the first branch's.")
    try:
        rows = rows_of(*seen(snapshot, of))
    except InputError:
        return Frame(snapshot.step, snapshot.stage, empty, said=nothing(snapshot, of))
    if basis is None or next(iter(rows.values())).shape[1] != len(basis.mean):
        return Frame(snapshot.step, snapshot.stage, empty, said=f"{said_of(of)} is of another width here.")
    xy, kept = project(list(rows.values()), basis)
    for place, net in enumerate(rows):
        if net in nets:
            there = nets.index(net) * len(index)
            empty[there : there + len(index)] = xy[place * len(index) : (place + 1) * len(index)]
    note = "all rows are the same: nothing to see" if np.isnan(kept) else f"keeps {kept:.0%} of the variance"
    return Frame(snapshot.step, snapshot.stage, empty, note)


def nothing(snapshot: Snapshot, of: str) -> str:
    """Why a space is not there, and what is."""
    return f"Stage “{snapshot.stage}” has no {said_of(of)}. Choose another space, for example the answers."


class Film:
    """The frames of a branch on one pair of axes.

    Attributes:
        branch: whose.
        frames: by step, in order.
        every: only every so many-th snapshot has a frame.
    """

    def __init__(self, branch: Branch, most: int = MOST_FRAMES):
        self.branch = branch
        self.most = most
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
        """The steps without a frame, the last first, then evenly; frames that are no longer wanted go."""
        wanted = self.wanted()
        self.frames = {step: self.frames[step] for step in wanted if step in self.frames}
        left = [step for step in wanted if step not in self.frames]
        return left[::-1]

    def add(self, frame: Frame) -> None:
        """Take a frame in, in order."""
        self.frames[frame.step] = frame
        self.frames = dict(sorted(self.frames.items()))


def most_frames(points: int, branches: int) -> int:
    """How many frames of a branch are kept: fewer of very many points."""
    return int(min(MOST_FRAMES, max(MOST_BYTES // max(8 * points * branches, 1), 8)))


# Axes


def spread(steps: Sequence[int], most: int) -> list[int]:
    """So many steps, the first, the last and evenly between."""
    if len(steps) <= most:
        return list(steps)
    return [steps[place] for place in np.unique(np.linspace(0, len(steps) - 1, most).round().astype(int))]


def fitted(snapshots: Sequence[Snapshot], of: str) -> Basis:
    """Axes of a few snapshots; those of stages without the space, or of another width than the last, are left out.

    Raises InputError where none has it.
    """
    usable: list[Snapshot] = []
    width, name = 0, of
    refused: InputError | None = None
    for snapshot in sorted(snapshots, key=lambda s: s.step, reverse=True):
        try:
            shown, name = seen(snapshot, of)
            own = width_of(shown, name)
        except InputError as error:
            refused = refused or error
            continue
        width = width or own
        if own == width:
            usable.append(shown)
    if not usable:
        raise refused or InputError("axes need at least one snapshot, got none.")
    return fit_basis(usable[::-1], name)


def laid_onto(basis: Basis, before: Basis, snapshot: Snapshot, of: str) -> Basis:
    """The same plane, its axes turned or mirrored so that a snapshot comes near where the old axes put it.

    The best rotation or reflection in the sense of least squares (Schönemann 1966): distances within the plane stay
    as they are. Axes of another width are left alone.
    """
    if len(basis.mean) != len(before.mean):
        return basis
    try:
        parts = list(rows_of(*seen(snapshot, of)).values())
    except InputError:
        return basis
    if parts[0].shape[1] != len(basis.mean):
        return basis
    here, there = (project(parts, axes)[0] for axes in (basis, before))
    left, _, right = np.linalg.svd((here - here.mean(axis=0)).T @ (there - there.mean(axis=0)))
    turn = left @ right
    kept = np.diag(turn.T @ np.diag(basis.kept) @ turn)
    return replace(basis, axes=turn.T @ basis.axes, kept=(float(kept[0]), float(kept[1])))


def drawn_frames(how: str, points: int, there: int) -> int:
    """How many frames a film of t-SNE or UMAP has, so that it does not take too long; at least three."""
    most = min(there, MOST_DRAWN)
    while most > 3 and announced_seconds(how, points, most) > WORTH_SECONDS:
        most -= 1
    return max(most, 1)


# Colours


def ways_to_colour(snapshot: Snapshot) -> dict[str, str]:
    """What points can be coloured by, in words."""
    tasks = list(snapshot.labels or {})
    classes = {"class": "class"} if len(tasks) == 1 else {f"class/{task}": f"class: {task}" for task in tasks}
    return classes | {
        "net": "net", "teacher": "teacher that claims or teaches it", "error": "reconstruction error",
        "agreement": "agreement with the student", "entropy": "entropy of the answer",
    }  # fmt: skip


def tint_of(
    snapshot: Snapshot, by: str, nets: Sequence[str], index: Int64[np.ndarray, "sample"]
) -> tuple[Float32[np.ndarray, "point"], Points | None]:
    """A number a point, net after net, that says its colour: the place of a label (−1: unknown) or a value (or NaN).

    Also the picture that carries labels, their names and units; None where the snapshot has not what is needed.
    """
    count = len(index)
    group, sample = np.repeat(np.arange(len(nets)), count), np.tile(np.arange(count), len(nets))
    bare = Points(np.zeros((len(nets) * count, 2)), group, tuple(nets), sample)
    unknown = np.full(len(bare.xy), np.nan, np.float32)
    if not np.array_equal(snapshot.index, index):
        return unknown, None
    try:
        if by == "entropy":
            found = replace(bare, value=entropies(snapshot, nets), unit="entropy of the answer (1: knows nothing)")
        else:
            kind, _, task = by.partition("/")
            found = colour(bare, snapshot, kind, task or None)
    except InputError:
        return unknown, None
    numbers = found.value if found.value is not None else found.label
    return unknown if numbers is None else np.asarray(numbers, np.float32), found


def entropies(snapshot: Snapshot, nets: Sequence[str]) -> Float[np.ndarray, "point"]:
    """Entropy of each net's answer as a share of its largest value; of several tasks the mean."""
    tasks = [task for task, _ in snapshot.classes]
    parts = []
    for net in nets:
        if net in snapshot.knows:
            parts.append(relative_entropy(snapshot.arrays[f"logits/{net}"]))
        else:
            scores = snapshot.arrays["scores"]
            columns = [[i for i, t in enumerate(tasks) if t == task] for task in dict.fromkeys(tasks)]
            parts.append(np.mean([relative_entropy(scores[:, mine]) for mine in columns], axis=0))
    return np.concatenate(parts)


def range_of(tints: Sequence[Float32[np.ndarray, "_"]]) -> tuple[float, float] | None:
    """The range of some values: 2nd to 98th percentile; None where there are none."""
    finite = np.concatenate([np.zeros(0, np.float32), *(tint[np.isfinite(tint)] for tint in tints)])
    if not len(finite):
        return None
    low, high = np.percentile(finite, [2, 98])
    return float(low), float(high)


# Answers


def softmax(logits: Float[np.ndarray, "sample column"]) -> Float32[np.ndarray, "sample column"]:
    """Shares of the columns; NaN in rows with a logit that is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.exp(logits.astype(np.float64) - logsumexp(logits)[:, None]).astype(np.float32)


def answer_rows(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Who answers what: (net, task); the student's tasks first, then the teachers."""
    tasks = dict.fromkeys(task for task, _ in snapshot.classes)
    teachers = [(t, snapshot.classes[columns[0]][0]) for t, columns in snapshot.knows.items() if columns]
    return [("student", task) for task in tasks] + teachers


def answers_of(snapshot: Snapshot, student: bool) -> Int32[np.ndarray, "row sample"]:
    """The top answer and its share: 256 × the class's column + the share in 255ths; −1 where there is none.

    Args:
        snapshot: any.
        student: True for the student's rows of `answer_rows`, False for the teachers'.
    """
    rows = []
    for net, task in answer_rows(snapshot):
        if (net == "student") != student:
            continue
        if student:
            columns = [i for i, (t, _) in enumerate(snapshot.classes) if t == task]
            logits = snapshot.arrays["scores"][:, columns]
        else:
            columns, logits = list(snapshot.knows[net]), snapshot.arrays[f"logits/{net}"]
        share = softmax(logits)
        known = np.isfinite(share).all(axis=1)
        best = np.nan_to_num(share).argmax(axis=1)
        top = np.nan_to_num(share)[np.arange(len(share)), best]
        packed = 256 * np.asarray(columns)[best] + np.round(255 * np.clip(top, 0, 1)).astype(int)
        rows.append(np.where(known, packed, -1))
    return np.stack(rows).astype(np.int32) if rows else np.zeros((0, len(snapshot.index)), np.int32)


def truth_of(snapshot: Snapshot) -> tuple[list[str], Int32[np.ndarray, "task sample"]]:
    """The tasks with true classes, and the true class's column, −1 where unknown."""
    tasks, rows = [], []
    for task in snapshot.labels or {}:
        label, _ = class_labels(snapshot, task)
        columns = np.array([i for i, (t, _) in enumerate(snapshot.classes) if t == task], np.int64)
        if label is not None and len(columns):
            tasks.append(task)
            rows.append(np.where(label >= 0, columns[np.maximum(label, 0)], -1))
    return tasks, np.stack(rows).astype(np.int32) if rows else np.zeros((0, len(snapshot.index)), np.int32)


# Images


def pictures(images: Float32[np.ndarray, "image channel height width"], most: int) -> UInt8[np.ndarray, "..."]:
    """Images as bytes, (image, height, width) in grey or with three colours last, at most so many pixels a side."""
    shown = images[:, :3] if images.shape[1] >= 3 else images[:, :1]
    step = math.ceil(max(shown.shape[2:]) / most)
    if step > 1:
        height, width = (side // step * step for side in shown.shape[2:])
        blocks = shown[:, :, :height, :width].reshape(*shown.shape[:2], height // step, step, width // step, step)
        shown = blocks.mean(axis=(3, 5))
    low, high = float(np.nanmin(shown, initial=np.inf)), float(np.nanmax(shown, initial=-np.inf))
    low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)  # normalised ones are stretched
    grey = np.nan_to_num((shown - low) / max(high - low, 1e-12) * 255).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(grey.transpose(0, 2, 3, 1) if grey.shape[1] == 3 else grey[:, 0])


def sheet_of(images: Float32[np.ndarray, "image channel height width"]) -> tuple[bytes, dict[str, int]]:
    """All images as one PNG, side by side in rows, and how they lie in it; no bytes where that would be too much."""
    small = pictures(images, SHEET_SIDE)
    count, height, width = small.shape[:3]
    columns = max(math.ceil(math.sqrt(count * height / width)), 1)
    rows = math.ceil(count / columns)
    about = {"width": width, "height": height, "columns": columns, "count": count}
    if small.size > 8 * SHEET_BYTES:
        return b"", about
    whole = np.zeros((rows * columns, *small.shape[1:]), np.uint8)
    whole[:count] = small
    lying = whole.reshape(rows, columns, *small.shape[1:]).swapaxes(1, 2)
    made = png(lying.reshape(rows * height, columns * width, *small.shape[3:]))
    return (made if len(made) <= SHEET_BYTES else b""), about


def png(picture: UInt8[np.ndarray, "height width *colour"]) -> bytes:
    """A picture in grey or RGB as PNG (W3C 2003: one filter byte a row, deflate)."""
    height, width = picture.shape[:2]
    lines = np.zeros((height, 1 + picture[0].size), np.uint8)
    lines[:, 1:] = picture.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2 if picture.ndim == 3 else 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
