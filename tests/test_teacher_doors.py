"""Doors of teachers: what is handed in works or is refused in our own words, whatever it is."""

import math
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from strange import strange
from torch import nn

from ka_explore import InputError, Pool, Preprocess, Problem, Run, Student, Teacher
from ka_explore.errors import KaError
from ka_explore.problem.layers import (
    as_taken,
    binary_logits_of,
    find_layers,
    forward,
    layers_of,
    layout_of,
    logits_of,
    read_logits,
    to_map,
)

IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def make_module(labels=3):
    torch.manual_seed(0)
    parts = OrderedDict(a=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), b=nn.ReLU(), c=nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(parts | OrderedDict(d=nn.Flatten(), head=nn.Linear(4, labels)))


def make(**options):
    return Teacher(**{"name": "one", "module": make_module(), "layers": ["a"], "labels": ["x", "y", "z"]} | options)


# One logit for a sigmoid


class Binary(nn.Module):
    def __init__(self, *, flat=False, sigmoid=False):
        super().__init__()
        self.net, self.flat, self.sigmoid = make_module(1), flat, sigmoid

    def forward(self, images):
        logit = self.net(images)
        logit = logit.sigmoid() if self.sigmoid else logit
        return logit[:, 0] if self.flat else logit


@pytest.mark.parametrize("flat", [True, False])
def test_one_logit_is_refused_with_the_line_that_reads_it(flat):
    module = Binary(flat=flat)
    with pytest.raises(InputError, match=r"one label 'cat'.*labels=\['no', 'yes'\].*read=Teacher\.binary_logits_of"):
        make(module=module, layers=["net.a"], labels=["cat"])
    one = make(module=module, layers=["net.a"], labels=["no", "yes"])
    with pytest.raises(InputError, match=r"'one' gave one logit for 2 labels.*read=Teacher\.binary_logits_of makes"):
        one(IMAGES)
    with pytest.raises(InputError, match=r"read=Teacher\.binary_logits_of"):
        Problem([one], Pool(IMAGES), lambda labels: None).check()


@pytest.mark.parametrize("flat", [True, False])
def test_two_columns_of_one_logit_have_the_softmax_that_is_its_sigmoid(flat):
    module = Binary(flat=flat)
    read = make(module=module, layers=["net.a"], labels=["no", "yes"], read=Teacher.binary_logits_of)
    probability = read.module(IMAGES).reshape(-1).sigmoid()
    assert torch.allclose(read(IMAGES).logits.softmax(dim=1), torch.stack([1 - probability, probability], dim=1))
    ends = make(
        module=Binary(flat=flat, sigmoid=True), layers=["net.a"], labels=["no", "yes"],
        read=lambda output: Teacher.binary_logits_of(torch.logit(output, eps=1e-6)),
    )  # fmt: skip
    assert torch.allclose(ends(IMAGES).logits, read(IMAGES).logits, atol=1e-4)


@pytest.mark.parametrize("soft_target", ["restricted", "joint_posterior"])
def test_a_student_learns_what_a_binary_net_says(soft_target):
    """The net says whether an image is bright; the student, which sees its answers alone, says so of other images."""
    random = np.random.default_rng(0)
    levels = random.uniform(0, 1, (64, 1, 1, 1))
    images = np.clip(levels + random.normal(0, 0.02, (64, 1, 4, 4)), 0, 1).astype(np.float32)
    bright = nn.Sequential(OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), head=nn.Linear(1, 1)))
    with torch.no_grad():
        bright.head.weight.fill_(12.0)
        bright.head.bias.fill_(-6.0)
    teacher = Teacher("bright", bright, layers=["flat"], labels=["no", "yes"], read=Teacher.binary_logits_of)

    def student(labels):
        return Student.chain({"flat": nn.Flatten()}, {"class": nn.Linear(16, len(labels.columns))})

    problem = Problem([teacher], Pool(images), student)
    run = Run(
        problem, "distillation", steps=60, batch_size=32, learning_rate=0.1, soft_target=soft_target, temperature=1.0
    ).advance(None)
    said = run.predict(torch.from_numpy(images)).softmax(dim=1)[:, 1].detach().numpy()
    assert np.corrcoef(said, teacher(torch.from_numpy(images)).logits.softmax(dim=1)[:, 1].numpy())[0, 1] > 0.9


# Precision


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("preprocess", [None, Preprocess(mean=0.5, std=0.25), lambda images: images.double()])
def test_a_net_of_any_precision_runs_as_it_is(kind, preprocess):
    plain = make(preprocess=preprocess)(IMAGES)
    other = make(module=make_module().to(kind), preprocess=preprocess)
    outputs = other(IMAGES)
    assert next(other.module.parameters()).dtype == kind
    assert outputs.logits.dtype == outputs.features["a"].dtype == torch.float32
    assert torch.allclose(outputs.logits, plain.logits, atol=0.05)
    assert torch.allclose(outputs.features["a"], plain.features["a"], atol=0.05)


def test_what_is_no_float_or_has_no_weights_is_given_as_it_is():
    for module, inputs in ((nn.Linear(2, 2), {"a": 1}), (nn.ReLU(), IMAGES), (nn.Linear(2, 2), IMAGES.long())):
        assert as_taken(module, inputs) is inputs
    assert as_taken(nn.Linear(2, 2), IMAGES) is IMAGES


# What is no module


class Sized(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.LazyConv2d(4, 3)

    def forward(self, images):
        return self.a(images).mean(dim=(2, 3))


class Pipeline:
    model = make_module()

    def __call__(self, images):
        return self.model(images)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, "got None"),
        (lambda images: images, "function"),
        (nn.ReLU, "Of a class make an instance"),
        (Path("net.pt"), "load_state_dict"),
        ("net.pt", "load_state_dict"),
        (make_module().state_dict(), "OrderedDict"),
        (Pipeline(), r"take \.model"),
        (Sized(), r"lazy layers \(a\.weight\)"),
        (make_module().to("meta"), "on the device meta"),
        (torch.zeros(3), "Tensor"),
    ],
)
def test_what_is_no_module_is_refused_with_what_to_do(module, message):
    with pytest.raises(InputError, match=message):
        make(module=module)


def test_an_exported_program_and_its_module_are_refused():
    program = torch.export.export(make_module().eval(), (IMAGES,))
    with pytest.raises(InputError, match="exported program"):
        make(module=program)
    with pytest.raises(InputError):
        make(module=program.module(), layers=[name for name, _ in program.module().named_modules()][1:2])


def test_a_module_that_cannot_be_set_to_eval_mode_is_named():
    class Stuck(nn.Sequential):
        def eval(self):
            raise NotImplementedError("no modes here")

    with pytest.raises(InputError, match=r"eval mode of 'one'.*no modes here"):
        make(module=Stuck(OrderedDict(make_module().named_children())))


# Labels


@pytest.mark.parametrize(
    "labels",
    [
        ["x", "y", "z"],
        ("x", "y", "z"),
        "xyz",
        np.array(["x", "y", "z"]),
        np.array(["x", "y", "z"], dtype=object),
        {0: "x", 1: "y", 2: "z"},
        {2: "z", 0: "x", 1: "y"},
        {"1": "y", "2": "z", "0": "x"},
        {0: "x", 1: "y", 2: "z"}.values(),
        {"x": 0, "y": 1, "z": 2}.keys(),
    ],
    ids=str,
)
def test_labels_are_read_in_the_order_of_the_logits(labels):
    assert make(labels=labels).labels == ("x", "y", "z")


@pytest.mark.parametrize(
    "labels",
    [
        None, 3, {"x": 0, "y": 1, "z": 2}, {1: "x", 2: "y", 3: "z"}, {0: "x", 2: "z"}, {0: "x", True: "y"}, {"x", "y"},
        [None, "x"], [["x"], ["y"]], [1.5, 2.5], [True, False], b"xyz", bytearray(b"xyz"), (x for x in "xyz"), object(),
        ["x", "\ud800"], {0: "x", 1: None}, torch.zeros(3, device="meta"), [math.nan, "x"],
    ],
    ids=lambda value: "a set" if isinstance(value, set) else repr(value).partition(" at 0x")[0],
)  # fmt: skip
def test_what_is_no_sequence_of_names_is_refused(labels):
    module = make_module().train()
    with pytest.raises(InputError, match="labels of 'one' must be"):
        make(module=module, labels=labels)
    assert module.training  # and left as it was


# read= and preprocess=


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda output: None, "gave NoneType"),
        (lambda output: output.numpy(), "gave ndarray"),
        (lambda output: output[0], r"gave \(3,\)"),
        (lambda output: output.argmax(dim=1), r"gave \(6,\)"),
        (lambda output: output.long(), "int64.*tensor of floats"),
        (lambda output: output.to_sparse(), "sparse"),
        (lambda output: output["scores"], r"read= of teacher 'one' \(.*\) failed with"),
        (lambda: None, "read= of teacher 'one'.*TypeError"),
    ],
)
def test_a_reading_that_goes_wrong_is_named(read, message):
    with pytest.raises(InputError, match=message):
        make(read=read)(IMAGES)


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        (lambda images: None, "preprocess of teacher 'one' returned None"),
        (lambda images: images.numpy(), "preprocess of teacher 'one' returned ndarray"),
        (lambda images: images[:, :2], r"'one' cannot take images of shape \(3, 8, 8\).*2 channels"),
        (lambda images: images.nothing, "preprocess of teacher 'one'.*AttributeError"),
        (lambda: None, "preprocess of teacher 'one'.*TypeError"),
    ],
)
def test_a_preprocessing_that_goes_wrong_is_named(preprocess, message):
    with pytest.raises(InputError, match=message):
        make(preprocess=preprocess)(IMAGES)


# Whatever is handed in


def strange_things():
    """Values that people, and those who wish us ill, hand in; made anew for each door."""
    return [*strange(2, 3, 8, 8).values(), Sized(), Preprocess()]


def outcome(door, value):
    """What a door did to a value: nothing, its own error, or the error that it must not have."""
    try:
        door(value)
    except KaError as error:
        return None if 0 < len(str(error)) < 3000 else f"a message of {len(str(error))} letters"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return None


def use(**options):
    """A teacher that is made, asked and described."""
    teacher = make(**options)
    teacher(IMAGES)
    return repr(teacher), teacher.fingerprint, teacher.cache_key


DOORS = {f"Teacher {name}": lambda value, name=name: use(**{name: value}) for name in (
    "name", "module", "layers", "blocks", "labels", "task", "read", "preprocess", "prefix_tokens",
)} | {f"Preprocess {name}": lambda value, name=name: Preprocess(**{name: value})(IMAGES) for name in (
    "size", "channels", "mean", "std", "shorter_side", "crop", "interpolation", "antialias",
)} | {
    "from_processor": Preprocess.from_processor,
    **{f"processor {name}": lambda value, name=name: Preprocess.from_processor({"do_resize": True, name: value})
       for name in ("size", "resample", "do_center_crop", "crop_pct", "image_mean", "do_normalize", "do_rescale")},
    "layout of a layer": lambda value: layout_of({"a": value}) if isinstance(value, str) else None,
    "to_map": to_map,
    "logits_of": logits_of,
    "binary_logits_of": binary_logits_of,
    "read_logits": lambda value: read_logits("net", logits_of, value, 6, 3),
    "layers_of module": lambda value: layers_of(value, IMAGES),
    "layers_of images": lambda value: layers_of(make_module(), value),
    "find_layers module": lambda value: find_layers("net", value, ["a"]),
    "what a layer puts out": lambda value: forward("net", Returns(value), IMAGES, {"inner": "auto"}),
    "what a net returns": lambda value: make(module=Returns(value), layers=["inner"])(IMAGES),
    "what read returns": lambda value: make(read=lambda output: value)(IMAGES),
    "what preprocess returns": lambda value: make(preprocess=lambda images: value)(IMAGES),
}  # fmt: skip


class Given(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, images):
        return self.output


class Returns(nn.Module):
    """A net whose layer, and which itself, returns what it was made with."""

    def __init__(self, output):
        super().__init__()
        self.inner = Given(output)

    def forward(self, images):
        return self.inner(images)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("door", DOORS)
def test_whatever_is_handed_in_works_or_is_refused_in_our_words(door):
    found = [(i, outcome(DOORS[door], value)) for i, value in enumerate(strange_things())]
    assert [one for one in found if one[1] is not None] == []


ASKED = """
import sys, warnings
sys.path[:0] = sys.argv[1:]
warnings.simplefilter("ignore")
from test_teacher_doors import Preprocess, make, outcome, strange_things
steps = [Preprocess(), Preprocess(size=4), Preprocess(size=12, interpolation="bicubic"),
         Preprocess(shorter_side=5, crop=9), Preprocess(channels=1, mean=0.5, std=0.5),
         Preprocess(size=4, interpolation="nearest")]
for door in [make(), make(preprocess=Preprocess(size=9)), *steps]:
    for i, value in enumerate(strange_things()):
        if (error := outcome(door, value)) is not None:
            print(door, i, error)
"""


def test_whatever_is_given_as_images_works_or_is_refused_in_our_words():
    """In a process without the tests' own check of shapes, which would refuse first."""
    folder = Path(__file__).parent
    command = [sys.executable, "-c", ASKED, str(folder), str(folder / "shared")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


# Layer-wise amalgamation


def test_maps_that_are_too_small_are_refused_with_what_to_choose():
    module = nn.Sequential(
        OrderedDict(
            early=nn.Conv2d(3, 4, 3, padding=1), down=nn.Conv2d(4, 4, 3, stride=4, padding=1),
            late=nn.Conv2d(4, 4, 3, padding=1), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(),
        )
    )  # fmt: skip

    def student(labels):
        segments = {"wide": nn.Conv2d(3, 4, 3, padding=1), "narrow": nn.Conv2d(4, 4, 3, stride=4, padding=1)}
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, len(labels.columns)))
        return Student.chain(segments, {"class": head})

    def problem(blocks):
        return Problem([Teacher("one", module, layers=blocks, labels="wxyz")], Pool(IMAGES), student)

    with pytest.raises(
        InputError, match=r"layer 'wide': teacher 'one' .* of its layers early with .*layers=\['narrow'\]"
    ):
        Run(problem(["down", "late"]), "layer_wise")
    Run(problem(["early", "late"]), "layer_wise", steps=4)
    Run(problem(["down", "late"]), "layer_wise", layers=["narrow"], steps=4)
