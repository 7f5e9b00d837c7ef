"""Laws of how images are dealt out to teachers, pool and test, with which labels, and in which numbers."""

import inspect
import json
import pickle
from collections import Counter

import numpy as np
import pytest

from ka_explore import toy
from ka_explore.errors import InputError
from ka_explore.toy import shared

QUICK = {"unlabelled": 40, "labelled": 20}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("preset", toy.PRESETS)
def test_mnist_deals_every_image_once_and_evenly(lessons_of, rows, preset, seed):
    problem = toy.mnist(preset, seed=seed)
    numbers = toy.PRESETS[preset]
    assert (len(problem.pool), len(problem.test.images)) == (numbers["unlabelled"], 1667)
    lessons = lessons_of(problem)
    assert [len(labels) for _, labels in lessons] == [numbers["labelled"]] * 2
    pool, test = rows(problem.pool.images.array), rows(problem.test.images.array)
    assert not pool & test
    for images, _ in lessons:
        lesson = rows(images)
        assert not lesson & test
        assert (lesson & pool == lesson) if preset == "plenty" else not lesson & pool
    for labels in (problem.pool.labels, problem.test.labels):
        counts = np.bincount(labels["class"], minlength=10)
        assert counts.max() - counts.min() <= 1


def test_few_images_has_ten_a_class(untrained):
    labels = toy.mnist("few_images", seed=3).pool.labels
    assert np.bincount(labels["class"]).tolist() == [10] * 10


def test_digits_default_is_disjoint(lessons_of, rows):
    problem = toy.digits()
    pool, test = rows(problem.pool.images.array), rows(problem.test.images.array)
    whole = rows(toy.sklearn_pictures().images)
    assert not pool & test
    assert (len(problem.pool), len(problem.test.images)) == (600, 599)
    for images, _ in lessons_of(problem):
        lesson = rows(images)
        assert lesson & whole == lesson
        assert not lesson & (pool + test)


@pytest.mark.parametrize(("count", "classes"), [(40, 4), (43, 4), (7, 7), (90, 9)])
def test_every_stretch_of_balanced_pictures_is_balanced(count, classes):
    names = np.array([f"class {i % classes}" for i in range(count)])
    pictures = toy.Pictures(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1), names).balanced(5)
    assert sorted(pictures.images.ravel().tolist()) == list(range(count))
    assert np.array_equal(pictures.names, names[pictures.images.ravel()])
    for start in range(count):
        for stop in range(start + 1, count // classes * classes + 1):
            counts = Counter(pictures.names[start:stop].tolist())
            assert max(counts.values()) - min(counts[name] for name in set(names)) <= 1


def test_labels_index_the_union(untrained):
    problem = toy.digits(**QUICK)
    assert problem.labels.class_names("class") == toy.DIGITS
    pictures = toy.sklearn_pictures()
    truth = {image.tobytes(): name for image, name in zip(pictures.images, pictures.names, strict=True)}
    for image, label in zip(problem.pool.images.array, problem.pool.labels["class"], strict=True):
        assert truth[image.tobytes()] == toy.DIGITS[label]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.55, 1.0])
def test_share_of_wrong_labels_is_exact(share):
    labels = np.arange(200) % 5
    wrong = toy.with_wrong_labels(labels, 5, share, np.random.default_rng(1))
    assert (wrong != labels).sum() == round(share * 200)
    assert set(wrong.tolist()) <= set(range(5))


def test_wrong_labels_are_uniform_over_the_other_classes():
    labels = np.full(10_000, 2)
    counts = np.bincount(toy.with_wrong_labels(labels, 5, 1.0, np.random.default_rng(1)), minlength=5)
    assert counts[2] == 0
    assert (np.abs(np.delete(counts, 2) - 2500) < 5 * np.sqrt(2500)).all()


def test_teachers_learn_the_wrong_labels(untrained):
    toy.digits(**QUICK)
    toy.digits(**QUICK, label_noise=0.3)
    for (images, right), (again, wrong) in zip(untrained[:2], untrained[2:], strict=True):
        assert np.array_equal(images, again)
        assert (right != wrong).sum() == round(0.3 * 20)
        assert set(wrong.tolist()) <= set(range(5))


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
def test_options_out_of_range(untrained, options, says):
    with pytest.raises(InputError, match=says):
        toy.digits(**options)
    assert not untrained


def test_limits_of_mnist_hold_for_every_seed(untrained):
    for seed in range(5):
        toy.mnist(seed=seed, unlabelled=3333, labelled=1665)
    with pytest.raises(InputError, match="from 10 to 3333"):
        toy.mnist(unlabelled=3334)


@pytest.mark.parametrize("make", toy.PROBLEMS.values(), ids=toy.PROBLEMS)
def test_every_problem_takes_the_same_arguments_and_its_help_tells_them(make):
    names = list(inspect.signature(make).parameters)
    assert names[-5:] == ["seed", "unlabelled", "labelled", "label_noise", "validation"]
    assert names[:-5] == {"mnist": ["preset"], "sprites": ["size"], "pretrained": ["size"]}.get(make.__name__, [])
    assert pickle.loads(pickle.dumps(make)) is make
    for name in ("unlabelled", "labelled", "validation"):
        assert f"``{name}``" in make.__doc__
        assert f"    {name}: " in toy.__doc__
    with pytest.raises(TypeError, match="unlabeled"):
        make(unlabeled=40)


@pytest.mark.parametrize("size", [11, 512, 2**40, 24.5])
def test_sprites_of_too_many_pixels_are_refused(untrained, size):
    with pytest.raises(InputError, match="size must be a whole number from 12 to 96"):
        toy.sprites(size=size)
    assert not untrained


def test_unknown_preset():
    with pytest.raises(InputError, match="Did you mean 'plenty'"):
        toy.mnist("plentty")


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
def test_validation_uses_no_test_image(lessons_of, rows, same, monkeypatch, name, options, sizes, seed):
    monkeypatch.setattr(shared, "corrupted", lambda images, _striped, _generator: images)  # so that digits are known
    final = toy.PROBLEMS[name](**options, seed=seed)
    problem = toy.PROBLEMS[name](**options, seed=seed, validation=True)
    made = problem.options
    assert (made["unlabelled"], made["labelled"], len(problem.test.images)) == sizes
    assert len(problem.pool) == sizes[0]
    lessons = [images for images, _ in lessons_of(problem)]
    pool, marked, aside = (rows(p.images.array) for p in (problem.pool, problem.test, final.test))
    assert {len(images) for images in lessons} == {sizes[1]}
    used = sum(map(rows, lessons), pool)
    assert not aside & (used + marked)
    assert not marked & used
    assert (made["validation"], final.options["validation"]) == (True, False)
    again = toy.PROBLEMS[name](**json.loads(json.dumps(dict(made))))
    assert same(problem, again)
    assert again.options == made


@pytest.mark.parametrize(("name", "options"), [("mnist", {}), ("mnist", {"preset": "few_images"}), ("sprites", {})])
def test_validation_keeps_the_teachers_where_there_are_images_enough(untrained, name, options):
    final, problem = (toy.PROBLEMS[name](**options, validation=validation) for validation in (False, True))
    assert [t.fingerprint for t in final.teachers] == [t.fingerprint for t in problem.teachers]


def test_validation_leaves_given_numbers_alone(untrained):
    made = toy.digits(unlabelled=700, labelled=390, validation=True).options
    assert (made["unlabelled"], made["labelled"]) == (700, 390)
