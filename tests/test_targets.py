"""Targets: laws that hold for any answers, a double loop in float64, and a problem where raw logits name the wrong owner."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ka_explore.errors import InputError
from ka_explore.labels import LabelSpace
from ka_explore.targets import Targets, consistent, make_targets, own_answers, standardised

ONE_TASK = {"first": ("class", "abc"), "second": ("class", "de")}
SEVERAL_TASKS = {"colour": ("colour", "rgb"), "first": ("shape", "abc"), "second": ("shape", "de")}
OVERLAPPING = {"first": ("class", "abc"), "second": ("class", "cd")}
SAME_LABELS = {"first": ("class", "abc"), "second": ("class", "abc")}
SINGLE = {"only": ("class", "abc")}
SPACES = {
    "one task": ONE_TASK,
    "several tasks": SEVERAL_TASKS,
    "overlapping": OVERLAPPING,
    "same": SAME_LABELS,
    "single": SINGLE,
}


def answers(teachers, count: int, seed: int = 0) -> tuple[LabelSpace, dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Label space, logits, features and images: four clumps of images about which the teachers say similar things."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    clump = torch.arange(count) % 4
    logits, features = {}, {}
    for place, (name, (_, names)) in enumerate(teachers.items()):
        logits[name] = (1 + place) * (2 * noise(4, len(names))[clump] + noise(count, len(names))) + place
        features[name] = noise(4, 6)[clump] + 0.3 * noise(count, 6)
    images = (torch.rand(4, 2, 5, 7, generator=generator)[clump] + 0.1 * noise(count, 2, 5, 7)).clamp(0, 1)
    return LabelSpace.of(teachers), logits, features, images


def joint(labels: LabelSpace, targets: Targets, task: str) -> Tensor:
    return labels.stack(targets.logits)[:, labels.task_columns(task)].softmax(dim=1)


# Laws


@pytest.mark.parametrize("kind", ["own", "standardised", "consistent"])
@pytest.mark.parametrize("teachers", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_every_task_keeps_its_level_and_its_claims_sum_to_one(kind, teachers, count):
    labels, logits, features, images = answers(teachers, count)
    targets = make_targets(kind, labels, logits, features, images)
    stacked, raw = labels.stack(targets.logits), labels.stack(logits)
    assert {name: z.shape for name, z in targets.logits.items()} == {name: z.shape for name, z in logits.items()}
    for shares in (targets.own, targets.claims, *targets.evidence.values()):
        assert shares.shape == (count, len(teachers))
    for task in labels.tasks:
        place = labels.task_columns(task)
        torch.testing.assert_close(stacked[:, place].logsumexp(1), raw[:, place].logsumexp(1), atol=1e-4, rtol=1e-5)
        owners = [labels.teachers.index(teacher) for teacher in labels.teachers_of(task)]
        for shares in (targets.own, targets.claims, *targets.evidence.values()):
            torch.testing.assert_close(shares[:, owners].sum(dim=1), torch.ones(count))
        for column, teacher in zip(owners, labels.teachers_of(task), strict=True):
            block = labels.columns_of(teacher)
            share = joint(labels, targets, task)[:, block.start - place.start : block.stop - place.start].sum(dim=1)
            torch.testing.assert_close(targets.claims[:, column], share)
        lowest = raw[:, place].log_softmax(dim=1).min()
        assert stacked[:, place].log_softmax(dim=1).min() >= lowest - 1e-4


def test_the_images_may_come_in_any_order():
    labels, logits, features, images = answers(ONE_TASK, 60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    expected = consistent(labels, logits, features, images)
    got = consistent(
        labels, {t: z[order] for t, z in logits.items()}, {t: f[order] for t, f in features.items()}, images[order]
    )
    for teacher in logits:
        torch.testing.assert_close(got.logits[teacher], expected.logits[teacher][order], atol=1e-4, rtol=1e-4)
    assert torch.equal(order[got.neighbours], expected.neighbours[order])
    assert expected.chosen["trust"] > 0.2


@pytest.mark.parametrize("kind", ["standardised", "consistent"])
def test_the_teachers_may_come_in_any_order(kind):
    labels, logits, features, images = answers(ONE_TASK, 60)
    other = LabelSpace.of(dict(reversed(ONE_TASK.items())))
    assert other.teachers == ("second", "first")
    expected = make_targets(kind, labels, logits, features, images)
    got = make_targets(kind, other, logits, features, images)
    for teacher in logits:
        torch.testing.assert_close(got.logits[teacher], expected.logits[teacher], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.claims.flip(1), expected.claims)


def test_the_same_bits_each_time():
    given = answers(SEVERAL_TASKS, 80)
    first, second = consistent(*given), consistent(*given)
    assert all(torch.equal(first.logits[t], second.logits[t]) for t in first.logits)
    assert first.chosen == second.chosen


def test_a_level_added_to_a_teacher_or_a_scale_given_to_it_is_taken_away_again():
    """In a large pool; in a small one the repair is held back."""
    labels, logits, _, _ = answers(ONE_TASK, 20_000)
    changed = logits | {"second": 3 * logits["second"] + 7}
    before, after = standardised(labels, logits), standardised(labels, changed)
    assert (own_answers(labels, logits).claims - own_answers(labels, changed).claims).abs().mean() > 0.2
    # Both are brought to the geometric mean of the scales, which itself grew by √3: the winner stays.
    assert (before.claims.argmax(1) == after.claims.argmax(1)).float().mean() > 0.99


@pytest.mark.parametrize("kind", ["standardised", "consistent"])
def test_one_image_keeps_its_own_answer(kind):
    labels, logits, features, images = answers(ONE_TASK, 1)
    targets = make_targets(kind, labels, logits, features, images)
    for teacher, own in logits.items():
        torch.testing.assert_close(targets.logits[teacher], own, atol=1e-4, rtol=1e-4)


def test_neighbours_that_know_nothing_are_not_heard():
    labels, logits, features, images = answers(ONE_TASK, 400)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    heard = consistent(labels, logits, features, images)
    unheard = consistent(labels, logits, {t: f[order] for t, f in features.items()}, images[order])
    assert heard.chosen["trust"] > 0.5
    assert unheard.chosen["trust"] < 0.1
    own = standardised(labels, logits).claims
    assert (unheard.claims - own).abs().mean() < 0.2 * (heard.claims - own).abs().mean()


def test_a_thinner_pool_hears_its_neighbours_less():
    """Answers that change over a short distance, without noise: of ever fewer images, ever more count for themselves."""
    generator = torch.Generator().manual_seed(0)
    labels = LabelSpace.of(ONE_TASK)
    place = torch.rand(2000, 3, generator=generator)
    logits = {"first": 3 * torch.sin(9 * place), "second": 3 * torch.cos(9 * place[:, :2])}
    trust = []
    for count in (2000, 200, 20, 3):
        part = {teacher: z[:count] for teacher, z in logits.items()}
        found = consistent(labels, part, {"first": torch.cat([place, place.flip(1) + 1], 1)[:count]}, None).chosen
        trust.append(found["trust"])
    assert trust[0] > 2 * trust[1] > 3 * trust[2] >= 0
    assert trust[3] < 0.05


# References


@pytest.mark.parametrize("teachers", SPACES.values(), ids=SPACES)
def test_it_is_the_loop_over_images(teachers):
    labels, logits, features, images = answers(teachers, 45, seed=3)
    targets = consistent(labels, logits, features, images)
    space = space_by_loops(labels, features, images)
    nearest = [
        sorted((other for other in range(45) if other != image), key=lambda o: np.sum((space[image] - space[o]) ** 2))
        for image in range(45)
    ]
    assert targets.neighbours is not None
    kept = targets.neighbours.shape[1]
    np.testing.assert_array_equal(targets.neighbours.numpy(), [row[:kept] for row in nearest])
    for task in labels.tasks:
        expected, chosen = target_by_loops(labels, logits, nearest, task)
        prefix = "" if len(labels.tasks) == 1 else f"{task}: "
        for name, value in chosen.items():
            assert targets.chosen[prefix + name] == pytest.approx(value, rel=1e-4), name
        np.testing.assert_allclose(joint(labels, targets, task).numpy(), expected, atol=2e-5)


def space_by_loops(labels, features, images) -> np.ndarray:
    """The space of the neighbours in float64; these images are too small to be made smaller."""

    def unit(rows: np.ndarray) -> np.ndarray:
        centred = rows - rows.mean(axis=0)
        return centred / math.sqrt(np.mean([row @ row for row in centred]))

    blocks = []
    for teacher in labels.teachers:
        rows = features[teacher].double().numpy()
        blocks.append(unit(np.array([row / math.sqrt(row @ row) for row in rows])))
    pixels = unit(images.double().numpy().reshape(len(images), -1))
    return np.concatenate([unit(np.concatenate(blocks, axis=1)), pixels], axis=1)


def target_by_loops(labels, logits, nearest, task) -> tuple[np.ndarray, dict[str, float]]:
    """The formulas of the docstring, image by image, in float64; and the floor at the lowest raw probability."""
    names = labels.teachers_of(task)
    raw = {name: logits[name].double().numpy() for name in names}
    count, columns = len(nearest), sum(raw[name].shape[1] for name in names)
    share = (count - 1) / (count - 1 + columns)
    means = {name: np.mean([max(row) for row in raw[name]]) for name in names}
    spreads = {name: np.std([max(row) for row in raw[name]]) for name in names}
    common = math.exp(np.mean([math.log(spread) for spread in spreads.values()]))

    def softmax(row: np.ndarray) -> np.ndarray:
        powers = np.exp(row - row.max())
        return powers / powers.sum()

    q, own = [], []
    for image in range(count):
        parts = [(raw[n][image] - share * means[n]) * (common / spreads[n]) ** share for n in names]
        q.append(softmax(np.concatenate(parts)))
        own.append(softmax(np.concatenate([raw[n][image] for n in names])))
    most = min(32, count - 1)
    errors = [np.mean([np.sum((q[x] - q[nearest[x][j]]) ** 2) for x in range(count)]) for j in range(most)]
    heard = {k: [np.mean([q[o] for o in nearest[x][:k]], axis=0) for x in range(count)] for k in range(1, most + 1)}
    together = {k: np.mean([np.sum((q[x] - heard[k][x]) ** 2) for x in range(count)]) for k in heard}
    k = min(together, key=lambda k: together[k])
    half = sum(0.5 ** (j + 1) * e for j, e in enumerate(errors)) / sum(0.5 ** (j + 1) for j in range(most))
    growth = min(1.0, max(0.0, half / errors[0] - 1))
    a, b = (np.array(rows) - np.mean(rows, axis=0) for rows in (q, heard[k]))
    r = max(0.0, np.sum(a * b) / math.sqrt(np.sum(a * a) * np.sum(b * b)))
    trust = r * (1 - growth)
    target = np.maximum((1 - trust) * np.array(q) + trust * np.array(heard[k]), np.min(own))
    chosen = {"neighbours": k, "trust": trust, "growth": growth, "correlation": r, "error": together[k]}
    return target / target.sum(axis=1, keepdims=True), chosen


def test_many_images_are_looked_at_block_by_block(monkeypatch):
    given = answers(ONE_TASK, 70)
    expected = consistent(*given)
    monkeypatch.setattr("ka_explore.targets.BLOCK", 70 * 9)
    got = consistent(*given)
    assert torch.equal(got.neighbours, expected.neighbours)
    assert got.chosen == pytest.approx(expected.chosen)


# A problem with a known answer


def clumps(count: int = 600) -> tuple[LabelSpace, dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Two teachers of two classes each; the second is loud: on foreign images it shouts, and says now this, now that.

    Each knows its own classes but for one answer in four. The last entry is the true column of every image.
    """
    generator = torch.Generator().manual_seed(4)
    truth = torch.arange(count) % 4
    place = 4 * torch.eye(4)[truth] + 0.8 * torch.randn(count, 4, generator=generator)
    logits = {}
    for owner, (name, loudness, level) in enumerate([("quiet", 1.0, 0.0), ("loud", 2.0, 2.0)]):
        own = truth // 2 == owner
        wrong = torch.rand(count, generator=generator) < torch.where(own, 0.25, 0.5)
        answer = (truth % 2) ^ wrong.int()
        sure = torch.where(own, 2.0, 1.0) + 1.0 * torch.randn(count, generator=generator)
        logits[name] = level + loudness * sure[:, None] * (2.0 * torch.eye(2)[answer] - 1)
    return LabelSpace.of({"quiet": ("class", "ab"), "loud": ("class", "cd")}), logits, {"quiet": place}, truth


def test_the_neighbours_tell_whose_image_it_is_where_a_loud_teacher_claims_all():
    labels, logits, features, truth = clumps()
    owner = truth // 2

    def right(targets: Targets) -> tuple[float, float]:
        stacked = labels.stack(targets.logits)
        return (
            float((targets.claims.argmax(1) == owner).float().mean()),
            float((stacked.argmax(1) == truth).float().mean()),
        )

    raw, standard = right(own_answers(labels, logits)), right(standardised(labels, logits))
    found = right(consistent(labels, logits, features, None))
    assert raw[0] < 0.6
    assert found[0] > 0.95 > standard[0] + 0.1
    assert found[1] > 0.95 > standard[1] + 0.1 > raw[1]


# The ends


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_identical_images_and_constant_teachers_work(count):
    labels, logits, features, images = answers(ONE_TASK, count)
    same = {t: f[:1].expand(count, -1) for t, f in features.items()}
    constant = {"first": logits["first"], "second": torch.zeros(count, 2)}
    silent = {t: torch.zeros_like(z) for t, z in logits.items()}
    for said in (logits, constant, silent, {t: z[:1].expand(count, -1) for t, z in logits.items()}):
        targets = consistent(labels, said, same, torch.zeros(count, 1, 4, 4))
        assert all(torch.isfinite(z).all() for z in targets.logits.values())
    torch.testing.assert_close(consistent(labels, silent, features, images).claims, torch.tensor([[0.6, 0.4]] * count))


def test_confident_answers_stay_finite():
    labels, logits, features, images = answers(ONE_TASK, 30)
    loud = {teacher: 1000 * z for teacher, z in logits.items()}
    targets = consistent(labels, loud, features, images)
    assert all(torch.isfinite(z).all() for z in targets.logits.values())


def test_features_alone_or_images_alone_will_do():
    labels, logits, features, images = answers(ONE_TASK, 30)
    by_features, by_images = consistent(labels, logits, features, None), consistent(labels, logits, {}, images)
    assert not torch.equal(by_features.neighbours, by_images.neighbours)
    with pytest.raises(InputError, match="features or images"):
        consistent(labels, logits, {}, None)


def test_what_does_not_fit_is_said():
    labels, logits, features, images = answers(ONE_TASK, 30)
    broken = logits["second"].clone()
    broken[7, 1] = torch.nan
    cases = [
        ((logits | {"second": broken}, features, images), "teacher 'second'.*image 7 of the pool"),
        ((logits, features | {"first": features["first"] / 0}, images), "features of teacher 'first' are NaN"),
        ((logits, features, images / 0), "images are NaN"),
        ((logits | {"second": logits["second"][:9]}, features, images), r"\(9, 2\): expected .* for 30 images"),
        ((logits | {"second": logits["first"]}, features, images), "3 columns, expected one for each of its 2"),
        ((logits, features | {"first": features["first"][:9]}, images), "features of teacher 'first'"),
        ((logits, features, images[:9]), "images"),
        (({"first": logits["first"]}, features, images), "no logits of teacher 'second'"),
        ((logits | {"thirst": logits["first"]}, features, images), "Did you mean 'first'"),
        ((logits, features | {"secnd": features["first"]}, images), "Did you mean 'second'"),
        (({t: z[:0] for t, z in logits.items()}, features, images), "no images"),
    ]
    for given, message in cases:
        with pytest.raises(InputError, match=message):
            consistent(labels, *given)
    with pytest.raises(InputError, match="Did you mean 'consistent'"):
        make_targets("consistant", labels, logits, features, images)
