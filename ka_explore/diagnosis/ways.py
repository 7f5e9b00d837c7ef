"""Other ways to give a teacher the images of the pool: brought to another range or size, turned, moved, cut anew."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ka_explore.diagnosis.feeding import TURNS
from ka_explore.problem.preprocess import Preprocess
from ka_explore.problem.teachers import Teacher

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SHARPER = 2.0  # how much of what smoothing takes away is added
BANDS = 32  # of rows, and of columns, each of which is looked for in what the net is given

Images = Float[Tensor, "image channel height width"]
Ways = dict[str, Callable[[], Tensor]]


def alternatives(teacher: Teacher, images: Images, inputs: Float[Tensor, "image channel2 height2 width2"]) -> Ways:
    """By what it is called: another way to give a net the images of the pool than ``inputs``; made when called."""
    low, high = inputs.amin(), inputs.amax()
    mean = inputs.mean(dim=(0, 2, 3), keepdim=True)
    std = inputs.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
    standard = (inputs - mean) / std

    def sized(what: Tensor, height: float, width: float) -> Tensor:
        size = (max(round(height), 1), max(round(width), 1))
        return functional.interpolate(what, size, mode="bilinear", antialias=True, align_corners=False)

    smooth = functional.avg_pool2d(functional.pad(inputs, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    height, width = inputs.shape[2:]
    ways: Ways = {
        "standardised": lambda: standard,
        "inverted": lambda: low + high - inputs,
        "inverted and standardised": lambda: -standard,
        "divided by 255": lambda: inputs / 255,
        "times 255": lambda: inputs * 255,
        "offset removed": lambda: inputs - mean,
        "brought to 0 to 1": lambda: (inputs - low) / (high - low).clamp_min(1e-6),
        "brought to -1 to 1": lambda: (inputs - low) / (high - low).clamp_min(1e-6) * 2 - 1,
        "smoothed": lambda: smooth,
        "sharpened": lambda: inputs + SHARPER * (inputs - smooth),
        "half the size": lambda: sized(inputs, height / 2, width / 2),
        "double the size": lambda: sized(inputs, 2 * height, 2 * width),
    }
    if images.shape[2:] != inputs.shape[2:]:
        own = teacher.preprocess
        unsized = None
        if isinstance(own, Preprocess):
            unsized = dataclasses.replace(own, size=None, shorter_side=None, crop=None)
        ways["the pool's own size"] = lambda: unsized(images) if unsized else sized(inputs, *images.shape[2:])
    if levels(inputs) < levels(images) and images.shape[1] in (1, inputs.shape[1]):
        full = sized(images.expand(-1, inputs.shape[1], -1, -1), height, width)
        full = (full - full.mean(dim=(0, 2, 3), keepdim=True)) / full.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
        ways["all values of the pool's images"] = lambda: full * std + mean
        ways["all values of the pool's images, standardised"] = lambda: full
    if inputs.shape[1] == 3:
        ways["channels in the other order"] = lambda: inputs.flip(1)
        ways["channels in the other order and standardised"] = lambda: standard.flip(1)
        if images.shape[1] == 3:
            usual, deviation = (images.new_tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
            ways["normalised as for ImageNet"] = lambda: (images - usual) / deviation
    return ways


def turned(teacher: Teacher, images: Images, cut: dict[str, float]) -> Ways:
    """The same images turned over or moved before they are prepared for the net; ``as given`` is one of them.

    ``cut`` says how much of them is never seen, see `cut_off`: where that is uneven, they are moved back into view.
    """

    def given(operation: str, *arguments: Any) -> Tensor:
        changed = getattr(images, operation)(*arguments).contiguous()
        return changed if teacher.preprocess is None else teacher.preprocess(changed)

    height, width = images.shape[2:]
    down, right = max(height // 4, 1), max(width // 4, 1)
    moves = {"moved down": (down, 0), "moved up": (-down, 0), "moved right": (0, right), "moved left": (0, -right)}
    sides = (("top", "bottom", height), ("left", "right", width))
    off = [round((cut.get(one, 0) - cut.get(other, 0)) * size) for one, other, size in sides]
    if any(off):
        moves |= {"cut evenly": (round(off[0] / 2), round(off[1] / 2)), "moved back into view": (off[0], off[1])}
    changes = {"as given": ("clone", ()), **TURNS, **{name: ("roll", (move, (2, 3))) for name, move in moves.items()}}
    return {name: partial(given, operation, *arguments) for name, (operation, arguments) in changes.items()}


def levels(images: Tensor) -> int:
    """How many different values images have, at most 256: fewer than before where values were cut off or rounded."""
    return min(len(images.unique()), 256)


def cut_off(prepare: Callable[[Tensor], Tensor] | None, images: Images) -> dict[str, float]:
    """Which share of the images at each side never reaches the net: a change there changes nothing that it is given.

    Empty where nothing is done to the images, or nothing that they hold arrives.
    """
    if prepare is None:
        return {}
    dark, bright = images.amin(), images.amax()
    cut = {}
    for axis, sides in ((2, ("top", "bottom")), (3, ("left", "right"))):
        parts = torch.arange(images.shape[axis], device=images.device).chunk(BANDS)
        banded = torch.ones_like(images[:1]).mul(dark).repeat(len(parts) + 1, 1, 1, 1)
        for row, band in enumerate(parts):
            banded[row].index_fill_(axis - 1, band, float(bright))
        given = prepare(banded)
        arrives = (given[:-1] - given[-1:]).flatten(1).abs().amax(dim=1) > 1e-6 * float(given.abs().amax())
        if not arrives.any():
            return {}
        places = arrives.nonzero().flatten()
        cut[sides[0]] = float(places[0]) / len(parts)
        cut[sides[1]] = float(len(parts) - 1 - places[-1]) / len(parts)
    return cut
