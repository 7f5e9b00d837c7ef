"""The toy problem of several tasks: nets with one or several heads, whose tasks overlap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64
from torch import nn

from ka_explore.problem.problem import Problem
from ka_explore.problem.teachers import Teacher
from ka_explore.toy.building import Numbers, finished, seeds_of, set_aside
from ka_explore.toy.checks import check_seed
from ka_explore.toy.drawing import TASKS, draw
from ka_explore.toy.nets import plain_net, residual_net, student
from ka_explore.toy.pictures import with_wrong_labels
from ka_explore.toy.teaching import Recipe, teach

TEST, REST = 1500, 5000  # images
FOREIGN = 0.2  # the share of a net's images that are not of its own part
WRONG = 0.75  # the share of these whose label of a shared task is wrong


@dataclass(frozen=True)
class Net:
    """One of the nets: what it knows, and on which part of the images.

    Attributes:
        tasks: a head each.
        dark: whether its own part are the images with a dark or those with a bright background.
        make: of the net, see `Recipe`.
        widths: channels of its blocks.
        steps: of training.
    """

    tasks: tuple[str, ...]
    dark: bool
    make: Callable[[int, Sequence[int], Any], nn.Sequential]
    widths: tuple[int, ...]
    steps: int


NETS = {
    "A": Net(("shape",), True, plain_net, (16, 32, 64), 400),
    "B": Net(("shape", "colour"), False, residual_net, (12, 24, 48), 350),
    "C": Net(("colour", "size"), True, plain_net, (16, 32, 64), 400),
    "D": Net(("size", "position", "rotation"), False, residual_net, (12, 24, 48), 350),
}
SHARED = ("shape", "colour", "size")  # by two nets


def sprites(
    *,
    size: int = 24,
    seed: int = 0,
    unlabelled: int | None = None,
    labelled: int | None = None,
    label_noise: float = 0.0,
    validation: bool = False,
) -> Problem:
    """Four nets of one to three heads know five tasks of coloured sprites, three of the tasks two by two.

    A tells the shape, B shape and colour, C colour and size, D size, position and rotation: eight teachers, named
    ``A shape``, ``B shape``, ``B colour`` and so on, those of one net sharing its module. The part of A and C are
    the images with a dark background, that of B and D those with a bright one. A fifth of what a net learned from
    is of the other part, and there most labels of a shared task were wrong: so of two teachers of one task each is
    right, and sure, on another half of the images. Position and rotation, which D alone knows, it knows on both.

    Measured on the test, per cent right on all images (on the net's own part), then the teacher of least entropy:

    | | seed 0 | seed 1 | seed 2 |
    |---|---|---|---|
    | A shape | 70 (98) | 73 (98) | 75 (97) |
    | B shape | 67 (99) | 66 (97) | 67 (98) |
    | B colour | 72 (100) | 79 (100) | 74 (100) |
    | C colour | 58 (100) | 81 (100) | 74 (100) |
    | C size | 72 (91) | 68 (94) | 76 (94) |
    | D size | 69 (94) | 69 (98) | 69 (96) |
    | D position | 100 (100) | 100 (100) | 100 (100) |
    | D rotation | 96 (99) | 96 (100) | 97 (99) |
    | least entropy: shape, colour, size | 99, 100, 88 | 97, 100, 90 | 98, 100, 93 |

    With the pool's true labels the student learns all five in 1 000 steps of 64 images: 98 % right on shape and size,
    97 on rotation, 100 on colour and position.

    Args:
        size: pixels a side, 12 to 512.
        seed: of the images, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, 10 to 5 000, by default 1 500 (1 500 more are the test set).
        labelled: training images a net, 10 to about 3 050, by default 1 000; shared with the pool only when it
            takes too many.
        label_noise: share of wrong labels, 0 to 1, among the right ones.
        validation: as in `mnist`: mark on 1 500 images that are not the test's; teachers and pool's size are the
            same by default.

    Raises:
        InputError: for a number out of range.
    """
    check_seed(seed)
    seed = int(seed)
    drawn = draw(TEST + REST, size, seed)
    rest, test = set_aside(drawn.at(slice(TEST, None)), drawn.at(slice(TEST)), validation=validation)
    own = [taught(rest.dark == net.dark, seed) for net in NETS.values()]
    numbers = Numbers(unlabelled, labelled, label_noise, validation)
    settled = numbers.settled(1500, 1000, 0.0, room=len(rest), own=own)
    teachers: list[Teacher] = []
    for (name, net), mine, (generator, own_seed) in zip(NETS.items(), own, seeds_of(seed, len(NETS)), strict=True):
        lesson = rest.at(mine[-settled["labelled"] :])
        labels = {}
        for task in net.tasks:
            labels[task] = with_wrong_labels(lesson.labels[task], len(TASKS[task]), settled["label_noise"], generator)
            if task in SHARED:
                foreign = lesson.dark != net.dark
                labels[task][foreign] = with_wrong_labels(
                    lesson.labels[task][foreign], len(TASKS[task]), WRONG, generator
                )
        title = name if len(net.tasks) > 1 else f"{name} {net.tasks[0]}"
        recipe = Recipe(title, {task: TASKS[task] for task in net.tasks}, net.make, net.widths, net.steps, 3e-3)
        teachers += teach(recipe, lesson.images, labels, own_seed)
    pool = rest.at(slice(settled["unlabelled"]))
    return finished(
        "sprites",
        {"size": int(size), "seed": seed, **settled},
        teachers,
        pool=(pool.images, pool.labels),
        test=(test.images, test.labels),
        make_student=partial(student, channels=3),
    )


def taught(part: Bool[np.ndarray, "image"], seed: int) -> Int64[np.ndarray, "_"]:
    """The places of the images that a net of this part may learn from: all of its part, and some others by lot.

    The lots are drawn from the end on, where lessons are taken, so that a validation set leaves them be.
    """
    lot = np.random.default_rng([seed, 78]).random(len(part))[::-1]
    return np.flatnonzero(part | (lot < FOREIGN / (1 - FOREIGN)))
