"""Laws of the pool: a step's images are a function of (seed, step), and an epoch shows every image once."""

import inspect

import numpy as np
import pytest
import torch

from ka_explore import Batch, InputError, Pool
from ka_explore.problem.pool import Images


def pool(count: int = 23, **options) -> Pool:
    return Pool(np.linspace(0, 1, count * 4, dtype=np.float32).reshape(count, 1, 2, 2), **options)


# Which images make up a step


def test_a_step_is_a_pure_function_of_seed_and_step():
    one = pool()
    forwards = [one.at(3, step, 5).tolist() for step in range(40)]
    for step in reversed(range(40)):
        one.at(4, step, 7)  # looking elsewhere disturbs nothing
        np.random.default_rng(0)
        assert pool().at(3, step, 5).tolist() == forwards[step]


@pytest.mark.parametrize(("count", "size"), [(20, 5), (23, 5), (7, 7), (9, 4), (6, 1)])
def test_an_epoch_shows_every_image_at_most_once_and_all_but_the_last_part(count, size):
    for epoch in range(3):
        steps = count // size
        seen = np.concatenate([pool(count).at(1, epoch * steps + i, size) for i in range(steps)])
        assert len(set(seen.tolist())) == len(seen) == steps * size
        assert set(seen.tolist()) <= set(range(count))
        if count % size == 0:
            assert sorted(seen.tolist()) == list(range(count))


def test_a_pool_smaller_than_the_batch_gives_itself_whole():
    for step in range(4):
        assert sorted(pool(6).at(0, step, 64).tolist()) == list(range(6))
    assert pool(6).at(0, 0, 64).tolist() != pool(6).at(0, 1, 64).tolist()


def test_seeds_and_epochs_are_in_different_orders():
    orders = {tuple(pool().at(seed, epoch, 23)) for seed in range(8) for epoch in range(8)}
    assert len(orders) == 64


def test_over_many_epochs_every_image_comes_equally_often():
    counts = np.bincount(np.concatenate([pool(10).at(0, step, 3) for step in range(3000)]), minlength=10)
    assert counts.min() > 0.9 * counts.mean()


def test_what_a_step_was_given_cannot_be_changed_for_the_next():
    with pytest.raises(ValueError, match="read-only"):
        pool().at(0, 0, 5)[0] = 7


def test_the_probe_set_is_fixed_and_at_most_the_pool():
    one = pool(probe=9)
    assert one.probe_index.tolist() == pool(probe=9).probe_index.tolist()
    assert len(set(one.probe_index.tolist())) == 9
    assert one.probe_index.tolist() == sorted(one.probe_index.tolist())
    assert pool(probe=99).probe_index.tolist() == list(range(23))
    with pytest.raises(InputError, match="at least 1"):
        pool(probe=0)


# Labels


def test_without_labels_the_images_are_the_same_and_no_label_is_in_reach():
    one = pool(labels={"class": np.arange(23) % 3}, probe=9, augment=lambda images, _generator: images)
    blind = one.without_labels()
    assert blind.labels is None
    assert blind.images is one.images
    assert blind.augment is one.augment
    assert blind.probe_index.tolist() == one.probe_index.tolist()
    assert not any(value is one.labels for value in vars(blind).values())


def test_a_batch_has_no_label_in_it():
    assert list(inspect.signature(Batch).parameters) == ["index", "images", "teachers"]


def test_normalised_images_lose_their_labels_too():
    data = torch.randn(9, 1, 2, 2)
    blind = Pool(data, labels={"class": [0] * 9}, value_range=None).without_labels()
    assert torch.equal(blind.images[:], data)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1], ["a"], np.zeros((23, 1), int), [["a"]] * 23, ["a"] * 22 + [3], [b"a"] * 23, np.full(23, 0.5), None,
        [2**70] * 23, "a" * 23, np.zeros(23, bool), torch.zeros(23, dtype=torch.int64, device="meta"),
    ],
)  # fmt: skip
def test_labels_that_are_not_one_name_or_whole_number_an_image_are_refused(labels):
    with pytest.raises(InputError, match=r"labels of task 'class'|values of a torch\.strided tensor"):
        pool(labels={"class": labels})


# Images


def test_every_kind_of_array_gives_the_same_images(tmp_path):
    data = np.random.default_rng(0).random((7, 3, 4, 5), dtype=np.float32)
    path = tmp_path / "images.npy"
    np.save(path, data)
    pairs = [(torch.from_numpy(image), 3) for image in data]
    kinds = [
        data, torch.from_numpy(data), data.astype(np.float64), list(data), pairs, tuple(pairs),
        data.tolist(), [[image, 3] for image in data],
        np.load(path, mmap_mode="r"), torch.utils.data.TensorDataset(torch.from_numpy(data), torch.zeros(7)),
    ]  # fmt: skip
    for kind in kinds:
        images = Images(kind)
        assert images.shape == (3, 4, 5)
        assert len(images) == 7
        assert torch.equal(images[:], torch.from_numpy(data))
        assert torch.equal(images[np.array([5, 2])], torch.from_numpy(data[[5, 2]]))
    half = Images(torch.from_numpy(data).bfloat16())
    assert torch.equal(half[:], torch.from_numpy(data).bfloat16().float())


def test_bytes_are_divided_by_255_and_not_written_to(tmp_path):
    data = np.random.default_rng(0).integers(0, 256, (7, 1, 4, 5), dtype=np.uint8)
    path = tmp_path / "images.npy"
    np.save(path, data)
    for kind in (data, torch.from_numpy(data), np.load(path, mmap_mode="r")):
        images = Images(kind)
        assert torch.equal(images[2:5], torch.from_numpy(data[2:5] / np.float32(255)))
        assert torch.equal(images[np.array([1])], torch.from_numpy(data[1:2] / np.float32(255)))
    assert np.array_equal(np.load(path), data)


def test_grey_images_without_a_channel_axis_get_one():
    assert Images(np.zeros((5, 8, 9), np.float32)).shape == (1, 8, 9)


def test_changing_what_was_given_out_changes_nothing():
    data = np.full((3, 1, 2, 2), 0.5, np.float32)
    images = Images(data)
    images[:].zero_()
    images[np.array([0])].zero_()
    assert (images[:] == 0.5).all()


def test_the_fingerprint_is_of_every_value_the_shape_and_the_type():
    data = np.random.default_rng(0).random((300, 1, 2, 2), dtype=np.float32)
    changed = data.copy()
    changed[299, 0, 1, 1] /= 2
    kinds = [data, changed, data.reshape(300, 1, 1, 4), data.astype(np.float64), data[:299]]
    prints = [Images(kind).fingerprint for kind in kinds]
    assert len(set(prints)) == len(prints)
    assert Images(data.copy()).fingerprint == Images(torch.from_numpy(data)).fingerprint == prints[0]
    assert Images(np.asfortranarray(data)).fingerprint == prints[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((0, 1, 2, 2), np.float32), "no image"),
        ([], "no image"),
        (np.zeros((2, 0, 2, 2), np.float32), "no image"),
        (np.zeros((), np.float32), "shape"),
        (np.zeros(4, np.float32), "shape"),
        (np.zeros((4, 4), np.float32), "shape"),
        (np.zeros((2, 1, 1, 2, 2), np.float32), "shape"),
        (np.zeros((2, 32, 32, 3), np.float32), "channels seem to come last"),
        (np.zeros((2, 8, 8, 3), np.float32), "channels seem to come last"),
        (np.zeros((2, 28, 30, 1), np.uint8), "channels seem to come last"),
        ([np.zeros((32, 32, 3), np.uint8)] * 2, "channels seem to come last"),
        (np.zeros((2, 1, 2, 2), np.int64), "int64"),
        (np.zeros((2, 1, 2, 2), bool), "bool"),
        (np.full((2, 1, 2, 2), "a"), "type"),
        (np.full((2, 1, 2, 2), 255.0), "divide by 255"),
        (np.full((2, 1, 2, 2), -0.5), "divide by 255"),
        (np.array([0, np.nan] * 4).reshape(2, 1, 2, 2), "image 0 has a value that is not finite"),
        (np.array([0.0] * 7 + [np.inf]).reshape(2, 1, 2, 2), "image 1 has a value that is not finite"),
        ([np.zeros((1, 2, 2)), np.zeros((1, 3, 3))], "different shapes"),
        ([([[1.0, 2.0], [3.0]], 0)], "cannot read images"),
        (5, "cannot read images from a int"),
        (None, "cannot read images from a NoneType"),
        ({"a": 1}, "cannot read images from a dict"),
    ],
)
def test_what_are_no_images_is_refused_with_what_was_expected(data, message):
    for make in (Pool, Images):
        with pytest.raises(InputError, match=message):
            make(data)


def test_nan_is_refused_in_normalised_images_too():
    with pytest.raises(InputError, match="image 1 has"):
        Pool(np.array([0.0] * 4 + [np.nan] * 4).reshape(2, 1, 2, 2), value_range=None)
    assert len(Pool(np.full((2, 1, 2, 2), -3.0), value_range=None)) == 2
    assert len(Pool(np.full((2, 1, 2, 2), 200.0), value_range=(0.0, 255.0))) == 2
