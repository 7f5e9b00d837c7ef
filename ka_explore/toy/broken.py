"""Three prepared runs that go wrong, to practise on: what is shown to a student first, and below it what was done.

Each is a healthy toy problem in which one thing was changed after its teachers were trained. Read `broken`, run it,
look for the fault with probes and pictures, and only then read on or ask `broken_answer`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ka_explore.errors import check_known
from ka_explore.problem.preprocess import Preprocess
from ka_explore.problem.problem import Problem
from ka_explore.problem.teachers import rebuilt
from ka_explore.toy.checks import MOST_SEED, whole_number
from ka_explore.toy.problems import digits


def broken(name: str, *, seed: int = 0) -> tuple[Problem, dict[str, Any]]:
    """A problem and a run's options, with one fault in them: ``Run(problem, **options)``.

    Args:
        name: ``first``, ``second`` or ``third``. All are made of `digits`; the same run without a fault reaches
            some 95 % on all ten digits.
        seed: of the healthy problem.

    Raises:
        InputError: for another name.
    """
    check_known("broken problem", name, CASES)
    whole_number("seed", seed, 0, MOST_SEED)
    return CASES[name][0](digits(seed=seed))


@dataclass(frozen=True)
class Answer:
    """What is wrong with a prepared run: the finding's name in the diagnosis, what was done and what shows it."""

    finding: str
    words: str

    def __str__(self) -> str:
        return f"{self.finding}: {self.words}"


def broken_answer(name: str) -> Answer:
    """What was done to a prepared run of `broken`. Raises InputError for another name."""
    check_known("broken problem", name, CASES)
    return CASES[name][1]


# What was done: do not read on before you have looked.

Made = tuple[Problem, dict[str, Any]]
OPTIONS: Mapping[str, Any] = {"method": "common_feature", "form": "clouds", "steps": 150, "snapshot_every": 25}


def unnormalised(problem: Problem) -> Made:
    """The second teacher is given the pool's images as they are, though it learned from standardised ones."""
    return with_teacher(problem, "digits 5-9", preprocess=Preprocess()), dict(OPTIONS)


def exchanged(problem: Problem) -> Made:
    """Two labels of the second teacher are exchanged; the truth in pool and test stays what it was."""
    labels = list(problem.teacher("digits 5-9").labels)
    one, other = labels.index("6"), labels.index("9")
    labels[one], labels[other] = labels[other], labels[one]
    # Labels of a problem are read by name where another is made of it.
    return with_teacher(problem, "digits 5-9", labels=labels), dict(OPTIONS)


def overweighted(problem: Problem) -> Made:
    """The published code's settings with three times their weight on the MMD; problem and teachers are untouched."""
    settings = {"mmd_weight": 30.0, "reconstruction_weight": 10.0, "reconstruction": "mean", "norm": "none"}
    return problem, {**OPTIONS, **settings}


# By name, how a run is made of a healthy problem, and the answer.
CASES: Mapping[str, tuple[Callable[[Problem], Made], Answer]] = {
    "first": (
        unnormalised,
        Answer(
            "wrong_preprocessing",
            "teacher 'digits 5-9' is fed the pool's images as they are (Preprocess()), though it was trained on "
            "standardised ones (mean 0.304, deviation 0.374). Its own accuracy shows it where labels are known; where "
            "they are not, the diagnosis asks it about the same images fed in other ways.",
        ),
    ),
    "second": (
        exchanged,
        Answer(
            "labels_permuted",
            "the labels '6' and '9' of teacher 'digits 5-9' changed places. The student learns what it is told and "
            "agrees with both teachers, every term of the loss looks healthy, and only labels can show it: the "
            "confusion has two cells off its diagonal.",
        ),
    ),
    "third": (
        overweighted,
        Answer(
            "dominating_term",
            "the settings are the published code's, with the weight of the MMD at 30 instead of 10. The teachers are "
            "healthy; the MMD pulls at the student's features many times as hard as the soft target, so that it learns "
            "little of the digits.",
        ),
    ),
}


def with_teacher(problem: Problem, name: str, **changes: Any) -> Problem:
    """The problem with something else about one teacher; as it is then made by hand it has no name."""
    teachers = [rebuilt(old, **changes) if old.name == name else old for old in problem.teachers]
    return dataclasses.replace(problem, teachers=teachers, name="", options={})
