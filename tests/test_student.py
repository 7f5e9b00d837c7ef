"""Laws of students: what a segment puts out is its feature, whatever follows; every net fits by naming layers."""

import copy

import pytest
import torch
from torch import nn

from ka_explore import InputError, LabelSpace, Preprocess, Student

LABELS = LabelSpace.of({"one": ("class", "ab"), "two": ("class", "c")})
TASKS = LabelSpace.of({"one": ("shape", "ab"), "two": ("colour", "cde")})


def images(count: int = 4, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, 12, 12, generator=torch.Generator().manual_seed(1))


def head(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, outputs))


def chain(second: nn.Module, last: nn.Module | None = None) -> Student:
    torch.manual_seed(0)
    return Student.chain({"first": nn.Conv2d(3, 4, 3), "second": second}, {"class": last or head(4, 3)})


def test_a_chain_is_its_segments_one_after_the_other():
    student = chain(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3)))
    outputs = student(images())
    first = student.segments["first"](images())
    second = student.segments["second"](first)
    assert torch.equal(outputs.features["first"], first)
    assert torch.equal(outputs.features["second"], second)
    assert torch.equal(outputs.logits, student.heads["class"](second))
    assert student.layers == ("first", "second")
    assert student.feature_layer == "second"


@pytest.mark.parametrize("where", ["segment", "head"])
def test_a_relu_in_place_that_follows_does_not_change_a_feature(where):
    def made(in_place: bool) -> Student:
        relu = nn.ReLU(inplace=in_place)
        if where == "segment":
            return chain(nn.Sequential(relu, nn.Conv2d(4, 4, 3)))
        return chain(nn.Conv2d(4, 4, 3), nn.Sequential(relu, head(4, 3)))

    one, other = made(True), made(False)
    other.load_state_dict(one.state_dict())
    for name in one.layers:
        mine, other_one = one(images()).features[name], other(images()).features[name]
        assert (other_one < 0).any()
        assert torch.equal(mine, other_one)
    assert torch.equal(one(images()).logits, other(images()).logits)
    for student in (one, other):
        outputs = student(images())
        (outputs.logits.sum() + sum(f.square().sum() for f in outputs.features.values())).backward()
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad)


class Tokens(nn.Module):
    """So many learned tokens ahead of a patch for each three by three pixels."""

    def __init__(self, ahead: int):
        super().__init__()
        self.patch = nn.Conv2d(3, 5, 3, 3)
        self.ahead = nn.Parameter(torch.zeros(1, ahead, 5))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patch(images).flatten(2).transpose(1, 2)
        return torch.cat([self.ahead.expand(len(images), -1, -1), patches], dim=1)


@pytest.mark.parametrize("ahead", [0, 1])
def test_tokens_and_vectors_of_a_chain_become_maps(ahead):
    rows = nn.Sequential(nn.Flatten(), nn.Linear((16 + ahead) * 5, 7))
    features = Student.chain({"tokens": Tokens(ahead), "rows": rows}, {"class": nn.Linear(7, 3)})(images()).features
    assert features["tokens"].shape == (4, 5, 4, 4)
    assert features["rows"].shape == (4, 7, 1, 1)


@pytest.mark.parametrize("segment", [Tokens(5), Tokens(7), nn.Flatten(2)], ids=["5+16", "7+16", "channels first"])
def test_tokens_of_a_chain_that_make_no_grid_are_refused(segment):
    flat = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    student = Student.chain({"tokens": segment}, {"class": flat})
    with pytest.raises(InputError, match=r"segment 'tokens' of the student: let it put out a map .* 'NLC'"):
        student(images())


def test_heads_stand_side_by_side_in_their_order():
    torch.manual_seed(0)
    student = Student.chain({"first": nn.Conv2d(3, 4, 3)}, {"shape": head(4, 2), "colour": head(4, 3)})
    feature = student.segments["first"](images())
    expected = torch.cat([student.heads["shape"](feature), student.heads["colour"](feature)], dim=1)
    assert torch.equal(student(images()).logits, expected)


def test_heads_in_another_order_than_the_tasks_are_refused(tiny_problem):
    def swapped(labels):
        return Student.chain({"first": nn.Conv2d(3, 4, 3)}, {task: head(4, 3) for task in reversed(labels.tasks)})

    problem = tiny_problem(2, tasks=2, student=swapped)
    with pytest.raises(InputError, match=r"order of labels\.tasks"):
        problem.make_student()


def test_preprocessing_is_part_of_the_student():
    step = Preprocess(size=6, channels=1, mean=(0.5,), std=(0.25,))
    torch.manual_seed(0)
    module = nn.Conv2d(1, 4, 3)
    made = Student.chain({"first": module}, {"class": head(4, 3)}, preprocess=step)
    assert torch.equal(made(images()).features["first"], module(step(images())))
    net = nn.Sequential(module, head(4, 3))
    wrapped = Student.of(net, layers=["0"], labels=LABELS, preprocess=step)
    assert torch.equal(wrapped(images()).logits, net(step(images())))


@pytest.mark.parametrize("kind", ["conv", "tokens", "vector"])
def test_any_net_learns_as_a_student_and_its_hooks_live_for_one_call(net, kind, tiny_problem):
    layers = {"conv": ["conv1"], "tokens": ["block1", "block2"], "vector": ["hidden"]}[kind]
    student = Student.of(net(kind), layers=layers, labels=LABELS).train()
    outputs = student(torch.rand(4, 3, 16, 16))
    (outputs.logits.sum() + sum(f.sum() for f in outputs.features.values())).backward()
    assert all(p.grad is not None for p in student.parameters())
    assert not any(module._forward_hooks for module in student.modules())


def test_a_copy_of_a_wrapped_student_is_its_own(net):
    student = Student.of(net("conv"), layers=["conv1"], labels=LABELS).eval()
    other = copy.deepcopy(student)
    with torch.no_grad():
        other.module.head[-1].bias += 1
    picture = torch.rand(2, 3, 16, 16)
    assert not torch.equal(student(picture).logits, other(picture).logits)


def test_a_student_of_wrong_outputs_says_how_many_there_should_be(net, tiny_problem):
    with pytest.raises(InputError, match="gave 4 logits for 3 labels"):
        Student.of(net("conv", 4), layers=["conv1"], labels=LABELS)(torch.rand(2, 3, 16, 16))
    problem = tiny_problem(
        student=lambda labels: Student.chain({"first": nn.Conv2d(3, 4, 3)}, {"class": head(4, len(labels.columns) - 1)})
    )
    with pytest.raises(InputError, match="5 outputs, the label space 6"):
        problem.make_student()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Student.chain({}, {"class": nn.Identity()}), "at least one segment"),
        (lambda: Student.chain({"a": nn.Identity()}, {}), "one head"),
        (lambda: Student.chain({"a.b": nn.Identity()}, {"class": nn.Identity()}), "called so"),
        (lambda: Student.chain({"a": nn.Identity()}, {"v1.0": nn.Identity()}), "called so"),
        (lambda: Student.of(nn.Sequential(nn.Identity()), layers="0", labels=LABELS), "list of at least one"),
        (lambda: Student.of(nn.Sequential(nn.Identity()), layers=[], labels=LABELS), "list of at least one"),
        (lambda: Student.of(nn.Sequential(nn.Identity()), layers=["7"], labels=LABELS), "not found: 7"),
        (lambda: Student.of(nn.Sequential(nn.Identity()), layers={"0": "x"}, labels=LABELS), "layout"),
    ],
)
def test_what_makes_no_student_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
