"""Folding: the net computes after it what it and the adaption module computed before, in eval and in training."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ka_explore import InputError
from ka_explore.methods.fold import fold, linear_end, output_moments

PRECISION = [(torch.float64, 1e-10), (torch.float32, 1e-5)]


def seeded_normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fresh(module: nn.Module, kind: torch.dtype, seed: int = 0) -> nn.Module:
    """Weights and running statistics that are neither 0 nor 1."""
    for place, values in enumerate([*module.parameters(), *module.buffers()]):
        if values.is_floating_point():
            values.data = seeded_normal(*values.shape, seed=100 * seed + place)
    for norm in module.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            norm.running_var.abs_().add_(0.2)
    return module.to(kind).eval()


SEGMENTS = {
    "conv": lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(3, 5, 3, stride=2, padding=1)),
    "conv-norm": lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)),
    "conv-bias-norm": lambda: nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 5)),
    "linear-norm": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 5, bias=False), nn.BatchNorm1d(5)),
    "linear-bias-norm": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 5), nn.BatchNorm1d(5)),
}


def folded(name: str, kind: torch.dtype, bias: bool) -> tuple[nn.Module, nn.Module, nn.Module, list[Tensor]]:
    """The segment before and after folding, the adaption module, and the images."""
    before = fresh(SEGMENTS[name](), kind)
    after = copy.deepcopy(before)
    adaption = fresh(nn.Conv2d(5, 5, 1, bias=bias), kind, seed=1)
    images = [seeded_normal(count, 3, 6, 6, seed=count).to(kind) for count in (20, 12)]
    linear, norm = linear_end("segment", after)

    def given():
        for batch in images:
            for module in after:
                if module is linear:
                    yield batch
                    break
                batch = module(batch)

    with torch.no_grad():
        fold(linear, norm, adaption, given)
    return before, after, adaption, images


def adapted(adaption: nn.Module, feature: Tensor) -> Tensor:
    return adaption(feature) if feature.ndim == 4 else adaption(feature[:, :, None, None]).flatten(1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kind", "tolerance"), PRECISION, ids=["float64", "float32"])
@pytest.mark.parametrize("name", SEGMENTS)
def test_in_eval_mode_nothing_changes(name, kind, tolerance, bias):
    before, after, adaption, images = folded(name, kind, bias)
    own = copy.deepcopy(adaption)
    with torch.no_grad():
        for batch in [*images, 3 * seeded_normal(7, 3, 6, 6, seed=99).to(kind)]:  # images it has not seen too
            expected = adapted(adaption, before(batch))
            error = (after(batch) - expected).abs().max() / expected.abs().max()
            assert float(error) <= tolerance
    assert all(torch.equal(a, b) for a, b in zip(adaption.parameters(), own.parameters(), strict=True))


@pytest.mark.parametrize("name", [name for name in SEGMENTS if "norm" in name])
def test_in_training_on_the_same_data_the_norm_changes_nothing_either(name):
    _, after, _, images = folded(name, torch.float64, True)
    together = torch.cat(images)
    with torch.no_grad():
        expected = after(together)
        torch.testing.assert_close(after.train()(together), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in SEGMENTS if "norm" in name])
def test_the_identity_folds_into_the_same_function(name):
    net = fresh(SEGMENTS[name](), torch.float64)
    after = copy.deepcopy(net)
    identity = nn.Conv2d(5, 5, 1).double()
    nn.init.dirac_(identity.weight)
    nn.init.zeros_(identity.bias)
    images = seeded_normal(16, 3, 6, 6)
    linear, norm = linear_end("segment", after)
    with torch.no_grad():
        inner = images
        for module in after:
            if module is linear:
                break
            inner = module(inner)
        fold(linear, norm, identity, lambda: [inner])
        torch.testing.assert_close(after(images), net(images), rtol=1e-10, atol=1e-10)


def test_folding_twice_is_folding_the_product():
    net = fresh(nn.Sequential(nn.Conv2d(3, 5, 3)), torch.float64)
    first, second = (fresh(nn.Conv2d(5, 5, 1), torch.float64, seed) for seed in (1, 2))
    images = seeded_normal(4, 3, 6, 6)
    expected = second(first(net(images)))
    for adaption in (first, second):
        fold(net[0], None, adaption, list)
    torch.testing.assert_close(net(images), expected, rtol=1e-10, atol=1e-10)


def test_without_a_norm_no_input_is_asked_for():
    def never():
        raise AssertionError("asked for")

    net = fresh(nn.Sequential(nn.Conv2d(3, 5, 3)), torch.float64)
    fold(net[0], None, fresh(nn.Conv2d(5, 5, 1), torch.float64, 1), never)


@pytest.mark.parametrize("linear", [nn.Conv2d(3, 5, 3, bias=False, padding=1), nn.Linear(6, 5, bias=False)])
def test_moments_are_those_of_all_outputs_together(linear):
    linear = fresh(linear, torch.float64)
    parts = [seeded_normal(count, 3, 6, 6, seed=count) for count in (9, 4)]
    if isinstance(linear, nn.Linear):
        parts = [part[:, 0, 0] for part in parts]
    with torch.no_grad():
        mean, variance = output_moments(linear, parts)
        output = linear(torch.cat(parts)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, output.mean(dim=1))
    torch.testing.assert_close(variance, output.var(dim=1, unbiased=False))


@pytest.mark.parametrize(
    ("segment", "why"),
    [
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU()), "ends with ReLU"),
        (nn.Sequential(nn.Conv2d(3, 6, 3, groups=3)), "one group"),
        (nn.Sequential(nn.Conv2d(3, 5, 3, bias=False)), "neither bias nor batch norm"),
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, affine=False)), "running averages and an affine map"),
        (
            nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, track_running_stats=False)),
            "running averages and an affine map",
        ),
        (nn.Sequential(nn.BatchNorm2d(5)), "ends with NoneType"),
    ],
)
def test_a_segment_that_cannot_be_folded_into_is_refused(segment, why):
    with pytest.raises(InputError, match=why) as refused:
        linear_end("conv9", segment)
    assert "conv9" in str(refused.value)


def test_the_linear_end_is_the_last_layer_and_its_norm():
    segment = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)))
    assert linear_end("conv", segment) == (segment[1][1], segment[1][2])
    alone = nn.Linear(3, 2)
    assert linear_end("conv", alone) == (alone, None)
