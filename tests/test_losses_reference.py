"""The losses against slow references: the textbook's step, and a double loop over samples in float64."""

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ka_explore.labels import LabelSpace
from ka_explore.losses import mmd, mmd_sum
from ka_explore.methods import METHODS
from ka_explore.pool import Batch, Pool
from ka_explore.problem import Problem
from ka_explore.student import Student
from ka_explore.teachers import Teacher
from ka_explore.training import build

textbook = SimpleNamespace(**run_path(str(Path(__file__).parent / "benchmarks" / "textbook.py")))


def small_problem() -> Problem:
    """Two untrained teachers of different width and 64 images of 8×8 noise."""
    torch.manual_seed(0)

    def teacher(name: str, width: int, labels: str) -> Teacher:
        parts = [nn.Conv2d(1, width, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return Teacher(name, nn.Sequential(*parts, nn.Linear(width, len(labels))), layers=["1"], labels=labels)

    def student(labels: LabelSpace) -> Student:
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, len(labels.columns)))
        return Student.chain({"only": nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.ReLU())}, {"class": head})

    teachers = [teacher("first", 8, "abc"), teacher("second", 12, "de")]
    return Problem(teachers, Pool(torch.rand(64, 1, 8, 8)), student)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_loss_of_method_a_is_the_textbooks(norm: str) -> None:
    """One number and one gradient a parameter, on the same weights and the same batch."""
    problem = small_problem()
    config = METHODS["common_feature"].configure(None, {"norm": norm, "width": 8})
    method, other = (build(METHODS["common_feature"], problem, config, 0).train().requires_grad_(True) for _ in "12")
    images = problem.pool.images[:]
    batch = Batch(torch.arange(64), images, {teacher.name: teacher(images) for teacher in problem.teachers})
    by_hand = textbook.Textbook(other, problem.teachers, together=norm == "batch", mmd=textbook.mmd_by_definition)

    loss, expected = method.stages()[0].forward(batch).loss, by_hand.loss(images)
    loss.backward()
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    wanted = {name: p.grad for name, p in other.named_parameters()}
    for name, p in method.named_parameters():
        assert_close(p.grad, wanted[name], 1e-5, name)


NOISE = [None, 0.1, 0.01, 0.001, 1e-4, 0.0]


@pytest.mark.parametrize("width", [256, 1568])
@pytest.mark.parametrize("noise", NOISE)
def test_mmd_is_the_double_loops(noise: float | None, width: int) -> None:
    """Every bandwidth, however near a student's row is to the teacher's of the same image."""
    student, teacher = rows(noise, width)
    expected = textbook.mmd_double_loop(student.numpy(), teacher.numpy())
    np.testing.assert_allclose(mmd(student, [teacher])[0], expected, atol=2e-6)


@pytest.mark.parametrize("width", [256, 1568])
def test_mmd_of_rows_that_nearly_agree_is_the_double_loops(width: int) -> None:
    """All rows of all nets in one small spot, where distances are differences of nearly equal numbers."""
    student, teacher = torch.rand(width) + 0.003 * torch.rand(2, 64, width)
    expected = textbook.mmd_double_loop(student.numpy(), teacher.numpy())
    np.testing.assert_allclose(mmd(student, [teacher])[0], expected, atol=2e-6)


def test_mmd_with_images_that_occur_twice_is_the_double_loops() -> None:
    """Two equal rows within one net."""
    student, teacher = (rows.repeat_interleave(2, dim=0) for rows in torch.rand(2, 32, 256))
    expected = textbook.mmd_double_loop(student.numpy(), teacher.numpy())
    np.testing.assert_allclose(mmd(student, [teacher])[0], expected, atol=2e-6)


@pytest.mark.parametrize("noise", NOISE)
def test_the_gradient_of_mmd_is_the_definitions(noise: float | None) -> None:
    """In float64, from the differences of all pairs. A row in float32 is known to 6e-8 only, near pairs to no more."""
    student, teacher = (part.requires_grad_() for part in rows(noise, 256))
    mmd_sum(mmd(student, [teacher])).backward()
    exact, own = (part.detach().double().requires_grad_() for part in (student, teacher))
    textbook.mmd_by_definition(exact, own).backward()
    tolerance = 1e-5 + (5e-8 / noise if noise else 0)
    assert_close(student.grad, exact.grad, tolerance, "student")
    assert_close(teacher.grad, own.grad, tolerance, "teacher")


def rows(noise: float | None, width: int) -> tuple[Tensor, Tensor]:
    """A student's and a teacher's rows: independent for None, or at this distance of each other on the unit sphere."""
    generator = torch.Generator().manual_seed(0)
    student = functional.normalize(torch.rand(64, width, generator=generator), dim=1)
    if noise is None:
        return student, torch.rand(64, width, generator=generator)
    direction = functional.normalize(torch.randn(64, width, generator=generator), dim=1)
    return student, student + noise * direction


def assert_close(got: Tensor | None, expected: Tensor | None, tolerance: float, what: str) -> None:
    """The difference is small beside one, or beside the expected tensor where that is larger."""
    assert got is not None
    assert expected is not None
    difference = float((got.double() - expected.double()).norm())
    assert difference <= tolerance * max(1.0, float(expected.norm())), f"{what}: off by {difference:.1e}"
