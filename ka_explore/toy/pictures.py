"""Pictures: images with the names of their classes, dealt out evenly, and wrong labels put on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True)
class Pictures:
    """Images and the name of each one's class.

    Attributes:
        images: (image, channel, height, width), uint8, or float in [0, 1].
        names: one a picture.
    """

    images: np.ndarray
    names: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def at(self, index: Any) -> "Pictures":
        """Those at an index array or slice."""
        return Pictures(self.images[index], self.names[index])

    def balanced(self, seed: int) -> "Pictures":
        """Shuffled so that the classes take turns: every stretch of them has as many of each, give or take one.

        The classes take turns in an order of their own; once the smaller classes are used up, the rest follow.
        """
        generator = np.random.default_rng([seed, 0])
        shuffled = generator.permutation(len(self))
        kinds, kind = np.unique(self.names[shuffled], return_inverse=True)
        turn = np.empty(len(self), dtype=np.int64)
        for place in range(len(kinds)):
            turn[kind == place] = np.arange((kind == place).sum())
        return self.at(shuffled[np.lexsort((generator.permutation(len(kinds))[kind], turn))])

    def index(self, labels: Sequence[str]) -> Int64[np.ndarray, "picture"]:
        """The place of each one's class in a list of labels."""
        place = {label: i for i, label in enumerate(labels)}
        return np.array([place[name] for name in self.names.tolist()], dtype=np.int64)


def join(first: Pictures, second: Pictures) -> Pictures:
    """Two sets of pictures of one size, one after the other."""
    return Pictures(np.concatenate([first.images, second.images]), np.concatenate([first.names, second.names]))


def with_wrong_labels(
    labels: Int64[np.ndarray, "picture"], classes: int, share: float, generator: np.random.Generator
) -> Int64[np.ndarray, "picture"]:
    """Symmetric label noise: exactly ``round(share · picture)`` labels become another class, drawn uniformly."""
    wrong = labels.copy()
    chosen = generator.choice(len(labels), round(share * len(labels)), replace=False)
    wrong[chosen] = (labels[chosen] + generator.integers(1, classes, len(chosen))) % classes
    return wrong
