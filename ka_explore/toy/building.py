"""Building a problem: which images are marked on, which are the pool, which the teachers learn from.

The images come in one balanced order. The pool takes from its beginning and the teachers from its end, so they
share images only when together they ask for more than there are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from jaxtyping import Int64

from ka_explore.errors import InputError
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.pool import Images, Pool
from ka_explore.problem.problem import Labelled, Problem
from ka_explore.problem.student import Student
from ka_explore.problem.teachers import Teacher
from ka_explore.toy.checks import check_seed, share, whole_number
from ka_explore.toy.nets import student
from ka_explore.toy.pictures import Pictures, with_wrong_labels
from ka_explore.toy.teaching import Recipe, teach

TASK = "class"
LEAST = 10  # fewer images than classes teach nothing
PROBE = 256  # images of the pool that pictures are made of


@dataclass(frozen=True)
class Numbers:
    """How many images of which kind a problem is asked for; None takes the problem's default.

    Attributes:
        unlabelled: images in the pool.
        labelled: training images a teacher.
        label_noise: the share of these whose label is wrong.
        validation: see `set_aside`; with it a default that no longer fits shrinks to two thirds, first the pool's,
            then, if teachers and pool would still share images, the teachers'.
    """

    unlabelled: int | None
    labelled: int | None
    label_noise: float | None
    validation: bool

    def settled(
        self, unlabelled: int, labelled: int, noise: float, *, room: int, own: Sequence[Int64[np.ndarray, "_"]]
    ) -> dict[str, Any]:
        """All four as numbers in range, in the order of the problem's options.

        Args:
            unlabelled: the default, as the next two.
            labelled: of training images a teacher.
            noise: of wrong labels.
            room: images that there are.
            own: for each teacher the places among them that it can learn from.

        Raises:
            InputError: for a number out of range.
        """
        most = min(map(len, own))
        shrinks = self.validation
        if self.unlabelled is not None:
            unlabelled = whole_number("unlabelled", self.unlabelled, LEAST, room)
        if self.labelled is not None:
            labelled = whole_number("labelled", self.labelled, LEAST, most)

        def shared() -> bool:
            return labelled > most or any(mine[-labelled] < unlabelled for mine in own)

        if shrinks and self.unlabelled is None and shared():
            unlabelled = unlabelled * 2 // 3
        if shrinks and self.labelled is None and shared():
            labelled = labelled * 2 // 3
        return {
            "unlabelled": whole_number("unlabelled", unlabelled, LEAST, room),
            "labelled": whole_number("labelled", labelled, LEAST, most),
            "label_noise": share("label_noise", noise if self.label_noise is None else self.label_noise),
            "validation": self.validation,
        }


class Dealt(Protocol):
    """Images in the order in which they are dealt out."""

    def __len__(self) -> int:
        """How many there are."""

    def at(self, index: slice) -> Self:
        """Those of a stretch."""


Kind = TypeVar("Kind", bound=Dealt)


def set_aside(images: Kind, test: Kind, *, validation: bool) -> tuple[Kind, Kind]:
    """The images to make teachers and pool of, and those to mark on.

    With ``validation`` the test images are used for nothing, so that settings can be chosen without them: the
    first third of the other images (never more than there are test images) is marked on, and the rest is all
    there is for teachers and pool. Raises InputError unless ``validation`` is True or False.
    """
    if not isinstance(validation, bool):
        raise InputError(
            f"validation must be True (mark on images apart from the test's) or False, got {validation!r}."
        )
    if not validation:
        return images, test
    third = min(len(images) // 3, len(test))
    return images.at(slice(third, None)), images.at(slice(third))


def seeds_of(seed: int, count: int) -> list[tuple[np.random.Generator, int]]:
    """For each of so many teachers the randomness of its wrong labels, and the seed of its weights and batches."""
    sequences = [np.random.SeedSequence([seed, place + 1]) for place in range(count)]
    return [(np.random.default_rng(s), int(s.generate_state(1)[0])) for s in sequences]


def split_by_class(
    name: str,
    options: Mapping[str, Any],
    numbers: Numbers,
    defaults: tuple[int, int, float],
    recipes: Sequence[Recipe],
    *,
    rest: Pictures,
    test: Pictures,
) -> Problem:
    """The problem whose teachers know different classes of one task: each learns from images of its own.

    Raises InputError for options out of range.
    """
    check_seed(options["seed"])
    seed = int(options["seed"])
    rest, test = set_aside(rest, test, validation=numbers.validation)
    own = [np.flatnonzero(np.isin(rest.names, recipe.tasks[TASK])) for recipe in recipes]
    settled = numbers.settled(*defaults, room=len(rest), own=own)
    teachers: list[Teacher] = []
    for recipe, mine, (generator, own_seed) in zip(recipes, own, seeds_of(seed, len(recipes)), strict=True):
        labels = recipe.tasks[TASK]
        lesson = rest.at(mine[-settled["labelled"] :])
        wrong = with_wrong_labels(lesson.index(labels), len(labels), settled["label_noise"], generator)
        teachers += teach(recipe, lesson.images, {TASK: wrong}, own_seed)
    known = LabelSpace.of({t.name: (t.task, t.labels) for t in teachers}).class_names(TASK)
    pool = rest.at(slice(settled["unlabelled"]))
    return finished(
        name,
        {**options, "seed": seed, **settled},
        teachers,
        pool=(pool.images, {TASK: pool.index(known)}),
        test=(test.images, {TASK: test.index(known)}),
    )


def finished(
    name: str,
    options: Mapping[str, Any],
    teachers: Sequence[Teacher],
    *,
    pool: tuple[np.ndarray, Mapping[str, np.ndarray]],
    test: tuple[np.ndarray, Mapping[str, np.ndarray]],
    make_student: Callable[..., Student] = student,
) -> Problem:
    """The problem of these teachers; labels of pool and test are for marking."""
    return Problem(
        teachers,
        Pool(pool[0], labels=pool[1], probe=PROBE),
        make_student,
        test=Labelled(Images(test[0]), test[1]),
        name=f"ka_explore.toy:{name}",
        options=options,
    )
