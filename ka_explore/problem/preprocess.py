"""What a net wants done to the pool's images before it sees them."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ka_explore.errors import InputError


@dataclass(frozen=True)
class Preprocess:
    """What a net wants done to the pool's images: resize, channels, normalise, in this order.

    Attributes:
        size: height and width to resize to (bilinear, antialiased), one number for squares; None leaves it.
        channels: 3 repeats a grey image, 1 averages the colours; None leaves them.
        mean: a number a channel, subtracted.
        std: a number a channel, divided by.
    """

    size: int | tuple[int, int] | None = None
    channels: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        if any(v <= 0 for v in self.std):
            raise InputError(f"std must be positive, got {self.std}.")
        if self.channels not in (None, 1, 3):
            raise InputError(f"channels must be 1, 3 or None, got {self.channels}.")
        if self.size is not None and min(self.size if isinstance(self.size, tuple) else (self.size,)) < 1:
            raise InputError(f"size must be at least 1, got {self.size}.")

    def __call__(
        self, images: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel2 height2 width2"]:
        """The images as the net wants them."""
        if self.channels is not None and images.shape[1] != self.channels:
            if self.channels == 1:
                images = images.mean(1, keepdim=True)
            elif images.shape[1] == 1:
                images = images.expand(-1, 3, -1, -1)
            else:
                raise InputError(f"cannot make 3 channels of {images.shape[1]}.")
        if self.size is not None:
            size = (self.size, self.size) if isinstance(self.size, int) else self.size
            if tuple(images.shape[2:]) != tuple(size):
                images = functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) not in (1, images.shape[1]):
                raise InputError(f"{name} has {len(values)} numbers, the images have {images.shape[1]} channels.")
        if self.mean:
            images = images - images.new_tensor(self.mean).view(1, -1, 1, 1)
        if self.std:
            images = images / images.new_tensor(self.std).view(1, -1, 1, 1)
        return images
