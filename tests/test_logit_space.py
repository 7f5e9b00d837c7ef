"""The logit space: its loss against a loop, γ = 1 as the ordinary soft target, and branches for any feature."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ka_explore import InputError, Run, Student
from ka_explore.methods import METHODS
from ka_explore.methods.logit_space import branch, enhanced_cross_entropy
from ka_explore.methods.losses import cross_entropy
from ka_explore.problem.pool import Batch
from ka_explore.run.step import build


def by_definition(student: np.ndarray, target: np.ndarray, temperature: float, gamma: float) -> float:
    """−T² Σ_c [(p_c + 1_{c=y})^γ − 1_{c=y}] log p^S_c in float64, image by image and class by class."""
    total = 0.0
    for own, other in zip(student / temperature, target / temperature, strict=True):
        p = [math.exp(z) / sum(math.exp(k) for k in other) for z in other]
        q = [math.exp(z) / sum(math.exp(k) for k in own) for z in own]
        best = p.index(max(p))
        for c in range(len(p)):
            hot = 1.0 if c == best else 0.0
            total -= ((p[c] + hot) ** gamma - hot) * math.log(q[c])
    return temperature**2 * total / len(student)


def pair(images: int = 9, columns: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(3 * torch.randn(2, images, columns, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_enhanced_loss_is_the_loops(gamma, temperature):
    student, target = pair()
    expected = by_definition(student.numpy(), target.numpy(), temperature, gamma)
    assert float(enhanced_cross_entropy(student, target, temperature, gamma)) == pytest.approx(expected, rel=1e-12)


def test_gamma_one_is_the_ordinary_cross_entropy_in_value_and_gradient():
    student, target = pair()
    one, other = (student.clone().requires_grad_() for _ in "12")
    enhanced_cross_entropy(one, target, 4.0, 1.0).backward()
    cross_entropy(other, target, 4.0).backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-12, atol=1e-12)


def test_a_larger_gamma_pulls_harder_towards_the_best_class_alone():
    student, target = torch.zeros(1, 3, dtype=torch.float64), torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
    pulls = []
    for gamma in (1.0, 1.5, 2.0):
        own = student.clone().requires_grad_()
        enhanced_cross_entropy(own, target, 1.0, gamma).backward()
        pulls.append(-own.grad[0])
    assert pulls[0][0] < pulls[1][0] < pulls[2][0]
    assert pulls[0][1] > pulls[1][1] > pulls[2][1]


def test_the_loss_is_finite_for_extreme_logits():
    target = torch.tensor([[1e4, -1e4, 0.0]])
    student = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
    loss = enhanced_cross_entropy(student, target, 1.0, 1.3)
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(student.grad).all())


@pytest.mark.parametrize("kind", ["stacked", "restricted", "joint_posterior"])
@pytest.mark.parametrize(("overlap", "tasks"), [(False, 1), (True, 1), (True, 2)])
def test_with_gamma_one_a_branch_has_the_soft_target_of_the_students_logits(tiny_problem, kind, overlap, tasks):
    problem = tiny_problem(3, overlap=overlap, tasks=tasks)
    options = {"soft_target": kind, "gamma": 1.0, "temperature": 2.0}
    method = build(METHODS["logit_space"], problem, METHODS["logit_space"].configure(None, options), 0)
    images = problem.pool.images[:16]
    batch = Batch(torch.arange(16), images, {teacher.name: teacher(images) for teacher in problem.teachers})
    logits = torch.randn(16, len(problem.labels.columns), generator=torch.Generator().manual_seed(0))
    expected = method.soft_target(logits, batch).sum()
    assert float(method.enhanced(logits, batch)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("feature", "last", "convolutions"),
    [
        ((12, 28, 28), (48, 7, 7), 2),
        ((48, 7, 7), (48, 7, 7), 1),
        ((6, 9, 5), (10, 2, 2), 3),
        ((6, 5, 1), (10, 1, 1), 3),
        ((8, 1, 1), (8, 1, 1), 1),
        ((4, 1, 1), (8, 3, 3), 1),
        ((64, 4, 4), (8, 2, 2), 1),
    ],
)
def test_a_branch_goes_down_to_the_last_blocks_size_and_no_further(feature, last, convolutions):
    made = branch(feature, last, columns=7)
    assert made.train()(torch.rand(1, *feature)).shape == (1, 7)
    steps = made[:convolutions]
    assert all(isinstance(part, nn.Sequential) for part in steps)
    assert isinstance(made[convolutions], nn.AdaptiveAvgPool2d)
    height, width = steps(torch.rand(2, *feature)).shape[2:]
    assert (height, width) == (min(feature[1], height), min(feature[2], width))
    assert height <= max(last[1], 1)
    assert width <= max(last[2], 1)
    if convolutions > 1:  # one less would not have been enough
        before = made[: convolutions - 1](torch.rand(2, *feature)).shape
        assert before[2] > last[1] or before[3] > last[2]


class Perceptron(nn.Module):
    """A student with vectors in the middle, a dotted layer name, and a map of one place."""

    def __init__(self, outputs: int):
        super().__init__()
        self.inner = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 10), nn.ReLU())
        self.head = nn.Linear(10, outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.inner(images))


def test_any_student_may_have_branches_also_one_of_vectors(tiny_problem):
    def student(labels):
        return Student.of(Perceptron(len(labels.columns)), layers=["inner.0", "inner.3"], labels=labels)

    run = Run(tiny_problem(student=student), "logit_space", steps=3, batch_size=1).advance(None)
    arrays = run.snapshot().arrays
    assert arrays["branch/inner.0"].shape == arrays["branch/inner.3"].shape == (60, 6)


def test_branches_of_no_weight_cost_no_training_and_give_distillation(tiny_problem):
    problem = tiny_problem()
    plain = Run(problem, "distillation", steps=5).advance(None)
    without = Run(problem, "logit_space", steps=5, branch_weight=0.0).advance(None)
    # what a run draws at random after the student does not reach it
    for one, other in zip(plain.method.student.parameters(), without.method.student.parameters(), strict=True):
        assert torch.equal(one, other)


def test_only_the_named_layers_have_a_branch_and_unknown_ones_are_refused(tiny_problem):
    problem = tiny_problem()
    run = Run(problem, "logit_space", steps=1, layers=("conv2",))
    assert [name for name in run.snapshot().arrays if name.startswith("branch/")] == ["branch/conv2"]
    with pytest.raises(InputError, match="conv1"):
        Run(problem, "logit_space", layers=("conv9",))


def test_the_branches_learn_and_are_not_deployed(tiny_problem):
    run = Run(tiny_problem(), "logit_space", steps=60, learning_rate=1e-2, soft_weight=0.0)
    run.advance(None)
    rows = run.history()
    assert rows[-1]["terms"]["branches"] < 0.9 * rows[0]["terms"]["branches"]
    assert run.method.deployed_parameters == sum(p.numel() for p in run.method.student.parameters())
