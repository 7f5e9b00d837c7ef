"""The losses against slow references: the textbook's step, and a double loop over samples in float64."""

import math
from collections.abc import Sequence
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ka_explore.errors import InputError
from ka_explore.methods import METHODS, losses
from ka_explore.methods.losses import (
    BANDWIDTHS,
    SoftTarget,
    channel_error,
    classwise_mmd,
    entropy,
    gate,
    joint_posterior,
    mmd,
    mmd_by_sample,
    mmd_sum,
    selection_weights,
    soft_target,
)
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.pool import Batch, Pool
from ka_explore.problem.problem import Problem
from ka_explore.problem.student import Student
from ka_explore.problem.teachers import Teacher
from ka_explore.run.loss import loss_of, sums
from ka_explore.run.step import build

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


@pytest.mark.parametrize("form", [None, "clouds"])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("follows", [False, True])
def test_the_loss_of_method_a_is_the_textbooks(form: str | None, norm: str, follows: bool) -> None:
    """One number and one gradient a parameter, on the same weights and the same batch."""
    problem = small_problem()
    options = {"norm": norm, "width": 8, "steps": 1, "hand_over": float(follows)}
    config = METHODS["common_feature"].configure(form, options)
    method, other, third = (
        build(METHODS["common_feature"], problem, config, 0).train().requires_grad_(True) for _ in range(3)
    )
    images = problem.pool.images[:]
    batch = Batch(torch.arange(64), images, {teacher.name: teacher(images) for teacher in problem.teachers})
    how = {"together": norm == "batch", "mmd": textbook.mmd_by_definition, "follows": follows}
    by_hand = textbook.Textbook(other, problem.teachers, **how)

    (stage,) = method.stages()
    loss, expected = loss_of(method, stage, sums(stage.forward(batch))), by_hand.loss(images)
    loss.backward()
    expected.backward()
    fast = textbook.GoodLoop(third, images, batch.teachers, follows=follows)
    assert fast.step(torch.arange(64)) == pytest.approx(expected.item(), rel=1e-5)

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


def test_what_every_image_adds_to_the_mmd_is_the_definitions_and_its_mean_is_the_mmd() -> None:
    torch.manual_seed(0)
    student, near, far = torch.randn(9, 5), torch.randn(9, 5), torch.randn(9, 5) + 2
    near = student + 0.05 * near
    found = mmd_by_sample(student, [near, far], BANDWIDTHS)
    assert found.shape == (2, len(BANDWIDTHS), 9)
    torch.testing.assert_close(found.mean(dim=2), mmd(student, [near, far], BANDWIDTHS), atol=2e-6, rtol=1e-4)
    rows = [functional.normalize(r.double(), dim=1).numpy() for r in (student, far)]
    for k, bandwidth in enumerate(BANDWIDTHS):
        for i in range(9):
            added = 0.0
            for j in range(9):
                for sign, a, b in ((1, 0, 0), (1, 1, 1), (-1, 0, 1), (-1, 1, 0)):
                    distance = float(np.square(rows[a][i] - rows[b][j]).sum())
                    added += sign * np.exp(-distance / (2 * bandwidth**2)) / 9
            assert float(found[1, k, i]) == pytest.approx(added, abs=2e-6)


@pytest.mark.parametrize("noise", NOISE)
def test_what_every_image_adds_to_the_mmd_is_the_same_in_blocks_of_any_size(noise: float | None, monkeypatch) -> None:
    student, teacher = rows(noise, 24)
    whole = mmd_by_sample(student, [teacher, -teacher])
    for images in (1, 3, len(student) - 1):
        monkeypatch.setattr(losses, "BLOCK", images * 4 * len(student))
        torch.testing.assert_close(mmd_by_sample(student, [teacher, -teacher]), whole, atol=1e-6, rtol=1e-5)


def test_kernels_too_small_to_be_added_leave_the_mmd_and_its_gradient_as_they_are(monkeypatch) -> None:
    """float32 has no digits for them: the same bits with the bare exponential."""
    student, teacher = rows(0.1, 256)
    student.requires_grad_()
    found = mmd(student, [teacher])
    (gradient,) = torch.autograd.grad(found.sum(), student)
    monkeypatch.setattr(losses, "kernel", lambda squared, scale: torch.exp(squared * -scale))
    expected = mmd(student, [teacher])
    assert torch.equal(found, expected)
    assert torch.equal(gradient, torch.autograd.grad(expected.sum(), student)[0])


def test_the_error_of_a_channel_is_relative_to_its_own_variance() -> None:
    torch.manual_seed(0)
    feature = torch.randn(6, 3, 4, 4) * torch.tensor([1.0, 10.0, 0.0])[:, None, None]
    means = feature.mean(dim=(0, 2, 3), keepdim=True).expand_as(feature)
    found = channel_error(means, feature)
    torch.testing.assert_close(found.mean(dim=0), torch.tensor([1.0, 1.0, 0.0]))
    assert torch.equal(channel_error(feature, feature), torch.zeros(6, 3))


@pytest.mark.parametrize("kind", get_args(SoftTarget))
def test_what_the_teachers_add_to_a_soft_target_sums_to_it(kind: SoftTarget) -> None:
    torch.manual_seed(0)
    student, teachers = torch.randn(8, 7), [torch.randn(8, 3), torch.randn(8, 4)]
    options = {"kind": kind, "temperature": 2.0, "classes": [0, 1, 2, 2, 3, 4, 5]}
    parts = soft_target(student, teachers, **options)
    assert len(parts) == 2
    stacked, target = torch.cat(teachers, dim=1), functional.softmax(torch.cat(teachers, dim=1) / 2, dim=1)
    whole = {
        "stacked": 4 * functional.cross_entropy(student / 2, target),
        "score_distance": (student - stacked).square().sum(dim=1).mean(),
    }
    if kind in whole:
        torch.testing.assert_close(parts.sum(), whole[kind])
    moved = soft_target(student, [teachers[0], teachers[1] + torch.randn(8, 4)], **options)
    assert bool(moved[1] != parts[1])
    assert bool(moved[0] == parts[0]) == (kind != "stacked")  # one softmax is of all


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
    mmd_sum(mmd(student, [teacher])).sum().backward()
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


# Answers of teachers.


def softmax(logits: Sequence[float]) -> list[float]:
    """By definition, in float64."""
    top = max(logits)
    total = sum(math.exp(z - top) for z in logits)
    return [math.exp(z - top) / total for z in logits]


def answers_of(sizes: Sequence[int], images: int = 12, seed: int = 0) -> list[Tensor]:
    """Random logits of teachers with so many labels, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return [3 * torch.randn(images, size, generator=generator, dtype=torch.float64) for size in sizes]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_for_disjoint_classes_the_joint_posterior_is_restricted(temperature: float) -> None:
    """In value and gradient."""
    teachers = answers_of((3, 2, 4))
    found = []
    for kind, classes in (("restricted", None), ("joint_posterior", None), ("joint_posterior", range(9))):
        student = answers_of((9,), seed=1)[0].requires_grad_()
        loss = soft_target(student, teachers, kind=kind, temperature=temperature, classes=classes).sum()
        loss.backward()
        found.append((loss.detach(), student.grad))
    for loss, gradient in found[1:]:
        torch.testing.assert_close(loss, found[0][0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("classes", [[0, 1, 2, 2, 3], [0, 1, 2, 1, 0], [2, 0, 1, 3, 2]])
def test_the_joint_posterior_is_the_double_loops(classes: list[int], temperature: float) -> None:
    """−Σ_l p_i(l) log (q(l) / Σ_{k in Y_i} q(k)), q a class's probability summed over its columns."""
    teachers, student = answers_of((3, 2)), answers_of((5,), seed=1)[0]
    total = 0.0
    for image in range(12):
        column = softmax([float(z) / temperature for z in student[image]])
        posterior = {c: sum(p for p, k in zip(column, classes, strict=True) if k == c) for c in classes}
        for teacher, known in zip(teachers, (classes[:3], classes[3:]), strict=True):
            target = softmax([float(z) / temperature for z in teacher[image]])
            norm = sum(posterior[c] for c in known)
            total -= sum(p * math.log(posterior[c] / norm) for p, c in zip(target, known, strict=True))
    expected = temperature**2 * total / (12 * 2)
    found = soft_target(student, teachers, kind="joint_posterior", temperature=temperature, classes=classes)
    assert float(found.sum()) == pytest.approx(expected, rel=1e-10)


def test_joint_posterior_wants_a_class_for_every_column() -> None:
    with pytest.raises(InputError, match="name 4 columns, the student has 5"):
        joint_posterior(answers_of((5,))[0], answers_of((3, 2)), 1.0, [0, 1, 2, 3])


def test_the_mmd_a_class_is_the_loop_over_classes() -> None:
    """Against the textbook's; a class seen once has no distribution, and the other teacher's rows do not matter."""
    generator = torch.Generator().manual_seed(0)
    # Rows near each other, so that the wider kernels tell something.
    student, first, second = 1 + 0.2 * torch.rand(3, 15, 8, generator=generator)
    label = torch.tensor([0] * 4 + [1] * 5 + [2] * 2 + [3] + [7] * 3)
    owner = torch.tensor([0] * 4 + [1] * 5 + [0] * 2 + [1] + [1] * 3)
    order = torch.randperm(15, generator=generator)
    label, owner = label[order], owner[order]
    expected = []
    for value in (0, 1, 2, 7):
        rows = label == value
        teacher = second if value in (1, 7) else first
        by_bandwidth = textbook.mmd_double_loop(student[rows].numpy(), teacher[rows].numpy())
        expected.append(max(float(np.sum(by_bandwidth)), 0.0))
    found = float(classwise_mmd(student, [first, second], label, owner))
    assert found == pytest.approx(float(np.mean(expected)), abs=2e-5)
    assert found > 0.01
    other = [torch.where((owner == place)[:, None], rows, 0.5) for place, rows in enumerate((first, second))]
    assert float(classwise_mmd(student, other, label, owner)) == pytest.approx(found, abs=1e-6)
    alone = student.clone()
    alone[label == 3] = torch.rand(1, 8, generator=generator)
    assert float(classwise_mmd(alone, [first, second], label, owner)) == pytest.approx(found, abs=1e-6)


def test_the_mmd_a_class_of_single_images_is_zero_and_still_has_a_gradient() -> None:
    student = torch.rand(4, 3, requires_grad=True)
    loss = classwise_mmd(student, [torch.rand(4, 3)], torch.arange(4), torch.zeros(4, dtype=torch.int64), BANDWIDTHS)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not student.grad.any()


def test_the_entropy_is_the_definitions() -> None:
    logits = answers_of((6,))[0]
    expected = [-sum(p * math.log(p) for p in softmax(row.tolist())) for row in logits]
    np.testing.assert_allclose(entropy(logits), expected, rtol=1e-12)


@pytest.mark.parametrize("labels", [1, 2, 10, 1000])
def test_the_entropy_of_no_preference_is_the_logarithm_of_the_labels(labels: int) -> None:
    np.testing.assert_allclose(entropy(torch.full((3, labels), 5.0)), math.log(labels), rtol=1e-5)


def test_the_entropy_of_extreme_logits_is_finite_in_value_and_gradient() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]], requires_grad=True)
    found = entropy(logits)
    found.sum().backward()
    np.testing.assert_allclose(found.detach(), [0, math.log(2), math.log(3)], atol=1e-6)
    assert bool(torch.isfinite(logits.grad).all())


def test_the_hard_selection_is_the_loops() -> None:
    """All to the teacher of least entropy; of equally sure ones all to the first."""
    teachers = answers_of((3, 4, 2), images=40)
    teachers[1][5] = torch.tensor([0.0, 0.0, 0.0, 0.0])
    teachers[2] = torch.cat([teachers[2][:30], teachers[0][30:, :2]])
    weights = selection_weights(teachers, "hard")
    for image in range(40):
        entropies = [-sum(p * math.log(p) for p in softmax(t[image].tolist())) for t in teachers]
        assert weights[image].tolist() == [float(i == entropies.index(min(entropies))) for i in range(3)]


def test_of_equally_sure_teachers_the_first_teaches() -> None:
    answer = answers_of((4,), images=50)[0]
    turned = answer.roll(1, dims=1)
    surer = answer * 3
    for teachers, wanted in (
        ([answer, answer, answer], 0),
        ([answer * 0.1, answer, answer.clone()], 1),
        ([answer, surer, answer, surer], 1),
        ([torch.zeros(50, 4), torch.ones(50, 4), turned * 0], 0),
    ):
        weights = selection_weights(teachers, "hard")
        assert torch.equal(weights.argmax(dim=1), torch.full((50,), wanted))
        assert torch.equal(weights.sum(dim=1), torch.ones(50))
        assert int((weights > 0).sum()) == 50


def test_the_soft_selection_is_the_definitions_and_becomes_the_hard_one() -> None:
    teachers = answers_of((3, 4, 2), images=40)
    entropies = torch.stack([entropy(t) for t in teachers], dim=1)
    expected = torch.exp(-entropies / 0.3)
    found = selection_weights(teachers, "soft", 0.3)
    torch.testing.assert_close(found.double(), expected / expected.sum(dim=1, keepdim=True), rtol=1e-5, atol=1e-6)
    hard = selection_weights(teachers, "hard")
    distance = [float((selection_weights(teachers, "soft", t) - hard).abs().max()) for t in (1.0, 0.1, 1e-2, 1e-4)]
    assert distance == sorted(distance, reverse=True)
    assert distance[-1] < 1e-3


@pytest.mark.parametrize("kind", ["hard", "soft", "claim", "none"])
def test_the_weights_of_an_image_sum_to_one_and_have_no_gradient(kind: str) -> None:
    teachers = [t.requires_grad_() for t in answers_of((3, 4, 2))]
    weights = selection_weights(teachers, kind)
    assert weights.shape == (12, 3)
    assert not weights.requires_grad
    assert bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(12))


def test_a_claim_is_a_teachers_share_of_the_joint_softmax() -> None:
    teachers = answers_of((3, 4, 2))
    weights = selection_weights(teachers, "claim")
    for image in range(12):
        joint = softmax([z for t in teachers for z in t[image].tolist()])
        expected = [sum(joint[:3]), sum(joint[3:7]), sum(joint[7:])]
        np.testing.assert_allclose(weights[image], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_the_gate_is_the_loops(kind: str) -> None:
    losses = torch.rand(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = selection_weights(answers_of((3, 4, 2)), kind).double()
    by_sample = sum(float(losses[i, t] * weights[i, t]) for i in range(12) for t in range(3)) / 12
    by_teacher = 0.0
    for t in range(3):
        share = sum(float(weights[i, t]) for i in range(12))
        by_teacher += sum(float(losses[i, t] * weights[i, t]) for i in range(12)) / share
    assert float(gate(losses, weights, "sample").sum()) == pytest.approx(by_sample, rel=1e-12)
    assert float(gate(losses, weights, "teacher").sum()) == pytest.approx(by_teacher, rel=1e-12)


def test_a_teacher_that_never_teaches_adds_nothing() -> None:
    losses = torch.rand(6, 2, dtype=torch.float64).requires_grad_()
    weights = torch.tensor([[1.0, 0.0]] * 6, dtype=torch.float64)
    for weighting in ("sample", "teacher"):
        found = gate(losses, weights, weighting).sum()
        (gradient,) = torch.autograd.grad(found, losses)
        assert float(found.detach()) == pytest.approx(float(losses[:, 0].detach().mean()), rel=1e-12)
        assert not gradient[:, 1].any()


def test_where_all_teach_alike_both_gates_differ_only_by_the_number_of_teachers() -> None:
    losses = torch.rand(6, 3, dtype=torch.float64)
    weights = torch.full((6, 3), 1 / 3, dtype=torch.float64)
    by_teacher, by_sample = (gate(losses, weights, weighting).sum() for weighting in ("teacher", "sample"))
    assert float(by_teacher) == pytest.approx(3 * float(by_sample))
