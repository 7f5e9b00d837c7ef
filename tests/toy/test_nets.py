"""Laws of the toy nets: the teachers' named blocks, and the student that they are matched to."""

import pickle

import pytest
import torch

from ka_explore import toy
from ka_explore.errors import InputError
from ka_explore.problem.fingerprint import described
from ka_explore.problem.labels import LabelSpace
from ka_explore.toy.nets import HeadOf

QUICK = {"unlabelled": 40, "labelled": 20}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 9, 28, 33])
def test_nets_take_any_size_and_one_or_three_channels(channels, size):
    images = torch.rand(4, channels, size, size)
    # From eight channels: below, torch 2.13's strided 1×1 convolution overruns its memory on a CPU without AVX-512.
    for net in (toy.residual_net(channels, (8, 12, 16), 7), toy.plain_net(channels, (4, 8, 16), 7)):
        assert net(images).shape == (4, 7)
        toy.train(net, images, torch.arange(4), steps=2)
    labels = LabelSpace.of({"a": ("colour", "xyz"), "b": ("shape", "pq"), "c": ("colour", "vw")})
    outputs = toy.student(labels, channels=channels)(images)
    assert outputs.logits.shape == (4, 7)


@pytest.mark.parametrize("make", [toy.mnist, toy.digits, toy.four_teachers, toy.shared_digits, toy.sprites])
def test_student_is_smaller_than_every_teacher(untrained, make):
    problem = make(unlabelled=20, labelled=20)
    size = sum(p.numel() for p in problem.make_student().parameters())
    assert all(size < sum(p.numel() for p in teacher.module.parameters()) for teacher in problem.teachers)


def test_features_of_mnist_are_rectified_maps(untrained):
    problem = toy.mnist(unlabelled=20, labelled=20)
    for teacher in problem.teachers:
        feature = problem.examples[teacher.name].features[teacher.feature_layer]
        assert feature.shape[2:] == (7, 7)
        assert feature.min() == 0
    student = problem.make_student().eval()
    features = student(problem.pool.images[:16]).features
    assert student.layers == ("conv1", "conv2", "conv3", "features")
    assert [feature.shape[2] for feature in features.values()] == [28, 14, 7, 7]
    assert features["conv3"].min() < 0
    assert torch.equal(features["conv3"].relu(), features["features"])


@pytest.mark.parametrize("name", ["mnist", "digits", "four_teachers", "shared_digits", "sprites"])
def test_blocks_fit_the_student_s_segments_and_are_not_rectified(untrained, name):
    problem = toy.PROBLEMS[name](unlabelled=20, labelled=20)
    images = problem.pool.images[:8]
    student = problem.make_student().eval()
    segments = [feature.shape[2:] for feature in student(images).features.values()][:3]
    for teacher in problem.teachers:
        features = teacher(images).features
        assert [features[block].shape[2:] for block in teacher.blocks] == segments
        for block in teacher.blocks:
            assert features[block].min() < 0
            assert torch.equal(features[block].relu(), features[block.split(".")[0]])
        assert teacher.feature_layer == teacher.blocks[-1].split(".")[0]


@pytest.mark.parametrize(("width", "channels"), [(1, [12, 24, 48]), (1.5, [18, 36, 72]), (0.1, [1, 2, 5])])
def test_width_multiplies_the_student_s_channels(untrained, width, channels):
    for problem in (toy.digits(**QUICK), toy.sprites(**QUICK)):
        student = problem.student(problem.labels, width=width)
        features = student.eval()(problem.pool.images[:2]).features
        assert [feature.shape[1] for feature in features.values()] == [*channels, channels[-1]]


@pytest.mark.parametrize("width", [0, -1, 0.04, float("nan"), float("inf"), True, "wide"])
def test_width_out_of_range(width):
    with pytest.raises(InputError, match="width must be a number"):
        toy.student(LabelSpace.of({"a": ("class", "xy")}), width=width)


def test_reading_a_head_survives_pickling_and_tells_the_heads_apart():
    read = HeadOf("colour")
    assert pickle.loads(pickle.dumps(read)) == read
    assert described(read) != described(HeadOf("shape"))
    assert described(read) == described(HeadOf("colour"))


def test_student_is_made_of_standard_parts_and_keeps_its_inputs(untrained):
    student = toy.digits(**QUICK).make_student()
    for module in [*student.segments.modules(), *student.heads.modules()]:
        assert type(module).__module__.startswith("torch.nn.")
        assert not getattr(module, "inplace", False)
