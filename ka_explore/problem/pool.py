"""The unlabelled images, and which of them make up step t."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ka_explore.errors import InputError, checked, theirs, told
from ka_explore.problem.arrays import as_array, gather
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.layers import Outputs
from ka_explore.problem.truth import Classes, Labels, as_labels, indexed

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

    @checked
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
        if value_range is not None and not value_range[0] < value_range[1]:
            raise InputError(f"value_range={value_range}: expected (lowest, highest), or None for any values.")
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

    def __repr__(self) -> str:
        return f"{len(self)} images of {'×'.join(map(str, self.shape))}"

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


class Pool:
    """The unlabelled images an amalgamation learns from.

    Args:
        images: see `Images`.
        labels: by task the true class of every image, if they are known; only for colouring pictures, for marking and
            for the oracle. A `Batch` never carries them. Names of classes, None where it is not known; or whole
            numbers, -1 where it is not known, that index ``problem.labels.class_names(task)``, the union of the
            teachers' labels in their order. The pool of a `Problem` has whole numbers.
        classes: by task the names that whole numbers index, if these are others (``{"class": dataset.classes}``); an
            image of a class that no teacher knows counts as not known, as long as they know some.
        probe: how many images make up the probe set, on which snapshots are taken (at most all of them).
        augment: a function (images, generator) → images of the same shape; with it teachers run live, the cache steps
            aside.
        value_range: see `Images`.

    Raises:
        InputError: what `Images` raises, and for labels that are neither names nor whole numbers, or not one an image.
    """

    @checked
    def __init__(
        self,
        images: Any,
        *,
        labels: Mapping[str, Any] | None = None,
        classes: Mapping[str, Sequence[str]] | None = None,
        probe: int = 256,
        augment: Augment | None = None,
        value_range: tuple[float, float] | None = (0.0, 1.0),
    ):
        self.images = images if isinstance(images, Images) else Images(images, value_range=value_range)
        self.labels: Labels | None = None
        self.classes: Classes = {}
        if labels is not None:
            self.labels, self.classes = as_labels(labels, classes, len(self.images))
        elif classes:
            raise InputError("classes= tells what labels= index: give the labels too, or neither.")
        if probe < 1:
            raise InputError(f"probe={probe}: expected at least 1 image for the probe set.")
        self.augment = augment
        self.probe = min(probe, len(self.images))

    def __len__(self) -> int:
        return len(self.images)

    @checked
    def at(self, seed: int, step: int, size: int) -> Int64[np.ndarray, "batch"]:
        """Which images make up step ``step`` (from 0): a pure function.

        Epochs are permutations seeded by (seed, epoch); what does not fill a batch at the end of an epoch is
        left out of that epoch. A pool smaller than ``size`` gives itself whole, in the epoch's order. Raises InputError
        for a seed or step below 0 or a size below 1.
        """
        if seed < 0 or step < 0 or size < 1:
            raise InputError(f"seed={seed}, step={step}, size={size}: expected at least 0, 0 and 1.")
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

    def augmented(self, images: Tensor, seed: int) -> Tensor:
        """The images as `augment` makes them, with a generator of that seed. Raises InputError in its name."""
        assert self.augment is not None
        made = theirs("augment of the pool", self.augment, images, torch.Generator().manual_seed(seed))
        if not isinstance(made, Tensor) or kind_of(made) != kind_of(images):
            raise InputError(
                f"augment of the pool returned {told(made)}, expected images like those it was given: {told(images)}, "
                f"{images.dtype}, on {images.device}."
            )
        return made

    def indexed(self, space: LabelSpace) -> "Pool":
        """The same pool with labels that index the classes of a label space; see `ka_explore.problem.truth.indexed`."""
        if self.labels is None:
            return self
        made = copy.copy(self)
        made.labels, made.classes = indexed(self.labels, self.classes, space, "pool")
        return made

    def __repr__(self) -> str:
        known = f", labels of {', '.join(self.labels)}" if self.labels else ""
        return f"Pool({self.images!r}{known}, probe={self.probe}{', augmented' if self.augment else ''})"

    def without_labels(self) -> "Pool":
        """The same images with no label in reach."""
        return Pool(self.images, probe=self.probe, augment=self.augment)


def kind_of(images: Tensor) -> tuple[object, ...]:
    """What images must have in common to take each other's place."""
    return images.shape, images.dtype, images.device, images.layout


@lru_cache(maxsize=8)
def permutation(count: int, seed: int, epoch: int) -> Int64[np.ndarray, "count"]:
    """The order of the images in an epoch."""
    order = np.random.default_rng([seed, epoch + 1]).permutation(count)
    order.setflags(write=False)
    return order
