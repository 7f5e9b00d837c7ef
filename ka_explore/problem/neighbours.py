"""Neighbours: which images of the pool are alike, by the teachers' features and by what they look like from afar."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from ka_explore.errors import InputError, brief, check_known
from ka_explore.problem.arrays import check_table, is_plain

ByTeacher = Mapping[str, Float[Tensor, "_ _"]]
"""By teacher, one row an image of the pool."""
OfPool = Float[Tensor, "_ channel height width"]
"""All images of the pool."""

SIDE = 14  # pixels a side on which images are compared: alike is what looks alike from afar
BLOCK = 1 << 24  # distances held at once, 64 MiB


def neighbour_space(
    count: int, teachers: Sequence[str], features: ByTeacher, images: OfPool | None
) -> Float[Tensor, "image coordinate"]:
    """Vectors whose Euclidean distance says how alike two images are. Raises InputError without any."""
    for teacher in features:
        check_known("teacher", teacher, teachers, where=" among the features")
        check_rows(f"features of teacher {teacher!r}", features[teacher], count, "(image, channel)")
    units = [unit(functional.normalize(features[t].float(), dim=1)) for t in teachers if t in features]
    vectors = [unit(torch.cat(units, dim=1))] if units else []
    if images is not None:
        if not is_plain(images) or images.ndim != 4 or not images.numel():
            raise InputError(f"images are {brief(images)}: expected plain floats (image, channel, height, width).")
        check_rows("images", images.flatten(1), count, "(image, channel, height, width)")
        vectors.append(unit(torch.cat([thumbnails(some) for some in images.split(256)]).flatten(1)))
    if not vectors:
        raise InputError("neighbours need features or images to be found by: give at least one of them.")
    return torch.cat(vectors, dim=1)


def thumbnails(images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image channel height2 width2"]:
    """Images averaged to at most 14 pixels a side, all that neighbours are found by; small ones stay as they are."""
    size = (min(SIDE, images.shape[2]), min(SIDE, images.shape[3]))
    return functional.adaptive_avg_pool2d(images.float(), size)


def unit(vectors: Float[Tensor, "image coordinate"]) -> Float[Tensor, "image coordinate"]:
    """Centred, with a mean squared length of 1; zeros where all are alike."""
    centred = vectors - vectors.mean(dim=0)
    length = centred.square().sum(dim=1).mean().sqrt()
    return centred / length if float(length) > 1e-6 else torch.zeros_like(centred)


def nearest_images(space: Float[Tensor, "image coordinate"], most: int) -> Int64[Tensor, "image neighbour"]:
    """The nearest other images, nearest first, exactly and block by block; at most ``most`` and all there are."""
    count = len(space)
    wanted = min(most, count - 1)
    squared = space.square().sum(dim=1)
    rows = max(1, BLOCK // count)
    found = []
    for start in range(0, count, rows):
        part = space[start : start + rows]
        distances = torch.addmm(squared[None], part, space.T, alpha=-2)  # the row's own square changes no order
        distances.diagonal(start).fill_(torch.inf)
        found.append(distances.topk(wanted, dim=1, largest=False).indices)
    return torch.cat(found)


def check_rows(what: str, values: Tensor, count: int, axes: str) -> None:
    """Raises InputError unless values are finite, plain, and two-dimensional with one row an image."""
    check_table(what, values)
    if len(values) != count:
        raise InputError(f"{what} have shape {tuple(values.shape)}: expected {axes} for {count} images.")
    if not bool(torch.isfinite(values).all()):
        row = int((~torch.isfinite(values)).any(dim=1).int().argmax())
        raise InputError(f"{what} are NaN or infinite (image {row} of the pool): check what computed them.")
