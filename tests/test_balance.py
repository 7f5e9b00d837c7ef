"""GradNorm: weights that sum to their number, constant for the net, and a θ that follows GradNorm's own loss."""

import pytest
import torch
from torch import Tensor, nn

from ka_explore import Run, toy
from ka_explore.methods.balance import EXPONENT, GradNorm, gradient_norm
from ka_explore.run.loss import sums


class Net(nn.Module):
    """Two linear layers and terms of very different gradients."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
        for parameter in self.layers.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        self.images = torch.randn(8, 5, generator=generator, dtype=torch.float64)

    def terms(self) -> dict[str, Tensor]:
        output = self.layers(self.images)
        return {"squares": output.square().mean(), "first": 30 * output[:, 0].abs().mean(), "bias": output.sum().cos()}


WEIGHTS = {"squares": 1.0, "first": 0.1, "bias": 5.0}


def balanced(theta: list[float] | None = None, initial: list[float] | None = None) -> tuple[Net, GradNorm]:
    net, balance = Net(), GradNorm(list(WEIGHTS)).double()
    if theta:
        balance.theta.data = torch.tensor(theta, dtype=torch.float64)
    balance.initial.copy_(torch.tensor(initial or [1.0, 2.0, 0.5]))
    return net, balance


def loss_of(net: Net, balance: GradNorm) -> Tensor:
    return balance(net.terms(), WEIGHTS, net.layers.parameters())


def test_weights_sum_to_the_number_of_terms_and_begin_alike():
    balance = GradNorm(["a", "b", "c"])
    assert torch.equal(balance.factors, torch.ones(3))
    for theta in ([1.0, -2.0, 0.3], [50.0, 0.0, 0.0]):
        balance.theta.data = torch.tensor(theta)
        assert float(balance.factors.detach().sum()) == pytest.approx(3)
        assert bool((balance.factors >= 0).all())


def test_terms_that_are_equal_stay_equally_weighted():
    generator = torch.Generator().manual_seed(0)
    net = nn.Linear(4, 1)
    images = torch.randn(6, 4, generator=generator)
    balance = GradNorm(["a", "b", "c"])
    optimizer = torch.optim.Adam([*net.parameters(), *balance.parameters()], lr=0.05)
    balance.start(dict.fromkeys("abc", net(images).square().mean()))
    for _ in range(30):
        term = net(images).square().mean()
        optimizer.zero_grad()
        balance(dict.fromkeys("abc", term), dict.fromkeys("abc", 1.0), net.parameters()).backward()
        optimizer.step()
    torch.testing.assert_close(balance.factors.detach(), torch.ones(3), rtol=1e-4, atol=1e-4)


def test_the_start_is_the_size_of_the_terms_in_their_order_and_never_zero():
    balance = GradNorm(["a", "b", "c"])
    balance.start({"c": torch.tensor(0.0), "a": torch.tensor(-3.0), "b": torch.tensor(2.0)})
    assert balance.initial[:2].tolist() == [3, 2]
    assert 0 < float(balance.initial[2]) < 1e-6


def test_the_value_is_the_weighted_sum_and_the_nets_gradient_that_of_constant_weights():
    net, balance = balanced([0.4, -0.7, 0.1])
    factors = balance.factors.detach()
    loss = loss_of(net, balance)
    loss.backward()
    got = [p.grad.clone() for p in net.layers.parameters()]
    net.zero_grad()
    expected = sum(f * WEIGHTS[k] * term for f, (k, term) in zip(factors, net.terms().items(), strict=True))
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for gradient, parameter in zip(got, net.layers.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("theta", [[0.0, 0.0, 0.0], [0.4, -0.7, 0.1]])
def test_the_gradient_of_theta_is_the_differences_of_gradnorms_loss(theta):
    """Σ_k |G_k − mean(G) r_k^1.5| with its target held at the current θ, by central differences in float64."""
    net, balance = balanced(theta)
    loss_of(net, balance).backward()
    norms = []
    for name in WEIGHTS:
        term = net.terms()[name]
        gradients = torch.autograd.grad(WEIGHTS[name] * term, list(net.layers.parameters()), allow_unused=True)
        norms.append(torch.cat([g.flatten() for g in gradients if g is not None]).norm())
    norm = torch.stack(norms)
    rate = torch.stack(list(net.terms().values())).detach().abs() / balance.initial
    relative = rate / rate.mean()

    def size(at: Tensor) -> Tensor:
        return 3 * torch.softmax(at, dim=0) * norm

    now = torch.tensor(theta, dtype=torch.float64)
    target = size(now).mean() * relative**EXPONENT
    step = 1e-6
    for index in range(3):
        moved = torch.zeros(3, dtype=torch.float64)
        moved[index] = step
        up, down = ((size(now + sign * moved) - target).abs().sum() for sign in (1, -1))
        assert float(balance.theta.grad[index]) == pytest.approx(float((up - down) / (2 * step)), rel=1e-5)
    assert bool(balance.theta.grad.abs().min() > 1e-3)  # else any θ would do


def test_a_gradient_norm_is_a_constant_and_zero_where_a_term_does_not_reach():
    net = Net()
    weights = list(net.layers.parameters())
    own = gradient_norm(net.terms()["squares"], weights)
    assert not own.requires_grad
    assert float(own) > 0
    assert float(gradient_norm(torch.tensor(1.0), weights)) == 0
    assert float(gradient_norm(nn.Parameter(torch.ones(())) * 2, weights)) == 0


def fall(moving: float, steps: int = 20) -> list[float]:
    """The weights after some steps of two terms of equal gradient, of which one has fallen to ``moving``."""
    weight = nn.Parameter(torch.ones(3))
    balance = GradNorm(["falling", "lagging"])
    optimizer = torch.optim.Adam(balance.parameters(), lr=0.01)
    for _ in range(steps):
        total = weight.sum()
        terms = {"falling": total - total.detach() + moving, "lagging": total - total.detach() + 1.0}
        optimizer.zero_grad()
        balance(terms, dict.fromkeys(terms, 1.0), [weight]).backward()
        optimizer.step()
    return balance.factors.tolist()


def test_the_term_that_lags_gains_weight():
    falling, lagging = fall(0.1)
    assert lagging > 1.05 > 0.95 > falling
    assert fall(1.0) == pytest.approx([1, 1], abs=0.02)


def test_without_gradients_there_is_only_the_weighted_sum():
    net, balance = balanced([0.4, -0.7, 0.1])
    before = balance.theta.clone()
    with torch.no_grad():
        loss = loss_of(net, balance)
        terms = net.terms().items()
    expected = sum(f * WEIGHTS[k] * term for f, (k, term) in zip(balance.factors.detach(), terms, strict=True))
    assert not loss.requires_grad
    assert float(loss) == pytest.approx(float(expected))
    assert torch.equal(balance.theta, before)
    assert balance.theta.grad is None


# In the methods.


@pytest.fixture(scope="module")
def problem():
    return toy.digits(unlabelled=80)


CASES = {
    "common_feature": {},
    "one_stage": {"temperature": 0.5},
    "adaptive": {},
    "logit_space": {"branch_weight": 1.0},
}


def thetas(run: Run) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in run.method.state_dict().items() if name.endswith("theta")}


@pytest.mark.parametrize("method", CASES)
def test_methods_move_their_weights_and_rewind_exactly(problem, method):
    options = {"steps": 8, "batch_size": 16, "checkpoint_every": 3} | CASES[method]
    run = Run(problem, method, balance="gradnorm", **options).advance(None)
    moved = thetas(run)
    assert len(moved) == sum(stage.competes for stage in run.method.stages())
    for name, theta in moved.items():
        assert bool(theta.abs().max() > 0), name
    end = {name: value.clone() for name, value in run.method.state_dict().items()}
    run.rewind(run.steps - 2)
    run.snapshot()
    run.advance(None)
    assert all(torch.equal(value, end[name]) for name, value in run.method.state_dict().items())
    fixed = Run(problem, method, **options)
    assert not thetas(fixed)
    run.rewind(0)
    for name, value in fixed.method.student.state_dict().items():
        assert torch.equal(value, run.method.student.state_dict()[name])


def test_a_single_term_has_nothing_to_balance(problem):
    run = Run(problem, form="clouds", balance="gradnorm", mmd_weight=0.0, reconstruction_weight=0.0, steps=2)
    assert not thetas(run)
    run.advance(None)


def test_terms_that_pull_at_different_nets_are_not_balanced(problem):
    """In the second half of the default only the soft target reaches the student: nothing competes with it."""
    run = Run(problem, balance="gradnorm", steps=8, batch_size=16).advance(None)
    assert list(run.method.balances) == ["joint"]
    first, last = run.history()[3]["weights"], run.history()[-1]["weights"]
    assert first != run.stage.weights
    assert last == dict(run.stage.weights)


def test_the_first_values_are_those_of_the_pools_first_images(problem):
    run = Run(problem, "logit_space", balance="gradnorm", branch_weight=1.0, steps=1, batch_size=16)
    stage = run.method.stages()[0]
    with torch.no_grad():
        first = sums(stage.forward(next(iter(run._batches()))))
    run.advance(1)
    balance = run.method.balances["joint"]
    for name, value in zip(balance.terms, balance.initial, strict=True):
        assert float(value) == pytest.approx(float(first[name]), rel=1e-5)
