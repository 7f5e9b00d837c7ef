"""What tests of the toy problems share: an empty cache, nets that learn nothing, and what they would have learned from.

The helpers stand here as fixtures that return functions, because files of this folder cannot import each other.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ka_explore.problem.problem import Problem
from ka_explore.toy import teaching


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache for every test."""
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def kept_teachers(cache, cache_of_the_session, monkeypatch) -> None:
    """The cache of the session after all: teachers are trained once, for other tests too."""
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(cache_of_the_session))


@pytest.fixture
def untrained(monkeypatch) -> list[tuple[np.ndarray, Any]]:
    """No training: the (images, labels) that every net would have learned from; labels by task if it has several."""
    lessons = []

    def instead(net, images, labels, **_):
        several = isinstance(labels, dict)
        lessons.append((images.numpy(), {t: y.numpy() for t, y in labels.items()} if several else labels.numpy()))
        return net.eval()

    monkeypatch.setattr(teaching, "train", instead)
    return lessons


def greys(images: np.ndarray) -> np.ndarray:
    """Images in 256 greys, whether they are bytes or floats."""
    return images if images.dtype == np.uint8 else (images * 255).round().astype(np.uint8)


def counted(images: np.ndarray) -> Counter[bytes]:
    """Images as a multiset in 256 greys."""
    return Counter(np.ascontiguousarray(image).tobytes() for image in greys(images))


def weights(problem: Problem) -> list[torch.Tensor]:
    """All weights and statistics of all teachers."""
    return [tensor for teacher in problem.teachers for tensor in teacher.module.state_dict().values()]


@pytest.fixture
def lessons_of(untrained) -> Callable[[Problem], list[tuple[np.ndarray, Any]]]:
    """What each net of the last problem would have learned from: images in 256 greys, not normalised, and labels."""

    def lessons(problem):
        preprocess = {id(teacher.module): teacher.preprocess for teacher in problem.teachers}.values()
        last = untrained[-len(preprocess) :]
        return [(greys(x * p.std[0] + p.mean[0]), labels) for (x, labels), p in zip(last, preprocess, strict=True)]

    return lessons


@pytest.fixture(scope="session")
def rows() -> Callable[[np.ndarray], Counter[bytes]]:
    """`counted`."""
    return counted


@pytest.fixture(scope="session")
def weights_of() -> Callable[[Problem], list[torch.Tensor]]:
    """`weights`."""
    return weights


@pytest.fixture(scope="session")
def same() -> Callable[[Problem, Problem], bool]:
    """Whether teachers and images are bit-equal."""

    def equal(first, second):
        return (
            all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
            and first.fingerprints == second.fingerprints
            and np.array_equal(first.test.images.array, second.test.images.array)
        )

    return equal
