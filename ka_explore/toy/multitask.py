"""The toy problem of several tasks: nets with one or several heads, whose tasks overlap."""

from functools import partial

import numpy as np
from jaxtyping import Int64

from ka_explore.problem.problem import Problem
from ka_explore.toy.building import Asked, Shown, build, split, toy_problem
from ka_explore.toy.checks import whole_number
from ka_explore.toy.drawing import TASKS, Sprites, draw
from ka_explore.toy.nets import plain_net, residual_net, student
from ka_explore.toy.pictures import with_wrong_labels
from ka_explore.toy.teaching import Recipe

TEST, REST = 1500, 5000  # images
FOREIGN = 0.2  # the share of a net's images that are not of its own part
WRONG = 0.75  # the share of these whose label of a shared task is wrong


def heads(*tasks: str) -> dict[str, tuple[str, ...]]:
    """By task of these, its labels."""
    return {task: TASKS[task] for task in tasks}


RECIPES = (
    Recipe("A shape", heads("shape"), plain_net, (16, 32, 64), 400, 3e-3),
    Recipe("B", heads("shape", "colour"), residual_net, (12, 24, 48), 350, 3e-3),
    Recipe("C", heads("colour", "size"), plain_net, (16, 32, 64), 400, 3e-3),
    Recipe("D", heads("size", "position", "rotation"), residual_net, (12, 24, 48), 350, 3e-3),
)
DARK = (True, False, True, False)  # whether a net's own part are the images with a dark or with a bright background
SHARED = ("shape", "colour", "size")  # by two nets


@toy_problem
def sprites(asked: Asked, *, size: int = 24) -> Problem:
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

    Its arguments are ``size``, pixels a side, 12 to 96, and those of every problem of `ka_explore.toy`: ``unlabelled``
    by default 1 500, 10 to 5 000 (1 500 more are the test set), ``labelled`` of a net 1 000, 10 to about 3 050,
    ``label_noise`` among the right labels. With ``validation`` 1 500 images that are not the test's are marked on;
    teachers and pool's size are the same by default. Raises InputError for a number out of range.
    """
    whole_number("size", size, 12, 96)

    def own(sprites: Sprites, number: int) -> Int64[np.ndarray, "_"]:
        # All of its part, and some others by lot, drawn from the end on, where lessons are taken, so that a validation
        # set leaves them be.
        lot = np.random.default_rng([int(asked.seed), 78]).random(len(sprites))[::-1]
        return np.flatnonzero((sprites.dark == DARK[number]) | (lot < FOREIGN / (1 - FOREIGN)))

    def lesson(dealt: Sprites, number: int, noise: float, generator: np.random.Generator) -> Shown:
        labels, foreign = {}, dealt.dark != DARK[number]
        for task, names in RECIPES[number].tasks.items():
            labels[task] = with_wrong_labels(dealt.labels[task], len(names), noise, generator)
            if task in SHARED:
                labels[task][foreign] = with_wrong_labels(dealt.labels[task][foreign], len(names), WRONG, generator)
        return dealt.images, labels

    return build(
        asked,
        (1500, 1000, 0.0),
        RECIPES,
        *split(draw(TEST + REST, size, asked.seed), TEST),
        own=own,
        lesson=lesson,
        marked=lambda sprites, _: (sprites.images, sprites.labels),
        make_student=partial(student, channels=3),
        size=int(size),
    )
