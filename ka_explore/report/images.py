"""Images of the pool as they are shown, and what the nets say of them."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from PIL import Image

from ka_explore.probes.classes import columns_of, names_of, tasks_of
from ka_explore.probes.logits import softmax
from ka_explore.report.parts import Exhibit, Gallery, Part, Picture, Table
from ka_explore.report.stored import StoredRun
from ka_explore.run.snapshot import Snapshot

if TYPE_CHECKING:
    from ka_explore.run.run import Run

SIDE = 112  # pixels of an image's longer side, at least; small images are enlarged without smoothing


def exhibits(
    run: "Run", snapshot: Snapshot, indices: Sequence[int], why: Sequence[str], more: Sequence[Mapping[str, str]] = ()
) -> list[Exhibit]:
    """Images by their indices in a snapshot, why they are shown, who says what; ``more`` stands behind, by net."""
    images = run.problem.pool.images[np.asarray(snapshot.index)[list(indices)]].numpy()
    return [
        Exhibit(
            shown(image, f"image {snapshot.index[index]} of the pool"),
            text,
            {who: f"{what}, {extra[who]}" if who in extra else what for who, what in said(snapshot, index).items()},
        )
        for image, index, text, extra in zip(images, indices, why, more or [{}] * len(indices), strict=True)
    ]


def images_shown(
    run: "Run | StoredRun",
    snapshot: Snapshot,
    indices: Sequence[int],
    why: Sequence[str],
    more: Sequence[Mapping[str, str]] = (),
) -> Part:
    """The same side by side; where there is no problem to have images from, what is said of each as a table."""
    if not isinstance(run, StoredRun):
        return Gallery(exhibits(run, snapshot, indices, why, more))
    told = [said(snapshot, index) for index in indices]
    rows = [
        [str(snapshot.index[index]), text, *words.values()]
        for index, text, words in zip(indices, why, told, strict=True)
    ]
    return Table(["image", "why", *told[0]], rows)


def shown(image: Float[np.ndarray, "channel height width"], name: str, *, side: int = SIDE) -> Picture:
    """An image as a PNG: grey or in colours, values outside 0 to 1 brought there, small ones enlarged as they are."""
    low, high = float(image.min()), float(image.max())
    if low < -1e-6 or high > 1 + 1e-6:
        image = (image - low) / max(high - low, 1e-12)
    channels = image if len(image) == 3 else image.mean(axis=0, keepdims=True)
    pixels = np.rint(255 * channels.clip(0, 1)).astype(np.uint8)
    made = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    longer = max(made.size)
    if longer < side:
        times = -(-side // longer)
        made = made.resize((made.width * times, made.height * times), Image.Resampling.NEAREST)
    elif longer > 2 * side:
        made.thumbnail((2 * side, 2 * side))
    file = io.BytesIO()
    made.save(file, format="png", optimize=True)
    return Picture(name, file.getvalue(), "png", width=side)


def some_of(run: "Run", count: int = 14) -> Picture:
    """The first images of the probe set beside one another."""
    images = run.problem.pool.images[run.problem.pool.probe_index[:count]].numpy()
    gap = max(images.shape[3] // 8, 1)
    low, high = (0.0, 1.0) if images.min() >= -1e-6 and images.max() <= 1 + 1e-6 else (images.min(), images.max())
    images = (images - low) / max(high - low, 1e-12)
    padded = np.pad(images, ((0, 0), (0, 0), (0, 0), (0, gap)), constant_values=1.0)
    return shown(np.concatenate(list(padded), axis=2)[..., :-gap], "some of the images", side=SIDE * 8)


def said(snapshot: Snapshot, index: int) -> dict[str, str]:
    """What is true of an image, where that is known, and what student and teachers say, with their probabilities."""
    tasks = tasks_of(snapshot)
    told: dict[str, str] = {}
    for task in tasks:
        own = "" if len(tasks) == 1 else f" ({task})"
        y = (snapshot.labels or {}).get(task)
        names = names_of(snapshot, task)
        if y is not None:
            told[f"true class{own}"] = names[y[index]] if y[index] >= 0 else "not known"
        told[f"student{own}"] = answer(snapshot.arrays["scores"][index, columns_of(snapshot, task)], names)
    for teacher, classes in snapshot.knows.items():
        labels = tuple(snapshot.classes[column][1] for column in classes)
        told[teacher] = answer(snapshot.arrays[f"logits/{teacher}"][index], labels)
    return told


def answer(logits: Float[np.ndarray, "label"], names: Sequence[str]) -> str:
    """The best label with its probability."""
    if not np.isfinite(logits).all():
        return "not finite"
    best = int(logits.argmax())
    return f"{names[best]} ({100 * softmax(logits[None])[0, best]:.0f} %)"


def misunderstood(snapshot: Snapshot, count: int) -> tuple[list[int], list[str]]:
    """The images where the student gives least probability to what a teacher is sure of: places, and why.

    A teacher's best label p against the student's probability q of it within the teacher's classes: largest p − q
    over teachers, worst image first; images where it is below a tenth are left out. Needs no label.
    """
    worst = np.full(len(snapshot.index), -np.inf)
    who = np.zeros(len(snapshot.index), dtype=int)
    for index, (teacher, classes) in enumerate(snapshot.knows.items()):
        own = softmax(snapshot.arrays["scores"][:, list(classes)])
        taught = softmax(snapshot.arrays[f"logits/{teacher}"])
        best = np.arange(len(taught)), np.nan_to_num(taught).argmax(axis=1)
        gap = np.nan_to_num(taught[best] - own[best], nan=-np.inf)
        who = np.where(gap > worst, index, who)
        worst = np.maximum(worst, gap)
    order = [int(i) for i in np.argsort(-worst, kind="stable")[:count] if worst[i] >= 0.1]
    return order, [f"{snapshot.teachers[who[i]]} is surer by {100 * worst[i]:.0f} points" for i in order]
