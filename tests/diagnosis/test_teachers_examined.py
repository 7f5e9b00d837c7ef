"""What is measured of a teacher's net: how it is fed, whether its weights are its own, what it puts out."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from ka_explore import Preprocess, Teacher
from ka_explore.diagnosis.examine import examine_teacher
from ka_explore.diagnosis.feeding import TURNS
from ka_explore.diagnosis.ways import cut_off, turned
from ka_explore.diagnosis.weights import drawn, jump, reordered

SIZE = 8


def pictures(count=64, seed=0):
    """Smooth images that are brighter towards the right, so that turning them over is noticed."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, SIZE) * torch.linspace(0.2, 1, SIZE)


def trained_net():
    """A net whose weights follow no usual start, and whose batch norms have seen the images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        block = lambda before: [nn.Conv2d(before, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24, momentum=None)]  # noqa: E731
        parts = {"first": nn.Sequential(*block(1), nn.ReLU()), "last": nn.Sequential(*block(24), nn.ReLU())}
        net = nn.Sequential()
        for name, part in parts.items():
            net.add_module(name, part)
        net.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)))
        with torch.no_grad():
            for part in net.modules():
                if isinstance(part, (nn.Conv2d, nn.Linear)):
                    part.weight.copy_(3 * part.weight.sign() * part.weight.abs() ** 1.5)
            net.train()(pictures())
    return net.eval()


def examined(net, **changes):
    teacher = Teacher("t", net, layers=["first", "last"], labels=range(10), **changes)
    return examine_teacher(teacher, pictures(), np.full(64, -1))


def fresh(net):
    return set(examined(net)["fresh"])


# Weights


STARTS = {
    "torch": lambda part: part.reset_parameters(),
    "He, normal": lambda part: nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu"),
    "He, uniform": lambda part: nn.init.kaiming_uniform_(part.weight, nonlinearity="relu"),
    "Glorot, uniform": lambda part: nn.init.xavier_uniform_(part.weight),
    "Glorot, normal": lambda part: nn.init.xavier_normal_(part.weight),
    "of a transformer": lambda part: nn.init.trunc_normal_(part.weight, std=0.02),
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    "make", [lambda: nn.Conv2d(16, 32, 3), lambda: nn.Conv2d(48, 64, 1), lambda: nn.Linear(64, 100)]
)
def test_every_usual_start_is_known_and_no_longer_once_trained(start, make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        part = make()
        STARTS[start](part)
        if start != "torch":
            nn.init.zeros_(part.bias)
    weight, bias = part.weight.detach().numpy(), part.bias.detach().numpy()
    assert drawn(weight, bias)[1]
    assert drawn(weight.astype(np.float16), bias.astype(np.float16))[1]
    moves = np.random.default_rng(2).standard_t(2, weight.shape).astype(np.float32) * weight.std() / 3
    assert drawn(weight + moves, bias) == ("", False)
    assert not drawn(weight, bias + 1)[0]
    # the same values, but channels that matter more than others: no draw is so
    for axis in (0, 1):
        weighed = weight * np.linspace(0.4, 1, weight.shape[axis]).reshape(
            [-1 if a == axis else 1 for a in range(weight.ndim)]
        )
        ranks = np.argsort(np.argsort(weighed.ravel()))
        assert drawn(np.sort(weight.ravel())[ranks].reshape(weight.shape), bias) == ("", False)


def test_a_few_weights_prove_nothing_and_none_say_nothing():
    weight = nn.Conv2d(1, 12, 3).weight.detach().numpy()
    assert not drawn(weight, None)[1]
    assert drawn(weight[:2], None) == ("", False)


def test_a_trained_net_has_no_fresh_part_and_what_is_made_anew_is_named():
    net = trained_net()
    assert fresh(net) == set()
    for parts in (["last.0"], ["head.2"], ["last.1"], ["last.0", "last.1", "head.2"]):
        half = copy.deepcopy(net)
        for name in parts:
            half.get_submodule(name).reset_parameters()
        assert fresh(half) == set(parts)
    first = copy.deepcopy(net)
    first.first[0].reset_parameters()
    assert examined(first)["fresh"]["first.0"]["sure"]


def test_norms_at_their_start_and_parts_that_never_run():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.norm, self.unused = trained_net(), nn.LayerNorm(10), nn.Linear(64, 64)
            self.wide = nn.LayerNorm(16)

        def forward(self, images):
            logits = self.body(images)
            self.wide(torch.cat([logits, logits], dim=1)[:, :16])
            return self.norm(logits)

    teacher = Teacher("t", Net(), layers=["body.last"], labels=range(10))
    found = examine_teacher(teacher, pictures(), np.full(64, -1))["fresh"]
    assert found == {"wide": {"how": "a norm at 1 and 0", "sure": True}}  # ten channels may be so by chance


def test_many_channels_that_fit_better_in_some_order_are_no_other_channels():
    """As of ImageNet nets on clothes: hundreds of channels, each a little off, of which some order hides most."""
    off = {"name": "wide", "divergence": 0.055, "reordered": 0.007}
    for before, most in ((0.042, 1.4), (0.004, 5.6)):
        norms = [{"name": "narrow", "divergence": before, "reordered": None}, off]
        assert reordered(norms) == (1, pytest.approx(most, rel=0.1))
    assert reordered([off | {"divergence": 2.0}]) == (0, pytest.approx(200))


def test_statistics_in_another_order_show_where_they_are_and_fit_when_sorted():
    net = trained_net()
    home = examined(net)["norms"]
    assert [norm["name"] for norm in home] == ["first.1", "last.1"]
    assert max(norm["divergence"] for norm in home) < 0.01
    assert reordered(home) == jump(home) == (0, 0.0)
    for place, name in enumerate(["first.1", "last.1"]):
        shuffled = copy.deepcopy(net)
        norm, order = shuffled.get_submodule(name), torch.arange(24).roll(5)
        norm.running_mean.copy_(norm.running_mean[order])
        norm.running_var.copy_(norm.running_var[order])
        found = examined(shuffled)["norms"]
        assert reordered(found)[0] == place
        assert reordered(found)[1] > 10
        assert found[place]["reordered"] < 0.01
    random = copy.deepcopy(net)
    random.last[0].weight.copy_(-random.last[0].weight)
    found = examined(random)["norms"]
    assert jump(found)[0] == 1
    assert jump(found)[1] > 20


# Feeding


@pytest.mark.parametrize("shape", [(8, 8), (6, 12), (40, 36)])
def test_what_is_cut_off_is_known_at_every_side(shape):
    height, width = shape
    images = torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(0))
    half, quarter = height // 2, width // 4
    even = {"top": 0.0, "bottom": 0.0, "left": 0.0, "right": 0.0}
    assert cut_off(None, images) == {}
    assert cut_off(lambda x: x * 0, images) == {}
    for whole in (lambda x: x, lambda x: 3 - x, lambda x: x.flip(2), Preprocess(size=5, mean=(0.5,), std=(0.1,))):
        assert cut_off(whole, images) == even
    assert cut_off(lambda x: x[:, :, half:], images)["top"] == pytest.approx(0.5, abs=0.05)
    assert cut_off(lambda x: x[..., :-quarter], images)["right"] == pytest.approx(0.25, abs=0.05)
    centre = cut_off(lambda x: x[:, :, 1:-1, 1:-1], images)
    assert centre["top"] == centre["bottom"]
    assert centre["left"] == centre["right"]
    moved = cut_off(lambda x: nn.functional.pad(x, (quarter, 0, 0, 0))[..., :width], images)
    assert moved["right"] == pytest.approx(0.25, abs=0.05)
    assert moved["left"] == 0


def test_ways_turn_the_images_before_they_are_prepared():
    images = pictures(4)
    teacher = Teacher("t", trained_net(), layers=["last"], labels=range(10), preprocess=lambda x: 2 * x[..., 2:, :])
    cut = cut_off(teacher.preprocess, images)
    ways = {name: make() for name, make in turned(teacher, images, cut).items()}
    assert torch.equal(ways["as given"], 2 * images[..., 2:, :])
    assert set(TURNS) <= set(ways)
    assert torch.equal(ways["upside down"], 2 * images.flip(2)[..., 2:, :])
    assert torch.equal(ways["moved back into view"], 2 * images[..., :-2, :])  # what was cut off is seen now
    assert "cut evenly" not in turned(teacher, images, {})


def test_images_that_are_turned_over_or_moved_are_noticed_and_nothing_is_if_they_are_not():
    seen = examined(trained_net())["turned"]
    assert min(seen, key=lambda name: seen[name]["mismatch"]) == "as given"
    for name, (operation, arguments) in TURNS.items():
        mends = {"turned by 90°": "turned by 270°", "turned by 270°": "turned by 90°"}.get(name, name)
        turn = lambda x, operation=operation, arguments=arguments: getattr(x, operation)(*arguments)  # noqa: E731
        seen = examined(trained_net(), preprocess=turn)["turned"]
        assert seen[mends]["mismatch"] == pytest.approx(min(way["mismatch"] for way in seen.values()), abs=1e-3)
        assert seen[mends]["mismatch"] < seen["as given"]["mismatch"] / 2 or name == "upside down"


# Answers


def test_logits_probabilities_and_their_logarithms_are_told_apart():
    net = trained_net()
    logits = examined(net)["given"]
    assert min(logits["sums"], logits["level_most"]) > 0.05
    probabilities = examined(net, read=lambda output: output.softmax(dim=1))["given"]
    assert probabilities["sums"] < 1e-5
    assert probabilities["low"] >= 0
    assert probabilities["level_most"] > math.log(10) - 0.1
    logarithms = examined(net, read=lambda output: output.log_softmax(dim=1))["given"]
    assert logarithms["level_most"] < 1e-5
    assert logarithms["low"] < 0
