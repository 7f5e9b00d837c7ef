"""The unlabelled images, and which of them make up step t."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ka_explore.errors import InputError
from ka_explore.problem.layers import Outputs

Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Batch:
    """What a method sees of one step: images and what the teachers say of them. There is no label in it."""

    index: Int64[Tensor, "batch"]
    images: Float[Tensor, "batch channel height width"]
    teachers: Mapping[str, Outputs]

    def first(self, count: int) -> "Batch":
        """The first images of the batch."""
        teachers = {
            name: Outputs(o.logits[:count], {layer: f[:count] for layer, f in o.features.items()})
            for name, o in self.teachers.items()
        }
        return Batch(self.index[:count], self.images[:count], teachers)


class Images:
    """Images of one size as one array, floats as they are, bytes divided by 255.

    Args:
        data: (image, channel, height, width) or (image, height, width), a tensor or an array (a memory map
            too), float or uint8; or a sequence of images, such as a dataset that gives (image, label) pairs,
            whose labels are left behind.
        value_range: floats must lie in it; None for images that are normalised already.

    Raises:
        InputError: for no image, other axes, another type, values that are not finite or out of range.
    """

    def __init__(self, data: Any, *, value_range: tuple[float, float] | None = (0.0, 1.0)):
        if not isinstance(data, (np.ndarray, Tensor)):
            data = gather(data)
        array = as_array(data)
        if array.ndim == 3:
            array = array[:, None]
        if array.size == 0:
            raise InputError("there is no image: expected an array (image, channel, height, width).")
        if array.ndim != 4:
            raise InputError(f"images have shape {array.shape}: expected (image, channel, height, width).")
        _, first, second, last = array.shape
        if last <= 4 < first and (first == second or first > 16):
            raise InputError(
                f"images have shape {array.shape}: the channels seem to come last; expected (image, channel, "
                "height, width), so permute them."
            )
        if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
            raise InputError(f"images are of type {array.dtype}: expected float or uint8.")
        self.array = array
        self.value_range = value_range
        if array.dtype != np.uint8:
            self.check_values()

    def check_values(self) -> None:
        """Raises InputError unless every value is finite and in the range."""
        for start in range(0, len(self.array), 256):
            part = np.asarray(self.array[start : start + 256])
            bad = ~np.isfinite(part).all(axis=(1, 2, 3))
            if bad.any():
                raise InputError(f"image {start + int(bad.argmax())} has a value that is not finite (NaN or infinite).")
            low, high = float(part.min()), float(part.max())
            if self.value_range and (low < self.value_range[0] - 1e-6 or high > self.value_range[1] + 1e-6):
                raise InputError(
                    f"images have values from {low:g} to {high:g}, expected {self.value_range}: divide by 255, or "
                    "give every net its own preprocess; value_range=None for images normalised already."
                )

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Any) -> Float[Tensor, "batch channel height width"]:
        """The images at an index array or slice, as float32 in memory of their own."""
        part = np.asarray(self.array[index])
        made = torch.from_numpy(np.array(part, dtype=np.float32))
        return made.div_(255) if part.dtype == np.uint8 else made

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.array.shape[1:]

    @cached_property
    def fingerprint(self) -> str:
        """Of shape, type and every value."""
        digest = hashlib.sha256(f"{self.array.shape} {self.array.dtype}".encode())
        for start in range(0, len(self.array), 256):
            digest.update(np.ascontiguousarray(self.array[start : start + 256]).tobytes())
        return digest.hexdigest()[:16]


def gather(items: Sequence[Any]) -> np.ndarray:
    """The images of a sequence or dataset as one array, labels left behind."""
    try:
        pairs = (items[i] for i in range(len(items)))
        arrays = [as_array(pair[0] if isinstance(pair, (tuple, list)) else pair) for pair in pairs]
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise InputError(
            f"cannot read images from a {type(items).__name__}: expected an array, a tensor or a sequence of images."
        ) from error
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise InputError(
            f"images have different shapes ({', '.join(map(str, sorted(shapes)[:3]))} …): resize them to one."
        )
    return np.stack(arrays) if arrays else np.empty((0, 1, 1, 1), np.float32)


def as_array(data: Any) -> np.ndarray:
    """A tensor, of any floating type, or whatever numpy reads."""
    if isinstance(data, Tensor):
        return (data.float() if data.dtype == torch.bfloat16 else data).detach().cpu().numpy()
    return np.asarray(data) if not isinstance(data, np.ndarray) else data


class Pool:
    """The unlabelled images an amalgamation learns from.

    Args:
        images: see `Images`.
        labels: true class index of every image by task, if they are known; only for colouring pictures, for
            marking and for the oracle. A `Batch` never carries them.
        probe: how many images make up the probe set, on which snapshots are taken (at most all of them).
        augment: a function (images, generator) → images; with it teachers run live, the cache steps aside.
        value_range: see `Images`.

    Raises:
        InputError: what `Images` raises, and for labels that are no whole numbers or of another length.
    """

    def __init__(
        self,
        images: Any,
        *,
        labels: Mapping[str, Any] | None = None,
        probe: int = 256,
        augment: Augment | None = None,
        value_range: tuple[float, float] | None = (0.0, 1.0),
    ):
        self.images = images if isinstance(images, Images) else Images(images, value_range=value_range)
        self.labels = None if labels is None else {t: as_labels(t, y, len(self.images)) for t, y in labels.items()}
        if probe < 1:
            raise InputError(f"probe={probe}: expected at least 1 image for the probe set.")
        self.augment = augment
        self.probe = min(probe, len(self.images))

    def __len__(self) -> int:
        return len(self.images)

    def at(self, seed: int, step: int, size: int) -> Int64[np.ndarray, "batch"]:
        """Which images make up step ``step`` (from 0): a pure function.

        Epochs are permutations seeded by (seed, epoch); what does not fill a batch at the end of an epoch is
        left out of that epoch. A pool smaller than ``size`` gives itself whole, in the epoch's order.
        """
        size = min(size, len(self))
        epoch, batch = divmod(step, len(self) // size)
        return permutation(len(self), seed, epoch)[batch * size : (batch + 1) * size]

    def in_order(self) -> list[Int64[np.ndarray, "_"]]:
        """The indices of the whole pool, 256 at a time: whole maps of all images need not fit into memory."""
        return np.split(np.arange(len(self)), range(256, len(self), 256))

    @property
    def probe_index(self) -> Int64[np.ndarray, "probe"]:
        """The probe set: a fixed part of the pool, the same for every run."""
        return np.sort(permutation(len(self), 0, -1)[: self.probe])

    def without_labels(self) -> "Pool":
        """The same images with no label in reach."""
        return Pool(self.images, probe=self.probe, augment=self.augment)


def as_labels(task: str, labels: Any, images: int) -> Int64[np.ndarray, "_"]:
    """Labels as whole numbers. Raises InputError for anything else, and unless there is one an image."""
    array = as_array(labels)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise InputError(
            f"labels of task {task!r} are {array.dtype} of shape {array.shape}: expected one whole number an image, "
            "its place in labels.class_names(task), -1 where it is not known."
        )
    if len(array) != images:
        raise InputError(f"labels of task {task!r} have shape {array.shape} for {images} images.")
    return array.astype(np.int64)


@lru_cache(maxsize=8)
def permutation(count: int, seed: int, epoch: int) -> Int64[np.ndarray, "count"]:
    """The order of the images in an epoch."""
    order = np.random.default_rng([seed, epoch + 1]).permutation(count)
    order.setflags(write=False)
    return order
