"""Merging: a shuffled copy of a net merges back into the net; the matching is the best of all; what is refused."""

import copy
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ka_explore import InputError, Pool, Preprocess, Problem, Run, Teacher, toy
from ka_explore.methods.matching import Moments, assignment, matched, permuted, plan_of, weight_similarity, weights_of


def mapped(labels: int = 3) -> nn.Sequential:
    """Convolutions in blocks, as the toy nets have them."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 7, 3, padding=1, bias=False), nn.BatchNorm2d(7), nn.ReLU()),
        nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(7, 9, 3, padding=1), nn.BatchNorm2d(9), nn.ReLU(inplace=True)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, labels)),
    )


def flattened(labels: int = 3) -> nn.Sequential:
    """A flat chain in which a unit has nine places once it is flattened, and a norm of them."""
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=4), nn.Tanh(), nn.Flatten(), nn.BatchNorm1d(5 * 16), nn.Linear(5 * 16, 8),
        nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, labels),
    )  # fmt: skip


def deep_head(labels: int = 3) -> nn.Sequential:
    """A hidden layer within the last part."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Linear(24, 10), nn.ReLU(), nn.Linear(10, labels)),
    )


KINDS = [mapped, flattened, deep_head]


def randomised(net: nn.Module, seed: int) -> nn.Module:
    """Weights and running statistics that differ from unit to unit."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            for parameter in module.parameters():
                parameter.data = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for values, offset in (
                (module.weight.data, 0.5), (module.bias.data, -0.5), (module.running_mean, -0.5),
                (module.running_var, 0.5),
            ):  # fmt: skip
                values.copy_(torch.rand(values.shape, generator=generator) + offset)
    return net.eval()


def shuffled(net: nn.Module, seed: int) -> tuple[nn.Module, list[Tensor]]:
    """A copy with the units of every hidden layer in another order, and by layer which unit stands where now."""
    generator = torch.Generator().manual_seed(seed)
    made = copy.deepcopy(net)
    parts = [m for m in made.modules() if isinstance(m, (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d))]
    orders: list[Tensor] = []
    order = torch.arange(3)

    def inputs(count: int) -> Tensor:
        places = count // len(order)
        return torch.cat([torch.arange(unit * places, (unit + 1) * places) for unit in order.tolist()])

    for part in parts:
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            index = inputs(part.num_features)
            for values in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                values.copy_(values[index])
            continue
        part.weight.data = part.weight.data[:, inputs(part.weight.shape[1])]
        if part is not parts[-1]:
            order = torch.randperm(len(part.weight), generator=generator)
            orders.append(order)
            part.weight.data = part.weight.data[order]
            if part.bias is not None:
                part.bias.data = part.bias.data[order]
    return made, orders


def problem_of(
    blobs, nets: list[nn.Module], *, labels: list[str] | None = None, tasks: list[str] | None = None, **options
) -> Problem:
    """The nets as teachers for 60 images; by default with labels of their own."""
    names = [name for name, _ in nets[0].named_children()]
    teachers = [
        Teacher(
            f"teacher {i}", net, layers=names[-2:-1], labels=labels[i] if labels else [f"{i}{k}" for k in "abc"],
            task=tasks[i] if tasks else "class",
            **{name: values[i] for name, values in options.items()},
        )
        for i, net in enumerate(nets)
    ]  # fmt: skip

    def student(found):
        raise AssertionError("a merged net is made of the teachers' parts, not of the problem's student")

    return Problem(teachers, Pool(blobs(60), probe=60), student)


def merged(problem: Problem, **options) -> Run:
    return Run(problem, "permutation_merging", **options).advance(None)


def logits(run: Run) -> Tensor:
    with torch.no_grad():
        return run.method.student(run.problem.pool.images[:]).logits


def orders_found(run: Run, place: int = 0) -> list[Tensor]:
    return run.method.matching.orders(place)


# A shuffled copy.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight_share", [0.0, 0.5])
def test_a_net_and_its_shuffled_copies_merge_into_the_net(blobs, kind, weight_share):
    net = randomised(kind(), 0)
    copies = [shuffled(net, seed) for seed in (1, 2)]
    run = merged(
        problem_of(blobs, [net, *(made for made, _ in copies)]), weight_share=weight_share, reestimate=False, seed=0
    )
    with torch.no_grad():
        own = net(run.problem.pool.images[:])
        for made, _ in copies:  # so that what is shuffled is the same net
            torch.testing.assert_close(made(run.problem.pool.images[:]), own, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(run), torch.cat([own] * 3, dim=1), rtol=1e-4, atol=1e-4)
    for place, (_, orders) in enumerate(copies):
        for found, order in zip(orders_found(run, place), orders, strict=True):
            assert torch.equal(order[found], torch.arange(len(order)))
    assert float(run.method.matching.correlation.min()) == pytest.approx(1, abs=1e-4)


def test_with_new_statistics_a_shuffled_copy_is_as_good_as_a_copy(blobs):
    net = randomised(mapped(), 0)
    results = [
        logits(merged(problem_of(blobs, [net, other]), seed=0)) for other in (copy.deepcopy(net), shuffled(net, 1)[0])
    ]
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_unmatched_the_average_of_a_net_and_its_shuffled_copy_is_another_net(blobs, kind):
    net = randomised(kind(), 0)
    problem = problem_of(blobs, [net, shuffled(net, 1)[0]])
    far = {
        form: float((logits(merged(problem, form=form, reestimate=False))[:, :3] - net(problem.pool.images[:])).norm())
        for form in (None, "unaligned")
    }
    assert far[None] < 1e-3
    assert far["unaligned"] > 1


def test_the_weights_alone_find_the_order_of_a_shuffled_layer(blobs):
    net = randomised(mapped(), 0)
    other, orders = shuffled(net, 1)
    plan = plan_of(Teacher("a", net, layers=["0"], labels="abc"))
    nets = [[weights_of(part) for part in parts_of(each)] for each in (net, other)]
    back = [order.argsort() for order in orders]
    for layer, order in enumerate(back):
        similarity = weight_similarity(plan, *nets, back, layer)
        assert torch.equal(similarity.argmax(dim=1), order)
        torch.testing.assert_close(similarity.gather(1, order[:, None]), torch.ones(len(order), 1).double())
    alone = matched(plan, *nets, [torch.zeros(len(order), len(order)).double() for order in back], 1.0, 20)
    assert all(torch.equal(found, order) for found, order in zip(alone, back, strict=True))
    for one, same in zip(nets[0], permuted(plan, nets[1], back), strict=True):
        assert all(torch.equal(one[name], same[name]) for name in one)


def parts_of(net: nn.Module) -> list[nn.Module]:
    return [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d))]


# The matching.


@pytest.mark.parametrize("units", [1, 2, 3, 4, 5, 6])
def test_the_matching_is_the_best_of_all(units):
    generator = torch.Generator().manual_seed(units)
    for _ in range(5):
        similarity = torch.randn(units, units, generator=generator, dtype=torch.float64)
        found = assignment(similarity)
        best = max(permutations(range(units)), key=lambda order: sum(similarity[i, j] for i, j in enumerate(order)))
        assert found.tolist() == list(best)


def test_the_correlation_is_pearsons_over_all_batches_and_0_for_a_constant_unit():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 4, 90, generator=generator) + 3
    other = other + 0.7 * one
    one[2] = 5.0
    moments = Moments()
    for start, end in ((0, 50), (50, 90)):
        moments.add(one[:, start:end], other[:, start:end])
    found = moments.correlation()
    expected = np.corrcoef(one[[0, 1, 3]].numpy(), other.numpy())[:3, 3:]
    np.testing.assert_allclose(found[[0, 1, 3]], expected, atol=1e-5)
    assert not found[2].any()


# What is averaged.


@pytest.mark.parametrize("kind", KINDS)
def test_with_all_the_share_a_teacher_keeps_its_logits(blobs, kind):
    nets = [randomised(kind(), seed) for seed in (0, 1)]
    problem = problem_of(blobs, nets)
    for place in (0, 1):
        shares = tuple(float(i == place) for i in range(2))
        found = logits(merged(problem, shares=shares, reestimate=False))[:, 3 * place : 3 * place + 3]
        torch.testing.assert_close(found, nets[place](problem.pool.images[:]), rtol=1e-4, atol=1e-4)


def test_the_first_layer_is_the_mean_of_the_matched_units(blobs):
    nets = [randomised(mapped(), seed) for seed in (0, 1, 2)]
    run = merged(problem_of(blobs, nets))
    first, *others = (net[0][0].weight for net in nets)
    expected = first + sum(other[orders_found(run, place)[0]] for place, other in enumerate(others))
    torch.testing.assert_close(run.method.student.segments["0"][0].weight, expected / 3)


def test_the_statistics_of_batch_norm_are_those_of_the_pool(blobs):
    run = merged(problem_of(blobs, [randomised(mapped(), seed) for seed in (0, 1)]))
    convolution, norm, _ = run.method.student.segments["0"]
    with torch.no_grad():
        output = convolution(run.problem.pool.images[:])
    torch.testing.assert_close(norm.running_mean, output.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, output.var(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1
    assert not norm.training


def test_before_its_step_the_student_is_the_first_teacher_with_all_heads(blobs):
    nets = [randomised(mapped(), seed) for seed in (0, 1)]
    problem = problem_of(blobs, nets)
    run = Run(problem, "permutation_merging")
    assert run.steps == 1
    torch.testing.assert_close(logits(run)[:, :3], nets[0](problem.pool.images[:]), rtol=1e-4, atol=1e-5)
    assert Run(problem, "permutation_merging", steps=0).steps == 0


def test_heads_hold_the_rows_of_their_task_and_common_classes_are_joined(blobs):
    nets = [randomised(deep_head(), seed) for seed in (0, 1, 2)]
    problem = problem_of(blobs, nets, labels=["abc", "xyz", "cde"], tasks=["letter", "end", "letter"])
    run = merged(problem)
    assert list(run.method.student.heads) == ["letter", "end"]
    assert logits(run).shape == (60, 9)
    assert run.predict(problem.pool.images[:5]).shape == (5, 8)
    orders = [torch.arange(10), orders_found(run, 0)[1], orders_found(run, 1)[1]]
    rows = [net[-1][-1].weight[:, order] for net, order in zip(nets, orders, strict=True)]
    torch.testing.assert_close(run.method.student.heads["letter"][-1].weight, torch.cat([rows[0], rows[2]]))
    torch.testing.assert_close(run.method.student.heads["end"][-1].weight, rows[1])


def test_means_and_deviations_of_the_images_are_averaged(blobs):
    nets = [randomised(mapped(), seed) for seed in (0, 1)]
    preprocess = [Preprocess(mean=(0.2,), std=(0.5,)), Preprocess(mean=(0.4,), std=(0.7,))]
    student = merged(problem_of(blobs, nets, preprocess=preprocess)).method.student
    assert student.preprocess.mean == pytest.approx((0.3,))
    assert student.preprocess.std == pytest.approx((0.6,))


def test_matched_teachers_of_digits_merge_better_than_unmatched_ones():
    """Real nets: two plain ones that know half of the digits each, from different starts."""
    digits = toy.digits(unlabelled=300)
    pictures = toy.sklearn_pictures().balanced(0)
    teachers = []
    for place, labels in enumerate((toy.DIGITS[:5], toy.DIGITS[5:])):
        own = pictures.at(np.flatnonzero(np.isin(pictures.names, labels))[-300:])
        torch.manual_seed(place)
        net = toy.plain_net(1, (8, 16, 32), 5)
        toy.train(net, torch.from_numpy(own.images), torch.from_numpy(own.index(labels)), steps=60, rate=3e-3)
        teachers.append(Teacher(f"digits {place}", net, layers=["block3"], labels=labels))
    problem = Problem(teachers, digits.pool, digits.student, test=digits.test)
    assert digits.test is not None
    truth = torch.from_numpy(digits.test.labels["class"])
    within = {}
    for form in (None, "unaligned"):
        scores = merged(problem, form=form).predict(digits.test.images[:])
        best = torch.where(truth < 5, scores[:, :5].argmax(dim=1), 5 + scores[:, 5:].argmax(dim=1))
        within[form] = float((best == truth).float().mean())
    assert within[None] > within["unaligned"] + 0.1


# What is refused.


class Shortcut(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(3, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        return images + self.inner(images)


def head(units: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(units, 3)]


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (lambda: nn.Sequential(Shortcut(), *head(3)), "has Shortcut '0'.*shortcuts or attention"),
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), *head(6)), "'0'.*in groups"),
        (lambda: nn.Sequential(*head(3)), "no hidden layer"),
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3), *head(6), nn.Identity()), "does not end with a linear layer"),
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.PReLU(6), *head(6)), "PReLU '1'"),
        (
            lambda: nn.Sequential(*(shared := [nn.Conv2d(3, 3, 1)]), nn.ReLU(), *shared, *head(3)),
            "Conv2d '2' twice in its chain",
        ),
        (
            lambda: nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.Linear(14, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
            ),
            "'1', a linear layer on a map",
        ),
    ],
)
def test_what_is_no_plain_chain_is_refused_with_a_way_out(blobs, net, why):
    problem = problem_of(blobs, [net(), net()])
    with pytest.raises(InputError, match=why) as refused:
        Run(problem, "permutation_merging")
    assert "distillation" in str(refused.value)


def test_teachers_must_be_of_one_architecture(blobs):
    wide = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *head(8))
    narrow = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), *head(6))
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), *head(8))
    longer = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *head(8)[:2], nn.Linear(8, 8), nn.Linear(8, 3))
    for second, why in ((narrow, "Conv2d.*6"), (other, "ReLU.* and Tanh"), (longer, "differ, first in")):
        problem = problem_of(blobs, [wide, second])
        with pytest.raises(InputError, match=why) as refused:
            Run(problem, "permutation_merging")
        assert "distillation" in str(refused.value)


def test_the_number_of_labels_may_differ(blobs):
    nets = [randomised(mapped(2), 0), randomised(mapped(4), 1)]
    assert logits(merged(problem_of(blobs, nets, labels=["ab", "cdef"]))).shape == (60, 6)


def test_a_single_teacher_or_options_that_do_not_fit_are_refused(blobs):
    nets = [randomised(mapped(), seed) for seed in (0, 1)]
    problem = problem_of(blobs, nets)
    with pytest.raises(InputError, match="alone"):
        Run(problem_of(blobs, nets[:1]), "permutation_merging")
    with pytest.raises(InputError, match="as wide as its teachers"):
        Run(problem, "permutation_merging", student_width=0.5)
    for shares in ((1.0,), (0.0, 0.0)):
        with pytest.raises(InputError, match="2 numbers, one a teacher"):
            Run(problem, "permutation_merging", shares=shares)


def test_other_readings_and_preprocessings_are_refused(blobs):
    nets = [randomised(mapped(), seed) for seed in (0, 1)]
    with pytest.raises(InputError, match="read="):
        Run(problem_of(blobs, nets, read=[lambda output: output] * 2), "permutation_merging")
    for preprocess in (
        [Preprocess(size=12), None],
        [torch.sqrt, Preprocess()],
        [Preprocess(mean=(0.1,)), Preprocess()],
    ):
        with pytest.raises(InputError, match="same preprocess"):
            Run(problem_of(blobs, nets, preprocess=preprocess), "permutation_merging")
    merged(problem_of(blobs, nets, preprocess=[torch.sqrt] * 2))
