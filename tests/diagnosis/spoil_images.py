"""Ways to spoil what a teacher is fed: what is done to its images beside, or in place of, its own preprocessing."""

import math
from collections.abc import Callable
from typing import Any

import torch
from spoil import Case, with_teacher
from torch import Tensor
from torch.nn import functional

from ka_explore import Problem

Prepare = Callable[[Tensor], Tensor]


def fed_with(how: Callable[[Tensor, Prepare], Tensor]) -> Callable[[Problem, Any], Case]:
    """The first teacher's own preprocessing, and what is done to its images besides."""

    def make(problem: Problem, _strength: Any) -> Case:
        return prepared(problem, how)

    return make


def prepared(problem: Problem, how: Callable[[Tensor, Prepare], Tensor]) -> Case:
    """The first teacher is fed what ``how`` makes of images and of its own preprocessing."""
    own = problem.teachers[0].preprocess or (lambda images: images)
    return Case(with_teacher(problem, 0, preprocess=lambda images: how(images, own)), steps=60)


def smooth(images: Tensor, size: int) -> Tensor:
    """Means over squares of an odd size, as large as before."""
    return functional.avg_pool2d(functional.pad(images, (size // 2,) * 4, mode="replicate"), size, stride=1)


def blurred(images: Tensor, own: Prepare) -> Tensor:
    """Out of focus by a quarter of the image."""
    return own(smooth(images, max(3, images.shape[3] // 8 * 2 + 1)))


def least_to_most(images: Tensor, _own: Prepare) -> Tensor:
    """Each image from its least to its largest value, in place of mean and deviation."""
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return (images - low) / (high - low).clamp_min(1e-6)


def two_levels(images: Tensor, own: Prepare) -> Tensor:
    """Black or white."""
    return own((images > 0.5).float())


def whole_numbers(images: Tensor, own: Prepare) -> Tensor:
    """Made integers after they were divided by 255."""
    return own(images.long().float())


def cut_to_one(images: Tensor, own: Prepare) -> Tensor:
    """Normalised values are cut off at 0 and 1."""
    return own(images).clamp(0, 1)


def wrapped(images: Tensor, own: Prepare) -> Tensor:
    """Brightened in bytes, which begin again at 0."""
    return own(((images * 255 * 1.8).round() % 256) / 255)


def squashed(images: Tensor, own: Prepare) -> Tensor:
    """Half as wide: the proportion was lost."""
    height, width = images.shape[2:]
    small = functional.interpolate(images, (height, width // 2), mode="bilinear", antialias=True)
    left = (width - width // 2) // 2
    return own(functional.pad(small, (left, width - width // 2 - left, 0, 0), mode="replicate"))


def zoomed(images: Tensor, own: Prepare) -> Tensor:
    """Only the middle half, enlarged."""
    height, width = images.shape[2:]
    middle = images[:, :, height // 4 : height - height // 4, width // 4 : width - width // 4]
    return own(functional.interpolate(middle, (height, width), mode="bilinear"))


def interlaced(images: Tensor, own: Prepare) -> Tensor:
    """Every other row is black."""
    rows = images.clone()
    rows[:, :, 1::2] = 0
    return own(rows)


def halves_mixed(images: Tensor, own: Prepare) -> Tensor:
    """Rows of the upper and the lower half take turns: read in another order than written."""
    count, channels, height, width = images.shape
    return own(images.reshape(count, channels, 2, height // 2, width).transpose(2, 3).reshape(images.shape))


def chance(images: Tensor) -> torch.Generator:
    """A generator that is the same for the same images."""
    return torch.Generator().manual_seed(int(images.sum().abs() * 1000) % 2**31)


def grainy(images: Tensor, own: Prepare) -> Tensor:
    """Noise of a third of the range."""
    return own((images + 0.35 * torch.randn(images.shape, generator=chance(images))).clamp(0, 1))


def speckled(images: Tensor, own: Prepare) -> Tensor:
    """A fifth of the pixels is black or white."""
    random = torch.rand(images.shape, generator=chance(images))
    return own(images.masked_fill(random < 0.1, 0.0).masked_fill(random > 0.9, 1.0))


def edges_only(images: Tensor, own: Prepare) -> Tensor:
    """Only what differs from the neighbourhood, about a middle grey."""
    return own(((images - smooth(images, 3)) * 2 + 0.5).clamp(0, 1))


def tilted(images: Tensor, own: Prepare) -> Tensor:
    """Turned by 35 degrees."""
    cosine, sine = math.cos(math.radians(35)), math.sin(math.radians(35))
    about = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]]).expand(len(images), 2, 3)
    grid = functional.affine_grid(about, list(images.shape), align_corners=False)
    return own(functional.grid_sample(images, grid, align_corners=False))


def stamped(images: Tensor, own: Prepare) -> Tensor:
    """A grey square over the middle third."""
    height, width = images.shape[2:]
    covered = images.clone()
    covered[:, :, height // 3 : height - height // 3, width // 3 : width - width // 3] = 0.5
    return own(covered)
