"""What a net wants done to the pool's images before it sees them."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ka_explore.errors import InputError, brief, fits, in_words, told
from ka_explore.problem.processors import settings_of

LARGEST = 16384  # pixels a side: what is larger is a slip, and would ask for all memory


@dataclass(frozen=True)
class Preprocess:
    """What a net wants done to the pool's images: channels, resize, crop, normalise, in this order.

    Resizing and cropping are those of PIL and of the usual processors; `from_processor` reads one of transformers.

    Attributes:
        size: height and width to resize to, one number for squares; None leaves it.
        channels: 3 repeats a grey image, 1 averages the colours; None leaves them.
        mean: a number a channel, or one for all, subtracted.
        std: a number a channel, or one for all, divided by.
        shorter_side: what the shorter side is resized to, the longer one in proportion (rounded down).
        crop: height and width, one number for squares, of the middle that is kept, an odd row or column cut below and
            right, as transformers does it (torchvision rounds half of it to the even); a smaller image gets a rim of 0.
        interpolation: of the resizing. Bicubic values beyond 0 and 1 are clipped, as in images of bytes.
        antialias: whether a pixel made smaller is a mean of all that it covers; without, as ``nearest`` always is.

    Raises:
        InputError: for other types, numbers that are not finite, std that is not positive, sides below 1 or above
            16384, ``size`` beside ``shorter_side``; when called, for what are no such images.
    """

    size: int | tuple[int, int] | None = None
    channels: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    shorter_side: int | None = None
    crop: int | tuple[int, int] | None = None
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = as_written(getattr(self, field.name))
            if field.name in ("mean", "std"):
                value = () if value is None else value if isinstance(value, tuple) else (value,)
            if not fits(value, field.type):
                raise InputError(f"Preprocess: {field.name} must be {in_words(field.type)}, got {brief(value)}.")
            object.__setattr__(self, field.name, value)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if any(abs(v) > 1e30 for v in values):
                raise InputError(f"{name} is beyond all pixels, got {brief(values)}.")
            object.__setattr__(self, name, tuple(float(v) for v in values))
        if any(v <= 0 for v in self.std):
            raise InputError(f"std must be positive, got {brief(self.std)}.")
        if self.channels not in (None, 1, 3):
            raise InputError(f"channels must be 1, 3 or None, got {self.channels}.")
        for name in ("size", "shorter_side", "crop"):
            if (side := getattr(self, name)) is not None and not all(1 <= n <= LARGEST for n in pair(side)):
                raise InputError(f"{name} must be from 1 to {LARGEST} pixels, got {brief(side)}.")
        if self.size is not None and self.shorter_side is not None:
            raise InputError("Preprocess resizes to size= or to shorter_side=, not to both: leave out one.")
        for field in dataclasses.fields(self)[4:]:  # what is not chosen is not held: fingerprints from before stay
            if getattr(self, field.name) == field.default:
                object.__delattr__(self, field.name)

    @classmethod
    def from_processor(cls, processor: Any) -> "Preprocess":
        """What an image processor of transformers, or its settings as a mapping, does to images, here of 0 to 1.

        Raises InputError for what is none, and, by name, for what it does that a `Preprocess` cannot.
        """
        return cls(**settings_of(processor))

    def __call__(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel2 height2 width2"]:
        """The images as the net wants them."""
        check_images(images)
        images = images.float() if images.itemsize < 4 else images  # torch does not resize half precision
        if self.channels is not None and images.shape[1] != self.channels:
            if self.channels == 1:
                images = images.mean(1, keepdim=True)
            elif images.shape[1] == 1:
                images = images.expand(-1, 3, -1, -1)
            else:
                raise InputError(f"cannot make 3 channels of {images.shape[1]}.")
        height, width = images.shape[2:]
        size = pair(self.size) if self.size is not None else (height, width)
        if self.shorter_side is not None:
            size = tuple(int(self.shorter_side * side / min(height, width)) for side in (height, width))
        if size != (height, width):
            images = self.resized(images, size)
        if self.crop is not None:
            images = cropped(images, pair(self.crop))
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) not in (1, images.shape[1]):
                raise InputError(f"{name} has {len(values)} numbers, the images have {images.shape[1]} channels.")
        if self.mean:
            images = images - images.new_tensor(self.mean).view(1, -1, 1, 1)
        if self.std:
            images = images / images.new_tensor(self.std).view(1, -1, 1, 1)
        return images

    def resized(self, images: Tensor, size: tuple[int, ...]) -> Tensor:
        """The images in another size; PIL's "nearest" takes the pixel at the middle, torch's ``nearest-exact``."""
        if self.interpolation == "nearest":
            return functional.interpolate(images, size, mode="nearest-exact")
        made = functional.interpolate(
            images, size, mode=self.interpolation, antialias=self.antialias, align_corners=False
        )
        if self.interpolation == "bilinear":
            return made
        low, high = images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
        return made.clamp(low.clamp_max(0), high.clamp_min(1))


def check_images(images: object) -> None:
    """Raises InputError for what is no dense tensor of floats (batch, channel, height, width)."""
    if isinstance(images, Tensor) and is_dense(images):  # noqa: SIM102
        if images.ndim == 4 and images.is_floating_point() and 0 not in images.shape[1:]:
            return
    kind = f" of {images.dtype}, {images.layout}, on {images.device}" if isinstance(images, Tensor) else ""
    raise InputError(
        f"expected images as a dense tensor of floats (batch, channel, height, width), got {told(images)}{kind}. "
        "Bytes are divided by 255; ka_explore.problem.pool.Images reads most that people have."
    )


def pair(side: int | tuple[int, ...]) -> tuple[int, ...]:
    """Height and width, of one number for squares."""
    return (side, side) if isinstance(side, int) else side


def cropped(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """The middle of the images, half a row or column too much below and right; a rim of 0 where they are smaller."""
    spare = [have - want for have, want in zip(images.shape[2:], size, strict=True)]
    before = [int(n / 2) for n in spare]
    (top, left), (bottom, right) = before, [n - first for n, first in zip(spare, before, strict=True)]
    return functional.pad(images, (-left, -right, -top, -bottom))


def as_written(value: Any) -> Any:
    """Numbers or texts of an array, a dense tensor or a list as plain ones, many as a tuple; all else as it is."""
    if isinstance(value, np.ndarray) or (isinstance(value, Tensor) and is_dense(value)):
        value = value.reshape(-1).tolist() if value.ndim else value.item()
    if isinstance(value, (tuple, list)):
        return tuple(one.item() if isinstance(one, np.generic) else one for one in value)
    return value.item() if isinstance(value, np.generic) else value


def is_dense(tensor: Tensor) -> bool:
    """Whether every value is in memory as a number."""
    return tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized or tensor.is_nested)
