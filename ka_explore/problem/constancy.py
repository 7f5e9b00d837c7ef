"""Whether a teacher still says what it said: a few images are asked now and held against what was kept of them.

No key tells all that an answer hangs on: a global that ``preprocess=`` reads, a helper's code, a file. So whoever goes
on with answers that were kept asks again, a small batch a teacher.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from ka_explore.problem.layers import Outputs
from ka_explore.problem.pool import permutation
from ka_explore.problem.teachers import Teacher

ASKED = 16  # images
# Of the spread of what was kept. In single precision sums in another order (another batch, machine, number of threads)
# differ by some 1e-5 of it, in lower precision by a few times the precision.
ROUNDING = 1e-3
TENSOR_FLOAT = 2.0**-10  # the relative precision of convolutions on a GPU
WAVERING = 4.0  # times what a teacher that draws random numbers, or looks at its whole batch, differs from itself


def asked_images(count: int) -> Int64[np.ndarray, "_"]:
    """Which of so many images are asked: the same ones in every process, all over the pool."""
    return np.sort(permutation(count, 0, -1)[:ASKED])


def says_the_same(
    teacher: Teacher,
    images: Tensor,
    kept: Sequence[Tensor],
    read: Callable[[Outputs], Sequence[Tensor]],
    *,
    kept_precision: float = 0.0,
) -> bool:
    """Whether a teacher says of these images what was kept, but for rounding and its own wavering.

    Args:
        teacher: asked once, and once more in two halves where it seems to say something else.
        images: of the pool, a small batch.
        kept: tensors with a row an image.
        read: takes the tensors out of the teacher's outputs that belong to those.
        kept_precision: relative precision of what computed them, if it may be less than now.
    """
    now = [one.cpu() for one in read(teacher(images))]
    if [one.shape for one in now] != [one.shape for one in kept]:
        return False
    far = [distance(one, other) for one, other in zip(now, kept, strict=True)]
    allowed = max(ROUNDING, 16 * kept_precision, 16 * precision(teacher.module, images.device))
    if all(f <= allowed for f in far):
        return True
    halves = [read(teacher(half)) for half in images.split((len(images) + 1) // 2)]
    again = [torch.cat(parts).cpu() for parts in zip(*halves, strict=True)]
    return all(f <= allowed + WAVERING * distance(one, other) for f, one, other in zip(far, now, again, strict=True))


def distance(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the second's spread; its size counts a hundredth, as it is rounded too."""
    scale = other.std(correction=0) + 0.01 * other.abs().max()
    return float((one - other).abs().max() / scale.clamp_min(1e-30))


def precision(module: nn.Module, device: torch.device) -> float:
    """The relative precision of the coarsest numbers that a net computes with."""
    kinds = {p.dtype for p in module.parameters() if p.is_floating_point()}
    return max([torch.finfo(kind).eps for kind in kinds] + [TENSOR_FLOAT] * (device.type == "cuda"), default=0.0)
