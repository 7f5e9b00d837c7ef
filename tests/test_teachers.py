"""Laws of teachers: frozen for good, one fingerprint a teacher, preprocessing as its slow reference."""

import copy
import operator
import os
import subprocess
import sys
from collections import OrderedDict
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from ka_explore import InputError, Preprocess, Teacher
from ka_explore.problem.teachers import rebuilt

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


# Frozen


@pytest.mark.parametrize("kind", ["conv", "tokens", "vector"])
def test_training_mode_of_the_users_module_never_reaches_an_answer(teacher, kind):
    one = teacher(kind=kind)
    state = {name: value.clone() for name, value in one.module.state_dict().items()}
    before = one(IMAGES)
    one.module.train()
    after = one(IMAGES)
    assert torch.equal(before.logits, after.logits)
    assert all(torch.equal(before.features[layer], after.features[layer]) for layer in one.layers)
    one.module.train()
    next(iter(one.module.children())).eval()  # a part in another mode than the whole
    assert torch.equal(before.logits, one(IMAGES).logits)
    assert all(torch.equal(value, one.module.state_dict()[name]) for name, value in state.items())


def test_no_parameter_asks_for_a_gradient_and_no_answer_has_one(teacher):
    one = teacher()
    assert not any(p.requires_grad for p in one.module.parameters())
    one.module.requires_grad_(True)
    outputs = one(IMAGES.clone().requires_grad_())
    assert not outputs.logits.requires_grad
    assert not any(f.requires_grad for f in outputs.features.values())


def test_an_answer_is_the_modules_own(teacher):
    one = teacher(kind="tokens")
    with torch.no_grad():
        assert torch.equal(one(IMAGES).logits, one.module(IMAGES)["logits"])


def test_answers_are_float32_whatever_the_module_computes_in():
    module = nn.Sequential(OrderedDict(flat=nn.Flatten(), head=nn.Linear(768, 3))).double()
    outputs = Teacher("one", module, layers=["flat"], labels="abc", preprocess=lambda images: images.double())(IMAGES)
    assert outputs.logits.dtype == outputs.features["flat"].dtype == torch.float32


def test_a_mapping_gives_a_layer_its_layout():
    class Last(nn.Module):
        def forward(self, images):
            return images.permute(0, 2, 3, 1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = Last()

        def forward(self, images):
            return self.last(images).mean(dim=(1, 2))

    one = Teacher("one", Net(), layers={"last": "NHWC"}, labels="abc")
    assert torch.equal(one(IMAGES).features["last"], IMAGES)
    assert one.feature_layer == "last"


# The fingerprint


class Normalise:
    def __init__(self, mean):
        self.mean = mean

    def __call__(self, images):
        return images - self.mean

    def method(self, images):
        return images - self.mean


def closure(mean):
    return lambda images: images - mean


def shifted(images, mean=0.5):
    return images - mean


def make(**options) -> Teacher:
    torch.manual_seed(0)
    module = nn.Sequential(OrderedDict(a=nn.Conv2d(3, 4, 3), b=nn.ReLU(), c=nn.AdaptiveAvgPool2d(1), d=nn.Flatten()))
    return Teacher("one", module, **{"layers": ["a", "b"], "labels": "wxyz"} | options)


DIFFERENT = {
    "labels": {"labels": "wxyv"},
    "order of labels": {"labels": "xwyz"},
    "layers": {"layers": ["a"]},
    "order of layers": {"layers": ["b", "a"]},
    "layout": {"layers": {"a": "NHWC", "b": "auto"}},
    "task": {"task": "other"},
    "size": {"preprocess": Preprocess(size=8)},
    "mean": {"preprocess": Preprocess(mean=(0.5,))},
    "other mean": {"preprocess": Preprocess(mean=(0.4,))},
    "std": {"preprocess": Preprocess(std=(0.5,))},
    "channels": {"preprocess": Preprocess(channels=3)},
    "function": {"preprocess": shifted},
    "partial": {"preprocess": partial(shifted, mean=0.1)},
    "other partial": {"preprocess": partial(shifted, mean=0.2)},
    "closure": {"preprocess": closure(0.1)},
    "other closure": {"preprocess": closure(0.2)},
    "object": {"preprocess": Normalise(0.1)},
    "other object": {"preprocess": Normalise(0.2)},
    "object of tensors": {"preprocess": Normalise(torch.full((3, 40, 40), 0.1))},
    "other object of tensors": {"preprocess": Normalise(torch.full((3, 40, 40), 0.2))},
    "list of objects": {"preprocess": Normalise([Normalise(0.1)])},
    "other list of objects": {"preprocess": Normalise([Normalise(0.2)])},
    "array": {"preprocess": Normalise(np.zeros(3))},
    "bound method": {"preprocess": Normalise(0.1).method},
    "other bound method": {"preprocess": Normalise(0.2).method},
    "module": {"preprocess": nn.AvgPool2d(2)},
    "other module": {"preprocess": nn.AvgPool2d(3)},
    "read": {"read": operator.itemgetter(0)},
    "other read": {"read": operator.itemgetter(1)},
}


@pytest.mark.parametrize("layers", [("conv1", "act2"), {"conv2": "NHWC"}, ("conv2", "conv1")])
@pytest.mark.parametrize("blocks", [None, ("conv1", "conv2"), {"conv1": "NHWC", "act2": "NCHW"}])
def test_rebuilding_changes_nothing_that_is_not_said(teacher, layers, blocks):
    old = teacher(layers=layers, blocks=blocks)
    new = rebuilt(old, name="two")
    assert (new.layers, new.blocks, new.feature_layer) == (old.layers, old.blocks, old.feature_layer)
    assert new.fingerprint == old.fingerprint
    assert rebuilt(old, layers=["conv1"], blocks=None).feature_layer == "conv1"


def test_the_fingerprint_tells_every_difference():
    prints = {"as it is": make().fingerprint} | {what: make(**o).fingerprint for what, o in DIFFERENT.items()}
    same = [(a, b) for a in prints for b in prints if a < b and prints[a] == prints[b]]
    assert same == []
    keys = {"as it is": make().cache_key} | {what: make(**o).cache_key for what, o in DIFFERENT.items()}
    assert len(set(keys.values())) == len(keys)


@pytest.mark.parametrize("what", [None, *DIFFERENT])
def test_the_fingerprint_is_unchanged_by_a_second_construction(what):
    options = {} if what is None else DIFFERENT[what]
    one, other = make(**options), make(**copy.deepcopy(options))
    assert one.fingerprint == other.fingerprint
    assert one.cache_key == other.cache_key


def test_the_fingerprint_does_not_depend_on_name_mode_or_gradients():
    one = make()
    expected = one.fingerprint, one.cache_key
    one.module.train().requires_grad_(True)
    one.name = "two"
    one(IMAGES)
    assert (one.fingerprint, one.cache_key) == expected


@pytest.mark.parametrize("kind", ["conv", "tokens", "vector"])
def test_the_fingerprint_changes_with_any_one_weight(teacher, kind):
    one = teacher(kind=kind)
    prints = {one.fingerprint}
    for count, value in enumerate(one.module.state_dict().values(), start=2):
        kept = value.clone()
        value.view(-1)[-1] += 1
        prints.add(one.fingerprint)
        value.copy_(kept)
        assert len(prints) == count
    assert one.fingerprint in prints


SOURCE = """
import torch
from torch import nn
from ka_explore import Teacher
def words(images):
    return images if "a" in {"a", "b", "c", "d"} else None
net = nn.Sequential(nn.Linear(4, 2)).requires_grad_(False)
net[0].weight.fill_(0.5)
net[0].bias.zero_()
one = Teacher("one", net, layers=["0"], labels="ab", preprocess=words)
told = f"{one.fingerprint} {one.cache_key}"
"""


def test_the_fingerprint_is_the_same_in_another_process():
    space: dict = {"__name__": "__main__"}
    exec(SOURCE, space)
    there = subprocess.run(
        [sys.executable, "-c", SOURCE + "print(told)"], check=True, capture_output=True, text=True,
        env=dict(os.environ, PYTHONHASHSEED="1"),
    )  # fmt: skip
    assert there.stdout.strip() == space["told"]


def test_edited_code_and_settings_of_a_module_give_another_key_of_the_cache():
    def net(scale, attribute=1.0):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Identity()
                self.attribute = attribute

            def forward(self, images):
                return {"one": images, "two": images + 1}[scale].mean(dim=(2, 3))

        return Net()

    def edited():
        made = net("one")

        def forward(self, images):
            return (self.inner(images) * 2).mean(dim=(2, 3))

        type(made).forward = forward
        return made

    made = [net("one"), net("two"), net("one", attribute=2.0), edited()]
    made.append(type("Net", (type(edited()),), {})())  # the code of a class it inherits counts too
    keys = [Teacher("one", module, layers=["inner"], labels="abc").cache_key for module in made]
    assert len({keys[0], keys[1], keys[2], keys[3]}) == 4
    assert keys[4] != keys[0]
    assert keys[0] == Teacher("one", net("one"), layers=["inner"], labels="abc").cache_key


def test_an_object_that_holds_itself_has_a_fingerprint():
    circle = Normalise(0.1)
    circle.mean = circle
    assert make(preprocess=circle).fingerprint != make(preprocess=Normalise(0.1)).fingerprint


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "without '/'"),
        ({"name": "student"}, "being trained"),
        ({"layers": []}, "names no layer"),
        ({"layers": "conv1"}, "sequence, each text"),
        ({"layers": ["conv9"]}, "not found: conv9"),
        ({"layers": {"conv1": "NLHC"}}, "unknown layout"),
        ({"labels": []}, "at least one"),
        ({"labels": ["a", "b", "a"]}, "different"),
        ({"labels": [1, "1", 2]}, "different"),
    ],
)
def test_what_makes_no_teacher_is_refused(teacher, options, message):
    with pytest.raises(InputError, match=message):
        teacher(**{"name": "one"} | options)


def test_a_refused_module_is_left_as_it_was(net):
    module = net().train()
    with pytest.raises(InputError):
        Teacher("one", module, layers=["nowhere"], labels="abc")
    assert module.training
    assert all(p.requires_grad for p in module.parameters())


def test_logits_must_fit_the_labels(net):
    one = Teacher("one", net(labels=3), layers=["conv1"], labels="abcd")
    with pytest.raises(InputError, match=r"'one' gave 3 logits for 4 labels"):
        one(IMAGES)


def test_an_unreadable_answer_names_the_teacher_or_what_to_do(net):
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, images):
            return {"scores": self.inner(images)}

    one = Teacher("one", Text(), layers=["inner"], labels="abc")
    with pytest.raises(InputError, match="read="):
        one(IMAGES)
    read = Teacher("one", Text(), layers=["inner"], labels="abc", read=lambda output: output["scores"].mean(dim=(2, 3)))
    assert read(IMAGES).logits.shape == (6, 3)


# Preprocessing


def slow_resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with antialiasing: each new pixel is a mean of the old ones under a triangle, axis by axis."""
    for axis, new in ((0, size[0]), (1, size[1])):
        old = image.shape[axis]
        scale = old / new
        support = max(scale, 1.0)
        rows = []
        for pixel in range(new):
            center = (pixel + 0.5) * scale
            weights = np.array([max(0.0, 1 - abs((i + 0.5 - center) / support)) for i in range(old)])
            rows.append(np.tensordot(weights / weights.sum(), image, axes=(0, axis)))
        image = np.stack(rows, axis=axis)
    return image


@pytest.mark.parametrize("size", [8, 4, 24, (5, 7), (16, 9)])
def test_resizing_equals_the_slow_reference(size):
    made = Preprocess(size=size)(IMAGES[:2])
    pair = (size, size) if isinstance(size, int) else size
    for n in range(2):
        for c in range(3):
            assert np.allclose(made[n, c].numpy(), slow_resize(IMAGES[n, c].numpy(), pair), atol=1e-5)


def test_normalising_equals_the_slow_reference():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    made = Preprocess(mean=mean, std=std)(IMAGES)
    for c in range(3):
        assert torch.allclose(made[:, c], (IMAGES[:, c] - mean[c]) / std[c])
    assert torch.allclose(Preprocess(mean=(0.5,), std=(0.25,))(IMAGES), (IMAGES - 0.5) / 0.25)


def test_channels_are_repeated_or_averaged():
    grey = IMAGES[:, :1]
    made = Preprocess(channels=3)(grey)
    assert all(torch.equal(made[:, c], grey[:, 0]) for c in range(3))
    assert torch.allclose(Preprocess(channels=1)(IMAGES)[:, 0], (IMAGES[:, 0] + IMAGES[:, 1] + IMAGES[:, 2]) / 3)
    assert Preprocess(channels=3)(IMAGES) is IMAGES
    assert Preprocess(size=16)(IMAGES) is IMAGES


def test_all_of_it_happens_in_the_order_said():
    step = Preprocess(size=8, channels=3, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    by_hand = Preprocess(size=8)(IMAGES[:, :1].expand(-1, 3, -1, -1))
    for c, (mean, std) in enumerate(((0.1, 1.0), (0.2, 2.0), (0.3, 4.0))):
        assert torch.allclose(step(IMAGES[:, :1])[:, c], (by_hand[:, c] - mean) / std)


def test_preprocessing_leaves_the_pools_images_alone():
    kept = IMAGES.clone()
    Preprocess(size=8, channels=1, mean=(0.5,), std=(0.5,))(IMAGES)
    Preprocess(channels=3, mean=(0.5,))(IMAGES[:, :1])
    assert torch.equal(IMAGES, kept)


def test_preprocessing_that_cannot_be_is_refused():
    for options, message in (
        ({"std": (0.0,)}, "positive"),
        ({"std": (-1.0,)}, "positive"),
        ({"channels": 2}, "1, 3 or None"),
        ({"size": 0}, "size"),
        ({"size": (4, -1)}, "size"),
    ):
        with pytest.raises(InputError, match=message):
            Preprocess(**options)
    with pytest.raises(InputError, match="3 channels of 2"):
        Preprocess(channels=3)(IMAGES[:, :2])
    with pytest.raises(InputError, match="2 numbers, the images have 3"):
        Preprocess(mean=(0.1, 0.2))(IMAGES)
