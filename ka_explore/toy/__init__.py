"""Toy problems: real images, no download, and teachers that train in seconds on a CPU and are kept.

Every problem has teachers that know different things, a pool of images of all classes, and a small plain student.
A problem is a function of its arguments: the same arguments give the same images and, on one machine and one
version of torch, the same weights bit for bit. Every problem takes these, and says which numbers it has and takes.

Args:
    seed: of the choice of images and their split, of the wrong labels and of the teachers' training.
    unlabelled: images in the pool.
    labelled: training images a teacher; shared with the pool only when it takes too many.
    label_noise: the share of these, 0 to 1, whose label is replaced by another class of the same teacher, drawn
        uniformly.
    validation: to choose settings without the test images, which are then used for nothing: mark on others, a third of
        those that are left (at most as many as the test has), and make teachers and pool of the rest.

Raises:
    InputError: for a number out of range.
"""

from collections.abc import Callable

from ka_explore.problem.problem import Problem
from ka_explore.toy.broken import Answer, broken, broken_answer
from ka_explore.toy.drawing import sprite_images
from ka_explore.toy.multitask import sprites
from ka_explore.toy.nets import plain_net, residual_net, student
from ka_explore.toy.pictures import (
    CLOTHES,
    DIGITS,
    Pictures,
    fashion_folder,
    fashion_pictures,
    find_idx,
    join,
    mnist_pictures,
    read_idx,
    sklearn_pictures,
    with_wrong_labels,
)
from ka_explore.toy.problems import (
    OTHER_CLOTHES,
    PRESETS,
    TOPS,
    digits,
    digits_and_clothes,
    fashion,
    four_teachers,
    mnist,
)
from ka_explore.toy.shared import shared_digits
from ka_explore.toy.teaching import Recipe, one_thread, teach, train

PROBLEMS: dict[str, Callable[..., Problem]] = {
    "mnist": mnist,
    "digits": digits,
    "fashion": fashion,
    "digits_and_clothes": digits_and_clothes,
    "four_teachers": four_teachers,
    "shared_digits": shared_digits,
    "sprites": sprites,
}

__all__ = [
    "CLOTHES",
    "DIGITS",
    "OTHER_CLOTHES",
    "PRESETS",
    "PROBLEMS",
    "TOPS",
    "Answer",
    "Pictures",
    "Recipe",
    "broken",
    "broken_answer",
    "digits",
    "digits_and_clothes",
    "fashion",
    "fashion_folder",
    "fashion_pictures",
    "find_idx",
    "four_teachers",
    "join",
    "mnist",
    "mnist_pictures",
    "one_thread",
    "plain_net",
    "read_idx",
    "residual_net",
    "shared_digits",
    "sklearn_pictures",
    "sprite_images",
    "sprites",
    "student",
    "teach",
    "train",
    "with_wrong_labels",
]
