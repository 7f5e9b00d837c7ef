"""Targets: laws that hold for any answers, a loop in float64, and a problem where raw logits name the wrong owner."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ka_explore.errors import InputError
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.targets import Targets, balance, consistent, make_targets, own_answers, standardised

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
    for number, (name, (_, names)) in enumerate(teachers.items()):
        logits[name] = (1 + number) * (2 * noise(4, len(names))[clump] + noise(count, len(names))) + number
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
    for shares in (targets.own, targets.responsibility, *targets.evidence.values()):
        assert shares.shape == (count, len(teachers))
    for task in labels.tasks:
        columns = labels.task_columns(task)
        torch.testing.assert_close(stacked[:, columns].logsumexp(1), raw[:, columns].logsumexp(1), atol=1e-4, rtol=1e-5)
        owners = [labels.teachers.index(teacher) for teacher in labels.teachers_of(task)]
        for shares in (targets.own, targets.responsibility, *targets.evidence.values()):
            torch.testing.assert_close(shares[:, owners].sum(dim=1), torch.ones(count))
        for column, teacher in zip(owners, labels.teachers_of(task), strict=True):
            block = labels.columns_of(teacher)
            share = joint(labels, targets, task)[:, block.start - columns.start : block.stop - columns.start].sum(dim=1)
            torch.testing.assert_close(targets.responsibility[:, column], share)
        lowest = raw[:, columns].log_softmax(dim=1).min()
        assert stacked[:, columns].log_softmax(dim=1).min() >= lowest - 1e-4


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
    torch.testing.assert_close(got.responsibility.flip(1), expected.responsibility)


def test_the_same_bits_each_time():
    given = answers(SEVERAL_TASKS, 80)
    first, second = consistent(*given), consistent(*given)
    assert all(torch.equal(first.logits[t], second.logits[t]) for t in first.logits)
    assert first.chosen == second.chosen


def test_a_level_and_a_scale_that_a_teacher_has_of_its_own_are_taken_away_in_a_large_pool():
    labels, logits, _, _ = answers(SAME_LABELS, 20_000)
    alike = standardised(labels, {"first": logits["first"], "second": 3 * logits["first"] + 7}).responsibility
    torch.testing.assert_close(alike, torch.full((20_000, 2), 0.5), atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", ["standardised", "consistent"])
def test_one_image_keeps_its_own_answer(kind):
    labels, logits, features, images = answers(ONE_TASK, 1)
    targets = make_targets(kind, labels, logits, features, images)
    for teacher, own in logits.items():
        torch.testing.assert_close(targets.logits[teacher], own, atol=1e-4, rtol=1e-4)


def test_neighbours_that_know_nothing_change_nothing():
    labels, logits, features, images = answers(ONE_TASK, 400)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    smoothed = consistent(labels, logits, features, images)
    left_alone = consistent(labels, logits, {t: f[order] for t, f in features.items()}, images[order])
    assert smoothed.chosen["trust"] > 0.5
    assert left_alone.chosen["trust"] < 0.1
    assert (left_alone.responsibility - left_alone.own).abs().mean() < 0.2 * (
        smoothed.responsibility - smoothed.own
    ).abs().mean()


def test_neighbours_are_heard_less_in_a_thinner_pool_and_more_where_answers_are_noisier():
    """Answers that change over a short distance, with noise: what the nearest says differs for either reason."""
    labels = LabelSpace.of(ONE_TASK)

    def trust(count: int, noise: float) -> float:
        generator = torch.Generator().manual_seed(0)
        position = torch.rand(2000, 3, generator=generator)
        clean = {"first": 3 * torch.sin(5 * position), "second": 3 * torch.cos(5 * position[:, :2])}
        said = {t: (z + noise * torch.randn(z.shape, generator=generator))[:count] for t, z in clean.items()}
        vectors = torch.cat([position, position.flip(1) + 1], dim=1)[:count]  # lengths are taken away
        return float(consistent(labels, said, {"first": vectors}, None).chosen["trust"])

    by_count = [trust(count, 0.6) for count in (2000, 200, 20, 3)]
    assert by_count == sorted(by_count, reverse=True)
    assert by_count[0] > 0.9
    assert by_count[1] < 0.75
    assert by_count[3] < 0.2
    by_noise = [trust(200, noise) for noise in (0.3, 0.6, 1.0)]
    assert by_noise == sorted(by_noise)
    assert by_noise[0] < 0.6 < 0.8 < by_noise[2]


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
        np.testing.assert_allclose(joint(labels, targets, task).numpy(), expected, atol=3e-5)


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
    """The formulas of the docstring in float64, and the floor at the lowest raw probability."""
    blocks = [logits[name].double().numpy() for name in labels.teachers_of(task)]
    raw = np.concatenate(blocks, axis=1)
    count, columns = raw.shape
    most = min(32, count - 1)
    own = softmax(raw)

    def mixed(q: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
        errors = [np.mean([np.sum((q[x] - q[nearest[x][j]]) ** 2) for x in range(count)]) for j in range(most)]
        means = {k: [np.mean([q[o] for o in nearest[x][:k]], axis=0) for x in range(count)] for k in range(1, most + 1)}
        together = {k: np.mean([np.sum((q[x] - means[k][x]) ** 2) for x in range(count)]) for k in means}
        k = min(together, key=lambda k: together[k])
        half = sum(0.5 ** (j + 1) * e for j, e in enumerate(errors)) / sum(0.5 ** (j + 1) for j in range(most))
        growth = min(1.0, max(0.0, half / errors[0] - 1))
        a, b = (np.array(rows) - np.mean(rows, axis=0) for rows in (q, means[k]))
        r = max(0.0, np.sum(a * b) / math.sqrt(np.sum(a * a) * np.sum(b * b)))
        trust = min(1, 2 * r) * (1 - growth)
        chosen = {"neighbours": k, "trust": trust, "growth": growth, "correlation": r, "error": together[k]}
        return (1 - trust) * q + trust * np.array(means[k]), chosen

    best, chosen = mixed(own)
    chosen |= {"balance": 0.0, "scale": 0.0}
    largest = min(1, 2 * chosen["correlation"]) * (count - 1) / (count - 1 + columns)
    spreads = [np.std([max(row) for row in block]) for block in blocks]
    common = math.exp(np.mean(np.log(spreads)))
    for scale in (0.0, largest) if len(blocks) > 1 else (0.0,):
        levels = [np.mean([max(row) for row in block]) for block in blocks]
        pairs = zip(blocks, levels, spreads, strict=True)
        z = np.concatenate([(b - scale * level) * (common / spread) ** scale for b, level, spread in pairs], axis=1)
        for strength in [largest * part for part in (0, 0.25, 0.5, 0.75, 1)]:
            wanted = softmax(z).mean(axis=0) ** (1 - strength)
            shift = np.zeros(columns)
            for _ in range(1000):
                shift += 0.3 * np.log(wanted / wanted.sum() / softmax(z + shift).mean(axis=0))
            tried, found = mixed(softmax(z + shift))
            if found["correlation"] > chosen["correlation"] + 1e-9:
                best, chosen = tried, {"balance": strength, "scale": scale, **found}
    target = np.maximum(best, np.min(own))
    return target / target.sum(axis=1, keepdims=True), chosen


def softmax(rows: np.ndarray) -> np.ndarray:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_balanced_columns_have_the_shares_asked_for(strength):
    labels, logits, _, _ = answers(ONE_TASK, 300)
    raw = labels.stack(logits)
    wanted = raw.softmax(dim=1).mean(dim=0) ** (1 - strength)
    torch.testing.assert_close(balance(raw, strength).mean(dim=0), wanted / wanted.sum(), atol=1e-3, rtol=0)


def test_a_pool_of_one_teachers_images_is_not_made_an_even_one():
    """Right and sure answers, all of the first teacher's classes: to balance them would give half away."""
    generator = torch.Generator().manual_seed(0)
    labels, truth = LabelSpace.of(ONE_TASK), torch.arange(600) % 3
    logits = {
        "first": 4.0 * torch.eye(3)[truth] + 0.5 * torch.randn(600, 3, generator=generator),
        "second": 1.0 * torch.randn(600, 2, generator=generator),
    }
    feature = 4 * torch.eye(3)[truth] + torch.randn(600, 3, generator=generator)
    targets = consistent(labels, logits, {"first": feature}, None)
    assert targets.chosen["balance"] < 0.3
    assert (labels.stack(targets.logits).argmax(dim=1) == truth).float().mean() > 0.97


def test_many_images_are_looked_at_block_by_block(monkeypatch):
    given = answers(ONE_TASK, 70)
    expected = consistent(*given)
    monkeypatch.setattr("ka_explore.problem.neighbours.BLOCK", 70 * 9)
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
    feature = 4 * torch.eye(4)[truth] + 0.8 * torch.randn(count, 4, generator=generator)
    logits = {}
    for owner, (name, loudness, level) in enumerate([("quiet", 1.0, 0.0), ("loud", 2.0, 2.0)]):
        own = truth // 2 == owner
        wrong = torch.rand(count, generator=generator) < torch.where(own, 0.25, 0.5)
        answer = (truth % 2) ^ wrong.int()
        sure = torch.where(own, 2.0, 1.0) + 1.0 * torch.randn(count, generator=generator)
        logits[name] = level + loudness * sure[:, None] * (2.0 * torch.eye(2)[answer] - 1)
    return LabelSpace.of({"quiet": ("class", "ab"), "loud": ("class", "cd")}), logits, {"quiet": feature}, truth


def test_the_neighbours_tell_whose_image_it_is_where_a_loud_teacher_claims_all():
    labels, logits, features, truth = clumps()
    owner = truth // 2

    def right(targets: Targets) -> tuple[float, float]:
        stacked = labels.stack(targets.logits)
        return (
            float((targets.responsibility.argmax(1) == owner).float().mean()),
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
    torch.testing.assert_close(
        consistent(labels, silent, features, images).responsibility, torch.tensor([[0.6, 0.4]] * count)
    )


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


def test_a_run_learns_from_the_targets_it_says(tmp_path):
    from ka_explore import Run, toy
    from ka_explore.problem.neighbours import thumbnails

    problem = toy.digits(unlabelled=300)
    run = Run(problem, "distillation", targets="consistent", steps=4, batch_size=16)
    images, answers = problem.pool.images[:], {}
    features = {}
    for teacher in problem.teachers:
        outputs = teacher(images)
        answers[teacher.name] = outputs.logits
        features[teacher.name] = outputs.features[teacher.feature_layer].mean(dim=(2, 3))
    wanted = consistent(problem.labels, answers, features, images)
    same = consistent(problem.labels, answers, features, thumbnails(images))
    index = problem.pool.at(0, 0, 16)
    batch = run._batch(index, augment_step=0)
    for name in problem.names:
        assert torch.equal(same.logits[name], wanted.logits[name])
        assert torch.allclose(batch.teachers[name].logits, wanted.logits[name][index.tolist()], atol=1e-3)
        assert not torch.allclose(batch.teachers[name].logits, answers[name][index.tolist()], atol=1e-3)
    run.advance(None).rewind(2).advance(None)
    fork = run.fork("own", at=2, targets="own").advance(1)
    assert fork.history()[-1]["terms"] != run.history()[2]["terms"]


def test_what_responsibility_was_called_before_works_and_says_so():
    targets = own_answers(*answers(ONE_TASK, 5)[:2])
    with pytest.warns(FutureWarning, match=r"Targets.claims is Targets.responsibility since version 0\.2"):
        assert targets.claims is targets.responsibility
