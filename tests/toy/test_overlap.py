"""Laws of the problems whose teachers are alike, know the same labels, or share tasks and modules."""

from collections import Counter

import numpy as np
import pytest
import torch

from ka_explore import toy
from ka_explore.problem.cache import TeacherCache
from ka_explore.toy import drawing, multitask, shared


def test_four_teachers_are_alike_but_for_their_weights(lessons_of, rows):
    problem = toy.four_teachers()
    assert ["".join(teacher.labels) for teacher in problem.teachers] == ["012", "34", "567", "89"]
    assert problem.labels.class_names("class") == toy.DIGITS
    bodies = [[(n, p) for n, p in t.module.named_parameters() if "head" not in n] for t in problem.teachers]
    for body in bodies[1:]:
        assert [(name, weight.shape) for name, weight in body] == [(name, weight.shape) for name, weight in bodies[0]]
        assert not any(torch.equal(a, b) for (_, a), (_, b) in zip(body, bodies[0], strict=True) if a.ndim == 4)
    lessons = np.concatenate([images for images, _ in lessons_of(problem)])
    assert len(lessons) == 440
    assert not rows(lessons) & (rows(problem.pool.images.array) + rows(problem.test.images.array))


def test_a_blurred_negative_is_one_minus_a_weighted_mean_of_the_neighbours():
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


def test_stripes_lie_behind_the_digit():
    grey = np.random.default_rng(0).random((50, 1, 12, 8), dtype=np.float32)
    made = shared.with_stripes(grey, np.random.default_rng(1), brightness=0.4)
    assert np.array_equal(made[grey > 0.4], grey[grey > 0.4])
    bare = shared.with_stripes(grey * 0, np.random.default_rng(1), brightness=0.4)
    assert np.array_equal(made, np.maximum(grey, bare))
    assert np.array_equal(bare[..., 0], bare[..., -1])  # horizontal
    assert np.array_equal(bare[:, :, :6], bare[:, :, 6:])  # of period 6
    assert ((bare > 0).sum(axis=2) == 6).all()
    assert len(np.unique(bare[:, 0, :6, 0], axis=0)) == 6  # that begin anywhere


def test_shared_digits_are_half_of_either_kind(untrained):
    problem = toy.shared_digits(seed=4, unlabelled=501)
    assert [teacher.labels for teacher in problem.teachers] == [toy.DIGITS] * 2
    assert problem.labels.class_names("class") == toy.DIGITS
    order = toy.mnist_pictures().balanced(4)
    parts = ((problem.pool, problem.pool.labels, 81, 1667), (problem.test, problem.test.labels, 82, 0))
    for part, labels, stream, begin in parts:
        images = part.images.array
        striped = shared.is_striped(len(images), 4, stream=stream)
        assert abs(striped.sum() - len(images) / 2) < 1
        clean = order.at(slice(begin, begin + len(images)))
        negative = (shared.blurred_negative(clean.images.astype(np.float32) / 255) * 255).round()
        assert np.array_equal(images[~striped], negative[~striped])
        assert (images[striped] >= clean.images[striped]).all()
        assert np.array_equal(labels["class"], clean.index(toy.DIGITS))


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_lessons_of_shared_digits(lessons_of, rows, monkeypatch, noise):
    striped = []
    monkeypatch.setattr(shared, "corrupted", lambda images, mask, _: striped.append(mask) or images)
    problem = toy.shared_digits(seed=2, label_noise=noise)
    pictures = toy.mnist_pictures()
    truth = {image.tobytes(): int(name) for image, name in zip(pictures.images, pictures.names, strict=True)}
    seen = rows(problem.pool.images.array) + rows(problem.test.images.array)
    for kind, (images, labels) in enumerate(lessons_of(problem)):
        right = labels == [truth[image.tobytes()] for image in images]
        foreign = striped[kind] != bool(kind)
        assert foreign.sum() == round(0.25 * 750)
        assert (~right[foreign]).sum() == round(0.6 * foreign.sum())
        assert (~right[~foreign]).sum() == round(noise * (~foreign).sum())
        assert not rows(images) & seen
        seen += rows(images)
    assert max(seen.values()) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("kept_teachers")
def test_least_entropy_finds_the_right_teacher():
    problem = toy.shared_digits(unlabelled=20)
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


def test_problem_of_sprites(untrained):
    problem = toy.sprites(seed=1, size=20, labelled=600)
    named = ("A shape", "B shape", "B colour", "C colour", "C size", "D size", "D position", "D rotation")
    assert problem.names == named
    assert problem.labels.tasks == tuple(drawing.TASKS)
    assert all(problem.labels.class_names(task) == names for task, names in drawing.TASKS.items())
    modules = {teacher.name: id(teacher.module) for teacher in problem.teachers}
    assert len(set(modules.values())) == 4
    assert all((modules[a] == modules[b]) == (a[0] == b[0]) for a in modules for b in modules)
    images, labels = toy.sprite_images(6500, 20, 1)
    for part, begin in ((problem.test, 0), (problem.pool, 1500)):
        assert np.array_equal(part.images.array, images[begin : begin + 1500])
        for task in drawing.TASKS:
            assert np.array_equal(part.labels[task], labels[task][begin : begin + 1500])
    problem.check()
    assert problem.make_student()(problem.pool.images[:3]).logits.shape == (3, len(problem.labels.columns))


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_lessons_of_sprites(lessons_of, noise):
    problem = toy.sprites(size=12, label_noise=noise)
    drawn = drawing.draw(6500, 12, 0)
    number = {image.tobytes(): i for i, image in enumerate(drawn.images)}
    assert len(number) == 6500
    for (images, labels), recipe, dark in zip(lessons_of(problem), multitask.RECIPES, multitask.DARK, strict=True):
        index = np.array([number[image.tobytes()] for image in images])
        assert index.min() >= 3000  # the first 1 500 are the test, the next the pool
        foreign = drawn.dark[index] != dark
        assert 0.15 < foreign.mean() < 0.25
        for task in recipe.tasks:
            wrong = (labels if len(recipe.tasks) == 1 else labels[task]) != drawn.labels[task][index]
            assert abs(wrong[~foreign].mean() - noise) < 0.02
            if task in ("position", "rotation"):
                assert wrong.sum() == round(noise * 1000)
            elif not noise:
                assert wrong[foreign].sum() == round(0.75 * foreign.sum())


def test_a_net_of_several_heads_runs_once(untrained):
    problem = toy.sprites(unlabelled=20, labelled=20)
    runs = Counter()
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
@pytest.mark.usefixtures("kept_teachers")
def test_teachers_of_sprites_are_right_on_their_own_part():
    problem = toy.sprites(unlabelled=20)
    dark = torch.from_numpy(drawing.draw(1500, 24, 0).dark)
    right = {}
    for teacher in problem.teachers:
        answers = teacher(problem.test.images[:]).logits.argmax(1)
        right[teacher.name] = answers == torch.from_numpy(problem.test.labels[teacher.task])
        own = dark == multitask.DARK["ABCD".index(teacher.name[0])]
        assert right[teacher.name][own].float().mean() > 0.85
        if teacher.task in multitask.SHARED:
            assert right[teacher.name][~own].float().mean() < 0.7
        else:
            assert right[teacher.name].float().mean() > 0.9
    for one, other in (("A shape", "B shape"), ("B colour", "C colour"), ("C size", "D size")):
        assert (right[one] & ~right[other]).float().mean() > 0.15
        assert (right[other] & ~right[one]).float().mean() > 0.15
