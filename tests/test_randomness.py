"""Laws of random numbers: a run draws its own, whatever the rest of the process draws, and takes none from it."""

import copy
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ka_explore import METHODS, Problem, Run, Student, toy
from ka_explore.run.rng import LocalGenerator, draws, uses_rng
from ka_explore.run.step import build


@pytest.fixture(scope="module")
def problem() -> Problem:
    return toy.digits(unlabelled=200)


def forgetful(labels) -> Student:
    """The toy student with dropout before its heads."""
    made = toy.student(labels)
    made.segments["features"] = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
    return made


@pytest.fixture(scope="module")
def noisy(problem) -> Problem:
    return Problem(problem.teachers, problem.pool, forgetful, problem.test)


class Wild(nn.Module):
    """A net of somebody's own that draws in its forward, also in eval mode."""

    def __init__(self, columns: int):
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3, stride=2)
        self.head = nn.Linear(4, columns)

    def forward(self, images: Tensor) -> Tensor:
        feature = self.body(images) + 0.1 * torch.randn(1) * torch.rand_like(images[:1, :1, :1, :1])
        kept = feature.new_empty(len(images), 1, 1, 1).bernoulli_(0.8)
        return self.head((feature * kept).mean(dim=(2, 3)))


def wild(labels) -> Student:
    return Student.of(Wild(len(labels.columns)), layers=["body"], labels=labels)


def rows(run: Run) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history()]


def state(run: Run) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in run.method.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def whole(problem: Problem) -> Run:
    """A run with everything that a thread may do with one."""
    run = Run(problem, "distillation", steps=14, checkpoint_every=5, snapshot_every=4)
    run.advance(8)
    run.fork("other", at=3, temperature=2.0).advance(2)
    run.rewind(2)
    run.snapshot()
    run.predict(problem.pool.images[:9])
    return run.advance(None)


class Meanwhile:
    """Within the ``with`` another thread draws from torch's global generator all the time."""

    def __init__(self, *, reseeds: bool):
        self.reseeds = reseeds
        self.drawn: list[float] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.draw)

    def draw(self) -> None:
        while not self.stop.is_set() and len(self.drawn) < 200_000:
            if self.reseeds:
                torch.manual_seed(len(self.drawn))
            self.drawn.append(float(torch.rand(())))

    def __enter__(self) -> "Meanwhile":
        self.thread.start()
        return self

    def __exit__(self, *_error) -> None:
        self.stop.set()
        self.thread.join()


@pytest.mark.parametrize("kind", ["dropout", "wild"])
def test_a_run_is_not_disturbed_by_what_others_draw(problem, noisy, kind):
    mine = noisy if kind == "dropout" else Problem(problem.teachers, problem.pool, wild, problem.test)
    alone = whole(mine)
    with Meanwhile(reseeds=True) as other:
        run = whole(mine)
    assert len(other.drawn) > 100
    assert rows(run) == rows(alone)
    assert equal(state(run), state(alone))
    for step in (0, 4, 8, 12):
        one, same = (r.store.load_snapshot(step).arrays for r in (run, alone))
        assert all(np.array_equal(one[name], same[name], equal_nan=True) for name in one)


def test_a_run_disturbs_nobody_who_draws(problem, noisy):
    torch.manual_seed(3)
    with Meanwhile(reseeds=False) as other:
        whole(noisy)
        whole(Problem(problem.teachers, problem.pool, wild, problem.test))
    torch.manual_seed(3)
    assert other.drawn == [float(torch.rand(())) for _ in other.drawn]


@pytest.mark.parametrize("method", METHODS)
def test_no_global_generator_is_touched(problem, method):
    chosen = toy.four_teachers(unlabelled=120) if method == "permutation_merging" else problem
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    run = Run(chosen, method, **({} if method == "ensemble" else {"steps": 3, "snapshot_every": 1})).advance(None)
    run.rewind(0).snapshot()
    run.fork("copy").advance(None)
    run.predict(chosen.pool.images[:4])
    assert (np.random.get_state()[1] == before[0]).all()
    assert torch.equal(torch.get_rng_state(), before[1])


CHILD = """
import random
from ka_explore import Run, toy
problem = toy.digits(unlabelled=200)
before = random.getstate()
run = Run(problem, "common_feature", steps=3, snapshot_every=1, targets="consistent").advance(None)
run.fork("copy", at=1).advance(None)
run.predict(problem.pool.images[:4])
print("untouched" if random.getstate() == before else "touched")
"""


@pytest.mark.slow
def test_pythons_own_generator_is_not_touched():
    # in a process of its own, as the checker of shapes draws from it here
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "untouched", done.stderr


@pytest.mark.parametrize("make", [forgetful, wild])
def test_rewinding_is_never_having_left_with_nets_that_draw(problem, make):
    mine = Problem(problem.teachers, problem.pool, make, problem.test)
    run = Run(mine, "distillation", steps=12, checkpoint_every=5).advance(None)
    end, recorded = state(run), rows(run)
    torch.manual_seed(9)
    assert equal(state(run.rewind(3).advance(None)), end)
    assert rows(run) == recorded


def test_dropout_drops_and_differs_from_step_to_step(noisy):
    run = Run(noisy, "distillation", steps=4, learning_rate=0.0, batch_size=200, snapshot_every=0).advance(None)
    losses = [row["loss"] for row in run.history()]  # of the same images and weights: only what is dropped differs
    assert len(set(losses)) == 4


class Noise(nn.Module):
    """As many ways to draw as a net has."""

    def forward(self, x: Tensor) -> Tensor:
        parts = [
            torch.rand(5), torch.randn(3, 4), torch.randint(9, (4,)), torch.randint(2, 9, (4,)), torch.randperm(7),
            torch.rand_like(x), torch.randn_like(x), torch.randint_like(x, 9), torch.randint_like(x, 2, 9),
            torch.empty(20).normal_(), torch.empty(5).uniform_(2, 3), torch.empty(5).exponential_(),
            torch.empty(5).random_(9), torch.empty(5).geometric_(0.3), torch.bernoulli(x.sigmoid()),
            torch.bernoulli(x, 0.4), torch.normal(x, 2.0), torch.normal(0.0, x.exp()), torch.normal(x, x.exp()),
            torch.multinomial(x.softmax(dim=1), 2), torch.poisson(x.exp()),
            functional.dropout(x, 0.3), functional.dropout2d(x[..., None, None], 0.3), functional.alpha_dropout(x, 0.3),
            functional.rrelu(x, training=True), functional.gumbel_softmax(x),
            functional.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.5),
            torch.nn.init.trunc_normal_(torch.empty(8)), torch.nn.init.orthogonal_(torch.empty(4, 4)),
        ]  # fmt: skip
        return torch.cat([part.flatten().double() for part in parts])


def test_every_way_to_draw_gives_what_it_gives_after_manual_seed():
    x, net = torch.linspace(-1, 1, 24).view(4, 6), Noise()
    with torch.random.fork_rng():
        torch.manual_seed(11)
        expected = net(x)
    before = torch.get_rng_state()
    with LocalGenerator(11):
        found = net(x)
        again = net(x)
    with LocalGenerator(12):
        other = net(x)
    assert torch.equal(found, expected)
    assert not torch.equal(found, again)
    assert not torch.equal(found, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad])
def test_recurrent_nets_and_attention_draw_their_own_numbers(context):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        recurrent = nn.LSTM(6, 5, num_layers=2, dropout=0.5)
        attention = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.5, batch_first=True)
    x = torch.linspace(-1, 1, 24).view(1, 4, 6)

    def run() -> Tensor:
        with context():
            return torch.cat([recurrent(x)[0].flatten(), attention(x).flatten()])

    with torch.random.fork_rng():
        torch.manual_seed(4)
        expected = run()
    before = torch.get_rng_state()
    with LocalGenerator(4):
        found = run()
    assert torch.equal(found, expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_in_inference_mode_too_nothing_is_drawn_from_the_global_generator():
    recurrent, x = nn.LSTM(6, 5, num_layers=2, dropout=0.5), torch.linspace(-1, 1, 24).view(1, 4, 6)
    found = []
    before = torch.get_rng_state()
    for seed in (4, 4, 5):
        with LocalGenerator(seed), torch.inference_mode():
            found.append(torch.cat([recurrent(x)[0].flatten(), functional.dropout(x, 0.5).flatten()]))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_gradient_goes_where_nothing_was_dropped():
    x = torch.ones(1000, requires_grad=True)
    with LocalGenerator(0):
        y, kept = torch.ops.aten.native_dropout(x, 0.25, True)
    y.sum().backward()
    assert torch.equal(y != 0, kept)
    assert torch.allclose(x.grad, kept / 0.75)
    assert 650 < int(kept.sum()) < 850


def test_a_generator_that_is_given_is_used():
    with LocalGenerator(0):
        found = torch.rand(4, generator=torch.Generator().manual_seed(5))
    assert torch.equal(found, torch.rand(4, generator=torch.Generator().manual_seed(5)))


def test_what_uses_random_numbers_is_known_or_taken_for_granted(problem, noisy):
    plain = Run(problem, "common_feature", steps=2)
    assert not uses_rng(plain.method)
    assert uses_rng(Run(noisy, "distillation", steps=2).method)
    assert uses_rng(Run(Problem(problem.teachers, problem.pool, wild), "distillation", steps=2).method)
    assert uses_rng(nn.LSTM(2, 2, num_layers=2, dropout=0.1))
    assert not uses_rng(nn.LSTM(2, 2))
    assert uses_rng(nn.MultiheadAttention(4, 2, dropout=0.1))
    assert uses_rng(nn.RReLU())
    hooked = copy.deepcopy(plain.student)
    hooked.register_forward_hook(lambda *_: None)
    assert uses_rng(hooked)


def test_whatever_torch_says_draws_is_known():
    assert draws(torch.ops.aten.bernoulli_.float)
    assert draws(torch.ops.aten.native_dropout.default)
    assert not draws(torch.ops.aten.convolution.default)


def test_initial_weights_are_those_of_manual_seed(problem):
    with torch.random.fork_rng(), warnings.catch_warnings():
        torch.manual_seed(7)
        expected = METHODS["distillation"](problem, METHODS["distillation"].Config())
    found = build(METHODS["distillation"], problem, METHODS["distillation"].Config(), 7)
    assert equal(dict(found.state_dict()), dict(expected.state_dict()))
