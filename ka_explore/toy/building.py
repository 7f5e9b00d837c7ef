"""Building a problem: which images are marked on, which are the pool, which the teachers learn from.

The images come in one balanced order. The pool takes from its beginning and the teachers from its end, so they
share images only when together they ask for more than there are.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Annotated, Any, TypeVar

import numpy as np
from jaxtyping import Int64

from ka_explore.errors import InputError, brief, checked
from ka_explore.problem.pool import Images, Pool
from ka_explore.problem.problem import Labelled, Problem
from ka_explore.problem.student import Student
from ka_explore.problem.teachers import Teacher
from ka_explore.toy.checks import MOST_SEED, share, whole_number
from ka_explore.toy.drawing import Sprites
from ka_explore.toy.nets import student
from ka_explore.toy.pictures import Pictures, with_wrong_labels
from ka_explore.toy.teaching import Recipe, teach

TASK = "class"
LEAST = 10  # fewer images than classes teach nothing
PROBE = 256  # images of the pool that pictures are made of

Kind = TypeVar("Kind", Pictures, Sprites)
Shown = tuple[np.ndarray, Mapping[str, np.ndarray]]
"""Images, and by task the labels that are told of them."""


@checked
@dataclass(frozen=True)
class Asked:
    """What every toy problem can be asked for, as `ka_explore.toy` describes it; None takes the problem's default."""

    seed: int = 0
    unlabelled: int | None = None
    labelled: int | None = None
    label_noise: float | None = None
    validation: Annotated[bool, "see below"] = False

    def __post_init__(self) -> None:
        whole_number("seed", self.seed, 0, MOST_SEED)
        if not isinstance(self.validation, bool):
            raise InputError(
                "validation must be True (mark on images apart from the test's) or False, got "
                f"{brief(self.validation)}."
            )

    def settled(
        self, defaults: tuple[int, int, float], room: int, own: Sequence[Int64[np.ndarray, "_"]]
    ) -> dict[str, Any]:
        """All but the seed as numbers in range, in the order of the problem's options.

        With ``validation`` a default that no longer fits shrinks to two thirds, first the pool's, then, if teachers and
        pool would still share images, the teachers'.

        The defaults are how many unlabelled and labelled images, and how much label noise; ``own`` for each teacher the
        indices among all images that it can learn from. Raises InputError for a number out of range.
        """
        most = min(map(len, own))
        unlabelled, labelled, noise = defaults
        if self.unlabelled is not None:
            unlabelled = whole_number("unlabelled", self.unlabelled, LEAST, room)
        if self.labelled is not None:
            labelled = whole_number("labelled", self.labelled, LEAST, most)

        def shared() -> bool:
            return labelled > most or any(mine[-labelled] < unlabelled for mine in own)

        if self.validation and self.unlabelled is None and shared():
            unlabelled = unlabelled * 2 // 3
        if self.validation and self.labelled is None and shared():
            labelled = labelled * 2 // 3
        return {
            "unlabelled": whole_number("unlabelled", unlabelled, LEAST, room),
            "labelled": whole_number("labelled", labelled, LEAST, most),
            "label_noise": share("label_noise", noise if self.label_noise is None else self.label_noise),
            "validation": self.validation,
        }


def toy_problem(make: Callable[..., Problem]) -> Callable[..., Problem]:
    """A function of `Asked`, and of what this one problem takes besides, as one of keywords, which its help tells."""
    taken = inspect.signature(make)
    asked = inspect.signature(Asked).parameters
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in asked.values()]
    signature = taken.replace(parameters=[*list(taken.parameters.values())[1:], *keywords])

    @wraps(make)
    def made(*arguments: Any, **options: Any) -> Problem:
        given = signature.bind(*arguments, **options).arguments
        problem = make(Asked(**{name: given.pop(name) for name in asked if name in given}), **given)
        return replace(problem, name=f"ka_explore.toy:{make.__name__}")

    made.__signature__ = signature  # type: ignore[attr-defined]
    return made


def set_aside(images: Kind, test: Kind, *, validation: bool) -> tuple[Kind, Kind]:
    """The images to make teachers and pool of, and those to mark on.

    With ``validation`` the test images are used for nothing, so that settings can be chosen without them: the
    first third of the other images (never more than there are test images) is marked on, and the rest is all
    there is for teachers and pool.
    """
    if not validation:
        return images, test
    return split(images, min(len(images) // 3, len(test)))


def split(images: Kind, count: int) -> tuple[Kind, Kind]:
    """All images but the first ones, and these."""
    return images.at(slice(count, None)), images.at(slice(count))


def build(
    asked: Asked,
    defaults: tuple[int, int, float],
    recipes: Sequence[Recipe],
    rest: Kind,
    test: Kind,
    *,
    own: Callable[[Kind, int], Int64[np.ndarray, "_"]],
    lesson: Callable[[Kind, int, float, np.random.Generator], Shown],
    marked: Callable[[Kind, str], Shown],
    make_student: Callable[..., Student] = student,
    **options: Any,
) -> Problem:
    """The problem: images are set aside, every teacher is taught its lesson, the rest is for the student.

    Args:
        defaults: how many unlabelled and labelled images, and how much label noise, where it is not asked.
        own: the indices of the images that the teacher of a number can learn from.
        lesson: what it is shown of those it is dealt, given its number, the share of wrong labels and its randomness.
        marked: what the images of ``pool`` or ``test`` look like, and their labels, which are for marking.
    """
    seed = int(asked.seed)
    rest, test = set_aside(rest, test, validation=asked.validation)
    indices = [own(rest, number) for number in range(len(recipes))]
    settled = asked.settled(defaults, len(rest), indices)
    teachers: list[Teacher] = []
    for number, (recipe, index) in enumerate(zip(recipes, indices, strict=True)):
        sequence = np.random.SeedSequence([seed, number + 1])  # of its wrong labels, and of its weights and batches
        dealt, generator = rest.at(index[-settled["labelled"] :]), np.random.default_rng(sequence)
        images, labels = lesson(dealt, number, settled["label_noise"], generator)
        teachers += teach(recipe, images, labels, int(sequence.generate_state(1)[0]))
    images, labels = marked(rest.at(slice(settled["unlabelled"])), "pool")
    test_images, test_labels = marked(test, "test")
    return Problem(
        teachers,
        Pool(images, labels=labels, probe=PROBE),
        make_student,
        test=Labelled(Images(test_images), test_labels),
        options={**options, "seed": seed, **settled},
    )


def split_by_class(
    asked: Asked,
    defaults: tuple[int, int, float],
    recipes: Sequence[Recipe],
    rest: Pictures,
    test: Pictures,
    **options: Any,
) -> Problem:
    """The problem whose teachers know different classes of one task: each learns from images of its own."""
    known = [recipe.tasks[TASK] for recipe in recipes]
    everything = tuple(dict.fromkeys(label for labels in known for label in labels))

    def lesson(dealt: Pictures, number: int, noise: float, generator: np.random.Generator) -> Shown:
        labels = known[number]
        return dealt.images, {TASK: with_wrong_labels(dealt.index(labels), len(labels), noise, generator)}

    return build(
        asked,
        defaults,
        recipes,
        rest,
        test,
        own=lambda pictures, number: np.flatnonzero(np.isin(pictures.names, known[number])),
        lesson=lesson,
        marked=lambda pictures, _: (pictures.images, {TASK: pictures.index(everything)}),
        **options,
    )
