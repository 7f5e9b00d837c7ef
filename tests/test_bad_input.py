"""Whatever is handed to a problem and its parts is taken, or refused by an error of this package."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from strange import raises, strange
from torch import nn

from ka_explore import InputError, KaError, Labelled, LabelSpace, Pool, Problem, Run, Student
from ka_explore.problem.labels import Column
from ka_explore.problem.pool import Images

STRANGE = strange()
LABELS = LabelSpace.of({"one": ("class", ("cat", "dog")), "two": ("class", ("eel", "fox"))})


def student(labels: LabelSpace, *, width: float = 1.0) -> Student:
    heads = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, len(labels.columns)))
    return Student.chain({"first": nn.Conv2d(3, 4, 3)}, dict.fromkeys(labels.tasks, heads))


@pytest.fixture(scope="module")
def given(teacher, blobs):
    """What is right, by door and argument; and what is done with what a door gives."""
    teachers = [
        teacher(name, labels=LABELS.class_names("class")[2 * i : 2 * i + 2]) for i, name in enumerate(("a", "b"))
    ]
    images, y = blobs(4), {"class": [0, 1, 2, 3]}
    pool = Pool(images)
    problem = Problem(teachers, pool, student)
    run = Run(problem, "distillation", steps=2, snapshot_every=0)

    def used(made: Any) -> None:
        """A few of the things that a problem's parts are for."""
        if isinstance(made, Pool):
            made = Problem(teachers, made, student)
        if isinstance(made, Labelled):
            made = Problem(teachers, pool, student, made)
        if isinstance(made, Problem):
            Run(made, "distillation", steps=1, snapshot_every=0, batch_size=2).advance(None)
        if isinstance(made, Student):
            Problem(teachers, pool, lambda _: made).make_student()
        repr(made)

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    doors: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "Images": (Images, {"data": images, "value_range": (0.0, 1.0)}),
        "Pool": (
            Pool,
            {"images": images, "labels": y, "classes": None, "probe": 2, "augment": None, "value_range": (0.0, 1.0)},
        ),
        "one task's labels": (lambda labels: Pool(images, labels={"class": labels}), {"labels": [0, 1, 2, 3]}),
        "one task's classes": (lambda names: Pool(images, labels=y, classes={"class": names}), {"names": list("abcd")}),
        "Pool.at": (pool.at, {"seed": 0, "step": 0, "size": 2}),
        "Labelled": (Labelled, {"images": Images(images), "labels": y, "classes": {}}),
        "Problem": (
            Problem,
            {"teachers": teachers, "pool": pool, "student": student, "test": None, "name": "", "options": {}},
        ),
        "a teacher of a problem": (lambda one: Problem([one], pool, student), {"one": teachers[0]}),
        "make_student": (problem.make_student, {"labels": None, "width": 1.0}),
        "for_tasks": (problem.for_tasks, {"tasks": ["class"]}),
        "teacher": (problem.teacher, {"name": "a"}),
        "Student.chain": (
            Student.chain,
            {"segments": {"first": nn.Conv2d(3, 4, 3)}, "heads": {"class": nn.Flatten()}, "preprocess": None},
        ),
        "a segment": (lambda one: Student.chain({"first": one}, {"class": nn.Flatten()}), {"one": nn.ReLU()}),
        "Student.of": (
            Student.of,
            {"module": net, "layers": ["0"], "labels": LABELS, "read": lambda out: out, "preprocess": None},
        ),
        "LabelSpace": (LabelSpace, {"columns": LABELS.columns}),
        "LabelSpace.of": (LabelSpace.of, {"teachers": {"one": ("class", "ab")}}),
        "a task": (lambda task: LabelSpace.of({"one": (task, "ab")}), {"task": "class"}),
        "a task's labels": (lambda labels: LabelSpace.of({"one": ("class", labels)}), {"labels": "ab"}),
        "without": (LABELS.without, {"teachers": ["one"]}),
        "class_names": (LABELS.class_names, {"task": "class"}),
        "Column": (Column, {"teacher": "a", "task": "b", "label": "c"}),
        "predict": (run.predict, {"images": images}),
    }  # fmt: skip
    return doors, used


DOORS = (
    "Images", "Pool", "one task's labels", "one task's classes", "Pool.at", "Labelled", "Problem",
    "a teacher of a problem", "make_student", "for_tasks", "teacher", "Student.chain", "a segment", "Student.of",
    "LabelSpace", "LabelSpace.of", "a task", "a task's labels", "without", "class_names", "Column", "predict",
)  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
def test_every_argument_is_right_or_clearly_refused(door, given):
    doors, used = given
    assert set(doors) == set(DOORS)
    make, right = doors[door]
    make(**right)
    raw, words = [], []
    for argument in right:
        for what, value in STRANGE.items():
            try:
                used(make(**right | {argument: value}))
            except KaError as error:
                words.append(str(error))
            except Exception as error:
                raw.append(f"{argument}={what}: {error!r}")
    assert not raw, "\n".join(raw)
    assert words
    assert all(len(message) > 20 for message in words)


# What users write


def flaws() -> dict[str, tuple[Callable[..., Any], str]]:
    return {
        "takes one argument": (lambda images: images, "augment .* failed with TypeError"),
        "returns None": (lambda *_: None, "augment of the pool returned None"),
        "returns numpy": (lambda images, _: images.numpy(), "augment of the pool returned ndarray"),
        "returns fewer": (lambda images, _: images[1:], "expected images like those"),
        "returns doubles": (lambda images, _: images.double(), "expected images like those"),
        "crops": (lambda images, _: images[..., 1:], "expected images like those"),
        "raises": (raises, r"raises\) failed with ZeroDivisionError: mine"),
    }


@pytest.mark.parametrize("flaw", flaws())
def test_an_augmentation_fails_in_its_own_name(flaw, tiny_problem):
    augment, message = flaws()[flaw]
    problem = tiny_problem()
    pool = Pool(problem.pool.images, augment=augment)
    run = Run(Problem(problem.teachers, pool, problem.student), "distillation", steps=2, snapshot_every=0)
    with pytest.raises(InputError, match=message) as told:
        run.advance(1)
    assert run.step == 0
    if flaw == "raises":
        assert isinstance(told.value.__cause__, ZeroDivisionError)


class InPlace(nn.Module):
    def forward(self, images):
        return images.sub_(0.5)


def students() -> dict[str, tuple[Callable[..., Any], str]]:
    def body(first: nn.Module) -> Callable[[LabelSpace], Student]:
        def make(labels: LabelSpace) -> Student:
            tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, len(labels.columns)))
            return Student.chain({"first": first}, {"class": tail})

        return make

    def lazy(labels: LabelSpace) -> Student:
        return Student.of(nn.Sequential(nn.LazyConv2d(4, 3)), layers=["0"], labels=labels)

    class Own(nn.Module):
        pass

    class Says(Student):
        layers = ("first",)

        def forward(self, images):
            return images

        def module_of(self, layer):
            return self

    return {
        "takes nothing": (lambda: None, "student function .* failed with TypeError"),
        "raises": (raises, "student function .* failed with ZeroDivisionError: mine"),
        "returns a net": (lambda _: Own(), "returned a Own: expected a Student"),
        "is lazy": (lazy, "lazy layers"),
        "changes its input": (body(InPlace()), "the student changes the images it is given in place"),
        "says something else": (lambda _: Says(), "returned Tensor .*expected Outputs"),
    }


@pytest.mark.parametrize("flaw", students())
def test_a_student_function_fails_in_its_own_name(flaw, tiny_problem):
    make, message = students()[flaw]
    problem = tiny_problem(student=make)
    with pytest.raises(InputError, match=message) as told:
        Run(problem, "distillation")
    if flaw == "raises":
        assert isinstance(told.value.__cause__, ZeroDivisionError)


def test_a_lazy_student_that_ran_is_a_student(tiny_problem):
    def ran(labels: LabelSpace) -> Student:
        tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(len(labels.columns)))
        tail(torch.rand(2, 4, 3, 3))
        return Student.chain({"first": nn.Conv2d(3, 4, 3)}, {"class": tail})

    assert tiny_problem(student=ran).make_student().layers == ("first",)


def test_a_teacher_that_changes_the_images_of_all_is_found(teacher, blobs):
    teachers = [teacher("one", preprocess=InPlace()), teacher("two", labels="xyz")]
    with pytest.raises(InputError, match="teacher 'one' changes the images it is given in place"):
        Problem(teachers, Pool(blobs(4)), student).check()


# Predictions


def test_predictions_are_the_same_for_whatever_holds_the_same_images(tiny_problem):
    problem = tiny_problem()
    run = Run(problem, "distillation", steps=2, snapshot_every=0).advance(1)
    bytes_ = torch.from_numpy((problem.pool.images.array[:5] * 255).round().astype(np.uint8))
    images = bytes_ / 255
    expected = run.predict(images)
    kinds = (
        images.numpy(),
        list(images),
        images.tolist(),
        images.double(),
        bytes_,
        bytes_.numpy(),
        images.numpy().astype(">f4"),
    )
    for kind in kinds:
        assert torch.equal(run.predict(kind), expected)
    for wrong, message in (
        (images[:, :1], "1×16×16, expected 3×16×16"),
        (images[..., 1:], "expected 3×16×16"),
        (images[0], "shape|expected"),
        (255 * images, "divide by 255"),
        (images[:0], "no image"),
    ):
        with pytest.raises(InputError, match=message):
            run.predict(wrong)


def test_the_order_of_a_range_and_its_length_are_checked(blobs):
    for wrong in ((1.0, 0.0), (0.0, 0.0), (0.0,), (0.0, 1.0, 2.0), [0.0, 1.0], 5):
        with pytest.raises(InputError, match="value_range"):
            Pool(blobs(4), value_range=wrong)
    assert len(Pool(blobs(4), value_range=(-1, 1))) == 4
